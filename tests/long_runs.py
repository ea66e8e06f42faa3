"""A long training that watches what its process holds: memory, open files, threads."""

import gc
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch

import convworks as cw
from conftest import write_digits
from convworks.train.loop import fit
from convworks.train.observer import History, Observer


@dataclass
class Watch(Observer):
    """What the process holds after every tenth epoch."""

    leak: bool
    """Whether to keep some batches' pictures of every epoch."""
    held: list[int] = field(default_factory=list)
    """Bytes."""
    files: list[int] = field(default_factory=list)
    kept: list[torch.Tensor] = field(default_factory=list)

    def epoch(self, history: History) -> None:
        if self.leak:
            self.kept.append(torch.ones(10, 32, 1, 28, 28))
        if len(history) % 10 == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.held.append(pages * os.sysconf("SC_PAGE_SIZE"))
            self.files.append(_open_files())


@dataclass
class Found:
    """What a training held."""

    steps: int
    growth: int
    """Bytes, between the tenth epoch and the most of later ones."""
    files: set[int]
    """How many were open, in the course of it."""
    left: tuple[int, int]
    """Open files and threads more than before, after it."""


def train(source: Literal["memory", "files", "leak"]) -> Found:
    """50 epochs in a folder of their own."""
    with TemporaryDirectory() as place:
        os.chdir(place)
        if source == "files":
            write_digits(Path("pictures"), classes=(0, 1, 7), count=100)
            data = cw.load_data("pictures", image_size=28)
            config = cw.TrainConfig(epochs=50, batch_size=5, workers=2)
        else:
            images = 400 if source == "leak" else None
            data = cw.load_data("digits", image_size=28, train_images=images)
            config = cw.TrainConfig(epochs=50, batch_size=32)
        classes = len(data.classes)
        model = cw.create_model("lenet_bn", num_classes=classes, in_channels=1, image_size=28)
        watch = Watch(source == "leak")
        files, threads = _open_files(), threading.active_count()
        run = fit(model, data, config, observers=[watch])
        steps = len(run.history) * (len(data.train) // config.batch_size)
        del run
        left = _open_files() - files, threading.active_count() - threads
        growth = max(watch.held[1:]) - watch.held[0]
        return Found(steps, growth, set(watch.files), left)


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
