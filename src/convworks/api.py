"""What `import convworks as cw` offers: the rooms' functions, and training put together."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from convworks.bench.contest import Contestant
from convworks.bench.speed import Bench, benchmark
from convworks.data.sources import SOURCES, load_data
from convworks.data.splits import Data
from convworks.deploy.export import Exported, export
from convworks.errors import InputError, UsageError
from convworks.measure.memory import Memory, predict_memory
from convworks.measure.summary import summarize
from convworks.nets.initialization import seeded
from convworks.nets.registry import create_model, find, list_models
from convworks.report.console import ConsoleProgress
from convworks.report.curves import CurvesFile, LivePlot, in_notebook
from convworks.studies import tuning
from convworks.studies.tuning import Tuned
from convworks.train import loop
from convworks.train.checkpoint import read_settings
from convworks.train.config import TrainConfig
from convworks.train.initial import hash_of
from convworks.train.observer import Observer
from convworks.train.pictures import gone_since
from convworks.train.processes import together
from convworks.train.rates import RateTest, find_lr
from convworks.train.recipes import BOOK
from convworks.train.run import Run, build_model, evaluate, load, load_again, read_config
from convworks.train.weights import hash_of_weights

__all__ = [
    "Bench",
    "Contestant",
    "Exported",
    "Memory",
    "RateTest",
    "Run",
    "TrainConfig",
    "Tuned",
    "benchmark",
    "create_model",
    "evaluate",
    "export",
    "find_lr",
    "fit",
    "list_models",
    "load",
    "load_data",
    "predict_memory",
    "repeat",
    "resume",
    "summarize",
    "tune",
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
    folder at most that in the network's row of the zoo, its paper's or the book's, and with
    `config.init` just that, since its weights have learned from it.
    """
    config = config or TrainConfig()
    with together(config.device):
        make, loaded = prepare(
            model, data, config, image_size=image_size, options=options, data_root=data_root
        )
        return fit(make(), loaded, config, progress=progress)


def prepare(
    model: str,
    data: str | Path,
    config: TrainConfig,
    *,
    image_size: int | None = None,
    options: Mapping[str, object] | None = None,
    data_root: str | Path | None = None,
) -> tuple[Callable[[], nn.Module], Data]:
    """For `train`: a function that makes the network from the config's seed, and the data."""
    row = find(model)
    _check_freeze(config)
    if image_size is None and config.recipe == "book" and model in BOOK:
        image_size = BOOK[model].image_size
    elif image_size is None and str(data) not in SOURCES and config.init:
        image_size = row.input[1]
    with together(config.device) as processes, processes.in_turn():
        loaded = load_data(data, image_size=image_size, root=data_root, largest=row.input[1])

    def make() -> nn.Module:
        return seeded(
            config.seed,
            lambda: create_model(
                model,
                num_classes=len(loaded.classes),
                in_channels=loaded.channels,
                image_size=loaded.image_size,
                options=options,
            ),
        )

    return make, loaded


def tune(
    model: str = "lenet",
    data: str | Path = "digits",
    config: TrainConfig | None = None,
    *,
    trials: int = 20,
    image_size: int | None = None,
    options: Mapping[str, object] | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Tuned:
    """`train` many times, for the settings of the best validation accuracy.

    See `studies.tuning.tune`; the names are those of `train`.
    """
    config = config or TrainConfig()
    make, loaded = prepare(
        model, data, config, image_size=image_size, options=options, data_root=data_root
    )
    return tuning.tune(make, loaded, config, trials=trials, progress=progress)


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
    begun = settings["data"]
    for asked, was in ((model, spec.get("name")), (image_size, begun.get("image_size"))):
        if asked not in (None, was):
            raise InputError(f"{folder} was begun with {was}, not {asked}: resume it as it was.")
    if data not in (None, begun.get("name")) and (data in SOURCES or begun.get("name") in SOURCES):
        raise InputError(f"{folder} was begun with the data {begun.get('name')}, not {data}.")
    config = replace(config or read_config(settings, folder), out=folder, init=None)
    with together(config.device):
        network, loaded = _made_again(folder, config, data, data_root)
        return fit(network, loaded, config, resume=True, progress=progress)


def repeat(
    path: str | Path,
    config: TrainConfig | None = None,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Trains what stands in a run's config.json once more, into a new folder.

    Network, pictures, split, settings and seed are the run's; `config` None is its own too. On the
    same machine's CPU, with the same PyTorch and threads, the result is the same to the last bit.
    `data` is where an image folder now lies. Raises InputError when the pictures, or the weights
    that the run began with, are others now.
    """
    folder = Path(path)
    settings = read_settings(folder)
    config = config or replace(read_config(settings, folder), out=None)
    with together(config.device):
        network, loaded = _made_again(folder, config, data, data_root)
        same = loaded.digest == settings["data"].get("digest")
        if not same or gone_since(folder, loaded, config):
            raise InputError(
                f"{loaded.title} are no longer the pictures that {folder} was trained on: train"
                " anew, with the settings in its config.json."
            )
        begun, own = settings.get("begun_with"), settings["train"]
        if config.init is None and own.get("init") is None:
            _check_freeze(config)
            if begun and begun != _begins_with(settings, folder):
                raise InputError(
                    f"{folder} began with weights that its seed does not give: they came from"
                    " Python. Train anew there, or name them with --init."
                )
        known = (settings.get("init") or {}).get("sha256")
        init = config.init
        if known and init is not None and init.exists() and known != hash_of(init):
            raise InputError(f"{init} is not what {folder} began with: its hash differs.")
        return fit(network, loaded, config, progress=progress)


def _begins_with(settings: Any, folder: Path) -> str:
    """Hash of the weights that the network of a run has by its seed."""
    network = seeded(settings["train"].get("seed", 0), lambda: build_model(settings, folder))
    return hash_of_weights(network.state_dict())


def _check_freeze(config: TrainConfig) -> None:
    if config.freeze and config.init is None:
        raise UsageError("--freeze keeps what --init brings: give --init too.")


def _made_again(
    folder: Path, config: TrainConfig, data: str | None, data_root: str | Path | None
) -> tuple[nn.Module, Data]:
    """The network and the pictures of a run, inside `together`; `data`: where these now lie."""
    settings = read_settings(folder)
    network = seeded(config.seed, lambda: build_model(settings, folder))
    with together(config.device) as processes, processes.in_turn():
        return network, load_again(settings["data"], data, data_root, folder)
