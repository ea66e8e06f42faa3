"""A study with what its runs found: as a table and as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from rich.table import Table

from convworks.errors import unknown
from convworks.studies.figures import FIGURES
from convworks.studies.luck import Comparison, compare, largest_usable
from convworks.studies.picture import draw_study
from convworks.studies.reader import load_study
from convworks.studies.runs import Cell, Work, collect, complete
from convworks.studies.study import Budget, Study, Value, show_value


@dataclass(frozen=True)
class Answer:
    """What a study found. `to_dict()` has every seed's figures unrounded."""

    study: Study
    budget: Budget
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    largest_usable: Mapping[str, Value | None]
    places: tuple[Mapping[str, object], ...]
    """The machines, versions and precisions that the figures are from."""
    full: tuple[int, int]
    """Of the full budget's runs those that are complete beside these, and all."""

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {
            "study": self.study.name,
            "question": self.study.question,
            "source": self.study.source,
            "budget": self.budget,
            "seeds": self.study.plans[self.budget].seeds,
            "cells": [asdict(cell) for cell in self.cells],
            "comparisons": [asdict(one) for one in self.comparisons],
            "largest_usable": dict(self.largest_usable),
            "environments": [dict(one) for one in self.places],
            "reading": self.study.reading.get(self.budget),
        }

    def table(self) -> Table:
        """The cells, for a rich console."""
        table = Table(title=self.study.question, title_justify="left")
        for heading, number in self.headings():
            table.add_column(heading, justify="right" if number else "left")
        for row in self.rows():
            table.add_row(*row)
        return table

    def lines(self) -> list[str]:
        """What is computed about the cells, in sentences."""
        found = [_sentence(one, self.study) for one in self.comparisons]
        for variant, value in self.largest_usable.items():
            assert self.study.axis is not None
            reached = "none that was tried" if value is None else show_value(value)
            if value is not None and value == max(float(cell.value or 0) for cell in self.cells):
                reached += " (the largest tried)"
            found.append(
                f"{variant}: the largest {self.study.axis.label} at which every seed reaches"
                f" {100 * (self.study.usable or 0):g} % is {reached}"
            )
        return found

    @property
    def drawable(self) -> bool:
        """Whether there is any figure: not when every training diverged."""
        return any(one.centre is not None for cell in self.cells for one in cell.figures.values())

    def draw(self, path: str | Path) -> None:
        """Writes the picture as SVG, PNG or PDF; InputError when there is nothing to draw."""
        draw_study(self.study, self.cells, Path(path))

    def headings(self) -> list[tuple[str, bool]]:
        """Of the columns, and whether they hold numbers."""
        axis = [(self.study.axis.label, True)] if self.study.axis else []
        return [
            ("variant", False),
            *axis,
            *((FIGURES[name].label, True) for name in self.study.measure),
        ]

    def rows(self) -> list[list[str]]:
        """Of the table, as text."""
        return [
            [
                cell.variant,
                *([] if cell.value is None else [show_value(cell.value)]),
                *(_cell(cell, name) for name in self.study.measure),
            ]
            for cell in self.cells
        ]


def answer(study: Study, budget: Budget, work: Work) -> Answer:
    """Carries a study out, as far as that is not done yet."""
    cells, places = collect(study, budget, work)
    return Answer(
        study,
        budget,
        tuple(cells),
        tuple(compare(study, cells)),
        largest_usable(study, cells),
        tuple(places),
        complete(study, "full", work.folder.with_name("full")),
    )


def _cell(cell: Cell, name: str) -> str:
    figure, found = FIGURES[name], cell.figures[name]
    text = "" if found.centre is None else figure.show(found.centre)
    if text and found.spread is not None:
        text += f" ± {figure.show(found.spread)}"
    if cell.diverged and figure.how == "trained":
        text += f" ({cell.diverged} of {len(found.values)} diverged)"
    return text.strip()


def _sentence(one: Comparison, study: Study) -> str:
    figure = FIGURES[study.measure[0]]
    if one.difference is None:
        return f"{one.first} against {one.second}: a training diverged, nothing to compare"
    far = abs(one.difference)
    shown = f"{100 * far:.2f} points" if figure.kind == "share" else figure.show(far)
    size = f"{'+' if one.difference >= 0 else '−'}{shown}"
    p = f", p = {one.p:.2g}" if one.p is not None else ""
    return f"{one.first} against {one.second}: {size} in {figure.label}: {one.verdict}{p}"


def table_of(studies: Sequence[Study]) -> Table:
    """Name, question, runs and minutes of each budget."""
    table = Table()
    for heading in ("study", "question", "quick", "full"):
        table.add_column(heading, no_wrap=heading != "question")
    for study in studies:
        costs = []
        for plan in ("quick", "full"):
            runs, minutes = study.runs(plan), study.plans[plan].minutes
            trained = f"{runs} runs" if study.trained else "no training"
            costs.append(trained + (f", {duration(minutes)}" if minutes else ""))
        table.add_row(study.name, study.question, *costs)
    return table


def duration(minutes: float) -> str:
    """Roughly."""
    if minutes < 90:
        return f"~{minutes:g} min"
    hours = minutes / 60
    return f"~{hours:.0f} h" if hours < 48 else f"~{hours / 24:.0f} days"


def study(
    name: str | Path,
    *,
    budget: Budget = "quick",
    runs: str | Path = "runs/studies",
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Answer:
    """A question answered by a grid of runs: a shipped study, or a TOML file of the user's.

    Trainings are run folders below `runs`/NAME/BUDGET: what is complete there is read, what was
    stopped goes on. Raises InputError for an unknown study, for a file that does not fit (its line
    names the key) and for a folder that holds a run of other settings.
    """
    if budget not in get_args(Budget):
        raise unknown("budget", budget, get_args(Budget))
    asked = load_study(name)
    return answer(asked, budget, Work(Path(runs) / asked.name / budget, data_root, progress))
