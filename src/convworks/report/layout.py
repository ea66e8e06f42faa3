"""Where the parts of an architecture's picture stand, and how they are drawn.

Places are computed from the measured sizes of the texts, in points, before anything is drawn; so
nothing overlaps, and the picture grows with what is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from convworks.report.blocks import Box, Line, Part, Paths, Repeated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGE, SMALL, TITLE = 9.0, 7.5, 11.0
"""Sizes of letters in points."""
FILLS = {
    "conv": ("#d6e8f5", "#0072b2"),
    "pool": ("#fbe3cc", "#d55e00"),
    "linear": ("#d0ece2", "#009e73"),
    "join": ("#fdf3c8", "#b58900"),
    "block": ("#f4e1ec", "#b5508c"),
    "other": ("#eeeeee", "#666666"),
}
"""Tint and edge by sort: Okabe and Ito's hues, so light that black letters stand out on them."""
INK, FAINT, PANEL = "#222222", "#555555", "#f7f7f7"
GAP, ARROW, LEAD, PAD, HEAD = 10.0, 17.0, 12.0, 6.0, 13.0
"""Points between paths, between parts, above and below paths, inside frames, and for the name of a
group."""


@dataclass(frozen=True)
class Placed:
    """A part with its measures: points to the left and right of the line that it hangs on."""

    part: Part
    left: float
    right: float
    height: float
    inside: "tuple[tuple[Placed, ...], ...]" = ()
    enter: float = 0.0
    """How far below its top the arrow into it ends."""
    leave: float = 0.0
    """How far above its bottom the arrow out of it begins."""


@lru_cache(maxsize=4096)
def width_of(text: str, size: float) -> float:
    """In points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width)


def _height(line: Line) -> float:
    return 1.3 * (SMALL if line.small else LARGE)


def shape_text(output: tuple[int, ...]) -> str:
    """As it stands at an arrow."""
    return "×".join(map(str, output))


def _place(part: Part) -> Placed:
    if isinstance(part, Box):
        widths = [width_of(line.text, SMALL if line.small else LARGE) for line in part.lines]
        half = max(widths) / 2 + PAD
        return Placed(part, half, half, sum(map(_height, part.lines)) + 8)
    if isinstance(part, Repeated):
        inside = chain(part.inside)
        left, right, height = extent(inside)
        times = width_of(f"×{part.times}", LARGE) + 8
        return Placed(
            part,
            left + PAD,
            right + PAD + times,
            height + 2 * PAD,
            (inside,),
            PAD + inside[0].enter,
            PAD + inside[-1].leave,
        )
    paths = tuple(chain(path) for path in part.paths)
    extents = [extent(path) if path else (PAD, PAD, 0.0) for path in paths]
    height = max(h for _, _, h in extents) + 2 * LEAD
    return Placed(part, *_around(paths, extents), height, paths)


def _around(
    paths: Sequence["tuple[Placed, ...]"], extents: Sequence[tuple[float, float, float]]
) -> tuple[float, float]:
    """Left and right of the line that paths hang on: the higher one's of two, else the middle."""
    lines = _path_lines(extents)
    heights = [height for _, _, height in extents]
    if len(paths) == 2 and heights[0] != heights[1]:
        middle = lines[heights.index(max(heights))]
    else:
        middle = (lines[0] + lines[-1]) / 2
    whole = sum(left + right for left, right, _ in extents) + GAP * (len(paths) - 1)
    return middle, whole - middle


def _path_lines(extents: Sequence[tuple[float, float, float]]) -> list[float]:
    """Where each path's line is, from the left edge of all."""
    lines, x = [], 0.0
    for left, right, _ in extents:
        lines.append(x + left)
        x += left + right + GAP
    return lines


def chain(drawn: Sequence[Part]) -> "tuple[Placed, ...]":
    """Parts below one another, layers as wide as the widest."""
    placed = [_place(part) for part in drawn]
    half = max((one.left for one in placed if _is_layer(one.part)), default=0.0)
    return tuple(
        replace(one, left=half, right=half) if _is_layer(one.part) else one for one in placed
    )


def _is_layer(part: Part) -> bool:
    return isinstance(part, Box) and part.tone != "join"


def gap_between(before: Placed, after: Placed) -> float:
    """Between two parts; paths bring some of their own."""
    if isinstance(before.part, Paths):
        return 7.0
    return 5.0 if isinstance(after.part, Paths) else ARROW


def extent(placed: Sequence[Placed]) -> tuple[float, float, float]:
    """Left, right and height of a chain."""
    gaps = sum(gap_between(one, two) for one, two in pairwise(placed))
    return (
        max(one.left for one in placed),
        max(one.right for one in placed),
        sum(one.height for one in placed) + gaps,
    )


@dataclass
class Canvas:
    """What is to be drawn, in points from the upper left corner."""

    boxes: list[tuple[float, float, float, float, str, str, float, str]] = field(
        default_factory=list
    )
    """Left, top, width, height, fill, edge, rounding, line style."""
    lines: list[list[tuple[float, float]]] = field(default_factory=list)
    heads: list[tuple[float, float]] = field(default_factory=list)
    texts: list[tuple[float, float, str, float, str, str]] = field(default_factory=list)
    """x, middle, text, size, colour, alignment."""

    def line(self, *points: tuple[float, float], head: bool = False) -> None:
        """Through the points; an arrow's head at the last."""
        self.lines.append(list(points))
        if head:
            self.heads.append(points[-1])

    def part(self, one: Placed, x: float, top: float) -> None:
        """A part that hangs on the line at x."""
        if isinstance(one.part, Box):
            self._box(one, one.part, x, top)
        elif isinstance(one.part, Repeated):
            (inside,) = one.inside
            right = one.right - width_of(f"×{one.part.times}", LARGE) - 8
            self.boxes.append(
                (x - one.left, top, one.left + right, one.height, "none", FAINT, 5, "--")
            )
            self.chain(inside, x, top + PAD)
            at = (x + right + 4, top + one.height / 2)
            self.texts.append((*at, f"×{one.part.times}", LARGE, INK, "left"))
        else:
            self._paths(one, x, top)

    def chain(self, placed: Sequence[Placed], x: float, top: float) -> None:
        """Parts below one another with arrows between."""
        for i, one in enumerate(placed):
            if i:
                before = placed[i - 1]
                gap = gap_between(before, one)
                self.connect(before, one, x, top, top + gap)
                top += gap
            self.part(one, x, top)
            top += one.height

    def connect(self, before: Placed, one: Placed, x: float, bottom: float, top: float) -> None:
        """From the bottom of one part to the top of the next."""
        head = not isinstance(one.part, Paths) and not begins_with_paths(one)
        self.line((x, bottom - before.leave), (x, top + one.enter), head=head)

    def _box(self, one: Placed, box: Box, x: float, top: float) -> None:
        fill, edge = FILLS[box.tone]
        rounding = min(one.height / 2, 9.0) if box.tone == "join" else 3.0
        place = (x - one.left, top, one.left + one.right, one.height)
        self.boxes.append((*place, fill, edge, rounding, "-"))
        y = top + 4
        for line in box.lines:
            size = SMALL if line.small else LARGE
            colour = FAINT if line.small else INK
            self.texts.append((x, y + _height(line) / 2, line.text, size, colour, "center"))
            y += _height(line)

    def _paths(self, one: Placed, x: float, top: float) -> None:
        extents = [extent(path) if path else (PAD, PAD, 0.0) for path in one.inside]
        lines = [x - one.left + line for line in _path_lines(extents)]
        high, low = top + 3, top + one.height - 3
        for bar in (high, low):
            self.line((min(*lines, x), bar), (max(*lines, x), bar))
        self.line((x, top), (x, high))
        self.line((x, low), (x, top + one.height))
        for path, at, (_, _, height) in zip(one.inside, lines, extents, strict=True):
            if not path:
                self.line((at, high), (at, low))
                continue
            start = top + (one.height - height) / 2
            head = not begins_with_paths(path[0])
            self.line((at, high), (at, start + path[0].enter), head=head)
            self.chain(path, at, start)
            self.line((at, start + height - path[-1].leave), (at, low))


def begins_with_paths(one: Placed) -> bool:
    """Whether the line into it divides, so that its arrow heads stand further below."""
    if isinstance(one.part, Repeated):
        return begins_with_paths(one.inside[0][0])
    return isinstance(one.part, Paths)


def render(canvas: Canvas, width: float, height: float) -> "Figure":
    """A figure of that size in points, on white: it is a light card on a dark page."""
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for left, top, wide, high, fill, edge, rounding, style in canvas.boxes:
        shape = f"round,pad=0,rounding_size={rounding}"
        axes.add_patch(
            FancyBboxPatch(
                (left, top), wide, high, shape, fc=fill, ec=edge, lw=0.8, ls=style, zorder=1
            )
        )
    axes.add_collection(LineCollection(canvas.lines, colors=INK, linewidths=0.9, zorder=2))
    heads = [[(x, y), (x - 2.6, y - 5), (x + 2.6, y - 5)] for x, y in canvas.heads]
    axes.add_collection(PolyCollection(heads, facecolors=INK, zorder=3))
    for x, y, text, size, colour, side in canvas.texts:
        axes.text(x, y, text, size=size, color=colour, ha=side, va="center_baseline", zorder=4)
    return figure
