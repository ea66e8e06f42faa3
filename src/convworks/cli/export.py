"""`convworks export`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from convworks.cli.command import Command, DataRoot, Flag, RunData


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a trained network for other programs: convworks export runs/lenet-digits."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    format: Literal["onnx", "openvino", "pt2"] = "onnx"
    """For ONNX Runtime, OpenVINO, or torch.export."""
    int8: Flag = False
    """Weights and activations in 8 bits, for onnx and openvino."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: model.… in the run folder)"),
    ] = None
    """The file; a model card is written beside it, and OpenVINO's weights."""
    data: RunData = None
    """What the file is tested with, where the run's image folder has moved."""
    data_root: DataRoot = None
    """Where known data sets lie or are downloaded to."""
    json: Flag = False
    """Print JSON."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Writes, compares and prints."""
        from convworks import api

        found = api.export(
            self.run_folder,
            self.format,
            self.out,
            int8=self.int8,
            data=self.data,
            data_root=self.data_root,
        )
        if self.json:
            print(json.dumps(asdict(found) | {"path": str(found.path)}, indent=2))
            return
        print(
            f"{found.path}: {found.precision}, {found.bytes / 1e6:,.1f} MB; test accuracy"
            f" {found.test_accuracy:.4f} of {found.test_images:,} pictures, the run's network"
            f" {found.run_accuracy:.4f}"
        )
        print(f"how to use it: {found.path}.md")
