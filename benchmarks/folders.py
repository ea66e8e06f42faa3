"""Images/s that an image folder is read with, and that a network is trained with from it.

    pip install -e '.[bench]'
    python benchmarks/folders.py   # about three minutes on two cores; writes results/folders.json

1,000 JPEG files of 500×375 pixels are cut out of sample photographs. Loading alone, with two worker
processes, random parts at 224 pixels in batches of 64: convworks' first epoch, which decodes, and
its later ones, which find the pictures in memory; torchvision's ImageFolder with a DataLoader;
timm's loader. Training ResNet-18 at 96 pixels: from the folder in the first epoch, the reading of
all parts before it included, and in the second; and from pictures that are in memory from the
beginning.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import convworks as cw
from convworks.data.loader import MemoryLoader, open_loader
from convworks.data.splits import FileImages, MemoryImages
from convworks.train.device import environment
from convworks.train.loop import fit
from convworks.train.observer import Observer

RESULTS = Path(__file__).parent / "results" / "folders.json"
CPU = torch.device("cpu")
PICTURES, SIDE, BATCH, WORKERS, ROUNDS = 1000, 224, 64, 2, 3
TRAINED_SIDE = 96


def write_pictures(root: Path) -> FileImages:
    """Two classes."""
    dice = np.random.default_rng(0)
    paths, labels = [], []
    for label, photo in enumerate(load_sample_images().images):
        (root / str(label)).mkdir(parents=True)
        for i in range(PICTURES // 2):
            top, left = (
                dice.integers(0, photo.shape[0] - 375),
                dice.integers(0, photo.shape[1] - 500),
            )
            paths.append(root / str(label) / f"{i:04}.jpg")
            Image.fromarray(photo[top : top + 375, left : left + 500]).save(paths[-1], quality=90)
            labels.append(label)
    return FileImages(tuple(paths), torch.tensor(labels), 3)


def ours(images: FileImages) -> Callable[[], Iterator[Any]]:
    """Its first epoch decodes."""
    loader = open_loader(
        images,
        batch_size=BATCH,
        image_size=SIDE,
        device=CPU,
        workers=WORKERS,
        shuffle=True,
        crop=True,
        keeping=True,
    )
    return lambda: loader.epoch(0)


def torchvisions(root: Path) -> Callable[[], Iterator[Any]]:
    """The transforms of its reference training."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    )
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(root), transforms),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        drop_last=True,
    )
    return lambda: iter(loader)


def timms(root: Path) -> Callable[[], Iterator[Any]]:
    """Its defaults for training."""
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset("folder", str(root)),
        (3, SIDE, SIDE),
        BATCH,
        is_training=True,
        num_workers=WORKERS,
        device=CPU,
        persistent_workers=True,
        pin_memory=False,
    )
    return lambda: iter(loader)


def rate(epoch: Callable[[], Iterator[Any]]) -> float:
    """Images/s of one epoch."""
    begun, count = perf_counter(), 0
    for images, _ in epoch():
        count += len(images)
    return count / (perf_counter() - begun)


class Reading(Observer):
    """How long the pictures are read before the first step."""

    begun, seconds = 0.0, 0.0

    def read(self, done: int, count: int) -> None:
        if done == 1:
            self.begun = perf_counter()
        if done == count:
            self.seconds = perf_counter() - self.begun


def training(images: FileImages | MemoryImages, root: Path, folder: Path) -> list[float]:
    """Images/s of three epochs of ResNet-18."""
    data = cw.load_data(root, image_size=TRAINED_SIDE)
    if isinstance(images, MemoryImages):
        parts = {}
        for part in ("train", "val", "test"):
            files = getattr(data, part)
            loader = open_loader(files, batch_size=100, image_size=TRAINED_SIDE, device=CPU)
            pixels = torch.cat([x for x, _ in loader.epoch()])
            parts[part] = MemoryImages(pixels, files.labels)
        data = replace(data, **parts)
    model = cw.create_model("resnet18", num_classes=2, in_channels=3, image_size=TRAINED_SIDE)
    config = cw.TrainConfig(epochs=3, out=folder, batch_size=BATCH)
    reading = Reading()
    rates = [x.images_per_second for x in fit(model, data, config, observers=[reading]).history]
    trained = len(data.train) // BATCH * BATCH
    return [trained / (trained / rates[0] + reading.seconds), *rates[1:]]


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "pictures"
        images = write_pictures(root)
        first, found = [], {"convworks, later epochs": [], "torchvision": [], "timm": []}
        for _ in range(ROUNDS):
            epochs = {
                "convworks, later epochs": ours(images),
                "torchvision": torchvisions(root),
                "timm": timms(root),
            }
            first.append(rate(epochs["convworks, later epochs"]))
            for name, epoch in epochs.items():
                if name in ("torchvision", "timm"):
                    rate(epoch)  # its workers start
                found[name].append(rate(epoch))
        memory = MemoryLoader(
            MemoryImages(torch.zeros(PICTURES, 3, SIDE, SIDE, dtype=torch.uint8), images.labels),
            BATCH,
            True,
            CPU,
        )
        loading = {"convworks, first epoch": first} | found
        loading["convworks, in memory"] = [rate(memory.epoch) for _ in range(ROUNDS)]
        trained = {
            "from the folder, first epoch": [],
            "from the folder, second epoch": [],
            "from memory": [],
        }
        for i in range(ROUNDS):
            rates = training(images, root, Path(place) / f"files{i}")
            trained["from the folder, first epoch"].append(rates[0])
            trained["from the folder, second epoch"].append(rates[1])
            kept = MemoryImages(torch.empty(0), images.labels)
            trained["from memory"].append(training(kept, root, Path(place) / f"memory{i}")[1])
    results = {"environment": environment(CPU), "loading": loading, "training": trained}
    for kind in ("loading", "training"):
        for name, rates in results[kind].items():
            print(f"{kind:9} {name:32} {median(rates):8,.0f} images/s")
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
