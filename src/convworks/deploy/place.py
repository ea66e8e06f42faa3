"""Several files put in their place at once."""

from pathlib import Path

from convworks.errors import InputError
from convworks.files import flush, flush_folder


def put_in_place(made: Path, folder: Path) -> None:
    """Moves all files of one folder to another, or none: what they replace comes back then."""
    files = sorted(file for file in made.iterdir() if file.is_file())
    for file in files:
        if (folder / file.name).is_dir():
            raise InputError(f"{folder / file.name} is a folder, in the way of a file: move it.")
    old = made / "old"
    old.mkdir()
    try:
        for file in files:
            flush(file)
            target = folder / file.name
            if target.exists():
                target.replace(old / file.name)
            file.replace(target)
    except BaseException:  # Ctrl-C too
        for file in files:
            if (old / file.name).exists():
                (old / file.name).replace(folder / file.name)
            elif not file.exists():
                (folder / file.name).unlink()
        raise
    flush_folder(folder)
