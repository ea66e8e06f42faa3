"""Whether a difference is more than luck."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import mean, stdev
from typing import Literal

from scipy import stats

from convworks.studies.figures import FIGURES
from convworks.studies.runs import Cell
from convworks.studies.study import Study, Value, cell_title

LEVEL = 0.05
"""Below such a p, corrected, a difference is called more than luck."""
LEAST_SEEDS = 3
"""With fewer, the spread itself is a guess."""

Verdict = Literal["beyond luck", "luck not excluded", "diverged"]


@dataclass(frozen=True)
class Comparison:
    """A cell against another in the study's first figure."""

    first: str
    second: str
    difference: float | None
    """The mean of the first less that of the second; None when a training diverged."""
    p: float | None
    """Two-sided, of Welch's t test over the seeds, corrected by Holm's method for the number of the
    study's comparisons; None with fewer than three seeds."""
    verdict: Verdict


def compare(study: Study, cells: Sequence[Cell]) -> list[Comparison]:
    """The comparisons that the study asks for, of its first figure, if it is trained."""
    name = study.measure[0]
    if FIGURES[name].how != "trained":
        return []
    found: list[Comparison] = []
    for first, second in _pairs(study, cells):
        one = _compare(first, second, name)
        if all((o.first, o.second) != (one.first, one.second) for o in found):
            found.append(one)
    return _corrected(found)


def _pairs(study: Study, cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    by_variant: dict[str, list[Cell]] = {}
    for cell in cells:
        by_variant.setdefault(cell.variant, []).append(cell)
    others = [name for name in by_variant if name != study.baseline]
    base = by_variant.get(study.baseline, [])
    pairs: list[tuple[Cell, Cell]] = []
    if "each" in study.compare:
        pairs += [
            (cell, one)
            for name in others
            for cell in by_variant[name]
            for one in base
            if cell.value == one.value
        ]
    if "previous" in study.compare:
        order = [*by_variant]
        pairs += [
            (cell, one)
            for before, name in pairwise(order)
            for cell in by_variant[name]
            for one in by_variant[before]
            if cell.value == one.value
        ]
    if "best" in study.compare and base:
        pairs += [(best(by_variant[name]), best(base)) for name in others]
    if "ends" in study.compare:
        pairs += [(row[-1], row[0]) for row in by_variant.values() if len(row) > 1]
    return pairs


def best(row: Sequence[Cell]) -> Cell:
    """The one of the highest mean validation accuracy, one without divergence if there is."""

    def rank(cell: Cell) -> tuple[int, float]:
        return -cell.diverged, cell.figures["val_accuracy"].centre or 0.0

    return max(row, key=rank)


def _compare(first: Cell, second: Cell, name: str) -> Comparison:
    titles = cell_title(first.variant, first.value), cell_title(second.variant, second.value)
    if first.diverged or second.diverged:
        return Comparison(*titles, None, None, "diverged")
    ours, theirs = (
        [value for value in cell.figures[name].values if value is not None]
        for cell in (first, second)
    )
    difference = mean(ours) - mean(theirs)
    if min(len(ours), len(theirs)) < LEAST_SEEDS or stdev(ours) == stdev(theirs) == 0:
        return Comparison(*titles, difference, None, "luck not excluded")
    # From their moments: from the values SciPy warns of those that are all the same.
    p = stats.ttest_ind_from_stats(
        *(mean(ours), stdev(ours), len(ours)),
        *(mean(theirs), stdev(theirs), len(theirs)),
        equal_var=False,
    ).pvalue
    return Comparison(*titles, difference, float(p), "luck not excluded")


def _corrected(found: list[Comparison]) -> list[Comparison]:
    """Holm 1979: the smallest p times the number of comparisons, the next times one less, …"""
    tested = sorted((one for one in found if one.p is not None), key=lambda one: one.p or 0.0)
    least, adjusted = 0.0, {}
    for i, one in enumerate(tested):
        assert one.p is not None
        least = max(least, min(1.0, one.p * (len(tested) - i)))
        verdict: Verdict = "beyond luck" if least < LEVEL else "luck not excluded"
        adjusted[id(one)] = replace(one, p=least, verdict=verdict)
    return [adjusted.get(id(one), one) for one in found]


def largest_usable(study: Study, cells: Sequence[Cell]) -> dict[str, Value | None]:
    """The largest value of the axis at which every seed of a variant reaches `usable` on the test.

    None: at no value; nothing at all where the study does not ask.
    """
    found: dict[str, Value | None] = {}
    if study.usable is None:
        return found
    for cell in sorted(cells, key=lambda cell: float(cell.value or 0)):
        values = cell.figures["test_accuracy"].values
        found.setdefault(cell.variant, None)
        if all(value is not None and value >= study.usable for value in values):
            found[cell.variant] = cell.value
    return found
