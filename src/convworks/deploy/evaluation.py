"""How a network, trained or exported, does on a part of a data set, class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from convworks.data.folder import shown
from convworks.data.sources import SOURCES, load_to_test, title_of
from convworks.data.splits import Data, DataSpec, FileImages, Images, MemoryImages, below
from convworks.data.unreadable import LeftOut
from convworks.deploy.interval import wilson
from convworks.deploy.predict import open_network, run_views
from convworks.deploy.runtime import Deployed
from convworks.deploy.shipped import batches
from convworks.errors import InputError, unknown
from convworks.train.checkpoint import read_settings
from convworks.train.config import Device
from convworks.train.records import record
from convworks.train.run import load_again, read_split

BINS = 15
"""Of the calibration error, as Guo et al. 2017 take them."""
WORST = 10

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class ClassFigures:
    """Of one class."""

    label: str
    precision: float
    """Of the pictures said to be of it, the share that is."""
    recall: float
    """Of its pictures, the share said to be of it."""
    f1: float
    """Their harmonic mean."""
    images: int
    precision_interval: tuple[float, float]
    """Where it lies with 95 % (Wilson 1927), as for the others."""
    recall_interval: tuple[float, float]


@dataclass(frozen=True)
class Mistake:
    """A picture given the wrong label."""

    picture: str
    """Its file, or its place in the part."""
    label: str
    said: str
    probability: float
    """Of what was said."""


@dataclass(frozen=True)
class Evaluation:
    """The figures; plain values, for JSON."""

    data: str
    part: Part
    images: int
    accuracy: float
    low: float
    """The accuracy's 95 % interval begins here (Wilson 1927)."""
    high: float
    top5: float
    """The share whose label is among the five likeliest."""
    top5_interval: tuple[float, float]
    loss: float
    """Mean cross-entropy."""
    calibration_error: float
    """How far the probabilities are from the shares that are right, 0…1 (Guo et al. 2017)."""
    macro_f1: float
    """Mean over the classes that are there, or are said to be."""
    balanced_accuracy: float
    """The mean of the classes' recalls, so that each counts alike; classes that the part lacks are
    not counted."""
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    """A row for each class, what was said of its pictures."""
    worst: tuple[Mistake, ...]
    """The mistakes made most surely."""
    left_out: tuple[str, ...] = ()
    """Files that cannot be read, with the reasons; they are not counted."""
    namesakes: int = 0
    """Files that have the names, class folder and all, of pictures that the run learned from."""


def evaluate_network(
    path: str | Path,
    data: str | Path | Data | None = None,
    *,
    part: Part = "test",
    tta: bool = False,
    device: Device | None = None,
    data_root: str | Path | None = None,
) -> Evaluation:
    """Tests a run folder's network, or an exported one, on a part of a data set.

    `device` is where a run's network computes, None: on the CPU; a file's runtime decides itself.
    With `tta`, by the mean over several views of each picture (`deploy.predict.run_views`).
    `data` None is the run's own; for an exported file the known set that it was trained on. Of
    another image folder all is tested, or its test part where it has one. Raises InputError for a
    network that is none, for data with other classes or channels, and for its own data split or
    filled otherwise than when it was trained.
    """
    if part not in PARTS:
        raise unknown("part", part, PARTS)
    network = open_network(path, device)
    if not isinstance(data, Data):
        data = data_to_test(Path(path), data, network, data_root)
    elif data.title == _title(known := _known(Path(path), network), network):
        _check_split(Path(path), known, data, data.title)
    found = assess(network, data, part, tta=tta)
    return (
        found if part == "train" else replace(found, namesakes=_namesakes(Path(path), data, part))
    )


def assess(network: Deployed, data: Data, part: Part, *, tta: bool = False) -> Evaluation:
    """Tests an opened network on a part of data that are at hand.

    Pictures that cannot be read are left out. Raises InputError for data with other classes or
    channels.
    """
    path, (channels, side, _) = network.path, network.shape
    if list(data.classes) != network.labels:
        raise InputError(f"{path} knows other classes than {data.title}: {network.labels}.")
    if data.channels != channels:
        raise InputError(f"{path} takes {channels} channels, {data.title} has {data.channels}.")
    images = getattr(data, part)
    if not len(images):
        raise InputError(f"{data.title} has no pictures in the {part} part: leave out --part.")
    rows, labels = [], []
    left_out = LeftOut()
    for pixels, truth in batches(images, side, left_out):
        rows.append(run_views(network, pixels) if tta else network.run(pixels))
        labels.append(truth)
    if not rows:
        raise InputError(f"None of the pictures in the {part} part of {data.title} can be read.")
    names = None
    if isinstance(images, FileImages):
        names = [str(p) for p in images.paths if p not in left_out]
    found = figures(np.concatenate(rows), np.concatenate(labels), data, part, names)
    return replace(found, left_out=tuple(f"{shown(p)} ({r})" for p, r in left_out.reasons.items()))


def places_of(mistakes: Sequence[Mistake], images: Images) -> list[int]:
    """Where in a part of the data their pictures stand."""
    if isinstance(images, MemoryImages):
        return [int(one.picture) for one in mistakes]
    known = {str(path): place for place, path in enumerate(images.paths)}
    return [known[one.picture] for one in mistakes]


def data_to_test(
    path: Path, data: str | Path | None, network: Deployed, root: str | Path | None
) -> Data:
    """The data that a run folder or an exported file was trained on, split as then; or others.

    `data` may be where its own now lie. Of other folders all is tested that is not apart for
    training. Raises InputError when they are not there, and for its own filled or split otherwise,
    as some of the test part may have been trained on then.
    """
    known = _known(path, network)
    name = str(known["name"] if data is None else data)
    title = _title(known, network)
    if not name:
        raise InputError(f"{path} was trained on {title}: say where that is with --data.")
    loaded = None
    try:
        loaded = load_again(known, name, root, path if title_of(name) == title else None)
    except InputError:
        if data is None or name in SOURCES:
            raise  # others may lack what is needed to train
    if loaded is not None and loaded.digest == known.get("digest"):
        return loaded
    if title_of(name) == title:
        _check_split(path, known, loaded, name)
    if loaded is not None and name in SOURCES:
        return loaded
    channels, side, _ = network.shape
    return load_to_test(name, network.labels, channels, side, root)


def _namesakes(run: Path, data: Data, part: Part) -> int:
    """Of a folder under a new name, that was changed too, nothing but the files' names is known."""
    images, split = getattr(data, part), read_split(run) if run.is_dir() else None
    if split is None or not isinstance(images, FileImages):
        return 0
    learned = {name for names in split.train.values() for name in names}
    return sum(below(picture, data.spec.name) in learned for picture in images.paths)


def _known(path: Path, network: Deployed) -> Mapping[str, Any]:
    """What a run folder or an exported file says of its data."""
    return read_settings(path)["data"] if path.is_dir() else source_of(network)


def _title(known: Mapping[str, Any], network: Deployed) -> str:
    return title_of(str(known["name"] or "")) or str(network.metadata["data"])


def _check_split(path: Path, known: Mapping[str, Any], data: Data | None, name: str) -> None:
    """InputError for its own data in other parts, where some are tested that were learned."""
    if data is None or data.digest != known.get("digest"):
        raise InputError(
            f"{name} is not split, or no longer filled, as it was when {path} was trained on it:"
            " keep pictures of your own to test with in a folder of another name."
        )


def source_of(network: Deployed) -> dict[str, Any]:
    """What an exported file says of its data: a DataSpec without a folder's name, and the digest.

    Empty where it says nothing. Raises InputError for values of other kinds.
    """
    said = network.metadata.get("source")
    if not isinstance(said, dict):
        return {"name": "", "image_size": network.shape[1]}
    record(DataSpec, {k: v for k, v in said.items() if k != "digest"}, network.path)
    return said


def figures(
    probabilities: np.ndarray,
    labels: np.ndarray,
    data: Data,
    part: Part,
    names: list[str] | None = None,
) -> Evaluation:
    """From N×classes probabilities and N labels."""
    count, classes = probabilities.shape
    said, sure = probabilities.argmax(1), probabilities.max(1)
    right = said == labels
    accuracy = float(right.mean())
    low, high = wilson(accuracy, count)
    known = np.arange(classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, said, labels=known, zero_division=0.0
    )
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    top5 = float((top == labels[:, None]).any(1).mean())
    said_of = np.bincount(said, minlength=classes)
    own = probabilities[np.arange(count), labels]
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST].tolist()
    return Evaluation(
        data=data.title,
        part=part,
        images=count,
        accuracy=accuracy,
        low=low,
        high=high,
        top5=top5,
        top5_interval=wilson(top5, count),
        loss=float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean()),
        calibration_error=_calibration_error(sure, right),
        macro_f1=float(f1[(support > 0) | (said_of > 0)].mean()),
        balanced_accuracy=float(recall[support > 0].mean()),
        classes=tuple(
            ClassFigures(
                data.classes[i],
                float(precision[i]),
                float(recall[i]),
                float(f1[i]),
                int(n),
                wilson(float(precision[i]), int(said_of[i])),
                wilson(float(recall[i]), int(n)),
            )
            for i, n in enumerate(support)
        ),
        confusion=tuple(map(tuple, confusion_matrix(labels, said, labels=known).tolist())),
        worst=tuple(
            Mistake(
                names[i] if names else str(i),
                data.classes[int(labels[i])],
                data.classes[int(said[i])],
                float(sure[i]),
            )
            for i in worst
        ),
    )


def _calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """The mean distance of probability and accuracy over equal bins, by how many lie in each."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [
        (bins == b).mean() * abs(sure[bins == b].mean() - right[bins == b].mean())
        for b in np.unique(bins)
    ]
    return float(sum(gaps))
