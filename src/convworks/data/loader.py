"""Batches of uint8 pictures on a device, from memory or from files.

Order and crops depend on the epoch's seed alone, so an epoch can be entered again at any batch.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from math import ceil

import torch
from PIL import Image
from torch import Tensor

from convworks.data.folder import cut, decode, squeeze
from convworks.data.kept import Pixels, keep, keepable
from convworks.data.share import WHOLE, Share
from convworks.data.splits import FileImages, Images, MemoryImages

Batch = tuple[Tensor, Tensor]
"""uint8 N×C×H×W pictures and int64 N labels."""


class Loader(ABC):
    """One part of a data set in batches.

    Training batches are shuffled and whole: the rest of an epoch that fills no batch is left out,
    unless there is nothing else. Other batches come in order and leave nothing out. `count`,
    `batch_size` and `len` are those of all processes, what comes is this one's share.
    """

    def __init__(self, images: Images, batch_size: int, shuffle: bool, share: Share) -> None:
        self.count = len(images)
        self.batch_size = min(batch_size, self.count)
        self.shuffle = shuffle
        self.share = share

    def __len__(self) -> int:
        if self.shuffle:
            return self.count // self.batch_size
        return ceil(self.count / self.batch_size)

    def order(self, seed: int) -> list[Tensor]:
        """The epoch's indices, a tensor a batch, of this process's share."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(seed)
            indices = torch.randperm(self.count, generator=generator)
        else:
            indices = torch.arange(self.count)
        batches = torch.split(indices, self.batch_size)[: len(self)]
        return [self.share.cut(batch) for batch in batches]

    @abstractmethod
    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on."""


class MemoryLoader(Loader):
    """From pictures in memory, which are moved to the device once."""

    def __init__(
        self,
        images: MemoryImages,
        batch_size: int,
        shuffle: bool,
        device: torch.device,
        share: Share = WHOLE,
    ) -> None:
        super().__init__(images, batch_size, shuffle, share)
        self.pixels = images.pixels.to(device)
        self.labels = images.labels.to(device)

    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on."""
        order = self.order(seed)
        moved = torch.cat(order).to(self.pixels.device)  # at once: each copy makes a GPU wait
        for chosen in torch.split(moved, [len(batch) for batch in order])[start:]:
            yield self.pixels[chosen], self.labels[chosen]


SQUEEZED = 1.5
"""Pictures that random parts are cut of are kept at so many times the size of the parts: the
smallest, 35 % of the area, then has nine tenths of the pixels that it is shown with."""
AHEAD = 2
"""Batches that are made ready while a GPU computes."""


class FileLoader(Loader):
    """From files, decoded to C×S×S by `workers` threads; `crop` takes a random part of each.

    Each file is decoded once, as far as there is memory to keep it (`data.kept`). Threads do not
    wait for each other: decoders let go of Python's lock. On a CPU they work between the steps,
    which need the same cores.
    """

    def __init__(
        self,
        images: FileImages,
        batch_size: int,
        shuffle: bool,
        device: torch.device,
        image_size: int,
        workers: int,
        crop: bool,
        keeping: bool,
        share: Share,
    ) -> None:
        super().__init__(images, batch_size, shuffle, share)
        self.images = images
        self.device = device
        self.image_size = image_size
        self.workers = workers
        self.crop = crop
        self.side = round(SQUEEZED * image_size) if crop else image_size
        size = (self.count, images.channels, self.side)
        self.squeezed = keepable(*size)
        self.kept = keep(*size) if keeping else None

    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on. InputError names a picture it cannot read."""
        pool = ThreadPoolExecutor(self.workers)
        try:
            waiting: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
            for chosen in self.order(seed)[start:]:
                work = [pool.submit(self._pixels, i, seed) for i in chosen.tolist()]
                waiting.append((self.images.labels[chosen], work))
                if len(waiting) > (0 if self.device.type == "cpu" else AHEAD):
                    yield self._batch(*waiting.popleft())
            for each in waiting:
                yield self._batch(*each)
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, labels: Tensor, work: list[Future[Tensor]]) -> Batch:
        pixels = torch.stack([each.result() for each in work])
        if self.device.type == "cuda":
            pixels, labels = pixels.pin_memory(), labels.pin_memory()
        return (
            pixels.to(self.device, non_blocking=True),
            labels.to(self.device, non_blocking=True),
        )

    def _pixels(self, index: int, seed: int) -> Tensor:
        channels, size = self.images.channels, self.image_size
        crop_seed = seed * self.count + index if self.crop else None
        if not self.squeezed:
            return decode(self.images.paths[index], channels, size, crop_seed)
        pixels, shape = (self.kept and self.kept.get(index)) or self._decode(index)
        if not self.crop:
            return torch.from_numpy(pixels).movedim(2, 0)
        picture = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
        return cut(picture, shape, size, crop_seed)

    def _decode(self, index: int) -> Pixels:
        """What is kept of a picture: a whole one that parts are cut of, else the central square."""
        path, channels = self.images.paths[index], self.images.channels
        if self.crop:
            found = squeeze(path, channels, self.side)
        else:
            square = decode(path, channels, self.side)
            found = square.movedim(0, 2).numpy(), (self.side, self.side)
        if self.kept:
            self.kept.put(index, *found)
        return found


def open_loader(
    images: Images,
    *,
    batch_size: int,
    image_size: int,
    device: torch.device,
    workers: int | None = None,
    shuffle: bool = False,
    crop: bool = False,
    keeping: bool = False,
    share: Share = WHOLE,
) -> Loader:
    """The loader for pictures in memory or on disk.

    Those on disk are decoded by `workers` threads, None: one a core, 8 at most; random parts of
    them with `crop`; once with `keeping`, which is for more than one epoch.
    """
    if isinstance(images, MemoryImages):
        return MemoryLoader(images, batch_size, shuffle, device, share)
    if workers is None:
        workers = min(8, os.cpu_count() or 1)
    return FileLoader(
        images, batch_size, shuffle, device, image_size, workers, crop, keeping, share
    )
