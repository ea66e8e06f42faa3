"""`convworks report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from convworks.cli.command import Command, DataRoot, RunData, run_folders
from convworks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Compare runs on one HTML page: convworks report runs/* --out report.html."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN…")] = ()
    """Run folders. Of several, those that hold no run are left out."""
    out: Path = Path("report.html")
    """The page; it needs no network and no other file."""
    data: RunData = None
    """The image folder of those runs whose own has moved."""
    data_root: DataRoot = None
    """Where known data sets lie or are downloaded to."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Tests complete runs once more, and writes the page."""
        if not self.runs:
            raise UsageError("Nothing to report: give run folders such as runs/lenet-digits.")
        import convworks as cw

        path = cw.write_report(
            run_folders(self.runs), self.out, data=self.data, data_root=self.data_root
        )
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB; open it in a browser")
