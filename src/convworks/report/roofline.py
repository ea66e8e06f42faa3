"""A network under the roofs of this machine: in words, as a table, as a picture."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from convworks.bench.roofline import UPDATE, LayerTime, Roofline, by_kind
from convworks.report.labels import label_points
from convworks.report.picture import COLOURS, on_white, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ASPECTS: dict[str, Callable[[LayerTime], float]] = {
    "computation": lambda one: one.flops,
    "memory held": lambda one: one.held,
    "memory moved": lambda one: one.bytes,
    "time": lambda one: one.seconds,
}
LABELS = 6
"""So many layers of a picture have their names beside them."""


def dominating(roofline: Roofline) -> dict[str, list[tuple[str, float]]]:
    """The three layers with the largest shares of computation, memory and time."""
    return {name: _shares(roofline.layers, size)[:3] for name, size in ASPECTS.items()}


def _shares(
    layers: Sequence[LayerTime], size: Callable[[LayerTime], float]
) -> list[tuple[str, float]]:
    whole = sum(size(one) for one in layers)
    shares = [(one.name, size(one) / whole) for one in layers if size(one)]
    return sorted(shares, key=lambda share: -share[1])


def in_words(roofline: Roofline) -> list[str]:
    """Which layers dominate what, and where the time is lost: a sentence each."""
    kinds = [_kind(roofline, name) for name in dict.fromkeys(x.kind for x in roofline.layers)]
    lines = []
    for aspect, layers in dominating(roofline).items():
        (kind, share), *_ = _shares(kinds, ASPECTS[aspect])
        named = ", ".join(f"{name} {part:.0%}" for name, part in layers)
        lines.append(f"{aspect}: {share:.0%} {kind}; most in {named}")
    whole = roofline.total
    peak = roofline.machine.flops_per_second[roofline.precision]
    lines.append(
        f"arithmetic: {whole.flops / whole.seconds / 1e9:,.0f} of {peak / 1e9:,.0f} GFLOP/s"
        f" ({roofline.peak_share:.0%}); the roofs would allow {1 / whole.attained:.1f} times"
        " the speed"
    )
    lost = sorted(
        ((one.seconds - one.floor, one) for one in by_kind(roofline)),
        key=lambda pair: -pair[0],
    )
    named = ", ".join(f"{one.name} {1e3 * seconds:,.1f} ms" for seconds, one in lost[:3])
    lines.append(f"farthest below their roofs: {named} of {1e3 * whole.seconds:,.1f} ms")
    return lines


def _kind(roofline: Roofline, kind: str) -> LayerTime:
    return next(one for one in by_kind(roofline) if one.name == kind)


def table(roofline: Roofline) -> Table:
    """The layers of a step."""
    phase = "training" if roofline.training else "use"
    shown = Table(title=f"{roofline.network}, {phase}, batch {roofline.batch_size}")
    for column in ("layer", "kind", "GFLOP", "MB moved", "FLOP/byte", "bound", "ms", "attained"):
        left = column in ("layer", "kind", "bound")
        shown.add_column(column, justify="left" if left else "right", no_wrap=True)
    for one in (*roofline.layers, roofline.total):
        shown.add_row(
            one.name,
            one.kind,
            f"{one.flops / 1e9:,.2f}",
            f"{one.bytes / 1e6:,.1f}",
            f"{one.intensity:,.1f}",
            one.bound,
            f"{1e3 * one.seconds:,.2f}",
            f"{one.attained:.0%}",
        )
    return shown


def draw_roofline(roofline: Roofline, path: Path) -> None:
    """`under_roofs` in a file; its ending says SVG, PNG or PDF.

    `check_picture` tells beforehand whether it can be drawn.
    """
    save_picture(under_roofs(roofline), path)


@on_white
def under_roofs(roofline: Roofline) -> "Figure":
    """The layers as points under the roofs, both axes logarithmic, sized by their time.

    Layers without products stand at one operation for each number that they read; what takes less
    than a ten thousandth of the time is left out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    whole = roofline.total.seconds
    points = {
        one.name: (one.intensity, (one.flops + one.others) / one.seconds / 1e9)
        for one in roofline.layers
        if one.flops + one.others and one.name != UPDATE and one.seconds > whole / 1e4
    }
    kinds = [one.name for one in by_kind(roofline)]
    groups: dict[str, list[LayerTime]] = defaultdict(list)
    for one in roofline.layers:
        place = kinds.index(one.kind)
        groups[one.kind if place < len(COLOURS) - 1 else "others"].append(one)
    for (kind, layers), colour in zip(groups.items(), COLOURS, strict=False):
        shown = [one for one in layers if one.name in points]
        axes.scatter(
            [points[one.name][0] for one in shown],
            [points[one.name][1] for one in shown],
            [15 + 600 * one.seconds / whole for one in shown],
            color=colour,
            alpha=0.75,
            edgecolors="none",
            label=kind,
        )
    _draw_roofs(axes, roofline, [x for x, _ in points.values()])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte read or written")
    axes.set_ylabel("10⁹ operations a second")
    phase = "training" if roofline.training else "use"
    axes.set_title(
        f"{roofline.network}, {phase}, batch {roofline.batch_size}, {roofline.precision}:"
        f" {roofline.total.attained:.0%} of the roofs",
        fontsize="medium",
    )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, loc="lower right", title="size: share of the time")
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_sizes([40])  # type: ignore[attr-defined]
    slowest = sorted(roofline.layers, key=lambda one: -one.seconds)
    named = [one.name for one in slowest if one.name in points][:LABELS]
    label_points(figure, axes, {name: points[name] for name in named})
    return figure


def _draw_roofs(axes: "Axes", roofline: Roofline, intensities: Sequence[float]) -> None:
    """The slope of the bandwidth and the peaks of fp32 and of the precision used."""
    width = roofline.machine.bytes_per_second / 1e9
    peaks = {
        name: peak / 1e9
        for name, peak in roofline.machine.flops_per_second.items()
        if name in ("fp32", roofline.precision)
    }
    highest = peaks[roofline.precision] / width
    left, right = min(intensities) / 2, 2 * max(*intensities, highest)
    axes.plot([left, highest], [left * width, highest * width], color="#777777", lw=1, zorder=0)
    small = {"textcoords": "offset points", "fontsize": "small"}
    axes.annotate(f"{width:,.0f} GB/s", (1, width), (8, -8), **small)  # type: ignore[arg-type]
    for name, peak in peaks.items():
        dash = "-" if name == roofline.precision else ":"
        axes.plot([peak / width, right], [peak, peak], dash, color="#777777", lw=1, zorder=0)
        text = f"{name}: {peak:,.0f} GFLOP/s"
        axes.annotate(text, (peak / width, peak), (-8, -3), ha="right", **small)  # type: ignore[arg-type]
