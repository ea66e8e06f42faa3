"""Several files put in their place at once."""

import os
from pathlib import Path
from shutil import copy2

from convworks.errors import InputError
from convworks.files import flush, flush_folder


def put_in_place(made: Path, folder: Path) -> None:
    """Moves all files of one folder to another, or none: what they replace comes back then.

    Each is there at any moment, old or new, also where the process is killed or the power cut;
    of several, some may be new then and others old.
    """
    files = sorted(file for file in made.iterdir() if file.is_file())
    for file in files:
        if (folder / file.name).is_dir():
            raise InputError(f"{folder / file.name} is a folder, in the way of a file: move it.")
    old = made / "old"
    old.mkdir()
    for file in files:
        flush(file)
        _keep(folder / file.name, old)
    try:
        for file in files:
            file.replace(folder / file.name)
    except BaseException:  # Ctrl-C too
        for file in files:
            if (old / file.name).is_symlink() or (old / file.name).exists():
                (old / file.name).replace(folder / file.name)
            elif not file.exists():
                (folder / file.name).unlink()
        raise
    flush_folder(folder)


def _keep(file: Path, folder: Path) -> None:
    """A second name for a file, if there is one: of a link for the link itself."""
    kept = folder / file.name
    if not (file.is_symlink() or file.exists()):
        return
    try:
        os.link(file, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):  # not every file system has links, nor every system
        copy2(file, kept, follow_symlinks=False)
