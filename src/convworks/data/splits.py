"""Pictures and their labels, in memory or on disk, and how to hold a part of them out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from convworks.data.stores import Stored
from convworks.errors import InputError


@dataclass(frozen=True)
class MemoryImages:
    """Pictures in memory."""

    pixels: Tensor
    """uint8, N×C×H×W."""
    labels: Tensor
    """int64, N."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "MemoryImages":
        """Those pictures only."""
        return MemoryImages(self.pixels[indices], self.labels[indices])


Picture = Path | Stored
"""Where a picture lies."""


@dataclass(frozen=True)
class FileImages:
    """Pictures on disk or in a store, decoded when they are needed."""

    paths: tuple[Picture, ...]
    labels: Tensor
    """int64, N."""
    channels: int
    """1: decoded to grey; 3: to RGB."""

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Tensor) -> "FileImages":
        """Those pictures only."""
        paths = tuple(self.paths[i] for i in indices.tolist())
        return replace(self, paths=paths, labels=self.labels[indices])


Images = MemoryImages | FileImages


@dataclass(frozen=True)
class Parts:
    """What a source holds, before missing parts are held out of the training part."""

    classes: tuple[str, ...]
    train: Images
    test: Images | None = None
    val: Images | None = None


ARRAYS = "arrays"
"""The name of pictures that came as arrays, and cannot be loaded again."""


@dataclass(frozen=True)
class DataSpec:
    """What `load_data` needs to load the same pictures again; plain values, for JSON."""

    name: str
    """A known set's name, a folder's or tar file's absolute path, or a store's address."""
    image_size: int
    """The side in pixels that the network sees."""
    val_fraction: float
    """0…1, of the training part where there is no validation part."""
    seed: int
    """Of the split; not that of a training."""
    train_images: int | None = None
    """About so many to train and validate with; None: all."""


@dataclass(frozen=True)
class Data:
    """A data set, ready to train on. The test part is for one look at the end."""

    spec: DataSpec
    title: str
    """A short name for tables and folders."""
    classes: tuple[str, ...]
    channels: int
    mean: tuple[float, ...]
    """Of each channel over the training part, black 0 and white 1."""
    std: tuple[float, ...]
    """The same for the deviation."""
    mirror: bool
    """Whether a picture seen in a mirror keeps its class."""
    train: Images
    val: Images
    test: Images

    @property
    def image_size(self) -> int:
        """The side in pixels at which the network sees the pictures."""
        return self.spec.image_size

    @cached_property
    def digest(self) -> str:
        """A hash of which pictures are in which part: same digest, same data, same split."""
        found = sha256()
        for images in (self.train, self.val, self.test):
            found.update(images.labels.numpy().tobytes())
            if isinstance(images, MemoryImages):
                found.update(images.pixels.numpy().tobytes())
            else:
                names = "\n".join(below(path, self.spec.name) for path in images.paths)
                found.update(names.encode("utf-8", "surrogateescape"))  # a name need not be text
        return found.hexdigest()

    def __str__(self) -> str:
        counts = f"{len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test"
        size = f"{self.channels}×{self.image_size}×{self.image_size}"
        return f"{self.title}: {len(self.classes)} classes, {counts}, {size}"


@dataclass(frozen=True)
class Split:
    """Which files of a folder are in which part; plain values, for JSON.

    With it the parts stay as they are when files are added to the folder, or removed.
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Mapping[str, list[str]]
    """By class, in their order, the names below the folder."""
    val: Mapping[str, list[str]]
    test: Mapping[str, list[str]]


def to_split(data: Data) -> Split | None:
    """Of an image folder's data; None for other data, which do not change file by file."""
    found = []
    for images in (data.train, data.val, data.test):
        names: dict[str, list[str]] = {name: [] for name in data.classes}
        if not isinstance(images, FileImages):
            return None
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            if isinstance(path, Stored):
                return None
            names[data.classes[label]].append(below(path, data.spec.name))
        found.append(names)
    return Split(data.channels, data.mean, data.std, *found)


def from_split(split: Split, spec: DataSpec, title: str) -> Data:
    """The same parts of a folder: nothing is listed or decoded, and files may be missing.

    Raises InputError for names that lead out of the folder, and when most of the test part is
    missing.
    """
    classes, folder, parts = tuple(split.train), Path(spec.name), []
    for part in (split.train, split.val, split.test):
        listed = [(name, i) for i, kind in enumerate(classes) for name in part.get(kind, ())]
        for name, _ in listed:
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise InputError(f"{title} cannot hold a picture called {name!r:.60}.")
        labels = torch.tensor([i for _, i in listed], dtype=torch.int64)
        paths = tuple(folder / name for name, _ in listed)
        parts.append(FileImages(paths, labels, split.channels))
    train, val, test = parts
    gone = sum(not path.exists() for path in test.paths if isinstance(path, Path))
    if 2 * gone > len(test):
        raise InputError(
            f"{spec.name} does not hold the pictures that the run was trained on: {gone:,} of"
            f" {len(test):,} test pictures are missing."
        )
    mean, std = tuple(split.mean), tuple(split.std)
    return Data(spec, title, classes, split.channels, mean, std, True, train, val, test)


def below(path: Picture, folder: str) -> str:
    """The path as seen from the data's folder, so that a moved folder keeps its digest."""
    if isinstance(path, Stored):
        return path.inside
    return path.relative_to(folder).as_posix()


def hold_out(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), each sorted, the same fraction of every class, drawn by `seed`.

    A class gives at least one picture and keeps at least one; a class of one keeps it.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero().squeeze(1)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)


def mean_and_std(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 N×C×H×W pictures, scaled to 0…1.

    Exact: from counts of the 256 values. A channel of one value gets the deviation 1.
    """
    planes = [plane.flatten() for plane in pixels.unbind(dim=1)]
    counts = torch.stack([torch.bincount(plane, minlength=256) for plane in planes]).double()
    values = torch.linspace(0, 1, 256, dtype=torch.float64)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = (share * values).sum(dim=1, keepdim=True)
    std = (share * (values - mean) ** 2).sum(dim=1).sqrt()
    std[std == 0] = 1.0
    return tuple(mean.flatten().tolist()), tuple(std.tolist())
