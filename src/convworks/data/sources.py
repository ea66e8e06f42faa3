"""Where pictures come from: a known set by name, or a folder of class folders."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from convworks.data.folder import (
    Tree,
    UnreadableError,
    list_folder,
    list_store,
    shown,
    to_parts,
    to_test,
)
from convworks.data.loader import open_loader
from convworks.data.splits import (
    Data,
    DataSpec,
    Images,
    MemoryImages,
    Parts,
    hold_out,
    mean_and_std,
)
from convworks.data.stores import is_stored
from convworks.data.unreadable import LeftOut
from convworks.errors import InputError, UsageError, unknown

TEST_FRACTION = 0.2
"""Held out for the test where a set has no test part of its own."""

LEAST_SIDE = 28
"""Smaller pictures are enlarged to it, which every network can take."""

STATISTICS_SAMPLE = 256
"""Mean and deviation of a folder are taken over so many of its pictures."""


@dataclass(frozen=True)
class Source:
    """A known set."""

    read: Callable[[Path], Parts]
    image_size: int
    """The side served unless another is asked for."""
    mirror: bool = False
    """Whether a picture seen in a mirror keeps its class."""


def data_root(root: str | Path | None = None) -> Path:
    """The folder that downloaded sets are kept in."""
    return Path(root or os.environ.get("CONVWORKS_DATA") or "~/.cache/convworks").expanduser()


def load_data(
    name: str | Path,
    *,
    image_size: int | None = None,
    root: str | Path | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    train_images: int | None = None,
    largest: int = 224,
) -> Data:
    """A data set by name (`digits`, `fashion_mnist`, …), or an image folder wherever it lies.

    A folder holds one sub-folder a class, or those under `train/`, and under `test/` or `val/` or
    both. It may lie packed in a .tar file, or in several in one folder, and in object storage, such
    as s3://bucket/photos (docs/guides/large-data.md). Parts that are missing are held out of the
    training part, the same share of every class, drawn by `seed`: a fifth for the test, then
    `val_fraction` for validation. `image_size` is the side in pixels that the network sees; None:
    28 or 32 for a known set; for a folder the usual smaller side of its pictures, but at
    least 28 and at most `largest`. With `train_images` only about so many pictures are
    left to train and validate with, the same share of every class, drawn by `seed`; the test part,
    and a folder's own `val/`, stay whole.
    Sets that must be downloaded are kept below `root`, else $CONVWORKS_DATA, else
    ~/.cache/convworks; what lies there in torchvision's layout is not downloaded again.

    Raises InputError for an unknown name, an unusable folder, a failed download.
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"The image size must be at least 1 pixel, not {image_size}.")
    if not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction must lie between 0 and 1, not {val_fraction}.")
    identity = str(name)
    if source := SOURCES.get(identity):
        parts = source.read(data_root(root))
        title, mirror, size = identity, source.mirror, image_size or source.image_size
    else:
        identity, tree, place = _listed(identity, root)
        parts = to_parts(tree, place)
        title, mirror = title_of(identity), True
        size = image_size or side_seen(parts.side, largest)
    if train_images is not None and train_images < 1:
        raise UsageError(f"train_images must be at least 1, not {train_images}.")
    spec = DataSpec(identity, size, val_fraction, seed, train_images)
    return make_data(parts, spec, title, mirror)


def side_seen(usual: int, largest: int) -> int:
    """The side that files are scaled to whose smaller side usually has so many pixels."""
    return min(max(usual, LEAST_SIDE), largest)


def load_to_test(
    name: str | Path,
    classes: Sequence[str],
    channels: int,
    image_size: int,
    root: str | Path | None = None,
) -> Data:
    """Pictures to test a network with, which knows these classes: the other parts are empty.

    Those are the `test` part of an image folder or tar file, or all of it where it has none; not
    every class need be among them. Raises InputError for another class, and where there are none.
    """
    identity, tree, place = _listed(str(name), root)
    images = to_test(tree, place, classes, channels)
    none = images.take(torch.arange(0))
    spec = DataSpec(identity, image_size, 0, 0)
    known, mean, std = tuple(classes), (0.0,) * channels, (1.0,) * channels
    return Data(spec, title_of(identity), known, channels, mean, std, True, none, none, images)


def title_of(identity: str) -> str:
    """What a folder, tar file or address is called in tables."""
    return shown(PurePosixPath(identity).name.removesuffix(".tar"))


def _listed(identity: str, root: str | Path | None) -> tuple[str, Tree, str]:
    """The whole name of a folder, tar file or address, its pictures, and where they lie."""
    if is_stored(identity):
        whole = identity if "://" in identity else str(Path(identity).expanduser().resolve())
        return whole, *list_store(whole, data_root(root) / "indices")
    folder = Path(identity).expanduser().resolve()
    if not identity or not folder.is_dir():
        known = ", ".join(SOURCES)
        hint = f"Known: {known}; or a folder with one sub-folder a class, or a .tar of it."
        raise unknown("data set or folder", identity, SOURCES, hint)
    return str(folder), *list_folder(folder)


def make_data(parts: Parts, spec: DataSpec, title: str, mirror: bool) -> Data:
    """A data set of these parts; what is missing is held out of the training part.

    Raises InputError for too few pictures, and when none can be read.
    """
    train, val, test = _complete(parts, spec.val_fraction, spec.seed, spec.train_images)
    sample = _sample(train, spec.image_size, spec.seed)
    mean, std = mean_and_std(sample)
    channels = sample.shape[1]
    return Data(spec, title, parts.classes, channels, mean, std, mirror, train, val, test)


def _complete(
    parts: Parts, val_fraction: float, seed: int, train_images: int | None
) -> tuple[Images, Images, Images]:
    """Train, val and test, the missing ones held out of train, of which only a part may be used."""
    train, val, test = parts.train, parts.val, parts.test
    if test is None:
        kept, held = hold_out(train.labels, TEST_FRACTION, seed)
        train, test = train.take(kept), train.take(held)
    if train_images is not None and train_images < len(train):
        _, few = hold_out(train.labels, train_images / len(train), seed)
        train = train.take(few)
    if val is None:
        kept, held = hold_out(train.labels, val_fraction, seed)
        train, val = train.take(kept), train.take(held)
    if not len(val) or not len(test):
        raise InputError("Too few pictures: each class needs at least three, one for each part.")
    return train, val, test


def _sample(images: Images, size: int, seed: int) -> torch.Tensor:
    """The uint8 pictures that mean and deviation are taken over: all in memory, some on disk.

    InputError when none of these can be read.
    """
    if isinstance(images, MemoryImages):
        return images.pixels
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    some = images.take(order[:STATISTICS_SAMPLE])
    cpu, left_out = torch.device("cpu"), LeftOut()
    loader = open_loader(some, batch_size=len(some), image_size=size, device=cpu, left_out=left_out)
    for pixels, _ in loader.epoch():
        return pixels
    path, reason = next(iter(left_out.reasons.items()))
    raise UnreadableError(path, reason)


def _read_digits(_root: Path) -> Parts:
    """scikit-learn's 1,797 digits, 8×8, from the UCI optical recognition set's test part."""
    package = find_spec("sklearn")  # its file is read, since importing it takes a second
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = torch.from_numpy(np.loadtxt(file, delimiter=","))
    pixels = (rows[:, :-1] * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    return Parts(tuple("0123456789"), MemoryImages(pixels, rows[:, -1].long()))


def _torchvision(name: str, classes: tuple[str, ...] = ()) -> Callable[[Path], Parts]:
    """Reads that class of torchvision.datasets, downloading what is not, or not whole, below the
    root."""

    def read(root: Path) -> Parts:
        from torchvision import datasets

        kind = getattr(datasets, name)
        folder = root / getattr(kind, "base_folder", name)
        try:
            try:
                return _read_parts(kind, root, classes)
            except Exception as error:  # torchvision raises whatever damaged bytes lead it to
                files = _extracted(folder)
                if isinstance(error, PermissionError) or not files:
                    raise
                with _set_aside(files):  # what an interrupted download may have left
                    return _read_parts(kind, root, classes)
        except PermissionError as error:
            raise InputError(
                f"Cannot write to {root} ({error.strerror}): choose another place with"
                " --data-root or $CONVWORKS_DATA."
            ) from error
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1].strip("<>")
            raise InputError(
                f"{name} is not whole below {root} and cannot be downloaded ({reason}): connect to"
                " the internet, or point --data-root or $CONVWORKS_DATA to a copy in"
                " torchvision's layout."
            ) from error

    return read


def _read_parts(kind: Any, root: Path, classes: tuple[str, ...]) -> Parts:
    """The parts of one of torchvision's sets; raises what damaged files lead it to."""
    train, test = kind(root, train=True, download=True), kind(root, train=False)
    parts = Parts(classes or tuple(map(str, train.classes)), _to_images(train), _to_images(test))
    for images in (parts.train, parts.test):
        assert isinstance(images, MemoryImages)
        if len(images.pixels) != len(images.labels) or len(images) == 0:
            raise ValueError(
                f"{len(images.pixels):,} pictures and {len(images.labels):,} labels of a part"
            )
    return parts


def _extracted(folder: Path) -> list[Path]:
    """The files of a set, but for the archives they came in, whose hashes torchvision knows."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz"]


@contextmanager
def _set_aside(files: Sequence[Path]) -> Iterator[None]:
    """While it lasts, files are not where they were; those not made anew come back, all after an
    error."""
    aside = {path: path.with_name(f"{path.name}.aside") for path in files}
    try:
        for path, other in aside.items():
            path.replace(other)
        yield
    except BaseException:
        for path, other in aside.items():
            if other.exists():
                other.replace(path)
        raise
    for path, other in aside.items():
        if path.exists():
            other.unlink()
        else:
            other.replace(path)


def _to_images(dataset: object) -> MemoryImages:
    """A torchvision set's arrays, N×H×W or N×H×W×C, as uint8 N×C×H×W."""
    pixels = torch.as_tensor(dataset.data)  # type: ignore[attr-defined]
    labels = torch.as_tensor(dataset.targets).long()  # type: ignore[attr-defined]
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.movedim(3, 1).contiguous()
    return MemoryImages(pixels, labels)


_DIGITS = tuple("0123456789")

SOURCES: dict[str, Source] = {
    "digits": Source(_read_digits, 28),
    "mnist": Source(_torchvision("MNIST", _DIGITS), 28),
    "fashion_mnist": Source(_torchvision("FashionMNIST"), 28, mirror=True),
    "kmnist": Source(_torchvision("KMNIST"), 28),
    "cifar10": Source(_torchvision("CIFAR10"), 32, mirror=True),
    "cifar100": Source(_torchvision("CIFAR100"), 32, mirror=True),
}
