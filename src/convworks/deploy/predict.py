"""Pictures in files to labels with probabilities, in order, each file decoded once."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

import numpy as np
import torch

from convworks.data.folder import decode, find_files
from convworks.data.sources import title_of
from convworks.deploy.runtime import Deployed, Pixels, Probabilities, open_deployed
from convworks.deploy.shipped import Shipped, describe
from convworks.errors import InputError, UsageError
from convworks.measure.explain import activation_map
from convworks.train.config import Device
from convworks.train.device import arithmetic, choose_device
from convworks.train.run import Run, load

BATCH = 32
AHEAD = 2
"""Batches that are decoded while one is computed."""
SHIFT = 32
"""Views are shifted by such a part of the side."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of a picture; plain values, for JSON."""

    path: str
    labels: tuple[str, ...]
    """The likeliest first."""
    probabilities: tuple[float, ...]
    """Of those labels."""
    error: str = ""
    """Why the file could not be read; there are no labels then."""


@dataclass(frozen=True)
class Missing:
    """What somebody named and is not there."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.name


def open_network(path: str | Path, device: Device | None = None) -> Deployed:
    """A run folder's network on a device, None: the CPU; or an exported one, ready for pictures.

    Raises InputError for what is neither, for a device that is not there, and for one that an
    exported file is to compute on, which its runtime decides.
    """
    folder = Path(path)
    if folder.is_dir():
        return open_run(load(folder), device or "cpu")
    found = open_deployed(folder)
    if device not in (None, "auto"):
        raise UsageError(f"--device is for run folders: {path} is computed where its runtime does.")
    return found


def open_run(run: Run, device: Device = "cpu") -> Deployed:
    """A run's network as it is now, ready for pictures."""
    place = choose_device(device)
    shipped = Shipped(deepcopy(run.model), run.preparation).to(place).eval()

    @torch.inference_mode()
    def compute(pixels: Pixels) -> Probabilities:
        with arithmetic():
            result: Probabilities = shipped(torch.from_numpy(pixels).to(place)).numpy(force=True)
        return result

    def look(pixels: Pixels) -> np.ndarray:
        images = run.preparation(torch.from_numpy(pixels).to(place))
        found: np.ndarray = activation_map(shipped.model, images).numpy(force=True)
        return found

    return Deployed(run.path, describe(run, title_of(str(run.data.get("name")))), compute, look)


def find_pictures(text: str) -> list[str]:
    """A file as it is, a folder's pictures in order, those that are like a pattern.

    Raises InputError for what is not there.
    """
    if os.path.isdir(text):  # noqa: PTH112 (Path raises for names that are too long)
        return [*map(str, find_files(Path(text)))]
    there = os.path.exists(text)  # noqa: PTH110
    if there or not has_magic(text):
        return [text]
    found = sorted(glob(text, recursive=True))  # noqa: PTH207 (leaves out hidden files)
    if not found:
        raise InputError(f"No file is like {text}.")
    return [*dict.fromkeys(file for one in found for file in find_pictures(one))]


def run_views(network: Deployed, pixels: Pixels) -> Probabilities:
    """Test-time augmentation: the mean of the probabilities of several views of each picture.

    Those are the picture and two shifted ones, by a 32nd of the side along the diagonal each way,
    the edge repeated; and their mirror images where the network was trained with such. ResNet-20
    on a tenth of Fashion-MNIST rose from 0.800 and 0.797 to 0.810 and 0.806 (two seeds), with
    mirror images alone to 0.807 and 0.802; `lenet_bn` on digits, trained without, did not gain:
    0.975 and 0.958 became 0.978 and 0.944.
    """
    step, side = max(1, pixels.shape[-1] // SHIFT), pixels.shape[-1]
    wide = np.pad(pixels, ((0, 0), (0, 0), (step, step), (step, step)), mode="edge")
    views = [wide[..., i : i + side, i : i + side] for i in (step, 0, 2 * step)]
    if network.metadata.get("mirror"):
        views += [view[..., ::-1] for view in views]
    found: Probabilities = np.mean([network.run(np.ascontiguousarray(x)) for x in views], axis=0)
    return found


def predict(
    network: Deployed, paths: Iterable[str | Missing | None], *, top: int = 1, tta: bool = False
) -> Iterator[Prediction]:
    """A prediction for each file, in their order, the `top` likeliest labels of each.

    With `tta`, of `run_views`. A file that cannot be read gets a prediction with an error, and so
    does what is missing. Nothing is read before it is asked for, but for a few batches; where
    `paths` has None, whose next path may be long in coming, all before it are answered first.
    """
    channels, side, _ = network.shape
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting: deque[list[tuple[str, Future[Pixels | str]]]] = deque()
        for batch in _batches(paths):
            if batch:
                files = [(str(one), pool.submit(_read, one, channels, side)) for one in batch]
                waiting.append(files)
            while waiting and (not batch or len(waiting) > AHEAD):
                yield from _answer(network, waiting.popleft(), top, tta)
        for files in waiting:
            yield from _answer(network, files, top, tta)


def likeliest(network: Deployed, row: Probabilities, top: int) -> list[tuple[str, float]]:
    """Of one picture's probabilities the `top` highest with their labels, the highest first."""
    best = np.argsort(-row, kind="stable")[:top].tolist()
    return [(network.labels[i], float(row[i])) for i in best]


def _batches(paths: Iterable[str | Missing | None]) -> Iterator[list[str | Missing]]:
    """As many at once as a network computes best; at a pause fewer, and then none."""
    batch = []
    for path in paths:
        if path is not None:
            batch.append(path)
        if len(batch) == BATCH or (path is None and batch):
            yield batch
            batch = []
        if path is None:
            yield []
    if batch:
        yield batch


def _read(path: str | Missing, channels: int, side: int) -> Pixels | str:
    """The pixels, or why there are none."""
    if isinstance(path, Missing):
        return path.reason
    try:
        return decode(Path(path), channels, side).numpy()
    except InputError as error:
        return str(error)


def _answer(
    network: Deployed, batch: list[tuple[str, "Future[Pixels | str]"]], top: int, tta: bool
) -> Iterator[Prediction]:
    found = [(path, future.result()) for path, future in batch]
    pictures = [pixels for _, pixels in found if not isinstance(pixels, str)]
    rows: Iterator[Probabilities] = iter(())
    if pictures:
        pixels = np.stack(pictures)
        rows = iter(run_views(network, pixels) if tta else network.run(pixels))
    for path, pixels_or_error in found:
        if isinstance(pixels_or_error, str):
            yield Prediction(path, (), (), pixels_or_error)
            continue
        row = next(rows)
        best = likeliest(network, row, top)
        yield Prediction(path, tuple(label for label, _ in best), tuple(share for _, share in best))
