"""`convworks compare`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from convworks.cli.command import Command, Flag, run_folders, show
from convworks.cli.summary import parse_shape
from convworks.errors import UsageError, unknown
from convworks.measure.units import Cost
from convworks.train.config import left_open

if TYPE_CHECKING:
    from convworks.bench.contest import Contestant

Shown = Literal["table", "markdown", "csv"]


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Set networks side by side: convworks compare lenet 'resnet*' --input 1x96x96."""

    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL…")] = ()
    """Networks of the zoo, or patterns such as 'resnet*'."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR…")] = ()
    """Run folders: their networks, with the test accuracy, the mean where there are several."""
    input: Annotated[
        str | None, tyro.conf.arg(metavar="CxHxW", help_behavior_hint="(default: as models lists)")
    ] = None
    """Channels, height and width of the images for the networks of the zoo."""
    classes: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as models lists)")
    ] = None
    """How many classes the networks of the zoo tell apart."""
    batch_size: int = 128
    """Images in one step, for memory and speed."""
    bench: Flag = False
    """Measure the speed of each network here, which takes minutes."""
    format: Shown = "table"
    """How to print it; csv, and JSON, hold every figure unrounded."""
    figure: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
    ] = None
    """Draw accuracy against cost as SVG, PNG or PDF; needs --runs."""
    cost: Annotated[Cost | None, left_open(Cost, "macs")] = None
    """What the figure sets accuracy against."""
    json: Flag = False
    """Print JSON."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Collects, prints and draws."""
        from convworks.bench.speed import benchmark
        from convworks.report import compare

        contestants = self._checked()
        groups = compare.trained(run_folders(self.runs), self.batch_size)
        if self.figure is not None and len(groups) < 2:  # said before minutes of --bench
            raise UsageError(
                "--figure sets accuracy against cost: give --runs of two networks or more."
            )
        entries = [*map(compare.entry, contestants), *compare.entries_of(groups)]
        contestants += [one.contestant for one in groups]
        if self.bench:
            entries = [
                compare.with_speed(entry, benchmark(one))
                for entry, one in zip(entries, contestants, strict=True)
            ]
        if self.figure is not None:
            compare.draw_comparison(entries, self.figure, self.cost or "macs")
        if self.json:
            print(json.dumps([asdict(entry) for entry in entries], indent=2))
        elif self.format == "csv":
            print(compare.as_csv(entries), end="")
        elif self.format == "markdown":
            print(compare.as_markdown(entries))
        else:
            show(_table(compare.columns(entries)))

    def _checked(self) -> "list[Contestant]":
        """The networks of the zoo that are asked for; errors for what does not go together."""
        from convworks.bench.contest import Contestant
        from convworks.nets.registry import list_models
        from convworks.nets.zoo import ZOO
        from convworks.report.picture import check_picture

        if not (self.models or self.runs):
            raise UsageError("Nothing to compare: give networks or --runs DIR…")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size must be at least 1, not {self.batch_size}.")
        names: list[str] = []
        for pattern in self.models:
            found = list_models(pattern)
            if not found:
                raise unknown("network", pattern, ZOO, "`convworks models` lists them all.")
            names += [name for name in found if name not in names]
        shape = None if self.input is None else parse_shape(self.input)
        if shape and shape[1] != shape[2]:
            raise UsageError(f"compare takes square images such as 3x224x224, not {self.input}.")
        if self.figure is not None:
            check_picture(self.figure)
        elif self.cost is not None:
            raise UsageError("--cost is for the figure: give --figure FILE too.")
        if self.cost == "latency_ms" and not self.bench:
            raise UsageError("--cost latency_ms is measured: give --bench too.")
        return [
            Contestant(
                name,
                num_classes=ZOO[name].classes if self.classes is None else self.classes,
                in_channels=(shape or ZOO[name].input)[0],
                image_size=(shape or ZOO[name].input)[1],
                batch_size=self.batch_size,
            )
            for name in names
        ]


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    """From headings to their cells."""
    table = Table()
    for name in columns:
        left = name in ("network", "input")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table
