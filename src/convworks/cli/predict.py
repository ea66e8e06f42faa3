"""`convworks predict`."""

import csv
import json
import os
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from select import select
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from convworks.cli.command import Command, Flag
from convworks.errors import ConvworksError, InputError, UsageError
from convworks.train.config import Device

if TYPE_CHECKING:
    from convworks.deploy.predict import Missing

BLOCK = 2**16
"""Bytes of standard input that are taken at a time, at most."""


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Tell what pictures show: convworks predict runs/resnet18-photos holiday/ cat.jpg."""

    network: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a file that `convworks export` wrote."""
    images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE…")]
    """Picture files, folders of them, patterns such as 'day*/*.jpg'; -: a path a line from
    standard input."""
    top: int = 1
    """So many labels for each picture, the likeliest first."""
    tta: Flag = False
    """Test-time augmentation: the mean of a picture and two shifted ones; thrice the work.
    Of their mirror images too where the run was trained with such; six times the work."""
    device: Device = "auto"
    """Where a run's network computes; auto: a GPU when there is one. An exported file's runtime
    decides itself."""
    format: Literal["text", "jsonl", "csv"] = "text"
    """How the answers are printed: a line a picture, in the order given."""
    json: Flag = False
    """Print JSON lines: --format jsonl."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Prints an answer for each picture as it comes; fails in the end if some had none."""
        from convworks.data.folder import shown
        from convworks.deploy.predict import open_network, predict

        if self.top < 1:
            raise UsageError(f"--top must be at least 1, not {self.top}.")
        if not self.images:
            raise UsageError("Name pictures, folders of them, or - for standard input.")
        form = "jsonl" if self.json else self.format
        network = open_network(self.network, self.device)
        top = min(self.top, len(network.labels))
        paths = self._paths()
        failed = count = 0
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if form == "csv":
            ranks = [""] if top == 1 else [f"_{i + 1}" for i in range(top)]
            writer.writerow(["path", *(f"{x}{i}" for i in ranks for x in ("label", "probability"))])
        for one in predict(network, paths, top=top, tta=self.tta):
            count += 1
            if one.error:
                failed += 1
                print(f"convworks: {one.error}", file=sys.stderr)
            pairs = list(zip(one.labels, one.probabilities, strict=True))
            if form == "jsonl":
                odd = not one.path.isprintable()
                print(json.dumps(asdict(one), ensure_ascii=odd), flush=True)
            elif form == "csv":
                cells = [x for label, share in pairs for x in (label, f"{share:.6f}")]
                writer.writerow([one.path, *(cells or [""] * (2 * top))])
                sys.stdout.flush()
            elif not one.error:
                said = ", ".join(f"{label} {share:.1%}" for label, share in pairs)
                print(f"{shown(one.path)}: {said}", flush=True)
        if not count:
            raise ConvworksError(f"No pictures in {', '.join(self.images)}.")
        if failed:
            raise ConvworksError(f"{failed:,} of {count:,} files could not be read.")

    def _paths(self) -> Iterator["str | Missing | None"]:
        """The files, standard input's line by line, whatever signs their names have."""
        from convworks.data.folder import passed_over, shown
        from convworks.deploy.predict import Missing, find_pictures

        for text in self.images:
            if text == "-":
                yield from _lines()
                continue
            try:
                yield from find_pictures(text)
                for other in passed_over(Path(text)):
                    print(f"{shown(text)}: {other}", file=sys.stderr)
            except InputError as error:
                yield Missing(text, str(error))


def _lines() -> Iterator[str | None]:
    """Standard input's lines, and None where the next is not there yet."""
    stream, rest = sys.stdin.fileno(), b""
    while True:
        if _silent(stream):
            yield None
        block = os.read(stream, BLOCK)
        *lines, rest = (rest + block).split(b"\n")
        lines += [] if block else [rest]
        # Lists from Windows end lines with \r\n, and may begin with a mark.
        names = (os.fsdecode(one.removeprefix(BOM_UTF8).rstrip(b"\r")) for one in lines)
        yield from (name for name in names if name.strip())
        if not block:
            return


def _silent(stream: int) -> bool:
    """Whether a pipe or terminal holds nothing now; False where the system cannot tell."""
    try:
        return not select([stream], [], [], 0)[0]
    except (OSError, ValueError):
        return False
