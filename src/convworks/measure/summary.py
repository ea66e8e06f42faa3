"""The layer table of any module, from runs on the meta device: no memory, no arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil, isinf
from typing import Literal

from rich.console import Console
from rich.table import Table
from torch import nn

from convworks.errors import InputError
from convworks.measure.display import html_table, width_in_files
from convworks.measure.trace import Work, trace
from convworks.measure.units import show_bytes

COLUMNS = ("name", "kind", "output", "sees", "parameters", "MACs", "kept")
LEFT = ("name", "kind")


@dataclass(frozen=True)
class SummaryRow:
    """One module. Shapes are of one image, without the batch."""

    name: str
    kind: str
    depth: int
    """1: a child of the network itself."""
    leaf: bool
    """Whether the module has no children."""
    input: tuple[int, ...]
    """Of the first tensor that it is given."""
    output: tuple[int, ...]
    receptive_field: tuple[int, int] | None
    """Height and width in pixels of the image, also where it reaches over its edge; None: the
    whole image, whatever its size."""
    parameters: int
    macs: int
    """Multiply-adds of convolutions and matrix products; FLOPs are twice that."""
    elementwise: int
    """Numbers that activations, sums and gates give."""
    pooled: int
    """Numbers that pooling reads."""
    normalised: int
    """Numbers that normalisations give."""
    kept_bytes: int
    """Activations that training in fp32 keeps for the backward pass, where they are kept first;
    under bf16 half of that."""


@dataclass(frozen=True)
class Totals:
    """The whole network."""

    parameters: int
    macs: int
    elementwise: int
    pooled: int
    normalised: int
    kept_bytes: int
    output: tuple[int, ...]
    """Shape of what one image gives."""


@dataclass(frozen=True)
class Summary:
    """A layer table. `str()` prints it as a table; a notebook shows it as one."""

    title: str
    input: tuple[int, ...]
    rows: tuple[SummaryRow, ...]
    totals: Totals

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """The table for a rich console."""
        table = Table(title=self._heading(), show_footer=True)
        for column, footer in zip(COLUMNS, self._footers(), strict=True):
            justify: Literal["left", "right"] = "left" if column in LEFT else "right"
            table.add_column(column, footer, justify=justify, no_wrap=True)
        for cells in self._cells():
            table.add_row(*cells)
        return table

    def _heading(self) -> str:
        return f"{self.title}, input {'×'.join(map(str, self.input))}"

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            sees = "all" if row.receptive_field is None else "×".join(map(str, row.receptive_field))
            yield (
                row.name,
                row.kind,
                "×".join(map(str, row.output)),
                sees,
                f"{row.parameters:,}",
                f"{row.macs:,}",
                show_bytes(row.kept_bytes),
            )

    def _footers(self) -> tuple[str, ...]:
        totals = self.totals
        figures = (f"{totals.parameters:,}", f"{totals.macs:,}", show_bytes(totals.kept_bytes))
        return ("total", "", "", "", *figures)

    def __str__(self) -> str:
        table = self.table()
        console = Console(width=width_in_files(table), no_color=True, markup=False, emoji=False)
        with console.capture() as captured:
            console.print(table)
        return captured.get()

    def _repr_html_(self) -> str:
        return html_table(self._heading(), self._cells(), COLUMNS, self._footers())


def summarize(model: nn.Module, input_shape: Sequence[int], *, depth: int | None = None) -> Summary:
    """The layer table for one image of `input_shape` (channels, height, width).

    `depth` 1 gives one row for each child of the model, 2 for their children too, and so on;
    None gives the leaves, the single layers. A layer that runs twice is listed where it ran last,
    with the cost of both. Left out are copies, reshapes, the bias and what a `forward` computes
    outside all modules that are listed; the totals have that too. The model, lazy layers included,
    is neither run nor changed. Raises InputError, with the layer's name, when it cannot take the
    input.
    """
    shape = tuple(input_shape)
    if not shape or min(shape) < 1:
        raise InputError(f"The input shape must be positive numbers, not {shape}.")
    traced = trace(model, shape)
    rows = []
    for name, module in traced.twin.named_modules():
        level, leaf = name.count(".") + 1, not any(True for _ in module.children())
        if name and ((depth is None and leaf) or (depth is not None and level <= depth)):
            rows.append(_row(name, module, level, leaf, traced.work[name]))
    whole = traced.work[""]
    totals = Totals(
        parameters=_parameters(traced.twin),
        macs=whole.macs,
        elementwise=whole.elementwise,
        pooled=whole.pooled,
        normalised=whole.normalised,
        kept_bytes=whole.kept,
        output=whole.output,
    )
    return Summary(type(model).__name__, shape, tuple(rows), totals)


def _row(name: str, module: nn.Module, level: int, leaf: bool, work: Work) -> SummaryRow:
    height, width = work.sight.height, work.sight.width
    return SummaryRow(
        name=name,
        kind=type(module).__name__,
        depth=level,
        leaf=leaf,
        input=work.input,
        output=work.output,
        receptive_field=None if isinf(height) else (ceil(height), ceil(width)),
        parameters=_parameters(module),
        macs=work.macs,
        elementwise=work.elementwise,
        pooled=work.pooled,
        normalised=work.normalised,
        kept_bytes=work.kept,
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
