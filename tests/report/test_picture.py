"""What pictures share: names beside points, colours, and that labels can be read."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context, style
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from convworks.bench.machine import Machine
from convworks.bench.roofline import LayerTime, Roofline
from convworks.report.compare import Entry, accuracy_over_cost
from convworks.report.curves import curves, three_curves
from convworks.report.labels import label_points
from convworks.report.roofline import under_roofs
from convworks.train.observer import EpochRecord
from legible import dots, illegible, labels, lines

MEASURED = json.loads(
    (Path(__file__).parents[2] / "benchmarks/results/roofline.json").read_text(encoding="utf-8")
)
HISTORIES = {
    "learning": [
        EpochRecord(*(i, 2.2 * 0.7**i, 1 - 0.8**i, 2.2 * 0.75**i, 0.97 - 0.8**i), 0.01, 1000.0, 1.0)
        for i in range(1, 21)
    ],
    "not learning": [EpochRecord(i, 2.3, 0.1, 2.3, 0.1, 0.01, 1000.0, 1.0) for i in range(1, 4)],
    "of one epoch": [EpochRecord(1, 0.62, 0.61, 0.6, 0.6, 0.01, 1000.0, 1.0)],
    "unsteady": [
        EpochRecord(i, 1 / (1 + i % 3), 0.5 + 0.4 * (i % 2), 1.5, 0.3 * (i % 4), 0.01, 1000.0, 1.0)
        for i in range(1, 13)
    ],
}


def test_names_of_points_close_together_can_all_be_read() -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    points = {f"features.block{i}.conv": (1 + i / 30, 1 + i % 3 / 30) for i in range(9)}
    axes.scatter(*zip(*points.values(), strict=True), [20, 60, 120] * 3, label="layers")
    axes.plot([0, 2], [0.8, 1.3])
    axes.set_xlim(0, 2)
    axes.set_ylim(0, 2)
    axes.annotate("a roof", (1, 1), (20, 40), textcoords="offset points")
    axes.legend(loc="lower right")
    label_points(figure, axes, points)
    assert [text for text in illegible(figure) if not text.startswith("a roof")] == []
    assert {text for text, _ in labels(figure)} >= {"a roof", *points}


def test_a_name_without_a_place_is_left_out() -> None:
    figure = Figure(figsize=(2, 2), layout="constrained")
    axes = figure.subplots()
    points = {f"a name as long as the picture {i}": (i, i) for i in range(20)}
    axes.scatter(*zip(*points.values(), strict=True))
    label_points(figure, axes, points)
    assert not {text for text, _ in labels(figure)} & set(points)


def test_a_line_leads_from_a_name_that_is_far_to_the_edge_of_its_own_dot() -> None:
    figure = Figure(figsize=(4, 4))
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.scatter([0.5], [0.5], [2000])
    around = [(0.5 + 0.14 * np.cos(a), 0.5 + 0.14 * np.sin(a)) for a in np.arange(0, 6.3, 0.2)]
    axes.scatter(*zip(*around, strict=True), 100)
    label_points(figure, axes, {"far": (0.5, 0.5)})
    labels(figure)  # draws, which puts the line in its place
    ((way, _),) = lines(figure)
    x, y, radius = dots(figure)[0]
    assert np.hypot(*(way.vertices[-1] - (x, y))) == pytest.approx(radius, abs=1)


@pytest.mark.parametrize(
    "step", MEASURED["networks"], ids=lambda one: f"{one['network']}-{one['training']}"
)
def test_every_network_under_the_roofs_can_be_read(step: dict[str, object]) -> None:
    names = [field.name for field in fields(LayerTime)]
    layers = tuple(LayerTime(**{name: layer[name] for name in names}) for layer in step["layers"])  # type: ignore[attr-defined]
    facts = [step[name] for name in ("network", "training", "batch_size", "precision")]
    figure = under_roofs(Roofline(*facts, Machine(**MEASURED["machine"]), layers))  # type: ignore[arg-type]
    assert list(illegible(figure)) == []
    named = {text.get_text() for text in figure.axes[0].texts} & {one.name for one in layers}
    assert len(named) >= 4, "of the six slowest; the others' dots may lie beneath them"


@pytest.mark.parametrize("draw", [curves, three_curves])
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_curves_can_be_read(
    draw: Callable[[list[EpochRecord], str], Figure], history: list[EpochRecord]
) -> None:
    figure = draw(history, "lenet on digits\nvalidation accuracy 0.9931, 12,345 images/s")
    assert list(illegible(figure)) == []


def entry(name: str, macs: int, accuracy: float) -> Entry:
    return Entry(name, "1×28×28", 1, macs, 1, 1, 1, accuracy=accuracy, accuracy_deviation=0.01)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_accuracies_over_costs_can_be_read(count: int) -> None:
    """Networks along a front, close to each other, with errors that reach over it."""
    entries = [
        entry(f"efficientnet_b{i} stem=small", 10**7 + i * 10**6, 0.9 + 0.005 * (i % 4))
        for i in range(count)
    ]
    figure = accuracy_over_cost(entries)
    assert list(illegible(figure)) == []
    assert {text for text, _ in labels(figure)} >= {one.model for one in entries}


@pytest.mark.parametrize("dark", ["dark_background", "grayscale"])
def test_pictures_are_dark_on_white_in_every_style(dark: str) -> None:
    with style.context(dark), rc_context({"font.family": "monospace"}):
        figure = three_curves(HISTORIES["learning"])
    assert to_rgb(figure.get_facecolor()) == (1, 1, 1)
    (axes,) = figure.axes
    assert to_rgb(axes.get_facecolor()) == (1, 1, 1)
    legend = axes.get_legend()
    assert legend is not None
    written: list[Text] = [*axes.get_xticklabels(), axes.xaxis.label, *legend.get_texts()]
    assert {to_rgb(text.get_color()) for text in written} == {(0, 0, 0)}
    assert {text.get_fontfamily()[0] for text in written} == {"monospace"}
