"""A look into a .pt2 file before PyTorch reads it, which would do what a hostile one says.

`torch.export.load` unpickles weights where the file asks for it, evaluates the sizes of shapes as
Python (through sympy), writes the names of values and the keys of its example into Python that it
then runs, imports what a tree's enums name, and calls any function below `torch` that a graph
names. What `export` writes needs none of that, so anything else is refused: every text in it must
be a plain name, but for the few that are listed here with what they may be.

PyTorch is given a copy that is made of what was checked, since two programs need not find the same
files in one archive; and an example of ours.
"""

import json
import re
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch

from convworks.errors import InputError

LARGEST_TEXT = 2**28
"""Bytes of JSON that are read at most."""
LARGEST_SIDE = 2**13
"""Of the pictures, in pixels."""
NOTES = "extra/convworks"
ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|extra/convworks|models/\w+\.json"
    r"|data/(weights|constants)/(weight_\d+|tensor_\d+|\w+_config\.json)|data/sample_inputs/\w+\.pt"
)
NAME = re.compile(r"[A-Za-z0-9_.]*+")
PLACE = re.compile(r"[A-Za-z0-9_. -]*+")
"""Of a weight, as a network's own modules are called."""
SYMBOL = re.compile(r"[su]\d{1,4}")
"""Its number is counted up to."""
TREE = r"(?:[][{}:, ]|\d|null|\"(?:type|context|children_spec|builtins\.\w+|null|\[\])\")*+"
TARGET = re.compile(
    # Not those that read and write files, nor those that trust indices they are given.
    r"torch\.ops\.aten\.(?!(?:from_file|save|set_|resize\w*|_test\w*|_embedding\w*)\.|_index_put"
    r"|\w*(?:sparse|nested|quantize|fbgemm)|(?!_unsafe_view\.)\w*unsafe)\w+\.\w+"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge)"
)
FORMS = {
    "target": TARGET,
    "as_operator": TARGET,
    "as_string": re.compile(r"[\w., >-]*+"),
    "as_float": re.compile(r"-?Infinity|NaN"),
    "as_floats": re.compile(r"-?Infinity|NaN"),
    # Possessive, and no powers: else a few letters keep the program busy for ever.
    "expr_str": re.compile(
        r"(?:Symbol\('[su]\d{1,4}'(?:, \w+=True)*+\)|Integer\(-?\d{1,9}\)|[su]?\d{1,9}(?!\d)"
        r"|[-+/(), ]|\*(?!\*)|Add|Mul|FloorDiv){0,99}+"
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


def checked(path: Path) -> BytesIO:
    """The file's archive, made anew; InputError for a file that could run more than a network."""
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            if len({one.filename.lower() for one in entries}) < len(entries):
                raise _refused(path, "it holds two entries of one name")
            if sum(one.file_size for one in entries) > path.stat().st_size:
                raise _refused(path, "its entries are larger than itself")
            sizes = {one.filename.partition("/")[2]: one.file_size for one in entries}
            made = BytesIO()
            with ZipFile(made, "w", ZIP_STORED) as copy:
                for one in entries:
                    name = one.filename.partition("/")[2]
                    if not ENTRY.fullmatch(name):
                        raise _refused(path, f"it holds {name!r:.60}")
                    if one.compress_type != ZIP_STORED:
                        raise _refused(path, f"its {name} is compressed")
                    content = archive.read(one)
                    if name.endswith(".json"):
                        _check_text(path, name, content, sizes)
                    elif name.endswith(".pt"):
                        content = _example(json.loads(_notes(path, archive)))
                    copy.writestr(one.filename, content)
    except (BadZipFile, ValueError, LookupError, TypeError, OSError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Cannot read {path} ({error}): export it again.") from error
    made.seek(0)
    return made


def _notes(path: Path, archive: ZipFile) -> bytes:
    for name in archive.namelist():
        if name.partition("/")[2] == NOTES:
            return archive.read(name)
    raise InputError(f"{path} was not exported by convworks: it lacks its labels.")


def _example(notes: Any) -> bytes:
    """The file's example input in our words: PyTorch writes the keys of one into code."""
    channels, *sides = (int(n) for n in notes["input"]["shape"])
    if len(sides) != 2 or not 1 <= min(channels, *sides) <= max(channels, *sides) <= LARGEST_SIDE:
        raise ValueError("the size of its pictures is none")
    made = BytesIO()
    torch.save(((torch.zeros(2, channels, *sides, dtype=torch.uint8),), {}), made)
    return made.getvalue()


def _check_text(path: Path, name: str, content: bytes, sizes: dict[str, int]) -> None:
    """A JSON entry; where it tells of tensors, they are there."""
    if len(content) > LARGEST_TEXT:
        raise _refused(path, f"its {name} is too large")
    value = json.loads(content)
    _check_values(path, value)
    if name.endswith("_config.json"):
        folder = name.rpartition("/")[0]
        for one in value["config"].values():
            numbers = prod(side["as_int"] for side in one["tensor_meta"]["sizes"])
            if numbers and not sizes.get(f"{folder}/{one['path_name']}"):
                raise _refused(path, f"{one['path_name']} holds nothing of {numbers:,} numbers")


def _check_values(path: Path, value: Any, key: str = "") -> None:
    """Every text and every key within a JSON value."""
    if isinstance(value, dict):
        if value.get("use_pickle"):
            raise _refused(path, "it wants to be unpickled")
        names = SYMBOL if key == "range_constraints" else PLACE
        for name, one in value.items():
            if not names.fullmatch(name):
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
