"""Exported networks, opened by the runtime of their format.

All take uint8 pictures N×C×S×S and give fp32 probabilities N×classes; what else one needs to know
stands in the file, as JSON under the name `convworks`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convworks.deploy.archive import LARGEST_SIDE, checked
from convworks.errors import InputError, first_line
from convworks.extras import need
from convworks.files import hash_of_file

ENTRY = "convworks"
"""The name under which the file's metadata stand."""
WEIGHTS = "convworks_weights"
"""In OpenVINO's, that of the SHA-256 of the .bin beside it."""
INPUT, OUTPUT = "images", "probabilities"
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
"""Of the files of each format; OpenVINO puts the weights beside, into a .bin."""

Pixels = np.ndarray
Probabilities = np.ndarray


@dataclass(frozen=True)
class Deployed:
    """A network, exported or of a run, ready to run."""

    path: Path
    metadata: Mapping[str, Any]
    run: Callable[[Pixels], Probabilities]
    """uint8 N×C×S×S to fp32 N×classes, any N."""
    look: Callable[[Pixels], np.ndarray] | None = None
    """Where it looked for its answer: uint8 N×C×S×S to fp32 N×S×S in 0…1. None: it cannot tell, as
    an exported file cannot."""

    @property
    def labels(self) -> list[str]:
        """The classes."""
        labels: list[str] = self.metadata["labels"]
        return labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture."""
        channels, height, width = self.metadata["input"]["shape"]
        return channels, height, width


def open_deployed(path: str | Path, *, exact: bool = False) -> Deployed:
    """Opens an exported network by its file's ending.

    With `exact` it computes in fp32; else OpenVINO takes bf16 where the CPU has it. Raises
    InputError for a file that is missing, damaged or not ours, and for a runtime not installed.
    """
    file = Path(path)
    openers = {".onnx": _open_onnx, ".xml": _open_openvino, ".pt2": _open_pt2}
    if not file.is_file():
        raise InputError(
            f"There is no {file}: name a run's folder, or a file that `convworks export` wrote."
        )
    if file.suffix not in openers:
        known = ", ".join(sorted(openers))
        raise InputError(f"{file} is no exported network: they end in {known}.")
    try:
        text, run = openers[file.suffix](file, exact)
    except InputError:
        raise
    except Exception as error:  # each runtime has errors of its own
        raise InputError(f"Cannot read {file} ({first_line(error)}): export it again.") from error
    if text is None:
        raise InputError(f"{file} was not exported by convworks: it lacks its labels.")
    return Deployed(file, _notes(file, text), run)


def _notes(file: Path, text: str) -> dict[str, Any]:
    """What stands in a file besides its network; InputError for what `export` does not write."""
    try:
        found: dict[str, Any] = json.loads(text)
        labels, (_, *sides) = found["labels"], found["input"]["shape"]
        if [type(one) for one in labels] != [str] * len(labels):
            raise ValueError("labels")
        if sides[0] != sides[1] or not 1 <= sides[0] <= LARGEST_SIDE:
            raise ValueError("the size of its pictures")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"Cannot use {file}, whose notes are damaged: export it again.") from error
    return found


Opened = tuple[str | None, Callable[[Pixels], Probabilities]]


def _open_onnx(path: Path, _exact: bool) -> Opened:
    ort = need("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map.get(ENTRY)
    return text, lambda pixels: session.run([OUTPUT], {INPUT: pixels})[0]


def _open_openvino(path: Path, exact: bool) -> Opened:
    core = need("openvino").Core()
    model = core.read_model(path)
    text, weights = (
        model.get_rt_info([name]).astype(str) if model.has_rt_info([name]) else None
        for name in (ENTRY, WEIGHTS)
    )
    beside = path.with_suffix(".bin")
    if text is not None and weights != hash_of_file(beside):
        raise InputError(
            f"{path.name} and {beside.name} in {path.parent} are not of one export: copy both from"
            " where they were exported, or export again."
        )
    hints = {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    compiled = core.compile_model(model, "CPU", hints)
    return text, lambda pixels: compiled(pixels)[0]


def _open_pt2(path: Path, _exact: bool) -> Opened:
    extra = {ENTRY: ""}
    logger = logging.getLogger("torch.export")
    told, logger.disabled = logger.disabled, True  # it would show a traceback before our line
    try:
        program = torch.export.load(checked(path), extra_files=extra).module()
    finally:
        logger.disabled = told

    @torch.inference_mode()
    def run(pixels: Pixels) -> Probabilities:
        result: Probabilities = program(torch.from_numpy(pixels)).numpy()
        return result

    return extra[ENTRY] or None, run
