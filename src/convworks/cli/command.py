"""What all commands share."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.table import Table

PARSING = (tyro.conf.FlagCreatePairsOff,)
"""How options are read: a flag has no --no- form."""


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """A command: its fields are its options, their texts the help."""

    debug: bool = False
    """On a failure, show the traceback too."""

    @abstractmethod
    def run(self, _arguments: Sequence[str], /) -> None:
        """Does it and prints the result. The arguments are the words behind the command's name."""


def show(table: Table) -> None:
    """Prints a table, as wide as the terminal, or wide enough for its cells in a pipe."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")
