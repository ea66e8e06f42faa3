"""Pictures of data and of what networks learned: legible, and showing what they were given."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import convworks as cw
from convworks.errors import InputError
from convworks.report.tiles import RIGHT, WRONG
from convworks.train.observer import EpochRecord
from legible import illegible, labels

NAMES = ["ant", "a class with a name that is far too long to be drawn", "coffee mug, white", "d"]
PICTURES = (torch.arange(7 * 3 * 16 * 16) % 251).reshape(7, 3, 16, 16).to(torch.uint8)


def shown(figure: Figure) -> list[str]:
    return [text for text, _ in labels(figure)]


def test_samples_have_their_labels() -> None:
    names = [NAMES[i % 4] for i in range(7)]
    figure = cw.figures.samples(PICTURES, names)
    assert list(illegible(figure)) == []
    assert shown(figure).count("coffee mug, white") == 2
    assert any(text.endswith("…") for text in shown(figure))
    drawn = figure.axes[2].images[0].get_array()
    assert drawn is not None
    assert np.array_equal(drawn, PICTURES[2].movedim(0, 2).numpy())


def test_predictions_are_bars_with_the_truth_marked() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1, 0.0], [0.1, 0.15, 0.2, 0.55]] + [[0.25] * 4] * 5)
    names = ["ant", "ant", *["d"] * 5]
    figure = cw.figures.predictions(PICTURES, names, probabilities, NAMES)
    assert list(illegible(figure)) == []
    assert {"ant ✓", "70%", "55%", "15%"} <= set(shown(figure))
    bars = [axes.patches for axes in figure.axes if axes.patches]
    assert len(bars) == 7
    assert bars[0][0].get_facecolor()[:3] == pytest.approx(to_rgb(RIGHT))
    assert bars[1][0].get_facecolor()[:3] == pytest.approx(to_rgb(WRONG))
    assert bars[1][0].get_width() == pytest.approx(0.55)
    unknown = cw.figures.predictions(PICTURES[:1], [], probabilities[:1], NAMES)
    assert list(illegible(unknown)) == []
    assert not any("✓" in text for text in shown(unknown))
    two = cw.figures.predictions(PICTURES[:1], ["a"], probabilities[:1, :2], ["a", "b"])
    assert list(illegible(two)) == []


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_are_the_weights(channels: int) -> None:
    conv = nn.Conv2d(channels, 6, 5)
    figure = cw.figures.filters(nn.Sequential(conv))
    assert list(illegible(figure)) == []
    assert f"0: 6 filters {channels}×5×5" in shown(figure)
    assert len(figure.axes) == 6
    drawn = np.asarray(figure.axes[3].images[0].get_array(), dtype=float)
    weights = conv.weight[3].detach()
    wanted = weights.movedim(0, 2) if channels == 3 else weights.mean(0)
    assert np.corrcoef(drawn.ravel(), wanted.numpy().ravel())[0, 1] > 0.999
    assert abs(drawn - 127.5).max() == pytest.approx(127.5, abs=1), "the largest is black or white"
    with pytest.raises(InputError, match="no convolution"):
        cw.figures.filters(nn.Linear(2, 2))
    with pytest.raises(InputError, match="no convolution '9'. Known: "):
        cw.figures.filters(nn.Sequential(conv), "9")


def test_feature_maps_stand_in_rows() -> None:
    found = {"a.long.name.of.a.layer": torch.rand(1, 20, 9, 9), "b": torch.rand(1, 2, 4, 4)}
    figure = cw.figures.feature_maps(PICTURES[0], found)
    assert list(illegible(figure)) == []
    assert shown(figure) == ["a.long.name.of.a.layer  20×9×9", "b  2×4×4"]
    assert len(figure.axes) == 1 + 8 + 2
    with pytest.raises(InputError, match="no maps"):
        cw.figures.feature_maps(PICTURES[0], {})


def test_where_the_network_looked_is_light() -> None:
    seen = torch.zeros(2, 16, 16)
    seen[:, :8, :8] = 1
    grey = torch.full((2, 1, 16, 16), 128, dtype=torch.uint8)
    figure = cw.figures.activation_maps(grey, seen, ["ant", "d (is ant)"])
    assert list(illegible(figure)) == []
    drawn = np.asarray(figure.axes[0].images[0].get_array(), dtype=float)
    half = drawn[:, -16:]
    light = [colorsys.rgb_to_hls(*half[y, x])[1] for y, x in ((4, 4), (12, 12))]
    assert light[0] > light[1] + 0.1
    with pytest.raises(InputError, match="2 pictures do not fit 1"):
        cw.figures.activation_maps(PICTURES[:2], seen[:1], ["a", "b"])
    with pytest.raises(InputError, match="N×1×H×W or N×3×H×W, not 2×5×4×4"):
        cw.figures.samples(torch.zeros(2, 5, 4, 4, dtype=torch.uint8), ["a", "b"])
    with pytest.raises(InputError, match="no pictures"):
        cw.figures.samples(PICTURES[:0], [])


@pytest.mark.parametrize("count", [2, 10, 100])
def test_a_confusion_matrix_has_its_counts(count: int) -> None:
    classes = [f"class number {i}" for i in range(count)]
    matrix = [[9876 if i == j else (i + j) % 3 for j in range(count)] for i in range(count)]
    figure = cw.figures.confusion_matrix(matrix, classes)
    assert list(illegible(figure)) == []
    texts = shown(figure)
    assert texts.count("class number 1") == 2, "a row and a column"
    assert texts.count("9876") == (count if count <= 30 else 0)
    with pytest.raises(InputError, match="as many rows"):
        cw.figures.confusion_matrix([[1, 2]], ["a", "b"])


def test_the_books_three_curves_stand_in_one() -> None:
    history = [
        EpochRecord(i, 2 / i, 1 - 0.5 / i, 2.1 / i, 1 - 0.6 / i, 0.1, 1.0, 1.0)
        for i in range(1, 11)
    ]
    figure = cw.figures.three_curves(history, "lenet-digits")
    (axes,) = figure.axes
    assert list(illegible(figure)) == []
    drawn = {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {
        "train loss": [r.train_loss for r in history],
        "train accuracy": [r.train_accuracy for r in history],
        "validation accuracy": [r.val_accuracy for r in history],
    }
    assert len({line.get_linestyle() for line in axes.lines}) == 3, "apart without colours too"


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_pictures_stand_on_white_and_are_written_whole(ending: str, tmp_path: Path) -> None:
    """So that they can be read on any page."""
    path = tmp_path / f"a.{ending}"
    cw.figures.save_picture(cw.figures.architecture("lenet"), path)
    first = path.read_bytes()
    cw.figures.save_picture(cw.figures.architecture("lenet"), path)
    assert path.read_bytes() == first, "the same picture, the same bytes"
    if ending == "png":
        picture = Image.open(path).convert("RGBA")
        assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
        assert picture.getextrema()[3] == (255, 255), "nothing shines through"
    else:
        assert b"fill: #ffffff" in first
    with pytest.raises(InputError, match=r"Cannot write .*missing"):
        cw.figures.save_picture(cw.figures.architecture("lenet"), tmp_path / "missing" / "a.svg")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
