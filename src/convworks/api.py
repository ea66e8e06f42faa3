"""What `import convworks as cw` offers: the rooms' functions, and training put together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from torch import nn

from convworks.bench.claims import CLAIMS, SECTIONS, TRAINED, choose_sections
from convworks.bench.claims.claim import Judged, judge, judge_trained
from convworks.bench.claims.training import DATA, INITIALIZATION, unlike_printed
from convworks.bench.contest import Contestant
from convworks.bench.speed import Bench, benchmark
from convworks.data.sources import SOURCES, load_data
from convworks.data.splits import Data
from convworks.deploy.export import Exported, export
from convworks.errors import InputError, TrainingError, unknown
from convworks.measure.memory import Memory, predict_memory
from convworks.measure.summary import summarize
from convworks.nets.initialization import seeded
from convworks.nets.registry import create_model, find, list_models
from convworks.report.console import ConsoleProgress
from convworks.report.curves import CurvesFile, LivePlot, in_notebook
from convworks.studies.answer import Answer, answer
from convworks.studies.reader import load_study
from convworks.studies.runs import Work
from convworks.studies.study import Budget
from convworks.train import loop
from convworks.train.checkpoint import CONFIG, LAST, SUMMARY, read_settings
from convworks.train.config import TrainConfig
from convworks.train.observer import Observer
from convworks.train.recipes import BOOK
from convworks.train.run import Run, build_model, evaluate, load, read_config

__all__ = [
    "Answer",
    "Bench",
    "Contestant",
    "Exported",
    "Memory",
    "Run",
    "TrainConfig",
    "benchmark",
    "create_model",
    "evaluate",
    "export",
    "fit",
    "list_models",
    "load",
    "load_data",
    "predict_memory",
    "reproduce",
    "resume",
    "study",
    "summarize",
]


def fit(
    model: nn.Module,
    data: Data,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Trains `model` on `data` and returns the run with the best epoch's weights in the model.

    `model` is any module that maps N×C×S×S floats to N×classes logits; it is trained in place.
    Progress is shown on standard error, in a notebook as a live plot. With `resume`, the run in
    `config.out` goes on where it was saved, exactly as if it had not been stopped.

    Ctrl-C or SIGTERM ends the step, saves, and raises KeyboardInterrupt. Raises InputError (a
    ValueError) for what cannot be trained, TrainingError when the loss is no finite number.
    """
    observers: list[Observer] = [CurvesFile()]
    if progress:
        observers.append(LivePlot() if in_notebook() else ConsoleProgress())
    return loop.fit(model, data, config, observers=observers, resume=resume)


def train(
    model: str = "lenet",
    data: str | Path = "digits",
    config: TrainConfig | None = None,
    *,
    image_size: int | None = None,
    options: Mapping[str, object] | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """`fit` from names: loads the data, makes the network from the config's seed, trains it.

    `image_size` None is the book's size with the book's recipe, else the data's own; for an image
    folder the size that the network was published for.
    """
    config = config or TrainConfig()
    row = find(model)
    if image_size is None and config.recipe == "book" and model in BOOK:
        image_size = BOOK[model].image_size
    elif image_size is None and str(data) not in SOURCES:
        image_size = row.input[1]
    loaded = load_data(data, image_size=image_size, root=data_root)
    network = seeded(
        config.seed,
        lambda: create_model(
            model,
            num_classes=len(loaded.classes),
            in_channels=loaded.channels,
            image_size=loaded.image_size,
            options=options,
        ),
    )
    return fit(network, loaded, config, progress=progress)


def resume(
    path: str | Path,
    config: TrainConfig | None = None,
    *,
    model: str | None = None,
    data: str | None = None,
    image_size: int | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Goes on with the run that `train` began in a folder; its config.json says how.

    What is given besides must be as the run was begun, else InputError says what differs.
    """
    folder = Path(path)
    settings = read_settings(folder)
    spec = settings.get("model") or {}
    source = {k: v for k, v in settings["data"].items() if k != "digest"}
    for asked, begun in ((model, spec.get("name")), (image_size, source.get("image_size"))):
        if asked not in (None, begun):
            raise InputError(f"{folder} was begun with {begun}, not {asked}: resume it as it was.")
    if data is not None and data != source.get("name"):
        if data in SOURCES or source.get("name") in SOURCES:
            begun = source.get("name")
            raise InputError(f"{folder} was begun with the data {begun}, not {data}.")
        source["name"] = data  # a folder that has moved: its digest is compared
    config = replace(config or read_config(settings, folder), out=folder, init=None)
    network = seeded(config.seed, lambda: build_model(settings, folder))
    try:
        loaded = load_data(**source, root=data_root)
    except TypeError as error:
        raise InputError(f"Cannot use {folder / CONFIG}: {error}") from error
    return fit(network, loaded, config, resume=True, progress=progress)


def reproduce(
    sections: str | Sequence[str] = (),
    *,
    quick: bool = False,
    epochs: int | None = None,
    runs: str | Path = "runs/reproduce",
    data_root: str | Path | None = None,
    progress: bool = True,
) -> list[Judged]:
    """The figures that the source documents print, beside ours; see docs/reproduced.md.

    `sections` is a name of `bench.claims.SECTIONS`, or several; none are all. Trainings are kept in
    folders below `runs`: what is complete there is read, what was stopped goes on, and without
    `quick` what is missing is trained, in hours on two cores. `epochs` shortens trainings that
    begin now. A folder with a run of other settings is left alone, and its figures are not run.
    Raises InputError for an unknown section.
    """
    chosen = choose_sections(sections)
    judged = [judge(one) for one in CLAIMS if one.section in chosen]
    trained: dict[str, Run | str] = {}
    for one in TRAINED:
        if one.section in chosen:
            if one.network not in trained:
                folder = Path(runs) / one.network
                trained[one.network] = (
                    _as_printed(one.network, folder)
                    if quick or (folder / SUMMARY).exists()
                    else _train_as_printed(one.network, folder, epochs, data_root, progress)
                )
            judged.append(judge_trained(one, trained[one.network]))
    order = {name: place for place, name in enumerate(SECTIONS)}
    return sorted(judged, key=lambda one: order[one.section])


def _as_printed(name: str, folder: Path) -> Run | str:
    """A run as the documents trained it, or why there is none."""
    if not (folder / SUMMARY).exists():
        return "left out by --quick" if not folder.exists() else f"{folder} is not complete"
    run = load(folder)
    return unlike_printed(run, name) or run


def _train_as_printed(
    name: str, folder: Path, epochs: int | None, root: str | Path | None, progress: bool
) -> Run | str:
    """The book's training of a network, with the initialization of the documents."""
    try:
        if (folder / LAST).exists():
            run = resume(folder, data_root=root, progress=progress)
            return unlike_printed(run, name) or run
        return _begin_as_printed(name, folder, epochs, root, progress)
    except TrainingError as error:
        return str(error)


def _begin_as_printed(
    name: str, folder: Path, epochs: int | None, root: str | Path | None, progress: bool
) -> Run:
    (folder / CONFIG).unlink(missing_ok=True)  # begun and not saved: its weights are unknown
    data = load_data(DATA, image_size=BOOK[name].image_size, root=root)
    network = seeded(
        0,
        lambda: create_model(
            name,
            num_classes=10,
            in_channels=1,
            image_size=data.image_size,
            initialization=INITIALIZATION,
        ),
    )
    config = TrainConfig(recipe="book", epochs=epochs, out=folder)
    return fit(network, data, config, progress=progress)


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
