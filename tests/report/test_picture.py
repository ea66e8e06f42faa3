"""What pictures share."""

from matplotlib.figure import Figure

from convworks.report.picture import label_points
from legible import illegible, labels


def test_names_of_points_close_together_can_all_be_read() -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    points = {f"features.block{i}.conv": (1 + i / 100, 1 + i % 3 / 100) for i in range(9)}
    axes.scatter(*zip(*points.values(), strict=True), label="layers")
    axes.set_xlim(0, 2)
    axes.set_ylim(0, 2)
    axes.annotate("a roof", (1, 1), (20, 40), textcoords="offset points")
    axes.legend(loc="lower right")
    label_points(figure, axes, points)
    assert list(illegible(figure)) == []
    assert {text for text, _ in labels(figure)} >= {"a roof", *points}
