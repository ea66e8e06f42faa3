"""What all commands share."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from convworks.errors import InputError, UsageError
from convworks.files import parse_json
from convworks.measure.display import width_in_files

Options = Annotated[
    tuple[str, ...],
    tyro.conf.arg(name="set", metavar="OPTION=VALUE", help_behavior_hint="(repeatable)"),
    tyro.conf.UseAppendAction,
]
"""Options of a network, such as `se=16`."""

DataRoot = Annotated[
    Path | None,
    tyro.conf.arg(
        metavar="DIR", help_behavior_hint="(default: $CONVWORKS_DATA, else ~/.cache/convworks)"
    ),
]
"""Where known data sets lie or are downloaded to."""

RunData = Annotated[
    str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="(default: the run's own)")
]
"""Pictures for a run: its own, where their folder has moved, or others."""

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""Without a --no- form: only what --resume and --like begin with needs one."""


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """A command: its fields are its options, their texts the help."""

    debug: Flag = False
    """On a failure, show the traceback too."""

    @abstractmethod
    def run(self, _arguments: Sequence[str], /) -> None:
        """Does it and prints the result. The arguments are the words behind the command's name."""


def parse_options(given: Sequence[str]) -> dict[str, object]:
    """`create_model`'s options from `name=value` texts: values are JSON, or else plain words."""
    options: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--set takes OPTION=VALUE such as se=16, not {text!r}.")
        try:
            options[name.replace("-", "_")] = parse_json(value)
        except ValueError:
            options[name.replace("-", "_")] = value
    return options


def run_folders(given: Sequence[Path]) -> Sequence[Path]:
    """Those that hold a run, if any does: runs/* also names what searches and studies keep there.

    The others are told of.
    """
    from convworks.train.checkpoint import CONFIG

    runs = [one for one in given if (one / CONFIG).exists()]
    for one in given if runs else ():
        if one not in runs:
            print(f"left out: {one} is no run folder", file=sys.stderr)
    return runs or given


def make_out(folder: Path) -> None:
    """Makes the folder that --out names, if it is not there; InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot make the folder {folder} ({error.strerror}): choose another --out."
        ) from error


def show(table: Table) -> None:
    """Prints a table, as wide as the terminal, or wide enough for its cells in a pipe."""
    width = None if sys.stdout.isatty() else width_in_files(table)
    console = Console(width=width, markup=False, emoji=False)  # a class may be called [old]
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")
