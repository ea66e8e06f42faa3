"""`convworks eval`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from convworks.cli.command import Command, DataRoot, Flag, RunData, show
from convworks.train.config import Device

if TYPE_CHECKING:
    from convworks.deploy.evaluation import Evaluation

SQUARE = 12
"""With more classes the confusion matrix is too wide to be printed."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Test a network class by class: convworks eval runs/lenet-digits."""

    network: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a file that `convworks export` wrote."""
    data: RunData = None
    """A known data set, or an image folder with the same classes; of a folder its test/, or all."""
    part: Literal["train", "val", "test"] = "test"
    """Which part of the data."""
    tta: Flag = False
    """Test-time augmentation: the mean of a picture and two shifted ones; thrice the work.
    Of their mirror images too where the run was trained with such; six times the work."""
    device: Device = "auto"
    """Where a run's network computes; auto: a GPU when there is one. An exported file's runtime
    decides itself."""
    data_root: DataRoot = None
    """Where known data sets lie or are downloaded to."""
    json: Flag = False
    """Print JSON, with the confusion matrix."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Computes and prints."""
        from convworks.data.folder import passed_over, shown
        from convworks.data.sources import SOURCES
        from convworks.deploy.evaluation import evaluate_network

        found = evaluate_network(
            self.network,
            self.data,
            part=self.part,
            tta=self.tta,
            device=self.device,
            data_root=self.data_root,
        )
        if self.data is not None and self.data not in SOURCES:
            for text in passed_over(Path(self.data)):
                print(text, file=sys.stderr)
        if found.namesakes:
            print(
                f"{found.namesakes:,} of the {found.images:,} pictures have names of pictures that"
                " the network learned from: if they are the same, the accuracy is too high",
                file=sys.stderr,
            )
        if self.json:
            print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
            return
        for text in found.left_out:
            print(f"left out: {text}", file=sys.stderr)
        show(_table(found))
        print(
            f"{found.data}, {found.part}: accuracy {found.accuracy:.4f} of {found.images:,}"
            f" pictures (95 % interval {_interval((found.low, found.high))}),"
            f" balanced {found.balanced_accuracy:.4f},"
            f" top five {found.top5:.4f} ({_interval(found.top5_interval)}),"
            f" F1 {found.macro_f1:.4f}, loss {found.loss:.4f},"
            f" calibration error {found.calibration_error:.4f}"
        )
        if len(found.classes) <= SQUARE:
            print("what was said of each class:")
            show(_square(found))
        if found.worst:
            print("mistakes made most surely:")
        for one in found.worst:
            print(f"  {shown(one.picture)}: {one.label}, said {one.said} ({one.probability:.1%})")


def _table(found: "Evaluation") -> Table:
    """A row a class, with what it is mistaken for most; a dash for a share of no pictures."""
    table = Table()
    for column in ("class", "precision", "recall", "its 95 %", "F1", "pictures", "mistaken for"):
        table.add_column(column, justify="left" if column in ("class", "mistaken for") else "right")
    for place, one in enumerate(found.classes):
        others = [0 if i == place else n for i, n in enumerate(found.confusion[place])]
        most, said = max(others), sum(row[place] for row in found.confusion)
        mistaken = f"{found.classes[others.index(most)].label} ({most:,})" if most else ""
        table.add_row(
            one.label,
            f"{one.precision:.4f}" if said else "–",
            f"{one.recall:.4f}" if one.images else "–",
            _interval(one.recall_interval) if one.images else "–",
            f"{one.f1:.4f}" if said or one.images else "–",
            f"{one.images:,}",
            mistaken,
        )
    return table


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4f} to {ends[1]:.4f}"


def _square(found: "Evaluation") -> Table:
    """The confusion matrix: a row a class, what was said of its pictures under the same letters."""
    table = Table()
    table.add_column("class")
    for letter, _ in zip(ascii_uppercase, found.classes, strict=False):
        table.add_column(letter, justify="right")
    for letter, one, row in zip(ascii_uppercase, found.classes, found.confusion, strict=False):
        table.add_row(f"{letter}: {one.label}", *(f"{count:,}" for count in row))
    return table
