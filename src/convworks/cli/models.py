"""`convworks models`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from rich.table import Table

from convworks.cli.command import Command, Flag, show
from convworks.errors import unknown
from convworks.nets.registry import list_models
from convworks.nets.zoo import ZOO


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List the networks: convworks models 'resnet*'."""

    pattern: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATTERN")] = "*"
    """Only names that match, in the shell's manner."""
    json: Flag = False
    """Print JSON."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Prints a row a network."""
        names = list_models(self.pattern)
        if not names:
            raise unknown("network like", self.pattern, ZOO)
        rows = [ZOO[name] for name in names]
        if self.json:
            print(json.dumps([asdict(row) for row in rows], indent=2))
            return
        table = Table()
        for column in ("name", "paper", "year", "input", "parameters", "MACs"):
            numeric = column in ("parameters", "MACs", "year")
            table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
        for row in rows:
            size = "×".join(map(str, row.input))
            figures = (f"{row.parameters / 1e6:.2f} M", f"{row.macs / 1e6:,.1f} M")
            table.add_row(row.name, row.paper, str(row.year), size, *figures)
        show(table)
        if self.pattern != "*":
            for note in dict.fromkeys(row.note for row in rows if row.note):
                print(", ".join(row.name for row in rows if row.note == note) + ": " + note)
