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
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch

CALLED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
}
"""What pickles of tensors name, besides kinds of storage and of numbers."""
PARTS = 5
"""Pickles at the start of a file in the format before the zip."""


def load_pickled(file: Path) -> Any:
    """The tensors, and the plain values around them, on the CPU.

    Raises UnpicklingError for a file with more, besides all that `torch.load` raises.
    """
    with file.open("rb") as stream:
        for called in _called(stream):
            module, _, name = called.partition(" ")
            kind = getattr(torch, name, None) if module == "torch" else None
            plain = isinstance(kind, torch.dtype) or name.endswith("Storage")
            if called not in CALLED and not (module in ("torch", "torch.storage") and plain):
                raise pickle.UnpicklingError(f"it names {called}")
    return torch.load(file, map_location="cpu", weights_only=True)


def _called(stream: IO[bytes]) -> Iterator[str]:
    """What the file's pickles name."""
    if is_zipfile(stream):
        with ZipFile(stream) as archive:
            entries = archive.infolist()
            stream.seek(0, 2)
            if any(one.compress_type != ZIP_STORED for one in entries):
                raise pickle.UnpicklingError("it is compressed")
            if sum(one.file_size for one in entries) > stream.tell():
                raise pickle.UnpicklingError("its entries are larger than itself")
            names = [one.filename for one in entries if one.filename.endswith("/data.pkl")]
            for name in names:
                yield from _globals(BytesIO(archive.read(name)))
        return
    stream.seek(0)
    for _ in range(PARTS):
        yield from _globals(stream)


def _globals(stream: IO[bytes]) -> Iterator[str]:
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield operation.name
