"""A look into a .pt2 file before PyTorch reads it, which would do what a hostile one says.

`torch.export.load` unpickles weights where the file asks for it, evaluates the sizes of shapes as
Python (through sympy), and calls any function below `torch` that a graph names. What `export`
writes needs none of that, so anything else is refused.
"""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch

from convworks.errors import InputError

LARGEST_TEXT = 2**28
"""Bytes of JSON that are read at most."""
ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|extra/\w+|models/\w+\.json"
    r"|data/(weights|constants)/(weight_\d+|tensor_\d+|\w+_config\.json)|data/sample_inputs/\w+\.pt"
)
FUNCTION = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.\w+")
SIZE = re.compile(r"(Symbol\('[su]\d+'(, \w+=True)*\)|Integer\(\d+\)|[su]?\d+|[-+*/(), ]|Add|Mul)*")


def check_archive(path: Path) -> None:
    """InputError for a file that could run more than a network."""
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            if len({name.lower() for name in names}) < len(names):
                raise _refused(path, "it holds two entries of one name")
            for entry in names:
                _check(path, archive, entry)
    except (BadZipFile, ValueError, KeyError, OSError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Cannot read {path} ({error}): export it again.") from error


def _check(path: Path, archive: ZipFile, entry: str) -> None:
    _, _, name = entry.partition("/")
    if not ENTRY.fullmatch(name):
        raise _refused(path, f"it holds {name!r:.60}")
    if archive.getinfo(entry).compress_type != ZIP_STORED:
        raise _refused(path, f"its {name} is compressed")
    if name.endswith(".json"):
        if archive.getinfo(entry).file_size > LARGEST_TEXT:
            raise _refused(path, f"its {name} is too large")
        for values in _objects(json.loads(archive.read(entry))):
            _check_values(path, values)
    elif name.endswith(".pt"):
        try:
            torch.load(BytesIO(archive.read(entry)), weights_only=True)
        except Exception as error:  # whatever its bytes lead to
            raise _refused(path, f"its {name} holds more than tensors") from error


def _check_values(path: Path, values: dict[str, Any]) -> None:
    if values.get("use_pickle"):
        raise _refused(path, "it wants to be unpickled")
    if "expr_str" in values and not SIZE.fullmatch(str(values["expr_str"])):
        raise _refused(path, f"a size in it is {values['expr_str']!r:.60}")
    if {"target", "inputs"} <= values.keys() and not FUNCTION.fullmatch(str(values["target"])):
        raise _refused(path, f"it calls {values['target']!r:.60}")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects within a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _objects(one)


def _refused(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is not opened: {reason}, which no export of convworks does, and which could run"
        " code. Export the network again."
    )
