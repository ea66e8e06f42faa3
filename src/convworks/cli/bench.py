"""`convworks bench`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from convworks.cli.command import Command, Flag, Options, parse_options, show
from convworks.cli.summary import parse_shape
from convworks.errors import UsageError
from convworks.measure.units import show_bytes
from convworks.train.config import Device, Precision

if TYPE_CHECKING:
    from convworks.bench.speed import Bench, Footprint


@dataclass(frozen=True, kw_only=True)
class BenchCommand(Command):
    """Measure a network's speed and memory here: convworks bench resnet18 --input 1x96x96."""

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
    batch_size: int = 128
    """Images in one step."""
    repeats: int = 5
    """How often each speed is measured; the median counts."""
    device: Device = "auto"
    """Where to compute; auto: a GPU when there is one."""
    precision: Precision = "auto"
    """Of the arithmetic; auto: as `convworks train` chooses it."""
    layers: Annotated[
        Literal["training", "use"] | None, tyro.conf.arg(help_behavior_hint="(default: none)")
    ] = None
    """Show each layer's work, bound and share of its roof, in training or in use."""
    figure: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
    ] = None
    """Draw the roofline, of training unless --layers use, as SVG, PNG or PDF."""
    remeasure: Flag = False
    """Measure this machine's own peaks anew; they are kept from the first time on."""
    options: Options = ()
    """Make the network otherwise, as by se=16: its file below convworks/nets says what there is."""
    json: Flag = False
    """Print JSON."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Measures and prints."""
        from convworks.bench.contest import Contestant
        from convworks.bench.speed import benchmark
        from convworks.nets.registry import find
        from convworks.report import roofline
        from convworks.report.picture import check_picture

        for name in ("batch_size", "repeats"):
            if getattr(self, name) < 1:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} must be at least 1, not {getattr(self, name)}.")
        row = find(self.model)
        channels, size, width = row.input if self.input is None else parse_shape(self.input)
        if size != width:
            raise UsageError(f"bench takes square images such as 3x224x224, not {self.input}.")
        contestant = Contestant(
            self.model,
            num_classes=row.classes if self.classes is None else self.classes,
            in_channels=channels,
            image_size=size,
            batch_size=self.batch_size,
            device_name=self.device,
            precision_name=self.precision,
            options=parse_options(self.options),
        )
        if self.figure is not None:
            check_picture(self.figure)
        result = benchmark(contestant, repeats=self.repeats, remeasure=self.remeasure)
        use = self.layers == "use"
        shown = result.inference_roofline if use else result.training_roofline
        if self.figure is not None:
            roofline.draw_roofline(shown, self.figure)
        if self.json:
            print(json.dumps(result.to_dict(), indent=2))
            return
        show(_table(result))
        if self.layers is not None:
            show(roofline.table(shown))
        print(f"In {'use' if use else 'training'}:")
        for line in roofline.in_words(shown):
            print(f"  {line}")


def _table(result: "Bench") -> Table:
    """The figures, training and use side by side."""
    size = "×".join(map(str, result.input))
    title = (
        f"{result.model}, {size}, batch {result.batch_size}, {result.device}, {result.precision}"
    )
    table = Table(title=title)
    for column in ("", "training", "use"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    rates = (result.training, result.inference)
    table.add_row("images/s, median", *(f"{rate.median:,.1f}" for rate in rates))
    spread = (f"{rate.low:,.1f} … {rate.high:,.1f}" for rate in rates)
    table.add_row("slowest … fastest", *spread)
    latency = result.latency_ms
    table.add_row("one image, median", "", f"{latency.median:,.2f} ms")
    table.add_row("one image, 95th percentile", "", f"{latency.p95:,.2f} ms")
    prints = (result.training_memory, result.inference_memory)
    table.add_row("memory at the peak, predicted", *(show_bytes(p.predicted) for p in prints))
    table.add_row("memory at the peak, measured", *map(_measured, prints))
    table.add_row("with what is kept for the next step", *(_bytes(p.resident) for p in prints))
    roofs = (result.training_roofline, result.inference_roofline)
    table.add_row("share of the arithmetic peak", *(f"{roof.peak_share:.0%}" for roof in roofs))
    table.add_row("share of the roofline", *(f"{roof.total.attained:.0%}" for roof in roofs))
    table.add_row(
        "energy for an image",
        *(f"{r.joules_per_image:.4f} J" if r.joules_per_image else "not told" for r in rates),
    )
    return table


def _measured(footprint: "Footprint") -> str:
    """What was needed, and by how much the prediction is off."""
    if footprint.needed is None:
        return "not told"
    error = footprint.predicted / footprint.needed - 1
    return f"{show_bytes(footprint.needed)} ({error:+.1%} predicted)"


def _bytes(count: int | None) -> str:
    return "not told" if count is None else show_bytes(count)
