"""The curves of several runs over each other, as pictures in a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from convworks.report.embed import THEME, inline_svg
from convworks.report.picture import COLOURS
from convworks.train.observer import History

DASHES = ((), (6.0, 2.0), (1.5, 1.5), (6.0, 1.5, 1.5, 1.5))
"""Points on and off; the first without end."""
PANELS = {
    "val_accuracy": "validation accuracy",
    "train_accuracy": "training accuracy",
    "val_loss": "validation loss",
    "train_loss": "training loss",
}


@dataclass(frozen=True)
class Line:
    """How a run is drawn."""

    colour: str
    dashes: tuple[float, ...]


def line(place: int) -> Line:
    """Of the run at that place, from 0; the first 24 are told apart."""
    return Line(COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])


def draw_overlay(histories: Sequence[History]) -> list[str]:
    """SVG elements: accuracy, then loss, of validation and of training on the same scale.

    A line a run, as `line` says; none when no epoch of any run is over.
    """
    if not any(histories):
        return []
    return [_panel(name, histories) for name in PANELS]


def _panel(name: str, histories: Sequence[History]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context(THEME):
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        for place, history in enumerate(histories):
            look = line(place)
            axes.plot(
                [record.epoch for record in history],
                [getattr(record, name) for record in history],
                color=look.colour,
                linestyle=(0, look.dashes) if look.dashes else "-",
                marker="o" if len(history) == 1 else "",
            )
        axes.set_ylim(_limits(name.partition("_")[2], histories))
        axes.set_title(PANELS[name], fontsize="medium")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        alt = f"{PANELS[name]} over the epochs, a line a run"
        return inline_svg(figure, name, alt)


def _limits(kind: str, histories: Sequence[History]) -> tuple[float, float]:
    """Of the accuracies, or of the losses, of both parts."""
    values = [
        value
        for history in histories
        for record in history
        for value in (getattr(record, f"val_{kind}"), getattr(record, f"train_{kind}"))
        if isfinite(value)
    ] or [0.0]
    margin = 0.04 * (max(values) - min(values)) or 0.04
    return min(values) - margin, max(values) + margin
