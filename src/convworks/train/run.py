"""A trained network with its history: what training leaves behind and using it begins with."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from convworks.data.augment import Preparation
from convworks.data.folder import shown
from convworks.data.loader import Loader, open_loader
from convworks.data.sources import load_data, title_of
from convworks.data.splits import ARRAYS, Data, DataSpec, Split, from_split
from convworks.data.unreadable import LeftOut
from convworks.errors import InputError, unknown
from convworks.measure.display import Displayed, html_table, named_values
from convworks.nets.registry import create_model
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.device import arithmetic, choose_device, memory_kept
from convworks.train.observer import EpochRecord, RunSummary
from convworks.train.processes import ALONE, Processes
from convworks.train.records import record


@dataclass(frozen=True)
class Metrics(Displayed):
    """How a network does on a part of a data set."""

    loss: float
    """Mean cross-entropy, in nats."""
    accuracy: float
    """0…1."""
    images: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path
    config: TrainConfig
    model: nn.Module
    """With the weights of the best epoch, in evaluation mode, on the CPU when loaded."""
    preparation: Preparation
    classes: tuple[str, ...]
    history: tuple[EpochRecord, ...]
    summary: RunSummary | None
    """None as long as the run is not complete."""
    data: Mapping[str, Any]
    """What it was trained on: the data's `DataSpec` and `digest` as plain values."""

    def _repr_html_(self) -> str:
        """The figures, of the last epoch as long as the run is not complete, and the curves."""
        last = self.history[-1] if self.history else None
        rows = named_values(self.summary or last) if self.summary or last else ()
        state = "" if self.summary else ", not complete"
        picture = ""
        if (curves := self.path / checkpoint.CURVES).is_file():
            data = base64.b64encode(curves.read_bytes()).decode()
            picture = f'<img alt="loss and accuracy" src="data:image/svg+xml;base64,{data}">'
        return html_table(f"{self.path}{state}", rows) + picture


@dataclass(frozen=True)
class _Header:
    """What best.safetensors must say besides the weights."""

    preparation: Mapping[str, object]
    classes: tuple[str, ...]


_HEADER = tuple(field.name for field in fields(_Header))


def load(path: str | Path, model: nn.Module | None = None) -> Run:
    """Reads a run folder.

    A network that `create_model` made is built again; for any other, pass a `model` of the same
    kind to put the weights into. Nothing in the folder can run code. Raises InputError when the
    folder holds no run or no epoch of it is over.
    """
    folder = Path(path)
    settings = checkpoint.read_settings(folder)
    weights, metadata = checkpoint.load_weights(folder)
    file = folder / checkpoint.BEST
    if model is None:
        with torch.device("meta"):  # no memory is taken for what the weights are not
            checkpoint.check_weights(build_model(settings, folder), weights, folder)
        model = build_model(settings, folder)
    checkpoint.apply_weights(model, weights, folder)
    told = record(_Header, {k: metadata[k] for k in _HEADER if k in metadata}, file)
    saved = record(Preparation, told.preparation, file)
    preparation = replace(saved, mean=tuple(saved.mean), std=tuple(saved.std))
    return Run(
        folder,
        read_config(settings, folder),
        model.eval(),
        preparation,
        tuple(told.classes),
        checkpoint.read_metrics(folder),
        checkpoint.read_summary(folder),
        settings["data"],
    )


def read_config(settings: Mapping[str, Any], folder: Path) -> TrainConfig:
    """The config in a run's settings; InputError when values are not of their kinds."""
    try:
        return TrainConfig.from_dict(settings["train"])
    except (TypeError, ValueError) as error:
        raise InputError(f"Cannot use {folder / checkpoint.CONFIG}: {error}") from error


def build_model(settings: Mapping[str, Any], folder: Path) -> nn.Module:
    """The network that a run's config.json describes, freshly initialised."""
    spec = settings.get("model")
    if not isinstance(spec, dict):
        raise InputError(
            f"{folder} was trained with a network of your own: load it in Python with"
            " convworks.load(path, model=...), resume it with convworks.fit(..., resume=True)."
        )
    try:
        return create_model(**spec)
    except TypeError as error:
        raise InputError(f"Cannot use {folder / checkpoint.CONFIG}: {error}") from error


def evaluate(
    run: Run,
    data: Data,
    *,
    part: Literal["train", "val", "test"] = "test",
    device: str = "auto",
    batch_size: int = 256,
) -> Metrics:
    """Loss and accuracy of a run's best weights on a part of a data set, computed in fp32.

    Pictures are prepared as the run's were, unreadable ones left out. The model is moved to the
    device. Raises InputError for other classes or channels than the run's, and for the run's own
    data split otherwise: some of the part was trained on then.
    """
    if part not in ("train", "val", "test"):
        raise unknown("part", part, ("train", "val", "test"))
    check_data(run, data)
    place = choose_device(device)
    loader = open_loader(
        getattr(data, part),
        batch_size=batch_size,
        image_size=run.preparation.image_size,
        device=place,
        left_out=LeftOut(),
    )
    with arithmetic(), memory_kept(place):
        return measure(run.model.to(place), loader, run.preparation, place, torch.float32)


def load_again(
    known: Mapping[str, Any],
    name: str | Path | None = None,
    root: str | Path | None = None,
    run: Path | None = None,
) -> Data:
    """The data that a run's config or an exported file names; `name`: where they lie now.

    The parts are as listed in the folder `run`, if they are, whatever was added or removed since.
    Raises InputError when they are not there.
    """
    spec = {key: value for key, value in known.items() if key != "digest"}
    if name is not None:
        spec["name"] = str(name)
    if run is not None and spec["name"] == known.get("name"):
        _check_there(str(spec["name"]), run)
    folder = Path(spec["name"]).expanduser().resolve()
    split = None if run is None else read_split(run)
    if split is None or not folder.is_dir():
        return load_data(**spec, root=root)
    return from_split(split, DataSpec(**spec | {"name": str(folder)}), title_of(str(folder)))


def read_split(run: Path) -> Split | None:
    """Which pictures of its folder a run has in which part; None for other data."""
    file = run / checkpoint.SPLIT
    return record(Split, checkpoint.read_json(file), file) if file.exists() else None


def _check_there(name: str, run: Path) -> None:
    """InputError for a run's own data when they came as arrays, or have moved."""
    if name == ARRAYS:
        raise InputError(
            f"{run} was trained on arrays, which it does not keep: give it a folder of pictures of"
            " the same classes, as by eval --data."
        )
    if Path(name).is_absolute() and not Path(name).exists():
        raise InputError(
            f"The pictures that {run} was trained on are no longer at {shown(name)}: put them back,"
            " or say with --data where they lie now."
        )


def own_data(
    run: Run, data: Data | str | Path | None = None, root: str | Path | None = None
) -> Data:
    """What a run was trained on and is tested with, from where it was or `data`, where it is now.

    Raises InputError when it is not there, and for other pictures than the run's.
    """
    if isinstance(data, Data):
        check_data(run, data)
        return data
    found = load_again(run.data, data, root, run.path)
    check_data(run, found)
    if found.digest != run.data.get("digest"):
        raise InputError(
            f"{found.title} does not hold the pictures that {run.path} was trained on, or splits"
            " them otherwise."
        )
    return found


def check_data(run: Run, data: Data) -> None:
    """InputError for data that a run cannot be tested with.

    They have other classes or channels; or they are its own in other parts, where some pictures
    would be tested that were learned.
    """
    if run.classes != data.classes:
        raise InputError(f"The run knows other classes than {data.title}: {', '.join(run.classes)}")
    if len(run.preparation.mean) != data.channels:
        raise InputError(
            f"The run takes {len(run.preparation.mean)} channels, not {data.channels}."
        )
    if run.data.get("name") == data.spec.name and run.data.get("digest") != data.digest:
        raise InputError(
            f"{data.title} is not split, or no longer filled, as it was for the run: load it with"
            f" seed={run.data.get('seed')} and val_fraction={run.data.get('val_fraction')}, or"
            " keep pictures of your own to test with in another folder."
        )


@torch.inference_mode()
def measure(
    model: nn.Module,
    loader: Loader,
    prepare: Preparation,
    device: torch.device,
    precision: torch.dtype,
    processes: Processes = ALONE,
) -> Metrics:
    """Loss and accuracy over all of a loader's pictures, the model in evaluation mode.

    Those that cannot be read are not counted; InputError when that is all. Of several processes
    each computes its share.
    """
    started, training = perf_counter(), model.training
    model.eval()
    tally, count = torch.zeros(2, device=device), 0
    for pixels, labels in loader.epoch():
        if len(labels) == 0:
            continue  # fewer pictures than processes
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(prepare(pixels))
        loss = F.cross_entropy(logits.float(), labels, reduction="sum")
        tally += torch.stack([loss, (logits.argmax(1) == labels).sum()])
        count += len(labels)
    model.train(training)
    loss_sum, correct, read = processes.sum(torch.cat([tally, tally.new_tensor([count])])).tolist()
    count = round(read)
    if not count:
        raise InputError("None of the pictures to test with can be read.")
    return Metrics(loss_sum / count, correct / count, count, perf_counter() - started)
