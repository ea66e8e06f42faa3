"""The learning-rate range test as a picture."""

from typing import TYPE_CHECKING

from convworks.report.picture import COLOURS, on_white, written
from convworks.train.rates import RateTest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@on_white
def draw_rates(test: RateTest) -> "Figure":
    """The loss of each step and smoothed over the learning rate, with the suggested one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(test.rates, test.losses, ".", color=COLOURS[0], alpha=0.4, label="one batch")
    axes.semilogx(test.rates, test.smoothed, color=COLOURS[0], label="smoothed")
    axes.axvline(test.lowest, color=COLOURS[4], linestyle=":", label=f"lowest, {test.lowest:.1e}")
    axes.axvline(
        test.suggestion, color=COLOURS[1], linestyle="--", label=f"suggested, {test.suggestion:g}"
    )
    # One batch may be far above all others; what matters is the curve.
    low, high = min(test.smoothed), max(test.smoothed)
    margin = 0.15 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    axes.set_title(written(f"{test.model} on {test.data}"), fontsize="medium")
    return figure
