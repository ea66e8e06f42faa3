"""`convworks demo`."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from convworks.cli.command import Command, DataRoot
from convworks.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Show a network pictures on a page of this machine: convworks demo runs/lenet-digits."""

    networks: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN…")]
    """Runs' folders, or files that `convworks export` wrote; several stand side by side."""
    port: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the first free one from 7860)"),
    ] = None
    """Where the page is served."""
    host: str = "127.0.0.1"
    """The address to listen on: this one serves this machine only, 0.0.0.0 all that reach it."""
    data_root: DataRoot = None
    """Where known data sets lie or are downloaded to, for the samples."""

    def run(self, _arguments: Sequence[str], /) -> None:
        """Serves until Ctrl-C."""
        if not self.networks:
            raise UsageError("Name a run's folder, or an exported file.")
        if self.port is not None and not 0 < self.port < 2**16:
            raise UsageError(f"--port must lie in 1…65535, not {self.port}.")
        from convworks.deploy.demo import serving

        with (
            suppress(KeyboardInterrupt),
            serving(
                self.networks, host=self.host, port=self.port, data_root=self.data_root
            ) as address,
        ):
            print(f"{address} (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
