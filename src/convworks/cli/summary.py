"""`convworks summary`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from convworks.cli.command import Command, Flag, Options, parse_options, show
from convworks.errors import UsageError
from convworks.measure.units import parse_bytes
from convworks.train.config import left_open

Arithmetic = Literal["fp32", "bf16", "fp16"]

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Summary(Command):
    """Show a network's layers and what they cost: convworks summary lenet --input 1x28x28."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A network of the zoo; `convworks models` lists them."""
    input: Annotated[
        str | None, tyro.conf.arg(metavar="CxHxW", help_behavior_hint="(default: as models lists)")
    ] = None
    """Channels, height and width of the images, such as 3x224x224."""
    classes: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as models lists)")
    ] = None
    """How many classes the network tells apart."""
    depth: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: single layers)")
    ] = None
    """1: a row for each block of the network; 2: for their parts too; and so on."""
    memory: Annotated[
        str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="(default: not asked)")
    ] = None
    """Tell how large a batch can be trained and used with so much memory, such as 8GiB."""
    precision: Annotated[Arithmetic | None, left_open(Arithmetic, "fp32")] = None
    """Of the arithmetic that --memory asks about."""
    options: Options = ()
    """Make the network otherwise, as by se=16: its file below convworks/nets says what there is."""
    json: Flag = False
    """Print JSON."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Prints the layer table."""
        import torch

        from convworks.measure.summary import summarize
        from convworks.nets.registry import create_model, find

        shape = find(self.model).input if self.input is None else parse_shape(self.input)
        if self.depth is not None and self.depth < 1:
            raise UsageError(f"--depth must be at least 1, not {self.depth}.")
        with torch.device("meta"):
            model = create_model(
                self.model,
                num_classes=self.classes,
                in_channels=shape[0],
                image_size=shape[1],
                options=parse_options(self.options),
            )
        summary = summarize(model, shape, depth=self.depth)
        batches = self._batches(model, shape)
        if self.json:
            print(json.dumps(summary.to_dict() | {"largest_batch": batches}, indent=2))
            return
        show(summary.table())
        if batches:
            print(
                f"{self.memory} hold a batch of {batches['training']:,} in training with AdamW and"
                f" of {batches['inference']:,} in use, in {self.precision or 'fp32'}"
            )

    def _batches(self, model: "nn.Module", shape: tuple[int, int, int]) -> dict[str, int]:
        """The largest batches for --memory; nothing when it was not given."""
        from convworks.measure.memory import largest_batch, predict_memory
        from convworks.train.device import PRECISIONS

        if self.memory is None and self.precision is not None:
            raise UsageError("--precision is for --memory: give that too.")
        if self.memory is None:
            return {}
        budget = parse_bytes(self.memory)

        def need(batch: int, training: bool) -> int:
            precision = PRECISIONS[self.precision or "fp32"]
            batch = max(2, batch) if training else batch  # one value has no variance for batch norm
            return predict_memory(model, shape, batch, training=training, precision=precision).total

        return {
            kind: largest_batch(budget, lambda batch: need(batch, kind == "training"))  # noqa: B023
            for kind in ("training", "inference")
        }


def parse_shape(text: str) -> tuple[int, int, int]:
    """Numbers from `3x224x224`."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(
        part.isascii() and part.isdigit() and int(part) for part in parts
    ):
        raise UsageError(f"--input takes channels, height and width such as 3x224x224, not {text}.")
    channels, height, width = map(int, parts)
    return channels, height, width
