"""Differences and luck, on figures whose answer is known."""

from statistics import mean, stdev

import pytest
from scipy import stats

from convworks.studies.luck import Comparison, compare, largest_usable
from convworks.studies.reader import parse_study
from convworks.studies.runs import Cell, Found
from convworks.studies.study import Study
from studies.test_reader import WHOLE


def study(more: str = "") -> Study:
    return parse_study(WHOLE.replace('["test_accuracy"]', '["test_accuracy"]' + more), "s", "s")


def cell(variant: str, value: float, accuracies: list[float | None]) -> Cell:
    there = [x for x in accuracies if x is not None]
    found = Found(
        tuple(accuracies),
        mean(there) if there else None,
        stdev(there) if len(there) > 1 else None,
    )
    figures = {"test_accuracy": found, "val_accuracy": found}
    return Cell(variant, value, figures, accuracies.count(None))


CELLS = (
    cell("sigmoid", 8, [0.50, 0.51, 0.52]),
    cell("sigmoid", 16, [0.70, 0.72, 0.71]),
    cell("relu", 8, [0.80, 0.81, 0.82]),
    cell("relu", 16, [0.71, 0.69, 0.73]),
)


def test_differences_are_tested_and_corrected_for_their_number() -> None:
    far = float(stats.ttest_ind([0.8, 0.81, 0.82], [0.5, 0.51, 0.52], equal_var=False).pvalue)
    first, second = compare(study(), CELLS)
    assert (first.first, first.second, first.verdict) == (
        "relu at 8",
        "sigmoid at 8",
        "beyond luck",
    )
    assert first.difference == pytest.approx(0.30)
    assert first.p == pytest.approx(2 * far)  # Holm: the smaller of two
    assert second.verdict == "luck not excluded"
    assert second.difference == pytest.approx(0.0)
    assert second.p == pytest.approx(1.0)


def test_the_best_are_chosen_on_validation_and_ends_are_compared() -> None:
    (best,) = compare(study('\ncompare = ["best"]'), CELLS)
    assert (best.first, best.second) == ("relu at 8", "sigmoid at 16")
    before = compare(study('\ncompare = ["previous"]'), CELLS)
    assert [(one.first, one.second) for one in before] == [
        ("relu at 8", "sigmoid at 8"),
        ("relu at 16", "sigmoid at 16"),
    ]
    ends = compare(study('\ncompare = ["ends"]'), CELLS)
    assert [(one.first, one.second) for one in ends] == [
        ("sigmoid at 16", "sigmoid at 8"),
        ("relu at 16", "relu at 8"),
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_few_seeds_never_exclude_luck(count: int) -> None:
    few = [cell("sigmoid", 8, [0.1, 0.11][:count]), cell("relu", 8, [0.9, 0.91][:count])]
    (found,) = compare(study(), few)
    assert found == Comparison(
        "relu at 8", "sigmoid at 8", pytest.approx(0.8), None, "luck not excluded"
    )


def test_what_diverged_is_not_compared_and_seeds_that_agree_are_not_tested() -> None:
    (found,) = compare(study(), [CELLS[0], cell("relu", 8, [0.9, None, 0.9])])
    assert (found.difference, found.p, found.verdict) == (None, None, "diverged")
    ten = cell("sigmoid", 8, [0.1] * 3)  # as of networks that learn nothing
    (found,) = compare(study(), [ten, CELLS[2]])
    assert found.verdict == "beyond luck"
    same = [cell("sigmoid", 8, [0.1] * 3), cell("relu", 8, [0.1] * 3)]
    assert compare(study(), same)[0].verdict == "luck not excluded"


def test_the_largest_usable_value_needs_every_seed() -> None:
    asked = study("\nusable = 0.7")
    assert largest_usable(asked, CELLS) == {"sigmoid": 16, "relu": 8}
    assert largest_usable(asked, [cell("relu", 8, [0.9, None, 0.9])]) == {"relu": None}
    assert largest_usable(study(), CELLS) == {}
