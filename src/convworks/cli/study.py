"""`convworks study`."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from convworks.cli.command import Command, DataRoot, Flag, show
from convworks.errors import UsageError
from convworks.studies.study import Budget


@dataclass(frozen=True, kw_only=True)
class StudyCommand(Command):
    """Answer a question by a grid of runs: convworks study lenet --budget quick."""

    study: Annotated[
        tyro.conf.Positional[str | None],
        tyro.conf.arg(metavar="NAME|FILE", help_behavior_hint="(default: list them)"),
    ] = None
    """A study that comes with convworks, or a TOML file of your own: see docs/studies/index.md."""
    list: Flag = False
    """Only name the studies, with their runs and roughly what they take on two cores."""
    budget: Budget = "quick"
    """quick: minutes on two cores, on small pictures; full: what the question deserves."""
    runs: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/studies")
    """Where runs are kept: complete ones are read, stopped ones go on."""
    figure: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")
    ] = None
    """Draw the result as SVG, PNG or PDF."""
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE.md", help_behavior_hint="(default: none)")
    ] = None
    """Write a Markdown page, and its picture beside it as SVG."""
    data_root: DataRoot = None
    """Where downloaded data sets are kept."""
    json: Flag = False
    """Print JSON, with the figures of every seed."""

    def run(self, arguments: Sequence[str], /) -> None:
        """Runs what is missing, prints, draws and writes."""
        if self.study is None or self.list:
            self._list()
            return
        import convworks as cw
        from convworks.files import check_parent, write_file
        from convworks.report.picture import check_picture
        from convworks.studies.page import as_page

        if self.out is not None:
            if self.out.suffix != ".md":
                raise UsageError(
                    f"--out takes a Markdown file such as {Path(self.study).stem}.md, not"
                    f" {self.out}."
                )
            check_parent(self.out)
        if self.figure is not None:
            check_picture(self.figure)
        found = cw.study(self.study, budget=self.budget, runs=self.runs, data_root=self.data_root)
        if self.json:
            print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
        else:
            show(found.table())
            for line in found.lines():
                print(line)
        if self.out is not None:
            picture = self.out.with_suffix(".svg")
            page = as_page(found, shlex.join(["convworks", "study", *arguments]), picture.name)
            write_file(self.out, page)
            if found.drawable:
                found.draw(picture)
        if self.figure is not None:
            found.draw(self.figure)

    def _list(self) -> None:
        """Names, questions and costs."""
        from convworks.studies.reader import load_study, shipped

        names = shipped() if self.study is None else [self.study]
        studies = [load_study(name) for name in names]
        if self.json:
            listed = [
                {
                    "study": one.name,
                    "question": one.question,
                    "source": one.source,
                    **{
                        budget: {"runs": one.runs(budget), "minutes": plan.minutes}  # type: ignore[arg-type]
                        for budget, plan in one.plans.items()
                    },
                }
                for one in studies
            ]
            print(json.dumps(listed, indent=2, ensure_ascii=False))
            return
        from convworks.studies.answer import table_of

        show(table_of(studies))
