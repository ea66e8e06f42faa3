"""The contestants of peers.py, one measurement a process.

    python benchmarks/contestants.py timm resnet18

Trains the network until enough batches were timed and prints images a second.

- d2l: its Trainer and data class (fp32, four loading processes, its defaults; nothing plotted).
- torchvision: the loop of its reference scripts (fp32, DataLoader, transforms, metrics each step).
- lightning: its Trainer (bf16-mixed, channels-last, no logger, bar or checkpoints).
- timm: its loader, optimizer factory and loop (bf16 autocast, channels-last); timm-compile the same
  with torch.compile; timm-malloc the same with glibc told to keep freed memory, as convworks tells
  it (`train.device.memory_kept`), which is not counted among the tuned peers.
- convworks: `convworks train NETWORK --data fashion_mnist --image-size S`, no flags: its flips and
  shifts, its optimizer.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from convworks.data.sources import data_root
from convworks.nets.registry import create_model
from convworks.train.device import wait
from convworks.train.recipes import BOOK

BATCH, WORKERS = 128, 2
WARM_UP_BATCHES, WARM_UP_SECONDS = 3, 3.0
WINDOW_BATCHES, WINDOW_SECONDS = 3, 8.0
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Done(Exception):  # noqa: N818
    """Enough was measured."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.rate = rate


def timed(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, as long as it takes to measure: then Done, with images a second."""
    begun, warm = perf_counter(), 0.0
    count = 0
    for batch in batches:
        yield batch
        count += 1
        now = perf_counter()
        if not warm and count >= WARM_UP_BATCHES and now - begun > WARM_UP_SECONDS:
            wait(DEVICE)
            warm, count = perf_counter(), 0
        elif warm and count >= WINDOW_BATCHES and now - warm > WINDOW_SECONDS:
            wait(DEVICE)
            raise Done(count * BATCH / (perf_counter() - warm))


class Timed:
    """A loader whose epochs follow each other without an end."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        def epochs() -> Iterator[Any]:
            while True:
                yield from self.loader

        return timed(epochs())


class Counted(Timed):
    """d2l asks how long an epoch is; others would stop there."""

    def __len__(self) -> int:
        return len(self.loader)


def network(name: str) -> nn.Module:
    """The same for all."""
    torch.manual_seed(0)
    return create_model(
        name, num_classes=10, in_channels=1, image_size=BOOK[name].image_size, stem="paper"
    )


def pictures(transforms: Any) -> "Dataset[Any]":
    """Fashion-MNIST as torchvision gives it."""
    from torchvision.datasets import FashionMNIST

    return FashionMNIST(str(data_root()), train=True, transform=transforms)


def d2l(name: str) -> None:
    from d2l import torch as book

    class Model(book.Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.lr = BOOK[name].lr
            self.net = network(name)
            self.board.display = False

    class Data(book.FashionMNIST):
        def __init__(self) -> None:
            super().__init__(BATCH, (BOOK[name].image_size,) * 2)

        def get_dataloader(self, train: bool) -> Any:
            loader = super().get_dataloader(train)
            return Counted(loader) if train else loader

    book.FashionMNIST.__init__.__globals__["torchvision"].datasets.FashionMNIST = _there()
    trainer = book.Trainer(max_epochs=1, num_gpus=torch.cuda.device_count())
    trainer.fit(Model(), Data())


def _there() -> Any:
    """d2l downloads into ../data: the same set is read where it lies."""
    from torchvision.datasets import FashionMNIST

    return lambda root, train, transform, download: FashionMNIST(  # noqa: ARG005
        str(data_root()), train=train, transform=transform
    )


def torchvision(name: str) -> None:
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [
            v2.Resize(BOOK[name].image_size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.286,), (0.353,)),
        ]
    )
    loader = DataLoader(
        pictures(transforms),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        pin_memory=DEVICE.type == "cuda",
    )
    model = network(name).to(DEVICE).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    losses, right = 0.0, [0.0, 0.0]
    for images, labels in Timed(loader):
        images, labels = images.to(DEVICE), labels.to(DEVICE)
        output = model(images)
        loss = F.cross_entropy(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += loss.item()
        with torch.inference_mode():
            _, best = output.topk(5, 1)
            hits = best == labels[:, None]
            for place, k in enumerate((1, 5)):
                right[place] += hits[:, :k].sum().item()


def lightning(name: str) -> None:
    import warnings

    from lightning import LightningModule, Trainer
    from torchvision.transforms import v2

    warnings.simplefilter("ignore")
    transforms = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(BOOK[name].image_size, antialias=False),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    loader = DataLoader(
        pictures(transforms),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
        pin_memory=DEVICE.type == "cuda",
    )

    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(name).to(memory_format=torch.channels_last)

        def training_step(self, batch: Any) -> torch.Tensor:
            images, labels = batch
            return F.cross_entropy(
                self.net(images.contiguous(memory_format=torch.channels_last)), labels
            )

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)

    trainer = Trainer(
        max_epochs=1,
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(Model(), Timed(loader))


def timm(name: str, *, compiled: bool = False) -> None:
    from timm.data import create_loader
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter

    size = BOOK[name].image_size
    loader = create_loader(
        pictures(None),
        (1, size, size),
        BATCH,
        is_training=True,
        no_aug=True,
        use_prefetcher=True,
        interpolation="bilinear",
        mean=(0.286,),
        std=(0.353,),
        num_workers=WORKERS,
        device=DEVICE,
        pin_memory=DEVICE.type == "cuda",
    )
    model = network(name).to(DEVICE, memory_format=torch.channels_last).train()
    running = torch.compile(model) if compiled else model
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, fused=True)
    meter = AverageMeter()
    for step, (images, labels) in enumerate(Timed(loader)):
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = F.cross_entropy(running(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            meter.update(loss.item(), images.size(0))


def convworks(name: str) -> None:
    import convworks as cw
    from convworks.data.loader import MemoryLoader

    epoch = MemoryLoader.epoch

    def endless(loader: MemoryLoader, seed: int = 0, start: int = 0) -> Iterator[Any]:
        def epochs() -> Iterator[Any]:
            while True:
                yield from epoch(loader, seed, start)

        return timed(epochs())

    MemoryLoader.epoch = endless  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        config = cw.TrainConfig(out=Path(folder) / "run")
        cw.api.train(name, "fashion_mnist", config, image_size=BOOK[name].image_size)


PEERS: dict[str, Callable[[str], None]] = {
    "d2l": d2l,
    "torchvision": torchvision,
    "lightning": lightning,
    "timm": timm,
    "timm-compile": lambda name: timm(name, compiled=True),
    "timm-malloc": timm,
    "convworks": convworks,
}


if __name__ == "__main__":
    try:
        PEERS[sys.argv[1]](sys.argv[2])
    except Done as done:
        print(json.dumps(done.rate))
