"""The page from invented records."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from convworks.report.confusion import Answers, heat_picture, heat_table, most_frequent
from convworks.report.overlay import draw_overlay, line
from convworks.report.page import RunRecord, render
from convworks.train.observer import EpochRecord

HISTORY = tuple(
    EpochRecord(i, 2.0 / i, 0.5 + i / 20, 2.1 / i, 0.5 + i / 25, 0.01, 1000.0, 1.5)
    for i in range(1, 6)
)


def record(name: str, **train: object) -> RunRecord:
    settings = {
        "data": {"name": "digits", "digest": "0" * 64},
        "model": None,
        "train": {"epochs": 9, "lr": 0.1} | train,
        "classes": ["a", "b"],
        "preparation": {},
        "environment": {"torch": "2.15", "cpu": "one"},
    }
    return RunRecord(name, settings, HISTORY, None, None, None, None, "not asked")


def test_settings_that_differ_stand_apart() -> None:
    text = render([record("x", seed=1), record("y", seed=2, lr=0.1), record("z")])
    differing, shared = text.split("Settings that all runs share", 1)
    assert "train.seed" in differing
    assert "train.lr" not in differing
    assert "<td>0.1</td>" in shared.split("train.lr", 1)[1][:40]
    assert "All settings are the same." in render([record("x"), record("y")])


def test_more_settings_than_runs_stand_below_each_other() -> None:
    across = 'class="across"'
    assert across not in render([record("x", seed=1), record("y", seed=2)])
    assert across in render([record("x", seed=1, a=1, b=1), record("y", seed=2, a=2, b=2)])


def test_twenty_runs_have_twenty_lines_and_no_id_twice() -> None:
    text = render([record(f"run {i}", seed=i) for i in range(20)])
    assert len({line(i) for i in range(24)}) == 24
    assert text.count('<svg role="img"') == 4
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) > 50
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert asked <= set(ids)
    assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]+"', "", text)
    assert len(text) < 500_000


def test_runs_without_an_epoch_or_with_odd_figures() -> None:
    assert draw_overlay([(), ()]) == []
    assert "No epoch is over yet." in render([replace(record("x"), history=())])
    broken = replace(HISTORY[0], val_loss=float("nan"), train_loss=float("inf"))
    assert len(draw_overlay([(broken,), ()])) == 4


def test_other_classes_do_not_compare() -> None:
    other = record("y")
    other = replace(other, settings=dict(other.settings) | {"classes": ["a", "c"]})
    assert "different classes: their accuracies do not compare" in render([record("x"), other])
    assert "do not compare" not in render([record("x"), record("y")])


def test_the_matrix() -> None:
    found = Answers(("a", "b", "c"), ((8, 2, 0), (0, 4, 0), (0, 0, 0)), ())
    rows = heat_table(found)
    assert [share for _, _, share in rows] == ["80.0%", "100.0%", ""]
    assert [cell.count for cell in rows[0][1]] == [8, 2, 0]
    assert rows[1][1][1].colour == "rgb(0 90 141 / 1.00)"
    assert rows[0][1][1].colour == "rgb(176 72 0 / 0.45)"
    assert [cell.strong for cell in rows[0][1]] == [True, False, False]
    assert most_frequent(found)[0] == ("a", "b", 2)


@pytest.mark.parametrize("classes", [20, 100])
def test_many_classes_are_a_picture(classes: int) -> None:
    counts = np.eye(classes, dtype=int) * 9
    counts[3, 5] = 7
    labels = tuple(f"class {i}" for i in range(classes))
    found = Answers(labels, tuple(map(tuple, counts.tolist())), ())
    text = render([replace(record("x"), tested=found)])
    assert ('<table class="matrix' in text) == (classes == 20)
    assert ("class 3</td><td>class 5</td>" in text) == (classes == 100)
    bytes_ = base64.b64decode(heat_picture(found).split(",")[1])
    picture = np.array(Image.open(io.BytesIO(bytes_)))[::4, ::4]
    assert picture.shape == (classes, classes, 4)
    assert picture[0, 0].tolist() == [0, 90, 141, 255]
    assert picture[3, 5].tolist() == [176, 72, 0, round(255 * (7 / 16) ** 0.5)]
    assert picture[5, 3, 3] == 0
