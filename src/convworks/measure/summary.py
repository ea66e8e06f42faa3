"""The layer table of any module, from one run on the meta device: no memory, no arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convworks.errors import InputError
from convworks.nets.blocks import on_meta

COLUMNS = ("name", "kind", "output", "parameters", "MACs")


@dataclass(frozen=True)
class SummaryRow:
    """One module. Shapes are of one image, without the batch."""

    name: str
    kind: str
    depth: int
    """1: a child of the network itself."""
    leaf: bool
    """Whether the module has no children."""
    output: tuple[int, ...]
    parameters: int
    macs: int
    """Multiply-adds of convolutions and matrix products for one image; FLOPs are twice that."""


@dataclass(frozen=True)
class Totals:
    """The whole network."""

    parameters: int
    macs: int
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
        shape = "×".join(map(str, self.input))
        table = Table(title=f"{self.title}, input {shape}", show_footer=True)
        footers = ("total", "", "", f"{self.totals.parameters:,}", f"{self.totals.macs:,}")
        for i, (column, footer) in enumerate(zip(COLUMNS, footers, strict=True)):
            table.add_column(column, footer, justify="left" if i < 2 else "right", no_wrap=True)
        for cells in self._cells():
            table.add_row(*cells)
        return table

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            output = "×".join(map(str, row.output))
            yield row.name, row.kind, output, f"{row.parameters:,}", f"{row.macs:,}"

    def __str__(self) -> str:
        console = Console(width=120, no_color=True)
        with console.capture() as captured:
            console.print(self.table())
        return captured.get()

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        totals = ("total", "", "", f"{self.totals.parameters:,}", f"{self.totals.macs:,}")
        lines = [line("th", COLUMNS), *(line("td", cells) for cells in self._cells())]
        caption = escape(f"{self.title}, input {'×'.join(map(str, self.input))}")
        body = "".join([*lines, line("th", totals)])
        return f"<table><caption>{caption}</caption>{body}</table>"


def summarize(model: nn.Module, input_shape: Sequence[int], *, depth: int | None = None) -> Summary:
    """The layer table for one image of `input_shape` (channels, height, width).

    `depth` 1 gives one row for each child of the model, 2 for their children too, and so on;
    None gives the leaves, the single layers. A layer that runs twice is listed where it ran last.
    The model itself is neither run nor changed. Raises InputError when it cannot take the input.
    """
    shape = tuple(input_shape)
    if not shape or min(shape) < 1:
        raise InputError(f"The input shape must be positive numbers, not {shape}.")
    twin = on_meta(model).eval()
    outputs = _record_outputs(twin)
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            output = twin(torch.empty(1, *shape, device="meta"))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        size = "×".join(map(str, shape))
        raise InputError(f"The network cannot take {size} images: {reason}") from error
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    root = type(model).__name__
    rows = []
    for name, module in twin.named_modules():
        level, leaf = name.count(".") + 1, not any(True for _ in module.children())
        if name and ((depth is None and leaf) or (depth is not None and level <= depth)):
            parameters = sum(p.numel() for p in module.parameters())
            macs = flops.get(f"{root}.{name}", 0) // 2
            kind, out = type(module).__name__, outputs.get(name, ())
            rows.append(SummaryRow(name, kind, level, leaf, out, parameters, macs))
    totals = Totals(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=flops.get("Global", 0) // 2,
        output=tuple(output.shape[1:]) if isinstance(output, Tensor) else (),
    )
    return Summary(root, shape, tuple(rows), totals)


def _record_outputs(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """A table that fills, as the model runs, with each module's output shape under its name."""
    outputs: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            outputs[name] = tuple(output.shape[1:])

    for name, module in model.named_modules():
        module.register_forward_hook(lambda _m, _in, output, name=name: note(name, output))
    return outputs
