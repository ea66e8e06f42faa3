"""What `import convworks as cw` offers: the rooms' functions, and training put together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from convworks.data.sources import SOURCES, load_data
from convworks.data.splits import Data
from convworks.measure.summary import summarize
from convworks.nets.registry import create_model, find, list_models
from convworks.report.console import ConsoleProgress
from convworks.report.curves import CurvesFile, LivePlot, in_notebook
from convworks.train import loop
from convworks.train.checkpoint import CONFIG, read_json
from convworks.train.config import TrainConfig
from convworks.train.observer import Observer
from convworks.train.recipes import BOOK
from convworks.train.run import Run, build_model, evaluate, load

__all__ = [
    "Run",
    "TrainConfig",
    "create_model",
    "evaluate",
    "fit",
    "list_models",
    "load",
    "load_data",
    "resume",
    "summarize",
    "train",
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
    network = _seeded(
        config.seed,
        lambda: create_model(
            model,
            num_classes=len(loaded.classes),
            in_channels=loaded.channels,
            image_size=loaded.image_size,
        ),
    )
    return fit(network, loaded, config, progress=progress)


def resume(
    path: str | Path,
    config: TrainConfig | None = None,
    *,
    model: str | None = None,
    data: str | Path | None = None,
    image_size: int | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Goes on with the run that `train` began in a folder; its config.json says how.

    Anything given besides must be as the run was begun, else InputError says what differs.
    """
    folder = Path(path)
    settings = read_json(folder / CONFIG)
    spec = settings.get("model") or {}
    given = {"name": model, "image_size": image_size}
    settings["model"] = spec | {k: v for k, v in given.items() if v is not None}
    source = settings["data"] | ({"image_size": image_size} if image_size else {})
    source["name"] = source["name"] if data is None else data
    changed = {
        k: v for k, v in vars(config or TRAIN_DEFAULTS).items() if v != getattr(TRAIN_DEFAULTS, k)
    }
    merged = replace(TrainConfig.from_dict(settings["train"]), **(changed | {"out": folder}))
    network = _seeded(merged.seed, lambda: build_model(settings, folder))
    loaded = load_data(**source, root=data_root)
    return fit(network, loaded, merged, resume=True, progress=progress)


TRAIN_DEFAULTS = TrainConfig()


def _seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` gives with torch's generator at `seed`; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
