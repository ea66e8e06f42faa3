"""Batches of uint8 pictures on a device, from memory or from files.

Order and crops depend on the epoch's seed alone, so an epoch can be entered again at any batch.
"""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from convworks.data.folder import decode
from convworks.data.splits import FileImages, Images, MemoryImages
from convworks.errors import InputError

Batch = tuple[Tensor, Tensor]
"""uint8 N×C×H×W pictures and int64 N labels."""


class Loader(ABC):
    """One part of a data set in batches.

    Training batches are shuffled and whole: the rest of an epoch that fills no batch is left out,
    unless there is nothing else. Other batches come in order and leave nothing out.
    """

    def __init__(self, images: Images, batch_size: int, shuffle: bool) -> None:
        self.count = len(images)
        self.batch_size = min(batch_size, self.count)
        self.shuffle = shuffle

    def __len__(self) -> int:
        if self.shuffle:
            return self.count // self.batch_size
        return ceil(self.count / self.batch_size)

    def order(self, seed: int) -> list[Tensor]:
        """The epoch's indices, a tensor a batch."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(seed)
            indices = torch.randperm(self.count, generator=generator)
        else:
            indices = torch.arange(self.count)
        return list(torch.split(indices, self.batch_size)[: len(self)])

    @abstractmethod
    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on."""


class MemoryLoader(Loader):
    """From pictures in memory, which are moved to the device once."""

    def __init__(
        self, images: MemoryImages, batch_size: int, shuffle: bool, device: torch.device
    ) -> None:
        super().__init__(images, batch_size, shuffle)
        self.pixels = images.pixels.to(device)
        self.labels = images.labels.to(device)

    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on."""
        order = torch.cat(self.order(seed)).to(self.pixels.device)
        for chosen in torch.split(order, self.batch_size)[start:]:
            yield self.pixels[chosen], self.labels[chosen]


class FileLoader(Loader):
    """From files, decoded to C×S×S by `workers` processes; `crop` takes a random part of each."""

    def __init__(
        self,
        images: FileImages,
        batch_size: int,
        shuffle: bool,
        device: torch.device,
        image_size: int,
        workers: int,
        crop: bool,
    ) -> None:
        super().__init__(images, batch_size, shuffle)
        self.device = device
        self.plan: list[list[tuple[int, int | None]]] = []
        self.crop = crop
        self.source: DataLoader[Sample] = DataLoader(
            _Decoded(images, image_size),
            batch_sampler=self.plan,
            num_workers=workers,
            collate_fn=_collate,
            worker_init_fn=_leave_signals_to_the_parent,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on. InputError names a picture it cannot read."""
        self.plan[:] = [
            [(i, seed * self.count + i if self.crop else None) for i in indices.tolist()]
            for indices in self.order(seed)[start:]
        ]
        for pixels, labels, failure in self.source:
            if failure:
                raise InputError(failure)
            yield (
                pixels.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


Sample = tuple[Tensor, int, str]
"""Pixels, label, and why the file could not be read."""


class _Decoded(Dataset[Sample]):
    """Decodes (index, crop seed). A failure is returned: raised, it would bring a traceback."""

    def __init__(self, images: FileImages, image_size: int) -> None:
        self.images = images
        self.image_size = image_size

    def __getitem__(self, item: tuple[int, int | None]) -> Sample:
        index, crop_seed = item
        channels, size = self.images.channels, self.image_size
        label = int(self.images.labels[index])
        try:
            return decode(self.images.paths[index], channels, size, crop_seed), label, ""
        except InputError as error:
            return torch.zeros(channels, size, size, dtype=torch.uint8), label, str(error)


def _leave_signals_to_the_parent(_worker: int) -> None:
    """A terminal or a scheduler signals all processes, and the parent decides what that means.

    It still needs the batches under way after SIGINT. After SIGTERM a worker goes without a word:
    PyTorch would raise an error in the middle of the parent's step for one that died of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))


def _collate(samples: list[Sample]) -> tuple[Tensor, Tensor, str]:
    pixels, labels, failures = zip(*samples, strict=True)
    return torch.stack(pixels), torch.tensor(labels), next(filter(None, failures), "")


def open_loader(
    images: Images,
    *,
    batch_size: int,
    image_size: int,
    device: torch.device,
    workers: int | None = None,
    shuffle: bool = False,
    crop: bool = False,
) -> Loader:
    """The loader for pictures in memory or on disk; `workers` and `crop` concern those on disk.

    They are decoded by `workers` processes; None: one a core, 8 at most.
    """
    if isinstance(images, MemoryImages):
        return MemoryLoader(images, batch_size, shuffle, device)
    if workers is None:
        workers = min(8, os.cpu_count() or 1)
    return FileLoader(images, batch_size, shuffle, device, image_size, workers, crop)
