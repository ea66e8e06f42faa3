"""Training curves: as a file at the end of a run, and live in a notebook."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from convworks.report.picture import COLOURS, on_white, picture_bytes, written
from convworks.train.checkpoint import CURVES, write_whole
from convworks.train.observer import EpochRecord, History, Observer, Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_COLOUR, VAL_COLOUR = COLOURS[:2]


@on_white
def curves(history: Sequence[EpochRecord], title: str = "") -> "Figure":
    """Loss (left) and accuracy (right, 0…1) over the epochs, training and validation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    epochs = [record.epoch for record in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour, dash in (("train", TRAIN_COLOUR, "--"), ("val", VAL_COLOUR, "-")):
            values = [getattr(record, f"{part}_{name}") for record in history]
            marker = "o" if len(history) == 1 else ""
            axes.plot(epochs, values, dash, color=colour, marker=marker, label=f"{part} {name}")
        axes.set_ylabel(name)
        _over_epochs(axes)
    figure.suptitle(written(title), fontsize="medium")
    return figure


@on_white
def three_curves(history: Sequence[EpochRecord], title: str = "") -> "Figure":
    """Training loss, training accuracy and validation accuracy in one picture, as the book has it.

    The book's third line is the accuracy on the test part, which here is looked at once, when the
    training is over.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = [record.epoch for record in history]
    highest = 0.0
    for name, dash, colour in (
        ("train_loss", "-", COLOURS[0]),
        ("train_accuracy", "--", COLOURS[1]),
        ("val_accuracy", "-.", COLOURS[2]),
    ):
        values = [getattr(record, name) for record in history]
        highest = max(highest, *values)
        label = name.replace("_", " ").replace("val", "validation")
        marker = "o" if len(history) == 1 else ""
        axes.plot(epochs, values, dash, color=colour, marker=marker, label=label)
    axes.set_ylim(0, 1.05 * highest)
    _over_epochs(axes)
    figure.suptitle(written(title), fontsize="medium")
    return figure


def _over_epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    # Above the panel, where no line can run.
    axes.legend(
        frameon=False, ncols=3, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
    axes.spines[["top", "right"]].set_visible(False)


def draw_curves(history: Sequence[EpochRecord], title: str = "") -> bytes:
    """`curves` as an SVG."""
    return picture_bytes(curves(history, title), "svg")


class CurvesFile(Observer):
    """Writes `curves.svg` when the run ends, also when it is stopped."""

    def __init__(self) -> None:
        self.path = Path()
        self.history: History = ()
        self.ended = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draws what there is of a run that did not come to its end."""
        if not self.ended:
            self._draw()

    def begin(self, plan: Plan) -> None:
        """Remembers where to draw."""
        self.path, self.history = plan.path, plan.history

    def epoch(self, history: History) -> None:
        """Remembers what to draw."""
        self.history = history

    def end(self) -> None:
        """Draws."""
        self._draw()
        self.ended = True

    def _draw(self) -> None:
        if self.history:
            picture = draw_curves(self.history, self.path.name)
            write_whole(self.path / CURVES, lambda path: path.write_bytes(picture))


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return get_ipython() is not None


class LivePlot(Observer):
    """Draws the three curves anew after each epoch, in the place of the previous drawing."""

    def __init__(self) -> None:
        self.title = ""
        self.handle: Any = None

    def note(self, text: str) -> None:
        """A line."""
        sys.stderr.write(f"{text}\n")

    def begin(self, plan: Plan) -> None:
        """Remembers the title."""
        self.title = f"{plan.model} on {plan.data}"

    def epoch(self, history: History) -> None:
        """Draws."""
        from IPython.display import SVG, display

        last = history[-1]
        title = (
            f"{self.title}\nvalidation accuracy {last.val_accuracy:.4f},"
            f" {last.images_per_second:,.0f} images/s"
        )
        drawn = picture_bytes(three_curves(history, title), "svg")
        picture = SVG(drawn)  # type: ignore[no-untyped-call]
        if self.handle is None:
            self.handle = display(picture, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.handle.update(picture)
