"""The run folder: every file written whole or not at all, none able to run code when loaded.

config.json        everything needed to repeat the run
metrics.jsonl      a record an epoch
last.pt            to resume: weights, optimizer, position; loads with weights_only=True
best.safetensors   the weights of the best epoch, with what is needed to use them
summary.json       the final figures, once the run is complete
pictures.json      pictures that were left out, or are in two parts at once, if there are any
curves.svg         the curves
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from convworks.data.augment import Preparation
from convworks.data.splits import DataSpec
from convworks.errors import InputError, TrainingError
from convworks.files import make_folder, parse_json, replace_whole
from convworks.nets.pickled import load_pickled
from convworks.nets.registry import ModelSpec
from convworks.train.observer import EpochRecord, RunSummary
from convworks.train.records import record

CONFIG, METRICS, LAST, BEST = "config.json", "metrics.jsonl", "last.pt", "best.safetensors"
SUMMARY, CURVES, PICTURES = "summary.json", "curves.svg", "pictures.json"
SPLIT = "split.json"
LOCK = ".lock"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file of a run, which `write` writes; TrainingError when that fails."""
    try:
        replace_whole(path, write)
    except (OSError, RuntimeError, SafetensorError) as error:
        # PyTorch turns the system's error into a RuntimeError of its own.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(error, RuntimeError) and not isinstance(cause, OSError):
            raise
        reason = cause.strerror if isinstance(cause, OSError) else str(error)
        raise TrainingError(
            f"Cannot write {path} ({reason}); what was saved before is intact. Make room or"
            f" the folder writable, then go on with: convworks train --resume --out {path.parent}"
        ) from error


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Writes plain values, readable by people."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    try:
        content = text.encode()
    except UnicodeEncodeError:  # the name of a file need not be text
        content = json.dumps(value, indent=2).encode() + b"\n"
    write_whole(path, lambda file: file.write_bytes(content))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a run folder's file; InputError when there is none."""
    try:
        value = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{path.parent} is no run folder (it has no {path.name}): name the folder that"
            " `convworks train` printed."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}): restore it from a copy.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object: restore it from a copy.")
    return value


def read_settings(folder: Path) -> dict[str, Any]:
    """A run's config.json; InputError when it is another program's or damaged."""
    settings = read_json(folder / CONFIG)
    for name in ("data", "train", "preparation"):
        if not isinstance(settings.get(name), dict):
            raise InputError(
                f"{folder} is no run folder (its {CONFIG} has no {name}): name the folder that"
                " `convworks train` printed."
            )
    file = folder / CONFIG
    record(Preparation, settings["preparation"], file)
    record(DataSpec, {k: v for k, v in settings["data"].items() if k != "digest"}, file)
    if settings.get("model") is not None:
        record(ModelSpec, settings["model"], file)
    return settings


def check_free(out: Path | None) -> None:
    """InputError when the folder already holds a run."""
    if out and any((out / name).exists() for name in (CONFIG, METRICS, LAST, BEST, SUMMARY)):
        raise InputError(
            f"{out} already holds a run: add --resume to go on with it, or choose another --out."
        )


def create_run_folder(out: Path | None, title: str) -> Path:
    """A new folder: `out`, or the first of runs/TITLE, runs/TITLE-2, … that does not exist.

    Raises InputError when `out` already holds a run or cannot be made.
    """
    try:
        if out is not None:
            check_free(out)
            make_folder(out, exist_ok=True)
            return out
        number = 1
        while True:
            path = Path("runs", title if number == 1 else f"{title}-{number}")
            try:
                make_folder(path)
            except FileExistsError:
                number += 1
            else:
                return path
    except OSError as error:
        place = out or Path("runs")
        raise InputError(
            f"Cannot make the run folder {place} ({error.strerror}): choose another place with"
            " --out."
        ) from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """While it lasts, no other process trains in that run folder, else InputError.

    A process that dies, in whatever way, lets go of it.
    """
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"Another process is training in {folder}: wait for it, stop it, or choose another"
            " --out."
        ) from error
    except OSError as error:
        raise TrainingError(
            f"Cannot write in {folder} ({error.strerror}): make it writable, or choose another"
            " --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def save_last(folder: Path, state: Mapping[str, object]) -> None:
    """Writes what `load_last` gives back."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            torch.save(dict(state), file)

    write_whole(folder / LAST, write)


def load_last(folder: Path) -> dict[str, Any] | None:
    """The state to resume from, on the CPU; None when the run stopped before its first save."""
    path = folder / LAST
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = load_pickled(path)
    except OSError as error:
        raise InputError(
            f"Cannot read {path} ({error.strerror or error}): make it readable, then resume again."
        ) from error
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise InputError(
                f"Cannot read {path}: memory ran out. Free some, then resume again."
            ) from error
        raise InputError(
            f"Cannot read {path}: it is damaged or no checkpoint of convworks. The best weights"
            f" are in {BEST}; begin a new run from them with --init {folder}."
        ) from error
    return state


def save_best(folder: Path, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Writes a model's state, and JSON `metadata` into the file's header."""
    weights: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, tensor in state.items():
        weights[name] = tensor.contiguous().cpu()
        if weights[name].data_ptr() in stored:  # tied weights, which the format stores twice
            weights[name] = weights[name].clone()
        stored.add(weights[name].data_ptr())
    header = {"convworks": json.dumps(metadata)}
    write_whole(folder / BEST, lambda path: save_file(weights, path, header))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and metadata from a .safetensors file, or from the best of a run folder."""
    file = path / BEST if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = parse_json((opened.metadata() or {}).get("convworks", "{}"))
        return weights, metadata if isinstance(metadata, dict) else {}
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(
            f"Cannot read weights from {file}"
            f" ({'there is no such file' if isinstance(error, FileNotFoundError) else error}): name"
            " a run folder, or a file of weights."
        ) from error


def apply_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Puts weights into a model; InputError names the first tensor that does not fit."""
    check_weights(model, weights, origin)
    model.load_state_dict(dict(weights))


def check_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """InputError when they are not those of the model, which may be on the meta device."""
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            raise InputError(f"{origin} is of another network: it has no {name}.")
        if weights[name].shape != tensor.shape:
            ours, theirs = list(tensor.shape), list(weights[name].shape)
            raise InputError(
                f"{origin} does not fit: {name} is {theirs} there and {ours} here. Use the same"
                " network, classes, channels and image size."
            )
    if extra := sorted(weights.keys() - own.keys()):
        raise InputError(f"{origin} is of another network: it has {extra[0]} besides.")


def write_metrics(folder: Path, history: tuple[EpochRecord, ...]) -> None:
    """Writes all epochs' records, a line each."""
    lines = "".join(json.dumps(asdict(record)) + "\n" for record in history)
    write_whole(folder / METRICS, lambda path: path.write_text(lines))


def read_metrics(folder: Path) -> tuple[EpochRecord, ...]:
    """All epochs' records, none before the first epoch is over."""
    path = folder / METRICS
    if not path.exists():
        return ()
    try:
        lines = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}): restore it from a copy.") from error
    return tuple(record(EpochRecord, line, path) for line in lines)


def read_summary(folder: Path) -> RunSummary | None:
    """The final figures; None as long as the run is not complete."""
    if not (folder / SUMMARY).exists():
        return None
    return record(RunSummary, read_json(folder / SUMMARY), folder / SUMMARY)
