"""Files written whole or not at all, and the JSON in them."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any

from convworks.errors import InputError

DEEPEST = 50
"""So deep may what is read be nested; Python gives up at some hundreds, at many places."""


def parse_json(text: str | bytes) -> Any:
    """The value that a JSON text says; ValueError for what says none, or is nested too deep."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    layer = [value]
    for _ in range(DEEPEST):
        layer = [
            inner
            for one in layer
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if layer:
        raise ValueError("it is nested too deep")
    return value


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file in one step: after a crash, or a power cut, it is the old one or the new one.

    `write` writes the file that it is given, which is new and empty; when that raises, the old file
    stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # left by a killed process, or a link to another's file
    try:
        temporary.touch(exist_ok=False)
        write(temporary)
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_file(path: Path, content: str | bytes) -> None:
    """Writes text, in UTF-8, or bytes; InputError where the system refuses.

    What is no text in the name of a file, in its bytes, becomes a question mark.
    """
    data = content.encode(errors="replace") if isinstance(content, str) else content
    try:
        replace_whole(path, lambda file: file.write_bytes(data))
    except OSError as error:
        raise InputError(
            f"Cannot write {path} ({error.strerror or error}): make room or the folder writable, or"
            " name another file."
        ) from error


def check_inside(path: Path, folder: Path) -> None:
    """InputError where a link in a folder, which others may have made, leads out of it."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link to {path.resolve()}, outside {folder}: remove it.")


def hash_of_file(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def check_parent(path: Path) -> None:
    """InputError where the folder that a file is to stand in is not there."""
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for {path.name}: make it first.")


def make_folder(folder: Path, *, exist_ok: bool = False) -> None:
    """Makes a folder, and those above it, so that a power cut leaves them."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    for one in made:
        flush_folder(one.parent)


def flush(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """The same for the names in a folder, where the system knows of such a thing."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
