"""A look into a .pt2 file before PyTorch reads it, which would do what a hostile one says.

`torch.export.load` unpickles weights where the file asks for it, evaluates the sizes of shapes as
Python (through sympy), writes the names of values into Python that it then runs, imports what a
tree's enums name, and calls any function below `torch` that a graph names. What `export` writes
needs none of that, so anything else is refused: every text in it must be a plain name, but for the
few that are listed here with what they may be.
"""

import json
import re
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
NAME = re.compile(r"[A-Za-z0-9_.]*+")
PLACE = re.compile(r"[A-Za-z0-9_. -]*+")
"""Of a weight, as a network's own modules are called."""
TREE = r"(?:[][{}:, ]|\d|null|\"(?:type|context|children_spec|builtins\.\w+|null|\[\])\")*+"
FORMS = {
    # Functions that read or write files are PyTorch's too.
    "target": re.compile(
        r"torch\.ops\.aten\.(?!(?:from_file|save)\.)\w+\.\w+"
        r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge)"
    ),
    "as_string": re.compile(
        r"none|tanh|floor|trunc|constant|reflect|replicate|circular|mean|sum|zeros|border|reflection"
        r"|nearest|linear|bilinear|bicubic|trilinear|area|same|valid"
    ),
    # Possessive, and no powers: else a few letters keep the program busy for ever.
    "expr_str": re.compile(
        r"(?:Symbol\('[su]\d{1,9}'(?:, \w+=True)*+\)|Integer\(\d{1,9}\)|[su]?\d{1,9}(?!\d)"
        r"|[-+/(), ]|\*(?!\*)|Add|Mul){0,99}+"
    ),
    "in_spec": re.compile(TREE),
    "out_spec": re.compile(TREE),
    "fqn": PLACE,
    "parameter_name": PLACE,
    "buffer_name": PLACE,
    "torch_version": re.compile(r"[\w.+]*"),
}
"""By its key, what a text may be that is no plain name."""
FREE = ("stack_trace", "nn_module_stack", "torch_fn")
"""Of a node's metadata, for people."""


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
        _check_values(path, json.loads(archive.read(entry)))
    elif name.endswith(".pt"):
        try:
            torch.load(BytesIO(archive.read(entry)), weights_only=True)
        except Exception as error:  # whatever its bytes lead to
            raise _refused(path, f"its {name} holds more than tensors") from error


def _check_values(path: Path, value: Any, key: str = "") -> None:
    """Every text and every key within a JSON value."""
    if isinstance(value, dict):
        if value.get("use_pickle"):
            raise _refused(path, "it wants to be unpickled")
        for name, one in value.items():
            if not PLACE.fullmatch(name):
                raise _refused(path, f"a name in it is {name!r:.60}")
            if not (key == "metadata" and name in FREE):
                _check_values(path, one, name)
    elif isinstance(value, list):
        for one in value:
            _check_values(path, one, key)
    elif isinstance(value, str) and not FORMS.get(key, NAME).fullmatch(value):
        raise _refused(path, f"{key} in it is {value!r:.60}")


def _refused(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is not opened: {reason}, which no export of convworks does, and which could run"
        " code. Export the network again."
    )
