"""Studies' pictures of made-up figures: legible, and nothing in them hidden or beyond its scale."""

import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from convworks.studies.picture import study_picture
from convworks.studies.reader import parse_study
from convworks.studies.runs import Cell, Found
from convworks.studies.study import Value
from legible import illegible, labels

STUDY = """
question = "?"
source = "a test"
measure = ["test_accuracy", "train_loss"]
figure = "lines"
[fixed]
network = "lenet"
data = "digits"
[variants.a]
[axis]
label = "learning rate"
scale = "log"
points = [{value = 0.01}, {value = 0.1}, {value = 1}, {value = 10}]
[quick]
[full]
"""
RATES = (0.01, 0.1, 1, 10)


def found(centre: float | None, spread: float) -> Found:
    return Found((centre,) * 3, centre, None if centre is None else spread)


def cell(
    variant: str, value: Value | None, accuracy: float | None, loss: float | None = None
) -> Cell:
    figures = {"test_accuracy": found(accuracy, 0.04), "train_loss": found(loss, 0.3)}
    return Cell(variant, value, figures, diverged=accuracy is None)


def drawn(cells: list[Cell], text: str = STUDY) -> Figure:
    return study_picture(parse_study(text, "made-up", "made-up.toml"), cells)


def many(variants: int) -> list[Cell]:
    """So many variants, all alike."""
    return [
        cell(f"the variant number {i}", rate, 0.98, 0.1 + rate)
        for i in range(variants)
        for rate in RATES
    ]


def bars(cells: list[Cell]) -> Figure:
    text = STUDY.split("[axis]")[0].replace('"lines"', '"bars"') + "[quick]\n[full]\n"
    return drawn(cells, text)


@pytest.mark.parametrize("variants", [1, 2, 7])
def test_lines_can_be_read(variants: int) -> None:
    figure = drawn([*many(variants), cell("lost", 0.01, 0.5, 0.2), cell("lost", 10, None)])
    assert list(illegible(figure)) == []
    shown = [text for text, _ in labels(figure)]
    assert {"0.01", "0.1", "1", "10", "learning rate", "a training diverged"} <= set(shown)
    assert shown.count("lost") == 1


def test_rows_can_be_read() -> None:
    rows = [cell(f"variant {i}", None, 0.1 * i, 20.0 ** (i - 3)) for i in range(7)]
    figure = bars([*rows, cell("lost", None, None)])
    assert list(illegible(figure)) == []
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log"]
    assert "diverged" in {text for text, _ in labels(figure)}


def test_variants_at_one_value_stand_beside_each_other_and_look_different() -> None:
    figure = drawn(many(8))
    accuracy = figure.axes[0]
    lines = [line for line in accuracy.lines if len(line.get_xydata()) == 4]
    series = [line for line in lines if line.get_marker() not in ("_", "x")]
    assert len(series) == 8
    for place, rate in enumerate(RATES):
        beside = [line.get_xdata()[place] for line in series]
        assert len(set(beside)) == 8
        assert rate / 2 < min(beside) < rate < max(beside) < 2 * rate
    assert list(accuracy.get_xticks()) == list(RATES)
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in series}
    assert len(looks) == 8


def test_losses_over_more_than_a_decade_are_drawn_on_a_logarithmic_scale() -> None:
    for largest, scale in ((0.9, "linear"), (2.0, "log")):
        figure = drawn([cell("a", 0.01, 0.5, 0.1), cell("a", 1, 0.5, largest), cell("a", 10, None)])
        assert [axes.get_yscale() for axes in figure.axes] == ["linear", scale]


def test_no_accuracy_is_beyond_what_there_is() -> None:
    figure = drawn([cell("a", 0.01, 0.98, 1.0), cell("a", 0.1, 0.02, 1.0)])
    (spreads,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    ends = [tuple(y for _, y in segment) for segment in spreads.get_segments()]
    assert ends == [pytest.approx((94, 100)), pytest.approx((0, 6))]
