"""A long training takes no more than a short one: memory, open files, threads."""

import gc
import os
import sys
import threading
from pathlib import Path

import pytest
import torch

import convworks as cw
from conftest import write_digits
from convworks.train.loop import fit
from convworks.train.observer import History, Observer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MOST_GROWTH = 8 * 2**20
"""Bytes between the tenth epoch and the fiftieth; leaking one batch's pictures an epoch is more."""


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Watch(Observer):
    """What the process holds after each epoch."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.files: list[int] = []

    def epoch(self, history: History) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.held.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.files.append(open_files())


@pytest.mark.parametrize("source", ["memory", "files"])
def test_fifty_epochs_and_two_thousand_steps(source: str) -> None:
    if source == "memory":
        data = cw.load_data("digits", image_size=28)
        config = cw.TrainConfig(epochs=50, batch_size=32)
    else:
        write_digits(Path("pictures"), classes=(0, 1, 7), count=100)
        data = cw.load_data("pictures", image_size=28)
        config = cw.TrainConfig(epochs=50, batch_size=5, workers=2)
    model = cw.create_model("lenet_bn", num_classes=len(data.classes), in_channels=1, image_size=28)
    watch = Watch()
    threads, files = threading.active_count(), open_files()
    run = fit(model, data, config, observers=[watch])
    steps = len(run.history) * (len(data.train) // config.batch_size)
    assert steps >= 2000
    assert max(watch.held[10:]) - watch.held[9] < MOST_GROWTH
    assert len(set(watch.files[1:])) == 1
    del run
    assert threading.active_count() == threads
    assert open_files() == files


def test_a_leak_would_be_seen() -> None:
    """Keeping each step's pictures grows by more than is allowed."""
    data = cw.load_data("digits", image_size=28, train_images=400)

    class Leak(Watch):
        def epoch(self, history: History) -> None:
            kept.append(torch.ones(32 * 28 * 28 * 10))
            super().epoch(history)

    kept: list[torch.Tensor] = []
    model = cw.create_model("lenet_bn", num_classes=10, in_channels=1, image_size=28)
    watch = Leak()
    fit(model, data, cw.TrainConfig(epochs=50, batch_size=32), observers=[watch])
    assert max(watch.held[10:]) - watch.held[9] > MOST_GROWTH
