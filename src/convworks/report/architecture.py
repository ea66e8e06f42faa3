"""Networks as pictures of blocks, drawn from what the real modules do: how deep, in which columns.

What stands in the boxes is decided in `blocks.py`, how they are placed and drawn in `layout.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from convworks.errors import InputError, unknown
from convworks.measure.flow import Fork, Step, flow
from convworks.nets.registry import create_model, find
from convworks.report.blocks import Part, Paths, count, grouped
from convworks.report.layout import (
    ARROW,
    FAINT,
    GAP,
    HEAD,
    INK,
    PAD,
    PANEL,
    SMALL,
    TITLE,
    Canvas,
    Placed,
    begins_with_paths,
    chain,
    gap_between,
    render,
    shape_text,
    width_of,
)
from convworks.report.picture import on_white

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 10.0
OPENED = 50
"""Up to so many boxes, blocks that branch are opened unless told otherwise."""
TALL = 950.0
"""Points up to which a network stays in one column."""
WIDE = 580.0
"""Points up to which networks stand in a row: the letters stay readable in a column of text."""
SHAPE = 1.25
"""Width by height that columns and rows aim at."""


@on_white
def architecture(
    *networks: str | tuple[str, nn.Module, tuple[int, int, int]],
    depth: int | None = None,
    block: str | None = None,
) -> "Figure":
    """Networks side by side, in rows where one would be far too wide.

    Each is a name of the zoo, drawn on its paper's input, or a title, any module and its input
    (channels, height, width).

    `depth` says how deep blocks that branch are opened: 0, each is one box that names its layers,
    with the line of its shortcut past it; 1, its paths are drawn; 2, those of blocks inside them
    too; None: 1 where the picture stays readable, else 0. `block` draws one module of each, by its
    name in `named_modules`, opened wholly. Equal blocks in a row are drawn once. Shapes stand at
    the arrows, of one image. Raises InputError for a block that there is not, and for an input that
    a network cannot take.
    """
    if not networks:
        raise InputError("Name at least one network to draw.")
    if depth is not None and depth < 0:
        raise InputError(f"depth must be 0 or more, not {depth}.")
    drawn = []
    for network in networks:
        title, model, shape = _of_zoo(network) if isinstance(network, str) else network
        whole, given = flow(model, shape), tuple(shape)
        if block is not None:
            whole, given = _find(whole, block, model, given, title)
            title = f"{title}: {block}"
        entries = _entries(given, _groups(whole, depth, block is not None))
        drawn.append(_Network(title, whole.output, _columns(entries)))
    return _draw(drawn)


def _of_zoo(name: str) -> tuple[str, nn.Module, tuple[int, int, int]]:
    row = find(name)
    with torch.device("meta"):
        return name, create_model(name), row.input


def _groups(whole: Step, depth: int | None, opened: bool) -> list[tuple[str, tuple[Part, ...]]]:
    if depth is None:
        deep = grouped(whole, 9 if opened else 1)
        if opened or sum(count(inside) for _, inside in deep) <= OPENED:
            return deep
        depth = 0
    return grouped(whole, depth)


def _find(
    whole: Step, name: str, model: nn.Module, given: tuple[int, ...], network: str
) -> tuple[Step, tuple[int, ...]]:
    """The step of that name, and the shape that it is given."""

    def search(
        items: Sequence[Step | Fork], shape: tuple[int, ...]
    ) -> tuple[Step, tuple[int, ...]] | None:
        for item in items:
            if isinstance(item, Fork):
                inner = (search(path, shape) for path in item.paths)
                if found := next((one for one in inner if one), None):
                    return found
                continue
            if item.name == name:
                return item, shape
            if name.startswith(f"{item.name}.") and item.inside:
                return search(item.inside, shape)
            shape = item.output
        return None

    if found := search(whole.inside or (), given):
        return found
    known = [known for known, module in model.named_modules() if known and any(module.children())]
    raise unknown(
        f"block of {network}", name, known, "`convworks summary MODEL --depth 2` lists them."
    )


@dataclass(frozen=True)
class _Entry:
    """A part of a column, with the group that it belongs to."""

    group: int
    name: str
    placed: Placed
    before: tuple[int, ...]
    """The shape that comes in."""


@dataclass(frozen=True)
class _Network:
    title: str
    output: tuple[int, ...]
    columns: list[list[_Entry]]

    @property
    def width(self) -> float:
        """In points, as is the height."""
        sides = sum(sum(_column_sides(column)) for column in self.columns)
        return max(sides + 2 * GAP * (len(self.columns) - 1), width_of(self.title, TITLE))

    @property
    def height(self) -> float:
        return 1.6 * TITLE + max(map(_column_height, self.columns))


def _entries(
    given: tuple[int, ...], groups: Sequence[tuple[str, tuple[Part, ...]]]
) -> list[_Entry]:
    found = []
    shape = given
    for number, (name, inside) in enumerate(groups):
        for placed in chain(inside):
            found.append(_Entry(number, name, placed, shape))
            shape = placed.part.output or shape
    return found


def _space(before: _Entry | None, entry: _Entry) -> float:
    """Above an entry of a column."""
    if before is None:
        return ARROW + (HEAD + PAD if entry.name else 0)
    if before.group == entry.group:
        gap = gap_between(before.placed, entry.placed)
        return gap if entry.before == before.before else max(gap, ARROW)
    return ARROW + (PAD if before.name else 0) + (HEAD + PAD if entry.name else 0)


def _column_height(entries: Sequence[_Entry]) -> float:
    total = 2 * ARROW
    for i, entry in enumerate(entries):
        total += _space(entries[i - 1] if i else None, entry) + entry.placed.height
    return total


def _column_sides(entries: Sequence[_Entry]) -> tuple[float, float]:
    """Left and right of a column's line; names of groups stand left of it, shapes right."""
    left = max(
        max(one.placed.left + PAD, width_of(one.name, SMALL) + PAD + 6 if one.name else 0)
        for one in entries
    )
    shapes = [shape_text(one.before) for one in entries] + [
        shape_text(entries[-1].placed.part.output)
    ]
    right = max(one.placed.right + PAD for one in entries)
    return left, max(right, max(width_of(text, SMALL) for text in shapes) + 10)


def _columns(entries: list[_Entry]) -> list[list[_Entry]]:
    """One column while it is not tall, else as many as make a picture of about a page's shape."""
    if _column_height(entries) <= TALL:
        return [entries]
    best: list[list[_Entry]] = [entries]
    for many in range(2, 9):
        tried = _split(entries, many)
        if abs(_ratio(tried) - SHAPE) < abs(_ratio(best) - SHAPE):
            best = tried
    return best


def _split(entries: list[_Entry], many: int) -> list[list[_Entry]]:
    """At most so many columns, the highest as low as can be."""
    limit = _column_height(entries) / many
    while len(columns := _filled(entries, limit)) > many:
        limit += ARROW
    return columns


def _filled(entries: Sequence[_Entry], limit: float) -> list[list[_Entry]]:
    """Columns up to that height; paths and what joins them stay together."""
    columns: list[list[_Entry]] = [[]]
    units: list[list[_Entry]] = [[]]
    for entry in entries:
        units[-1].append(entry)
        if not isinstance(entry.placed.part, Paths):
            units.append([])
    for unit in units:
        if columns[-1] and unit and _column_height([*columns[-1], *unit]) > limit:
            columns.append([])
        columns[-1] += unit
    return columns


def _ratio(columns: Sequence[Sequence[_Entry]]) -> float:
    width = sum(sum(_column_sides(column)) + 2 * GAP for column in columns)
    return width / max(map(_column_height, columns))


def _rows(networks: Sequence[_Network]) -> list[list[_Network]]:
    """One row, or rows up to WIDE where those are nearer to a page's shape."""
    rows: list[list[_Network]] = [[]]
    for network in networks:
        if rows[-1] and _row_width([*rows[-1], network]) > WIDE:
            rows.append([])
        rows[-1].append(network)

    def away(tried: Sequence[Sequence[_Network]]) -> float:
        height = sum(max(network.height for network in row) for row in tried)
        return abs(math.log(max(map(_row_width, tried)) / height / SHAPE))

    return min([list(networks)], rows, key=away)


def _row_width(row: Sequence[_Network]) -> float:
    """With the margins."""
    return sum(network.width + 3 * GAP for network in row) - 3 * GAP + 2 * MARGIN


def _draw(networks: Sequence[_Network]) -> "Figure":
    canvas = Canvas()
    rows = _rows(networks)
    width = max(map(_row_width, rows))
    bottom = MARGIN - 3 * GAP
    for row in rows:
        x, top = MARGIN + (width - _row_width(row)) / 2, bottom + 3 * GAP
        for network in row:
            bottom = max(bottom, _draw_network(canvas, network, x, top))
            x += network.width + 3 * GAP
    return render(canvas, width, bottom + MARGIN)


def _draw_network(canvas: Canvas, network: _Network, x: float, top: float) -> float:
    """Draws it from that corner on; returns where it ends."""
    at = (x + network.width / 2, top + 0.7 * TITLE)
    canvas.texts.append((*at, network.title, TITLE, INK, "center"))
    top += 1.6 * TITLE
    bottom = top
    last: tuple[float, float] | None = None
    for column in network.columns:
        left, right = _column_sides(column)
        if len(network.columns) == 1:
            left += (network.width - left - right) / 2
            right = network.width - left
        last = _draw_column(canvas, column, x, left, right, top, last)
        bottom = max(bottom, last[1])
        x += left + right + 2 * GAP
    assert last is not None
    _label(canvas, last[0], last[1] - 9, network.output)
    canvas.line((last[0], last[1] - ARROW), last, head=True)
    return bottom


def _draw_column(
    canvas: Canvas,
    column: Sequence[_Entry],
    edge: float,
    left: float,
    right: float,
    top: float,
    last: tuple[float, float] | None,
) -> tuple[float, float]:
    """Draws it between `edge` and the next column; returns the end of the arrow out of it."""
    x, y = edge + left, top
    panel: tuple[str, float] | None = None
    for i, entry in enumerate(column):
        before = column[i - 1] if i else None
        bottom, y = y, y + _space(before, entry)
        if before is None or before.group != entry.group:
            if panel is not None:
                _panel(canvas, panel, edge, left + right, bottom + PAD)
            panel = (entry.name, y - HEAD - PAD) if entry.name else None
        if before is not None:
            canvas.connect(before.placed, entry.placed, x, bottom, y)
        else:
            start = [(x, top)] if last is None else [last, (edge - GAP, last[1])]
            if last is not None:
                start += [(edge - GAP, top), (x, top)]
            head = not begins_with_paths(entry.placed)
            canvas.line(*start, (x, y + entry.placed.enter), head=head)
        if before is None or entry.before != before.before:
            inner = before is not None and isinstance(before.placed.part, Paths)
            if not inner:
                beyond = PAD if before and before.name and before.group != entry.group else 0
                _label(canvas, x, bottom + 8 + beyond, entry.before)
        canvas.part(entry.placed, x, y)
        y += entry.placed.height
    if panel is not None:
        _panel(canvas, panel, edge, left + right, y + PAD)
    end = y + PAD + ARROW
    canvas.line((x, y - column[-1].placed.leave), (x, end))
    return x, end


def _label(canvas: Canvas, x: float, y: float, shape: tuple[int, ...]) -> None:
    canvas.texts.append((x + 5, y, shape_text(shape), SMALL, FAINT, "left"))


def _panel(
    canvas: Canvas, panel: tuple[str, float], edge: float, width: float, bottom: float
) -> None:
    name, top = panel
    canvas.boxes.insert(0, (edge, top, width, bottom - top, PANEL, "#dddddd", 4, "-"))
    canvas.texts.append((edge + 4, top + HEAD / 2 + 1, name, SMALL, FAINT, "left"))
