"""Names beside the points of a picture, where they cover nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convworks.report.picture import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]

GAP, STEP, FARTHEST = 3.0, 5.0, 160.0
"""Points from a dot's edge to the first places for its name, to the next ones, and to the last."""
LEADS = 8.0
"""From so many points on a line leads from the name to the dot."""
CROSSED = 15.0
"""A place whose line crosses a dot or another line is taken where others are so many points
farther."""


def label_points(figure: "Figure", axes: "Axes", points: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their points, each at the nearest place where it covers nothing.

    It covers neither texts nor dots, lines, other names and what leads to them. A thin line leads
    to the farther places, over as few dots as may be. A name for which there is no place within
    `FARTHEST` is left out: the picture has too many there.
    """
    from matplotlib.text import Text

    figure.draw_without_rendering()
    drawn = _Drawn(figure, axes)
    look = {"textcoords": "offset points", "fontsize": "small", "ha": "center", "va": "center"}
    names: dict[str, tuple[Numbers, Numbers]] = {}
    for name, point in points.items():
        trial = axes.annotate(written(name), point, (0, 0), **look)  # type: ignore[arg-type]
        size = Text.get_window_extent(trial).padded(2).size
        trial.remove()
        names[name] = axes.transData.transform(point), np.asarray(size)
    for name, place in _plan(drawn, names).items():
        line = {"arrowstyle": "-", "lw": 0.5, "color": "#777777"}
        line |= {
            "relpos": (place.start - place.low) / (place.high - place.low),
            "shrinkB": place.radius / drawn.unit,
        }
        axes.annotate(
            written(name),
            points[name],
            tuple(((place.low + place.high) / 2 - place.middle) / drawn.unit),
            arrowprops=line if place.leads else None,
            **look,  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class _Place:
    """A place for a name beside a dot, in pixels."""

    middle: Numbers
    """Of the dot."""
    radius: float
    low: Numbers
    """The name's lower left corner."""
    high: Numbers
    leads: bool
    start: Numbers
    """Of the line to the dot: the name's point that is nearest to it."""
    end: Numbers
    cost: float


def _plan(drawn: "_Drawn", names: Mapping[str, tuple[Numbers, Numbers]]) -> dict[str, _Place]:
    """Places for names with these middles of dots and these sizes.

    Whoever comes first takes the best places, so several orders are tried: as given, and from each
    side. Most names win, then the nearest places.
    """
    orders = [list(names)]
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        orders.append(sorted(names, key=lambda name: sign * names[name][0][axis]))
    plans = []
    for order in orders:
        places: dict[str, _Place] = {}
        for name in order:
            place = drawn.nearest(*names[name], [*places.values()])
            if place is not None:
                places[name] = place
        plans.append(places)
    return min(plans, key=lambda plan: (-len(plan), sum(one.cost for one in plan.values())))


class _Drawn:
    """What is drawn in the axes, in pixels."""

    def __init__(self, figure: "Figure", axes: "Axes") -> None:
        from matplotlib.collections import LineCollection, PathCollection
        from matplotlib.text import Text

        self.area = axes.bbox
        self.unit = figure.dpi / 72
        legend = axes.get_legend()
        boxes = [Text.get_window_extent(text) for text in axes.texts]
        boxes += [legend.get_window_extent()] if legend else []
        self.boxes: list[tuple[Numbers, Numbers]] = [
            (np.asarray(box.min), np.asarray(box.max)) for box in boxes
        ]
        lines: list[Numbers] = []
        dots = [np.zeros((0, 3))]
        for line in axes.lines:
            corners = line.get_transform().transform(line.get_xydata())
            if line.get_linestyle() != "None":
                lines.append(corners)
            if line.get_marker() not in ("None", ""):
                dots.append(_sized(corners, [self.unit * line.get_markersize()]))
        for found in axes.collections:
            if isinstance(found, LineCollection):
                lines += [found.get_transform().transform(one) for one in found.get_segments()]
            elif isinstance(found, PathCollection):
                middles = found.get_offset_transform().transform(found.get_offsets())
                dots.append(_sized(middles, self.unit * np.sqrt(found.get_sizes())))
        self.dots = np.concatenate(dots)
        self.lines: list[tuple[Numbers, Numbers]] = [
            pair for line in lines for pair in pairwise(line)
        ]

    def nearest(self, middle: Numbers, size: Numbers, others: Sequence[_Place]) -> _Place | None:
        """For a name of that size beside the dot there; None where all is taken."""
        own = np.hypot(*(self.dots[:, :2] - middle).T) < 1
        radius = float(max(self.dots[own, 2], default=0.0))
        low, high = self._places(middle, radius, size, others)
        start = np.clip(middle, low, high)
        way = middle - start
        reach = np.hypot(*way.T)
        end = middle - way * (radius / reach)[:, None]
        leads = reach - radius > LEADS * self.unit
        crossed = np.zeros(len(low))
        for *dot, dot_radius in self.dots[~own]:
            crossed += _distance(np.array(dot), start, end) < dot_radius
        for other in (other for other in others if other.leads):
            crossed += _cross(start, end, other.start, other.end)
        blocked = np.zeros(len(low), bool)
        for one, two in self.boxes + [(other.low, other.high) for other in others]:
            blocked |= _hits(start, end, one, two)
        cost = reach + leads * CROSSED * self.unit * crossed
        cost += 0.01 * np.abs((low + high) / 2 - middle)[:, 1]  # rather level with the dot
        cost[leads & blocked] = np.inf
        if not np.isfinite(cost).any():
            return None
        i = cost.argmin()
        return _Place(middle, radius, low[i], high[i], bool(leads[i]), start[i], end[i], cost[i])

    def _places(
        self, middle: Numbers, radius: float, size: Numbers, others: Sequence[_Place]
    ) -> tuple[Numbers, Numbers]:
        """The corners of all boxes of that size around the dot that cover nothing."""
        step, away = STEP * self.unit, radius + GAP * self.unit
        beyond = np.arange(0, FARTHEST * self.unit, step)
        sides = []
        for half in size / 2:
            beside = np.arange(-half, half, step)
            sides.append(
                np.concatenate([[0.0], away + half + beyond, -away - half - beyond, beside])
            )
        centres = middle + np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
        low, high = centres - size / 2, centres + size / 2
        free = (low > self.area.min).all(1) & (high < self.area.max).all(1)
        low, high = low[free], high[free]
        free = np.hypot(*(middle - np.clip(middle, low, high)).T) > 0.99 * away
        for one, two in self.boxes + [(other.low, other.high) for other in others]:
            free &= ~((low < two) & (high > one)).all(1)
        leaders = [(other.start, other.end) for other in others if other.leads]
        for start, end in self.lines + leaders:
            free &= ~_hits(start, end, low, high)
        for *dot, dot_radius in self.dots:
            free &= np.hypot(*(dot - np.clip(dot, low, high)).T) > dot_radius
        return low[free], high[free]


def _sized(middles: Numbers, sizes: Sequence[float] | Numbers) -> Numbers:
    """Dots as rows of x, y and radius, from their diameters."""
    radii = np.resize(np.asarray(sizes) / 2, len(middles))
    return np.column_stack([middles, radii])


def _hits(start: Numbers, end: Numbers, low: Numbers, high: Numbers) -> NDArray[np.bool_]:
    """Whether lines reach into boxes: one line and many boxes, or the other way round."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (low - start) / (end - start), (high - start) / (end - start)
    enter, leave = np.fmin(one, two).max(-1), np.fmax(one, two).min(-1)
    found: NDArray[np.bool_] = (enter <= leave) & (leave >= 0) & (enter <= 1)
    return found


def _cross(start: Numbers, end: Numbers, first: Numbers, last: Numbers) -> NDArray[np.bool_]:
    """Whether lines cross one line."""

    def side(of: Numbers, one: Numbers, two: Numbers) -> Numbers:
        across, along = two - one, of - one
        return np.sign(across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0])

    apart = side(start, first, last) != side(end, first, last)
    found: NDArray[np.bool_] = apart & (side(first, start, end) != side(last, start, end))
    return found


def _distance(dot: Numbers, start: Numbers, end: Numbers) -> Numbers:
    """From a dot's middle to lines."""
    way, to = end - start, dot - start
    length = np.maximum((way**2).sum(-1), 1e-9)
    ahead = np.clip((to * way).sum(-1) / length, 0, 1)
    found: Numbers = np.hypot(*(to - ahead[:, None] * way).T)
    return found
