"""Image folders in tar files and in object storage. Nothing is unpacked or copied.

A picture is a range of bytes of a tar file or an object, asked for when it is needed: so shuffling,
the shares of several processes and resuming are exact, as with a folder on the disk.
"""

import json
import re
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from time import sleep
from typing import Any

from convworks.errors import InputError, TrainingError, first_line, unknown
from convworks.files import write_file

STORES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "memory": "fsspec",
}
"""What may stand before ://, and the package that fsspec reads it with."""
_JPEGS, _PNMS = (".jpg", ".jpeg", ".jpe", ".jfif"), (".pbm", ".pgm", ".ppm", ".pnm")
SUFFIXES = frozenset((*_JPEGS, *_PNMS, ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"))
"""Of pictures."""
_PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def part_of(name: str) -> str | None:
    """Which part of the data a folder holds, or a tar file with that word in its name."""
    return next((part for part, names in _PARTS.items() if name.casefold() in names), None)


PAUSES = (0.5, 2.0, 8.0)
"""Seconds until a store that does not answer is asked again."""
AT_ONCE = 8
"""So many files are looked into at a time: far stores answer slowly, but many at once."""


@dataclass(frozen=True)
class Stored:
    """A picture in such a place: as much of a Path as reading it takes."""

    inside: str
    """Its name below the data's root, such as train/cat/1.jpg."""
    address: str
    """Of the object or the tar file, as the store knows it."""
    start: int
    """Its first byte there."""
    size: int
    """Bytes."""
    store: Any = field(compare=False, repr=False)
    """fsspec's file system."""

    @property
    def parent(self) -> PurePosixPath:
        """The folder that it lies in."""
        return PurePosixPath(str(self)).parent

    def open(self, _mode: str = "rb") -> BytesIO:
        """Its bytes. OSError when it has gone or is not to be read.

        A store that does not answer is asked again, and at last ends the run with a TrainingError:
        its pictures are not unreadable.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                end = self.start + self.size
                return BytesIO(self.store.cat_file(self.address, self.start, end))
            except (FileNotFoundError, PermissionError, MemoryError):
                raise
            except Exception as error:  # each store has its own errors
                if (pause := next(pauses, None)) is None:
                    raise TrainingError(
                        f"{_unreachable(str(self), error)} Try again once the store answers: a"
                        " training goes on from what it saved, with --resume --out DIR."
                    ) from error
            sleep(pause)

    def __str__(self) -> str:
        if self.address.endswith(".tar"):
            return f"{self.address}/{self.inside}"
        return self.address


def is_stored(name: str) -> bool:
    """Whether a data set's name is the address of a store, of a tar file or a folder of such."""
    path = Path(name).expanduser()
    if "://" in name or (path.suffix == ".tar" and path.is_file()):
        return True
    return path.is_dir() and any(path.glob("*.tar")) and not any(p.is_dir() for p in path.iterdir())


def list_stored(name: str, indices: Path) -> list[Stored]:
    """The pictures at an address, or in a tar file or a folder of such, by their names inside.

    Which pictures tar files in far stores hold is kept in the folder `indices`. Raises InputError
    for what cannot be read.
    """
    store, root = _open_store(name)
    try:
        packed = root.endswith(".tar")
        files = {root: store.info(root)} if packed else store.find(root, detail=True)
    except Exception as error:  # each store has its own errors
        raise _unreachable(name, error) from error
    pictures = [
        Stored(PurePosixPath(path).relative_to(root).as_posix(), path, 0, info["size"], store)
        for path, info in files.items()
        if PurePosixPath(path).suffix.lower() in SUFFIXES and not _hidden(path[len(root) :])
    ]
    shards = sorted(
        path for path in files if path.endswith(".tar") and not _hidden(path[len(root) :])
    )
    if shards and not pictures:
        pictures = _in_shards(store, shards, indices if "://" in name else None)
    return sorted(pictures, key=lambda one: (one.inside.split("/"), one.address))


def _open_store(name: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and what the address is called there."""
    protocol, separator, _ = name.partition("://")
    if not separator:
        protocol = "file"
    elif protocol not in STORES:
        raise unknown("store", protocol, STORES)
    try:
        from fsspec.core import url_to_fs  # a quarter of a second, not for everybody

        store, root = url_to_fs(name)
    except ImportError as error:
        package = STORES.get(protocol, "fsspec")
        raise InputError(f"{name} is read with {package}: pip install {package}.") from error
    except Exception as error:
        raise _unreachable(name, error) from error
    return store, str(root).rstrip("/")


def _hidden(path: str) -> bool:
    """Whether a name, or a folder that it lies in, begins with a dot: the system's own."""
    return any(part.startswith(".") for part in PurePosixPath(path).parts)


def _unreachable(name: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or first_line(error)
    if isinstance(error, FileNotFoundError):
        reason = "there is nothing"
    return InputError(f"Cannot read {name} ({reason}).")


Member = tuple[str, int, int, int | None]
"""Name, first byte, size, and the number of its class where a .cls file beside it tells."""


def _in_shards(store: Any, shards: Sequence[str], indices: Path | None) -> list[Stored]:
    """The pictures in tar files, below the part that the file's name says, if it says one."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        listed = list(pool.map(lambda shard: _index(store, shard, indices), shards))
    numbers = [n for members in listed for *_, n in members if n is not None]
    width = len(str(max(numbers, default=0)))
    pictures = []
    for shard, members in zip(shards, listed, strict=True):
        words = re.split(r"[-_.]", PurePosixPath(shard).stem)
        part = next((f"{one}/" for one in map(part_of, words) if one), "")
        for name, start, size, number in members:
            folder = "" if number is None else f"{number:0{width}}/"
            above, (head, _, rest) = part, name.partition("/")
            inside = f"{one}/" if rest and (one := part_of(head)) else ""
            if inside and (inside == part or folder):  # packed with that folder
                above, name = inside, rest
            pictures.append(Stored(f"{above}{folder}{name}", shard, start, size, store))
    return pictures


def _index(store: Any, shard: str, indices: Path | None) -> list[Member]:
    """What a tar file holds, from the file in `indices` where that is known."""
    kept = None
    try:
        if indices is not None:
            # not ukey: of a web server's file it is the address alone, whatever now lies there
            state = json.dumps(store.info(shard), sort_keys=True, default=str)
            kept = indices / f"{sha256(f'{shard} {state}'.encode()).hexdigest()}.json"
            if (known := _read_index(kept)) is not None:
                return known
        with store.open(shard, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            members = _members(tar)
    except tarfile.TarError as error:
        raise InputError(
            f"Cannot read {shard} ({first_line(error)}): it must be a whole .tar file, not"
            " compressed, and hold no links (tar --dereference --hard-dereference)."
        ) from error
    except Exception as error:
        raise _unreachable(shard, error) from error
    if kept is not None:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_file(kept, json.dumps(members))
        except (OSError, InputError):  # then it is looked through again the next time
            pass
    return members


def _members(tar: tarfile.TarFile) -> list[Member]:
    """The pictures. A file beside one, of its name and .cls, holds the number of its class."""
    files, numbers = [], {}
    for member in tar:
        if member.size < 0:  # which would lead back to it, for ever
            raise tarfile.TarError(f"{member.name!r} has no size")
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise tarfile.TarError(f"{member.name!r} leads out of it")
        if _hidden(member.name):
            continue
        if (member.issym() or member.islnk()) and name.suffix.lower() in SUFFIXES:
            raise tarfile.TarError(f"{member.name!r} is a link")
        if not member.isreg():
            continue
        if name.suffix == ".cls":
            stream = tar.extractfile(member)
            assert stream is not None
            text = stream.read(20).strip()
            if not text.isdigit():
                raise tarfile.TarError(f"{member.name} holds no number of a class")
            numbers[name.with_suffix("")] = int(text)
        elif name.suffix.lower() in SUFFIXES:
            files.append((name, member.offset_data, member.size))
    return [(str(n), at, size, numbers.get(n.with_suffix(""))) for n, at, size in files]


def _read_index(path: Path) -> list[Member] | None:
    """None where there is none, or none that is whole."""
    try:
        known = json.loads(path.read_bytes())
        return [
            (str(name), int(at), int(size), None if number is None else int(number))
            for name, at, size, number in known
        ]
    except (OSError, ValueError, TypeError):
        return None
