"""A study's runs: trained, counted, measured; complete ones are read, stopped ones go on.

Trainings are ordinary run folders, BUDGET/VARIANT/seedN or BUDGET/VARIANT/VALUE/seedN.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import nn

from convworks.bench.contest import Contestant
from convworks.bench.memory import measure_memory
from convworks.bench.speed import measure_rate
from convworks.data.sources import load_data
from convworks.data.splits import Data
from convworks.errors import DivergedError, InputError
from convworks.files import check_inside, parse_json
from convworks.measure.memory import predict_memory
from convworks.measure.summary import summarize
from convworks.nets.initialization import seeded
from convworks.nets.registry import create_model
from convworks.report.console import ConsoleProgress
from convworks.report.curves import CurvesFile
from convworks.studies.figures import FIGURES
from convworks.studies.study import (
    Budget,
    Settings,
    Study,
    Value,
    cell_title,
    folder_name,
    show_value,
)
from convworks.train.checkpoint import CONFIG, SUMMARY, read_settings, write_json
from convworks.train.config import TrainConfig
from convworks.train.device import environment, precision_name
from convworks.train.loop import fit
from convworks.train.observer import Observer
from convworks.train.opening import open_job, recipe_of
from convworks.train.processes import ALONE
from convworks.train.recipes import Recipe
from convworks.train.records import record
from convworks.train.run import Run

DIVERGED, COST = "diverged.json", "cost.json"
"""That a training ended without a finite loss, and why; what was measured by the clock."""
REPEATS = 5
PLACE = ("cpu", "gpu", "threads", "torch", "convworks")
"""Of the environment, what figures depend on."""


@dataclass(frozen=True)
class Found:
    """One figure of one cell. Numbers that there are not, for a run that diverged, are None."""

    values: tuple[float | None, ...]
    """Of the seeds in order; a single one where it is counted or measured."""
    centre: float | None
    """The mean of the seeds; the median of what is measured."""
    spread: float | None
    """The standard deviation between seeds; half of the way from slowest to fastest."""


@dataclass(frozen=True)
class Cell:
    """A variant, at a value of the axis if there is one."""

    variant: str
    value: Value | None
    figures: Mapping[str, Found]
    diverged: int
    """So many of its trainings ended without a finite loss."""


@dataclass(frozen=True)
class Work:
    """Where a study's runs are kept and shown."""

    folder: Path
    """`runs/studies/NAME/BUDGET`."""
    data_root: str | Path | None
    progress: bool


@dataclass(frozen=True)
class _Task:
    """One cell made ready."""

    variant: str
    value: Value | None
    settings: Settings
    data: Data
    folder: Path

    def model(self, seed: int) -> nn.Module:
        """The network, its weights drawn by the seed."""
        return seeded(
            seed,
            lambda: create_model(
                str(self.settings.network),
                num_classes=len(self.data.classes),
                in_channels=self.data.channels,
                image_size=self.data.image_size,
                options=self.settings.options,
            ),
        )

    def recipe(self) -> Recipe:
        """What a run of it trains with."""
        config = TrainConfig(**self.settings.train)  # type: ignore[arg-type]
        with torch.device("meta"):
            return recipe_of(self.model(0), self.data, config)

    def contestant(self) -> Contestant:
        """The network as `bench` knows it, in the run's batch size and precision."""
        return Contestant(
            str(self.settings.network),
            len(self.data.classes),
            self.data.channels,
            self.data.image_size,
            self.recipe().batch_size,
            precision_name=str(self.settings.train.get("precision", "auto")),
            options=dict(self.settings.options),
        )


def collect(study: Study, budget: Budget, work: Work) -> tuple[list[Cell], list[dict[str, object]]]:
    """The study's cells, and the places that their figures are from.

    Everything is checked before anything is trained. Raises InputError for a network, option or
    size that cannot be made, and for a folder that holds a run of other settings.
    """
    tasks = _tasks(study, budget, work)
    names = list(study.measure)
    places: list[dict[str, object]] = []
    cells = []
    seeds = study.plans[budget].seeds
    for i, task in enumerate(tasks):
        figures: dict[str, Found] = {}
        diverged = 0
        if study.trained:
            runs = []
            for seed in range(seeds):
                count = f"run {i * seeds + seed + 1} of {len(tasks) * seeds}"
                title = f"{count}: {cell_title(task.variant, task.value)}, seed {seed}"
                runs.append(_train(task, seed, title, work.progress))
                places.append(_place(task.folder / f"seed{seed}"))
            diverged = runs.count(None)
            figures |= _trained(runs)
        figures |= _counted(task, names)
        if any(FIGURES[name].how == "measured" for name in names):
            found, place = _measured(task, names)
            figures |= found
            places.append(place)
        cells.append(Cell(task.variant, task.value, figures, diverged))
    return cells, [one for i, one in enumerate(places) if one not in places[:i]]


def _tasks(study: Study, budget: Budget, work: Work) -> list[_Task]:
    """All cells with their data; their networks are made once, without weights, as a check."""
    known: dict[tuple[object, ...], Data] = {}
    tasks = []
    for variant, value, settings in study.cells(budget):
        folder = _cell_folder(work.folder, variant, value)
        check_inside(folder, work.folder)
        key = (settings.data, settings.image_size, settings.train_images)
        try:
            if key not in known:
                known[key] = load_data(
                    str(settings.data),
                    image_size=settings.image_size,
                    train_images=settings.train_images,
                    root=work.data_root,
                )
            task = _Task(variant, value, settings, known[key], folder)
            with torch.device("meta"):
                task.model(0)
        except InputError as error:
            raise InputError(f"{study.name}, {cell_title(variant, value)}: {error}") from error
        tasks.append(task)
    return tasks


def _cell_folder(folder: Path, variant: str, value: Value | None) -> Path:
    folder /= folder_name(variant)
    return folder if value is None else folder / folder_name(show_value(value))


def complete(study: Study, budget: Budget, folder: Path) -> tuple[int, int]:
    """How many of the budget's runs are complete in its folder, and how many there are.

    Where nothing is trained, what is measured counts as a run for each cell.
    """
    marks: list[list[Path]] = []
    for variant, value, _ in study.cells(budget):
        cell = _cell_folder(folder, variant, value)
        if study.trained:
            runs = [cell / f"seed{seed}" for seed in range(study.plans[budget].seeds)]
            marks += [[run / SUMMARY, run / DIVERGED] for run in runs]
        elif any(FIGURES[name].how == "measured" for name in study.measure):
            marks.append([cell / COST])
    return sum(any(mark.exists() for mark in one) for one in marks), len(marks)


def _train(task: _Task, seed: int, title: str, progress: bool) -> dict[str, float] | None:
    """The figures of a run, trained as far as it is not yet; None: it diverged."""
    folder = task.folder / f"seed{seed}"
    check_inside(folder, task.folder)
    config = TrainConfig(**task.settings.train, seed=seed, out=folder)  # type: ignore[arg-type]
    begun = (folder / CONFIG).exists()
    if begun and config.precision == "auto":  # what another machine chose stays
        config = replace(config, precision=read_settings(folder)["train"]["precision"])
    observers: list[Observer] = [CurvesFile()]
    if progress:
        observers.append(ConsoleProgress(title=title))
    try:
        if (folder / DIVERGED).exists():
            open_job(
                task.model(seed), task.data, config, (), True, ALONE
            ).restore()  # the same run?
            return None
        run = fit(task.model(seed), task.data, config, observers=observers, resume=begun)
    except DivergedError as error:
        write_json(folder / DIVERGED, {"reason": str(error)})
        return None
    except InputError as error:
        raise InputError(f"{error} Or choose another --runs for the study.") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("saved; the same command goes on from there") from None
    return {name: _figure(run, name) for name, one in FIGURES.items() if one.how == "trained"}


def _place(folder: Path) -> dict[str, object]:
    settings = read_settings(folder)
    known = settings["environment"]
    return {name: known[name] for name in PLACE} | {"precision": settings["train"]["precision"]}


def _trained(runs: list[dict[str, float] | None]) -> dict[str, Found]:
    """All that the trainings tell."""
    found = {}
    for name, figure in FIGURES.items():
        if figure.how == "trained":
            values = tuple(None if run is None else run[name] for run in runs)
            there = [value for value in values if value is not None]
            found[name] = Found(
                values,
                mean(there) if there else None,
                stdev(there) if len(there) > 1 else None,
            )
    return found


def _figure(run: Run, name: str) -> float:
    assert run.summary is not None
    holder = run.summary if hasattr(run.summary, name) else run.history[-1]
    return float(getattr(holder, name))


def _counted(task: _Task, names: list[str]) -> dict[str, Found]:
    wanted = [name for name in names if FIGURES[name].how == "counted"]
    if not wanted:
        return {}
    contestant = task.contestant()
    model, shape = contestant.on_meta(), contestant.shape
    costs: dict[str, float] = asdict(summarize(model, shape, depth=0).totals)
    if "training_memory" in wanted:
        costs["training_memory"] = predict_memory(
            model,
            shape,
            contestant.batch_size,
            optimizer=task.recipe().optimizer,
            precision=contestant.precision(),
        ).total
    return {name: Found((costs[name],), costs[name], None) for name in wanted}


def _measured(task: _Task, names: list[str]) -> tuple[dict[str, Found], dict[str, object]]:
    """What the clock tells, and where; kept in the cell's folder for the next time."""
    contestant = task.contestant()
    known = environment(contestant.device)
    place = {name: known[name] for name in PLACE}
    place |= {"precision": precision_name(contestant.precision())}
    wanted = [name for name in names if FIGURES[name].how == "measured"]
    asked = {"contestant": asdict(contestant), "place": place, "figures": wanted}
    path = task.folder / COST
    try:
        kept = parse_json(path.read_bytes())
        if {name: kept[name] for name in asked} == json.loads(json.dumps(asked)):
            return {name: record(Found, kept["found"][name], path) for name in wanted}, place
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there, or not whole: measured anew
    found = {name: _measure(contestant, name) for name in wanted}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asked | {"found": {name: asdict(one) for name, one in found.items()}})
    return found, place


def _measure(contestant: Contestant, name: str) -> Found:
    if name == "measured_memory":
        needed = measure_memory(contestant, training=True)
        return Found((needed,), needed, None)
    training = name == "training_rate"
    step = contestant.training_step() if training else contestant.inference_step()
    rate = measure_rate(step, contestant.batch_size, contestant.device, REPEATS)
    return Found((rate.median,), rate.median, (rate.high - rate.low) / 2)
