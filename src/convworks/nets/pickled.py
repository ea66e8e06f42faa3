"""What `torch.save` wrote, read so that it neither runs code nor takes memory that it only claims.

`weights_only` keeps a file from calling what it likes, but lets it make an array of bytes of any
length, and inflates compressed entries. Files of tensors have neither.
"""

import pickle
import pickletools
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile

import torch

CALLED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
}
"""What pickles of tensors name, besides kinds of storage and of numbers."""
ZIP = b"PK\x03\x04"
PARTS = 5
"""Pickles at the start of a file in the format before the zip."""


def load_pickled(file: Path) -> Any:
    """The tensors, and the plain values around them, on the CPU.

    Raises UnpicklingError for a file with more, besides all that `torch.load` raises.
    """
    with file.open("rb") as stream:
        zipped = stream.read(len(ZIP)) == ZIP  # as PyTorch decides; others look at the end
        stream.seek(0)
        if zipped:
            return torch.load(_checked_zip(stream), map_location="cpu", weights_only=True)
        for _ in range(PARTS):
            _check(stream)
        stream.seek(0)
        return torch.load(stream, map_location="cpu", weights_only=True)


def _checked_zip(stream: IO[bytes]) -> BytesIO:
    """The archive, made anew: PyTorch need not find the files in it that Python finds."""
    made = BytesIO()
    with ZipFile(stream) as archive, ZipFile(made, "w", ZIP_STORED) as copy:
        entries = archive.infolist()
        names = [one.filename.lower() for one in entries]  # PyTorch does not tell A from a
        if len(set(names)) < len(names):
            raise pickle.UnpicklingError("it holds two entries of one name")
        if sum(name.endswith("/data.pkl") for name in names) != 1:
            raise pickle.UnpicklingError("it does not hold one data.pkl")
        if any(one.compress_type != ZIP_STORED for one in entries):
            raise pickle.UnpicklingError("it is compressed")
        if sum(one.file_size for one in entries) > stream.seek(0, 2):
            raise pickle.UnpicklingError("its entries are larger than itself")
        for name, one in zip(names, entries, strict=True):
            content = archive.read(one)
            if name.endswith("/data.pkl"):
                _check(BytesIO(content))
            copy.writestr(one.filename, content)
    made.seek(0)
    return made


def _check(stream: IO[bytes]) -> None:
    """UnpicklingError when the pickle that begins here names more than tensors."""
    for called in _globals(stream):
        module, _, name = called.partition(" ")
        kind = getattr(torch, name, None) if module == "torch" else None
        plain = isinstance(kind, torch.dtype) or name.endswith("Storage")
        if called not in CALLED and not (module in ("torch", "torch.storage") and plain):
            raise pickle.UnpicklingError(f"it names {called}")


def _globals(stream: IO[bytes]) -> Iterator[str]:
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield operation.name
