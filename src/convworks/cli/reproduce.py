"""`convworks reproduce`."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from convworks.cli.command import Command, DataRoot, Flag, show
from convworks.errors import ConvworksError, InputError, UsageError


@dataclass(frozen=True, kw_only=True)
class Reproduce(Command):
    """Compute what the source documents print, beside it: convworks reproduce alexnet --quick."""

    sections: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SECTION…")
    ] = ()
    """Sections such as alexnet; none: all of them."""
    list: Flag = False
    """Only name the sections, and how many figures each has."""
    quick: Flag = False
    """Train nothing: seconds in place of hours. Trainings that are already there count."""
    epochs: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the documents' 10)")
    ] = None
    """Shorten the trainings; their figures are then shown and not judged."""
    runs: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/reproduce")
    """Where trainings are kept: complete ones are read, stopped ones go on."""
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
    ] = None
    """Write the tables as a Markdown page too."""
    data_root: DataRoot = None
    """Where Fashion-MNIST lies or is downloaded to."""
    json: Flag = False
    """Print JSON."""

    def run(self, arguments: Sequence[str], /) -> None:
        """Computes, prints and writes; fails when a figure differs and nothing explains it."""
        import convworks as cw
        from convworks.files import check_parent, write_file
        from convworks.report import reproduce
        from convworks.train.device import choose_device, environment

        if self.list:
            self._list()
            return
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"--epochs must be at least 1, not {self.epochs}.")
        if self.out is not None:
            if self.out.is_dir():
                raise InputError(f"{self.out} is a folder: name a file such as {self.out}/page.md.")
            check_parent(self.out)
        judged = cw.reproduce(
            self.sections,
            quick=self.quick,
            epochs=self.epochs,
            runs=self.runs,
            data_root=self.data_root,
        )
        place = environment(choose_device("auto"))
        command = shlex.join(["convworks", "reproduce", *arguments])
        if self.out is not None:
            write_file(self.out, reproduce.as_page(judged, place, command))
        if self.json:
            found = {"environment": place, "figures": [asdict(one) for one in judged]}
            print(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            for table in reproduce.tables(judged):
                show(table)
            print(f"{len(judged)} figures: {reproduce.tally(judged)}")
        unexplained = [one.what for one in judged if one.verdict == "differs"]
        if unexplained:
            raise ConvworksError(f"Not explained: {'; '.join(unexplained)}.")

    def _list(self) -> None:
        """The sections, and how many figures each has."""
        from convworks.bench.claims import CLAIMS, TRAINED, choose_sections

        known = [
            {
                "section": name,
                "figures": sum(one.section == name for one in CLAIMS),
                "trained": sum(one.section == name for one in TRAINED),
            }
            for name in choose_sections(self.sections)
        ]
        if self.json:
            print(json.dumps(known, indent=2))
            return
        for one in known:
            trained = f", {one['trained']} trained" if one["trained"] else ""
            print(f"{one['section']}: {one['figures']} figures{trained}")
