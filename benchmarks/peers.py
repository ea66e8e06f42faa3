"""Training images/s of the book's networks, with convworks and with what people use otherwise.

    pip install -e '.[bench]' && pip install --no-deps d2l==1.0.3
    python benchmarks/peers.py                       # about 40 minutes on two cores
    python benchmarks/peers.py resnet18 --rounds 1   # one network, once
    python benchmarks/peers.py --table               # only write docs/peers.md again

Every contestant trains the same network on Fashion-MNIST at the book's image size in batches of
128, loading included, in a process of its own; they take turns, several rounds. Seconds are counted
after a warm-up, between batches. The contestants:

- d2l: its Trainer and data class (fp32, four loading processes, its defaults; nothing plotted).
- torchvision: the loop of its reference scripts (fp32, DataLoader, transforms, metrics each step).
- lightning: its Trainer (bf16-mixed, channels-last, no logger, bar or checkpoints).
- timm: its loader, optimizer factory and loop (bf16 autocast, channels-last); timm-compile the same
  with torch.compile; timm-malloc the same with glibc told to keep freed memory, as convworks tells
  it (`train.device.memory_kept`), which is not counted among the tuned peers.
- convworks: `convworks train NETWORK --data fashion_mnist --image-size S`, no flags: its flips and
  shifts, its optimizer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from convworks.data.sources import data_root
from convworks.nets.registry import create_model
from convworks.train.device import environment, wait
from convworks.train.recipes import BOOK

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
PAGE = ROOT / "docs" / "peers.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- peers: written by benchmarks/peers.py -->", "<!-- /peers -->"
NETWORKS = ("lenet", "alexnet", "vgg11_small", "nin", "googlenet", "resnet18", "densenet_book")
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
TUNED = ("lightning", "timm", "timm-compile")
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
"""For glibc, when a process begins."""


def child(peer: str, name: str) -> None:
    """One measurement; its result is the last line."""
    try:
        PEERS[peer](name)
    except Done as done:
        print(json.dumps(done.rate))


def measure(peer: str, name: str) -> float | str:
    """Images a second, or why there are none."""
    words = [sys.executable, __file__, "--child", peer, name]
    surroundings = os.environ | (KEEPING if peer == "timm-malloc" else {})
    done = subprocess.run(words, capture_output=True, text=True, env=surroundings)
    try:
        return float(json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


def contest(names: list[str], peers: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """What is known after each round of all networks."""
    found: dict[str, dict[str, list[float | str]]] = {n: {p: [] for p in peers} for n in names}
    for each in range(rounds):
        for name in names:
            for peer in peers:
                if peer == "timm-compile" and each > 0 and _compile_lost(found[name]):
                    continue
                found[name][peer].append(measure(peer, name))
                print(each + 1, name, peer, found[name][peer][-1], flush=True)
        yield {
            "environment": environment(DEVICE),
            "versions": versions(),
            "rounds": each + 1,
            "batch_size": BATCH,
            "networks": found,
        }


def _compile_lost(rates: dict[str, list[float | str]]) -> bool:
    """Whether compiling was slower in the first round: an expert would leave it off."""
    plain, compiled = rates.get("timm", []), rates["timm-compile"]
    return bool(plain and compiled) and (
        isinstance(compiled[0], str) or (isinstance(plain[0], float) and compiled[0] < plain[0])
    )


def versions() -> dict[str, str]:
    found = {}
    for name in ("d2l", "torchvision", "lightning", "timm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def rate(values: list[float | str]) -> float | None:
    """The median of what was measured."""
    numbers = [x for x in values if isinstance(x, float)]
    return median(numbers) if numbers else None


def ratios(rates: dict[str, list[float | str]], peers: tuple[str, ...]) -> list[float]:
    """Round by round, convworks over the fastest of some peers, in ascending order."""
    found = []
    for each, ours in enumerate(rates["convworks"]):
        others = [
            rates[p][each]
            for p in peers
            if p in rates and len(rates[p]) > each and isinstance(rates[p][each], float)
        ]
        if isinstance(ours, float) and others:
            found.append(ours / max(others))  # type: ignore[type-var,arg-type]
    return sorted(found)


def page(results: dict[str, Any]) -> str:
    """docs/peers.md."""
    place = results["environment"]
    found = results["networks"]
    peers = list(next(iter(found.values())))
    machine = f"{place['threads']} threads of an {place['cpu']}"
    if place["gpu"]:
        machine += f" and an {place['gpu']}"
    used = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        "# Beside its peers",
        "",
        "Images a second in training the book's networks on Fashion-MNIST at the book's image",
        "sizes, batch 128, loading included: medians of rounds in which the contestants take",
        "turns. The ratios are medians of the rounds' own, with the least and the greatest. The",
        "tuned peers are Lightning and timm in bf16 and channels-last; `timm-compile` is left out",
        "of later rounds where it lost the first, and `timm-malloc`, which keeps freed memory as",
        "convworks does, is not counted. `benchmarks/peers.py` says what each does.",
        "",
        f"Written by `python benchmarks/peers.py`, {results['rounds']} rounds on {machine},"
        f" PyTorch {place['torch']}, {used}.",
        "",
        "| network | size | " + " | ".join(peers) + " | over d2l | over the best tuned |",
        "|---|---|" + "---:|" * (len(peers) + 2),
    ]
    for name, rates in found.items():
        cells = [f"{r:,.0f}" if (r := rate(rates[p])) else "fails" for p in peers]
        for group in (("d2l",), TUNED):
            each = ratios(rates, group)
            cells.append(
                f"{median(each):.2f}× ({each[0]:.2f} … {each[-1]:.2f})" if each else "unknown"
            )
        lines.append(f"| {name} | {BOOK[name].image_size} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def short(results: dict[str, Any]) -> str:
    """README's table: d2l, the best tuned peer, convworks."""
    place = results["environment"]
    lines = [
        "| network | pixels | d2l | best tuned peer | convworks | over d2l | over that peer |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, rates in results["networks"].items():
        d2l, ours = rate(rates["d2l"]), rate(rates["convworks"])
        best = max((rate(rates[peer]) or 0.0, peer) for peer in TUNED)
        over = [median(ratios(rates, group)) for group in (("d2l",), TUNED)]
        lines.append(
            f"| `{name}` | {BOOK[name].image_size} | {d2l:,.0f} | {best[0]:,.0f} ({best[1]}) |"
            f" {ours:,.0f} | {over[0]:.2f}× | {over[1]:.2f}× |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"On {place['threads']} threads of an {place['cpu']}, PyTorch {place['torch']}; medians"
            f" of {results['rounds']} rounds.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    if not given.table:
        whole = given.networks == list(NETWORKS) and given.peers == list(PEERS)
        for results in contest(given.networks, given.peers, given.rounds):
            if whole:  # a round that is cut off leaves those before it
                RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        if not whole:
            print(json.dumps(results, indent=2))
            return
    results = json.loads(RESULTS.read_text())
    PAGE.write_text(page(results))
    text = README.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{short(results)}\n{END}{after}")


if __name__ == "__main__":
    main()
