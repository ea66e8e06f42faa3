"""`convworks show`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from convworks.cli.command import (
    Command,
    DataRoot,
    Flag,
    Options,
    RunData,
    make_out,
    parse_options,
)
from convworks.cli.summary import parse_shape
from convworks.errors import UsageError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Show(Command):
    """Draw networks, runs and data: convworks show lenet alexnet; convworks show runs/a cam."""

    what: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="WHAT…")]
    """Networks of the zoo, drawn beside each other; or one run folder and the kinds to draw of it:
    architecture, curves, filters, features, cam, samples, predictions, mistakes, confusion (all
    unless named); or a data set."""
    block: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: the whole)")
    ] = None
    """Draw one block of the networks, such as stage3.0, with everything in it."""
    depth: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: what is readable)")
    ] = None
    """How deep to open blocks that branch: 0, a box each; 1, their paths; 2, blocks in them too."""
    input: Annotated[
        str | None, tyro.conf.arg(metavar="CxHxW", help_behavior_hint="(default: as models lists)")
    ] = None
    """Channels, height and width of the images for networks of the zoo."""
    options: Options = ()
    """Make the networks otherwise, as by se=16."""
    picture: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: test pictures)")
    ] = None
    """Let the run's network look at this picture: features, cam, predictions."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: RUN/figures, else figures)"),
    ] = None
    """The folder for the pictures."""
    format: Literal["svg", "png"] = "svg"
    """Of the files."""
    data: RunData = None
    """The run's image folder, where it has moved."""
    data_root: DataRoot = None
    """Where known data sets lie or are downloaded to."""
    json: Flag = False
    """Print the files' names as JSON."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Draws, writes the files and prints their names."""
        from convworks.report.picture import save_picture

        if not self.what:
            raise UsageError("Name networks of the zoo, a run folder or a data set.")
        drawn, folder = self._drawn()
        folder = self.out or folder
        make_out(folder)
        files = []
        for name, figure in drawn.items():
            files.append(folder / f"{name}.{self.format}")
            save_picture(figure, files[-1])
        print(json.dumps([str(f) for f in files]) if self.json else "\n".join(map(str, files)))

    def _drawn(self) -> "tuple[dict[str, Figure], Path]":
        """The figures by the names of their files, and the folder for them."""
        from convworks.data.sources import SOURCES
        from convworks.data.stores import is_stored
        from convworks.files import check_inside
        from convworks.nets.zoo import ZOO
        from convworks.train.checkpoint import CONFIG

        first = self.what[0]
        if (Path(first) / CONFIG).is_file():
            figures = Path(first) / "figures"
            if self.out is None:
                check_inside(figures, Path(first))
            return self._of_run(Path(first), self.what[1:]), figures
        pictures = Path(first).is_dir() or is_stored(first)
        if first in SOURCES or (first not in ZOO and pictures):
            return self._of_data(first), Path("figures")
        for name in self.what:
            if name not in ZOO:
                from convworks.deploy.show import KINDS

                if name in KINDS:
                    raise UsageError(f"Only a run has {name}: name its folder before it.")
                known = [*ZOO, *SOURCES]
                raise unknown("network, run or data set", name, known, "See `convworks models`.")
        return self._of_networks(), Path("figures")

    def _of_run(self, run: Path, kinds: Sequence[str]) -> "dict[str, Figure]":
        from convworks.deploy.show import show_run

        self._refuse("a run", "block", "depth", "input", "options")
        shown = show_run(
            run,
            kinds,  # type: ignore[arg-type]
            picture=self.picture,
            data=self.data,
            data_root=self.data_root,
        )
        for kind, reason in shown.missing.items():
            print(f"convworks: no {kind}: {reason}", file=sys.stderr)
        return shown.figures

    def _of_data(self, name: str) -> "dict[str, Figure]":
        from convworks.data.sources import load_data
        from convworks.deploy.show import show_data

        self._refuse("a data set", "block", "depth", "input", "options", "picture", "data")
        if self.what[1:]:
            raise UsageError(f"A data set is drawn alone: {' '.join(self.what[1:])} is too much.")
        data = load_data(name, root=self.data_root)
        return {f"{data.title}-samples": show_data(data)}

    def _of_networks(self) -> "dict[str, Figure]":
        import torch

        from convworks.nets.registry import create_model, find
        from convworks.report.architecture import architecture

        self._refuse("a network", "picture", "data")
        named = []
        for name in self.what:
            shape = find(name).input if self.input is None else parse_shape(self.input)
            with torch.device("meta"):
                model = create_model(
                    name,
                    in_channels=shape[0],
                    image_size=shape[1],
                    options=parse_options(self.options),
                )
            named.append((name, model, shape))
        figure = architecture(*named, depth=self.depth, block=self.block)
        return {"-".join([*self.what, *([self.block] if self.block else [])]): figure}

    def _refuse(self, what: str, *fields: str) -> None:
        """UsageError for options that do nothing for what is drawn."""
        for field in fields:
            if getattr(self, field) not in (None, ()):
                option = "set" if field == "options" else field
                raise UsageError(f"--{option} does nothing for {what}: leave it out.")
