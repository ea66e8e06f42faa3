"""Batches of uint8 pictures on a device, from memory or from files.

Order and crops depend on the epoch's seed alone, so an epoch can be entered again at any batch.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from math import ceil

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convworks.data.folder import UnreadableError, cut, decode, squeeze
from convworks.data.kept import Pixels, keep, keepable
from convworks.data.share import WHOLE, Share
from convworks.data.splits import FileImages, Images, MemoryImages
from convworks.data.unreadable import LeftOut, none_left
from convworks.errors import InputError

Batch = tuple[Tensor, Tensor]
"""uint8 N×C×H×W pictures and int64 N labels."""
Found = tuple[Tensor | None, list[UnreadableError]]
"""A picture, if there is one, and what could not be read on the way to it."""


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
THUMBNAIL = 32
"""Pixels a side of what near-duplicates are told by."""


class FileLoader(Loader):
    """From files, decoded to C×S×S by `workers` threads; `crop` takes a random part of each.

    Each file is decoded once, as far as there is memory to keep it (`data.kept`). Threads do not
    wait for each other: decoders let go of Python's lock. On a CPU they work between the steps,
    which need the same cores.

    What cannot be read is noted in `left_out`. Where batches are shuffled, the next picture of its
    class stands in, wherever and whenever that is found out, so that the steps depend on the files
    alone; other batches lack it. Without `left_out` it is an error.
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
        share: Share = WHOLE,
        left_out: LeftOut | None = None,
    ) -> None:
        super().__init__(images, batch_size, shuffle, share)
        self.images = images
        self.device = device
        self.image_size = image_size
        self.workers = workers
        self.crop = crop
        self.left_out = left_out
        self.side = round(SQUEEZED * image_size) if crop else image_size
        size = (self.count, images.channels, self.side)
        self.squeezed = keepable(*size)
        self.kept = keep(*size) if keeping else None

    def epoch(self, seed: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches, from batch `start` on. InputError names a picture it cannot read."""
        pool = ThreadPoolExecutor(self.workers)
        try:
            waiting: deque[tuple[Tensor, list[Future[Found]]]] = deque()
            for chosen in self.order(seed)[start:]:
                work = [pool.submit(self._pixels, i, seed) for i in chosen.tolist()]
                waiting.append((self.images.labels[chosen], work))
                if len(waiting) > (0 if self.device.type == "cpu" else AHEAD):
                    yield from self._batch(*waiting.popleft())
            for each in waiting:
                yield from self._batch(*each)
        finally:
            pool.shutdown(cancel_futures=True)

    def read(self, tell: Callable[[int], None]) -> Tensor:
        """Decodes all pictures, keeps those that are kept, and notes which cannot be read.

        Returns small grey pictures, uint8 N×THUMBNAIL×THUMBNAIL, black where there is none. `tell`
        hears the count of those that are done.
        """
        thumbnails = torch.zeros(self.count, THUMBNAIL, THUMBNAIL, dtype=torch.uint8)
        pool = ThreadPoolExecutor(self.workers)
        try:
            for i, found in enumerate(pool.map(self._thumbnail, range(self.count))):
                if isinstance(found, Tensor):
                    thumbnails[i] = found
                else:
                    self._note([found])
                tell(i + 1)
        finally:
            pool.shutdown(cancel_futures=True)
        return thumbnails

    def _batch(self, labels: Tensor, work: list[Future[Found]]) -> Iterator[Batch]:
        """The batch, unless nothing of it can be read."""
        found = []
        for each in work:
            one, errors = each.result()
            self._note(errors)
            found.append(one)
        there = [one for one in found if one is not None]
        if not there:
            return
        if len(there) < len(found):
            labels = labels[torch.tensor([one is not None for one in found])]
        pixels = torch.stack(there)
        if self.device.type == "cuda":
            pixels, labels = pixels.pin_memory(), labels.pin_memory()
        unwaited = self.device.type == "cuda"  # Apple's GPUs may read it when it is gone
        yield (
            pixels.to(self.device, non_blocking=unwaited),
            labels.to(self.device, non_blocking=unwaited),
        )

    def _note(self, errors: list[UnreadableError]) -> None:
        """In the thread that asks for batches, which may be told of it."""
        for error in errors:
            if self.left_out is None:
                raise error
            self.left_out.add(error)

    def _pixels(self, index: int, seed: int) -> Found:
        """The picture, or what stands in for it, cut where the picture itself would be."""
        crop_seed = seed * self.count + index if self.crop else None
        errors: list[UnreadableError] = []
        for i in self._candidates(index):
            if self.left_out is not None and self.images.paths[i] in self.left_out:
                continue
            try:
                return self._picture(i, crop_seed), errors
            except UnreadableError as error:
                errors.append(error)
        if not self.shuffle or self.left_out is None:
            return None, errors
        folder = self.images.paths[index].parent
        if errors and all(isinstance(one.__cause__, FileNotFoundError) for one in errors):
            raise InputError(f"{folder} is gone: once it is back, go on with --resume.")
        if errors:
            raise none_left(errors[0].path, errors[0].reason)
        path = self.images.paths[index]
        raise none_left(path, self.left_out.reasons[path])

    def _candidates(self, index: int) -> Iterator[int]:
        """The picture; in training, then the others of its class, from the next on around."""
        yield index
        if self.shuffle and self.left_out is not None:
            same = self.images.labels == self.images.labels[index]
            members = same.nonzero().squeeze(1).tolist()
            place = members.index(index)
            yield from (*members[place + 1 :], *members[:place])

    def _picture(self, index: int, crop_seed: int | None) -> Tensor:
        channels, size = self.images.channels, self.image_size
        if not self.squeezed:
            return decode(self.images.paths[index], channels, size, crop_seed)
        pixels, shape = (self.kept and self.kept.get(index)) or self._decode(index)
        if not self.crop:
            return torch.from_numpy(pixels).movedim(2, 0)
        return cut(_image(pixels), shape, size, crop_seed)

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

    def _thumbnail(self, index: int) -> Tensor | UnreadableError:
        path = self.images.paths[index]
        if self.left_out is not None and path in self.left_out:
            return UnreadableError(path, self.left_out.reasons[path])
        try:
            if self.kept is None:  # to be decoded again: the smallest scale will do
                return decode(path, 1, THUMBNAIL)[0]
            pixels, shape = self._decode(index)
        except UnreadableError as error:
            return error
        return cut(_image(pixels).convert("L"), shape, THUMBNAIL)[0]


def _image(pixels: np.ndarray) -> Image.Image:
    """From uint8 H×W×C."""
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])


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
    left_out: LeftOut | None = None,
) -> Loader:
    """The loader for pictures in memory or on disk.

    Those on disk are decoded by `workers` threads, None: one a core, 8 at most; random parts of
    them with `crop`; once with `keeping`, which is for more than one epoch. Those that cannot be
    read are noted in `left_out`.
    """
    if isinstance(images, MemoryImages):
        return MemoryLoader(images, batch_size, shuffle, device, share)
    if workers is None:
        workers = min(8, os.cpu_count() or 1)
    return FileLoader(
        images, batch_size, shuffle, device, image_size, workers, crop, keeping, share, left_out
    )
