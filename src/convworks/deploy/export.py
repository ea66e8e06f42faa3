"""From a run to a file for ONNX Runtime, OpenVINO or `torch.export`, checked before it is kept."""

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from convworks.data.splits import ARRAYS, Data
from convworks.deploy.card import is_own, write_card
from convworks.deploy.int8 import quantize
from convworks.deploy.place import put_in_place
from convworks.deploy.runtime import (
    ENTRY,
    INPUT,
    OUTPUT,
    SUFFIXES,
    WEIGHTS,
    Pixels,
    open_deployed,
)
from convworks.deploy.shipped import Shipped, batches, describe
from convworks.errors import ConvworksError, InputError, UsageError, first_line, unknown
from convworks.extras import need
from convworks.files import check_parent, hash_of_file
from convworks.measure.display import Displayed
from convworks.train.run import Run, load, own_data

Format = Literal["onnx", "openvino", "pt2"]
BATCHES = (1, 7, 32)
"""The file's outputs are compared with the network's on so many real pictures at once, and on the
test part in batches."""
CLOSE = 1e-3
"""So far a probability of an fp32 file may be off: the runtimes order their sums otherwise."""
LOST = 0.005
"""So much test accuracy int8 may cost, or two pictures."""
CALIBRATION = 512
"""Pictures of the training part that the ranges of int8 are taken from."""
AGREED = 0.9
"""int8 must give so large a share of the test pictures the network's own labels."""


class ExportError(ConvworksError, RuntimeError):
    """The file does not do what the network does; none is left."""


@dataclass(frozen=True)
class Exported(Displayed):
    """A file that was written, and how near it comes; plain values, for JSON."""

    path: Path
    format: Format
    precision: Literal["fp32", "int8"]
    bytes: int
    farthest: float
    """The largest difference of a probability from the network's, on the test part."""
    test_images: int
    test_accuracy: float
    """Of the file, as its runtime computes by itself."""
    run_accuracy: float
    """Of the run's network, in fp32."""


def export(
    run: Run | str | Path,
    format: Format = "onnx",  # noqa: A002 (the word that users look for)
    out: str | Path | None = None,
    *,
    int8: bool = False,
    data: Data | str | Path | None = None,
    data_root: str | Path | None = None,
) -> Exported:
    """Writes a complete run's network for other programs, and a model card beside it.

    The file takes any number of uint8 pictures at once and holds labels, normalisation and notes.
    `out` None: `model` with the format's ending in the run folder. With `int8`, weights and
    activations have 8 bits, their ranges taken from the training part; for ONNX and OpenVINO.

    The written file is compared with the network on the test part of `data`, by default the run's
    own, and both are tested. Raises ExportError when they differ or the network cannot be exported,
    and leaves files as they were; InputError when the data or the format's runtime are not there.
    """
    run = run if isinstance(run, Run) else load(run)
    if run.summary is None:
        raise InputError(
            f"{run.path} is not complete: finish it with convworks train --resume --out {run.path}"
        )
    if format not in get_args(Format):
        raise unknown("format", format, get_args(Format))
    if int8 and format == "pt2":
        raise UsageError(
            "--int8 is for onnx and openvino: torch.export keeps the network as it is."
        )
    if run.data["name"] == ARRAYS and not isinstance(data, Data):
        raise InputError(
            f"{run.path} was trained on arrays, which it does not keep: in Python, give"
            " export(…, data=load_data(FOLDER)) pictures of the same classes to test the file with."
        )
    path = _target(run, format, out, int8)
    data = own_data(run, data, data_root)
    shipped = Shipped(deepcopy(run.model).cpu(), run.preparation).eval()
    metadata = describe(run, data.title if is_own(run, data) else run.summary.data)
    try:
        with tempfile.TemporaryDirectory(prefix=".export", dir=path.parent) as folder:
            made = Path(folder) / path.name
            with warnings.catch_warnings(action="ignore"):  # what the exporters say of themselves
                WRITERS[format](shipped, made, metadata, _ranges(run, data) if int8 else None)
            found = _check(run, data, shipped, made, path, format, int8)
            write_card(made.with_name(f"{made.name}.md"), run, data, found, metadata)
            put_in_place(Path(folder), path.parent)
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror or error}).") from error
    return found


def _target(run: Run, kind: Format, out: str | Path | None, int8: bool) -> Path:
    """Where the file is to stand; its folder is there."""
    suffix = SUFFIXES[kind]
    usual = run.path / f"model{'.int8' * int8}{suffix}"
    path = usual if out is None else Path(out).expanduser()
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file such as {path}/model{suffix}.")
    if path.suffix != suffix:
        raise InputError(f"A file for {kind} ends in {suffix}: name it {path.with_suffix(suffix)}.")
    check_parent(path)
    beside = [path.with_name(f"{path.name}.md"), path.with_suffix(".bin")]
    for file in beside if kind == "openvino" else beside[:1]:
        if file.is_file() and not path.exists():  # no earlier export's
            raise InputError(
                f"{file} is in the way of what is written beside {path.name}: move it."
            )
    return path


def _program(shipped: Shipped, metadata: Mapping[str, Any]) -> torch.export.ExportedProgram:
    """The network for any number of pictures."""
    images = torch.zeros(2, *metadata["input"]["shape"], dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    try:
        return torch.export.export(shipped, (images,), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch.export has many, of many lines
        raise ExportError(
            f"The network cannot be exported for any number of pictures ({first_line(error)}): in"
            " its forward, take x.flatten(1) for x.view(len(x), -1), and no Python numbers from"
            " tensors."
        ) from error


def _write_pt2(shipped: Shipped, path: Path, metadata: Mapping[str, Any], _ranges: object) -> None:
    program = _program(shipped, metadata)
    torch.export.save(program, path, extra_files={ENTRY: json.dumps(metadata)})


def _write_onnx(
    shipped: Shipped, path: Path, metadata: Mapping[str, Any], ranges: Iterator[Pixels] | None
) -> None:
    onnx = need("onnx")
    need("onnxscript")
    program = torch.onnx.export(
        _program(shipped, metadata),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)
    if ranges is not None:
        quantize(path, ranges)
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, {ENTRY: json.dumps(metadata)})
    onnx.save(model, path)


def _write_openvino(
    shipped: Shipped, path: Path, metadata: Mapping[str, Any], ranges: Iterator[Pixels] | None
) -> None:
    """By way of ONNX, of which OpenVINO takes 8 bits too.

    Read by the core: `openvino.convert_model` would report its use over the network.
    """
    openvino = need("openvino")
    between = path.with_suffix(".onnx")
    _write_onnx(shipped, between, metadata, ranges)
    model = openvino.Core().read_model(between)
    model.set_rt_info(json.dumps(metadata), [ENTRY])
    openvino.save_model(model, path, compress_to_fp16=False)
    # Known once it is written; the .bin of the second time is the same.
    model.set_rt_info(hash_of_file(path.with_suffix(".bin")), [WEIGHTS])
    openvino.save_model(model, path, compress_to_fp16=False)
    between.unlink()


WRITERS = {"onnx": _write_onnx, "openvino": _write_openvino, "pt2": _write_pt2}


def _check(
    run: Run, data: Data, shipped: Shipped, made: Path, path: Path, kind: Format, int8: bool
) -> Exported:
    """Compares the file with the network; ExportError when it is another."""
    try:
        exact, usual = open_deployed(made, exact=True), open_deployed(made)
    except InputError as error:  # of one's own network, which may hold what we open from nobody
        reason = str(error).replace(str(made), "The file").replace("Export the network again.", "")
        raise ExportError(f"{reason.strip()} Export it in another --format.") from error
    off: list[float] = []
    right = ours = agreed = count = 0
    for pixels, labels in batches(data.test, run.preparation.image_size):
        with torch.inference_mode():
            expected = shipped(torch.from_numpy(pixels)).numpy()
        if not count:  # however few there are, they are shown again
            many = np.resize(pixels, (max(BATCHES), *pixels.shape[1:]))
            answers = np.resize(expected, (max(BATCHES), expected.shape[1]))
            off += [_distance(exact.run(many[:size]), answers[:size]) for size in BATCHES]
        off.append(_distance(exact.run(pixels), expected))
        said = usual.run(pixels).argmax(1)
        right += int((said == labels).sum())
        ours += int((expected.argmax(1) == labels).sum())
        agreed += int((said == expected.argmax(1)).sum())
        count += len(labels)
    if not count:
        raise InputError(
            f"None of the pictures in the test part of {data.title} can be read: nothing was"
            " written. Say with --data where they lie now, or repair them."
        )
    farthest = float(np.max(off))  # NaN if any is
    if not farthest <= (1 if int8 else CLOSE):
        raise ExportError(
            f"The {kind} file gives other probabilities than the network (by {farthest:.3g}):"
            " nothing was written."
        )
    if ours - right > max(LOST * count, 2) or agreed < AGREED * count:
        raise ExportError(
            f"The {kind} file is right in {right:,} of {count:,} test pictures, the network in"
            f" {ours:,}, and they agree in {agreed:,}: nothing was written."
            + " Export it without --int8."
            * int8
        )
    size = sum(file.stat().st_size for file in made.parent.iterdir())
    precision: Literal["fp32", "int8"] = "int8" if int8 else "fp32"
    return Exported(path, kind, precision, size, farthest, count, right / count, ours / count)


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a probability; NaN where one is none."""
    return float(np.abs(found - expected).max())


def _ranges(run: Run, data: Data) -> Iterator[Pixels]:
    """Pictures to calibrate with, of all classes: folders are in the order of theirs."""
    chosen = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    some = data.train.take(chosen[:CALIBRATION])
    return (pixels for pixels, _ in batches(some, run.preparation.image_size))
