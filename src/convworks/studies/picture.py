"""A study's picture: its first two figures, over the axis or side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convworks.errors import InputError
from convworks.report.picture import COLOURS, check_picture, on_white, save_picture, written
from convworks.studies.figures import FIGURES, Figure
from convworks.studies.runs import Cell, Found
from convworks.studies.study import Study, Value, cell_title, show_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PANELS = 2
MARKERS = "osD^v<P"
"""One more than there are colours, so that they come together again late."""
LOG_FROM = {"number": 10, "bytes": 20, "count": 20, "rate": 20}
"""Losses and costs that differ by more are drawn on a logarithmic scale."""
ASIDE = 0.05
"""Of the way between two values of the axis, the points of two variants stand so far apart."""
WITHIN = 0.4
"""Of that way, the points of all variants together."""


def draw_study(study: Study, cells: Sequence[Cell], path: Path) -> None:
    """Writes the picture; the file's ending says SVG, PNG or PDF. InputError for another ending."""
    check_picture(path)
    save_picture(study_picture(study, cells), path)


@on_white
def study_picture(study: Study, cells: Sequence[Cell]) -> "Drawing":
    """The first figures of the study that are known, side by side; InputError where none is."""
    from matplotlib.figure import Figure as Drawing

    names = [name for name in study.measure if _known(cells, name)][:PANELS]
    if not names:
        raise InputError(f"{study.name} has no figure to draw: every training diverged.")
    rows = len({cell.variant for cell in cells}) if study.figure == "lines" else len(cells)
    height = 3.8 if study.figure == "lines" else 1.2 + 0.3 * rows
    drawing = Drawing(figsize=(4.5 * len(names) + 1, height), layout="constrained")
    panels = drawing.subplots(1, len(names), squeeze=False)[0]
    for i, (name, axes) in enumerate(zip(names, panels, strict=True)):
        if study.figure == "lines":
            _lines(axes, study, cells, name)
        else:
            _rows(axes, cells, name, labelled=i == 0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if study.figure == "lines":
        handles, labels = panels[0].get_legend_handles_labels()
        if len(labels) > 1:
            drawing.legend(handles, labels, frameon=False, loc="outside right center")
    return drawing


def _known(cells: Sequence[Cell], name: str) -> bool:
    return any(cell.figures[name].centre is not None for cell in cells)


def _scaled(found: Found, figure: Figure) -> tuple[float, tuple[float, float], list[float]]:
    """Centre, spread down and up, and single values in the unit of the picture.

    A bar of spread ends where there is nothing: below 0, and beyond 100 % of a share.
    """
    unit = 100 if figure.kind == "share" else 2**-20 if figure.kind == "bytes" else 1
    assert found.centre is not None
    values = [unit * value for value in found.values if value is not None]
    centre, spread = unit * found.centre, unit * (found.spread or 0.0)
    up = min(spread, 100 - centre) if figure.kind == "share" else spread
    return centre, (min(spread, centre), up), values


def _logarithmic(figure: Figure, cells: Sequence[Cell], name: str) -> bool:
    centres = [c for cell in cells if (c := cell.figures[name].centre) is not None]
    return figure.kind in LOG_FROM and max(centres) > LOG_FROM[figure.kind] * min(centres) > 0


def _label(figure: Figure) -> str:
    units: Mapping[str, str] = {"share": ", %", "bytes": ", MiB"}
    return figure.label + units.get(figure.kind, "")


def _lines(axes: "Axes", study: Study, cells: Sequence[Cell], name: str) -> None:
    """A line for each variant; a value at which a training diverged has a cross at the edge."""
    assert study.axis is not None
    figure = FIGURES[name]
    ticks, places = _places(study, cells)
    for i, variant in enumerate(dict.fromkeys(cell.variant for cell in cells)):
        row = [cell for cell in cells if cell.variant == variant]
        drawn = [cell for cell in row if cell.figures[name].centre is not None]
        points = [(places[cell.variant, cell.value], cell.figures[name]) for cell in drawn]
        colour = COLOURS[i % len(COLOURS)]
        style = "-" if i < len(COLOURS) else "--"
        marker = MARKERS[i % len(MARKERS)]
        scaled = [_scaled(found, figure) for _, found in points]
        axes.errorbar(
            [x for x, _ in points],
            [centre for centre, _, _ in scaled],
            np.array([spread for _, spread, _ in scaled]).reshape(-1, 2).T,
            fmt=style + marker,
            ms=4,
            capsize=3,
            color=colour,
            label=written(variant),
        )
        lost = [places[cell.variant, cell.value] for cell in row if cell.diverged]
        axes.plot(lost, [0.02] * len(lost), "x", color=colour, transform=axes.get_xaxis_transform())
    if any(cell.diverged for cell in cells):
        axes.plot([], [], "x", color="black", label="a training diverged")
    if study.axis.log:
        axes.set_xscale("log")
    axes.set_xticks(ticks, _texts(cells), minor=False)
    axes.set_xticks([], minor=True)
    if _logarithmic(figure, cells, name):
        axes.set_yscale("log")
    axes.set_xlabel(written(study.axis.label))
    axes.set_ylabel(_label(figure))


def _places(
    study: Study, cells: Sequence[Cell]
) -> tuple[list[float], dict[tuple[str, Value | None], float]]:
    """Where the values stand on the axis, and each cell: those at one value beside each other."""
    assert study.axis is not None
    texts = _texts(cells)
    values = {cell.value: 0.0 for cell in cells}
    for value in values:
        values[value] = texts.index(value) if isinstance(value, str) else float(value or 0)
    ticks = np.unique(list(values.values()))
    scale, back = (np.log, np.exp) if study.axis.log else (np.asarray, np.asarray)
    gap = min(np.diff(scale(ticks)), default=1.0)
    variants = list(dict.fromkeys(cell.variant for cell in cells))
    step = gap * min(ASIDE, WITHIN / len(variants))
    aside = step * (np.arange(len(variants)) - (len(variants) - 1) / 2)
    return list(ticks), {
        (cell.variant, cell.value): float(
            back(scale(values[cell.value]) + aside[variants.index(cell.variant)])
        )
        for cell in cells
    }


def _texts(cells: Sequence[Cell]) -> list[str]:
    """The axis' values as they are shown: texts in the study's order, numbers in theirs."""
    values = {cell.value for cell in cells if cell.value is not None}
    if any(isinstance(value, str) for value in values):
        return list(dict.fromkeys(written(str(cell.value)) for cell in cells))
    return [show_value(value) for value in sorted(values, key=float)]


def _rows(axes: "Axes", cells: Sequence[Cell], name: str, *, labelled: bool) -> None:
    """A row for each cell: bars from zero for costs, dots with the seeds for the rest."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = FIGURES[name]
    bars = figure.kind in ("bytes", "count", "rate")
    for y, cell in enumerate(cells):
        found = cell.figures[name]
        if found.centre is None:
            axes.text(
                0.02,
                y,
                "diverged" if cell.diverged else "not known",
                va="center",
                transform=axes.get_yaxis_transform(),
            )
            continue
        centre, spread, values = _scaled(found, figure)
        spreads = np.array([spread]).T
        if bars:
            known = spreads if any(spread) else None
            axes.barh(y, centre, 0.6, xerr=known, color=COLOURS[0], capsize=3)
        else:
            axes.plot(values, [y] * len(values), "o", ms=3, color=COLOURS[1], alpha=0.7)
            axes.errorbar(centre, y, xerr=spreads, fmt="s", ms=5, capsize=3, color=COLOURS[0])
    labels = [written(cell_title(cell.variant, cell.value)) for cell in cells]
    axes.set_yticks(range(len(cells)), labels if labelled else [""] * len(cells))
    axes.set_ylim(len(cells) - 0.5, -0.5)
    if bars:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if not bars and _logarithmic(figure, cells, name):
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(_label(figure))
