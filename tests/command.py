"""The command as users start it: a process, its streams, its exit code.

It is forked from one that has imported PyTorch already, which takes three seconds every time;
tests/cli/test_start.py starts it as a shell does.
"""

import os
import resource
import signal
import sys
import warnings
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import NamedTemporaryFile
from threading import Timer

from convworks.cli import main

FORKS = get_context("forkserver")
HEAVY = ["convworks.api", "matplotlib.figure", "sklearn.datasets", "torch._dynamo"]
FORKS.set_forkserver_preload(HEAVY)


class Command:
    """`convworks` with these words, running; after four minutes it is killed."""

    def __init__(
        self,
        *words: str,
        text: str = "",
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        own_group: bool = False,
        largest_file: int | None = None,
    ) -> None:
        self.words = words
        self._files = NamedTemporaryFile(), NamedTemporaryFile()  # noqa: SIM115
        self._files[0].write(text.encode())
        self._files[0].flush()
        streams = [file.name for file in self._files]
        reading, writing = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(
            target=_become,
            args=(words, cwd or Path.cwd(), {**os.environ, **(environment or {})}, own_group),
            kwargs={"streams": streams, "errors": writing, "largest_file": largest_file},
        )
        self._process.start()
        writing.close()
        self.stderr = os.fdopen(os.dup(reading.fileno()), errors="surrogateescape")
        reading.close()
        self._limit = Timer(240, self._process.kill)
        self._limit.daemon = True
        self._limit.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_for(self, beginning: str) -> None:
        """Reads what it says up to a line that begins so; AssertionError if none does."""
        said = []
        for line in self.stderr:
            said.append(line)
            if line.startswith(beginning):
                return
        raise AssertionError("".join(said))

    def end(self) -> CompletedProcess[str]:
        """Its exit code and what it said, once it is over."""
        with self.stderr:
            err = self.stderr.read()
        self._process.join()
        self._limit.cancel()
        with Path(self._files[1].name).open(newline="", errors="surrogateescape") as printed:
            out = printed.read()
        for file in self._files:
            file.close()
        assert self._process.exitcode is not None
        return CompletedProcess(self.words, self._process.exitcode, out, err)


def convworks(*words: str, text: str = "", cwd: Path | None = None) -> CompletedProcess[str]:
    """Exit code, standard output and standard error of `convworks` with these words."""
    return Command(*words, text=text, cwd=cwd).end()


def _become(
    words: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    own_group: bool,
    *,
    streams: list[str],
    errors: Connection,
    largest_file: int | None,
) -> None:
    """Turns the fork into what a shell would have started, and runs it; warnings are errors."""
    if own_group:
        os.setsid()
    if largest_file is not None:  # writing more fails, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    os.dup2(os.open(streams[0], os.O_RDONLY), 0)
    os.dup2(os.open(streams[1], os.O_WRONLY), 1)
    os.dup2(errors.fileno(), 2)
    errors.close()
    os.environ.clear()
    os.environ.update(environment, PYTHONWARNINGS="error")
    os.chdir(folder)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = ["convworks", *words]
    warnings.simplefilter("error")
    main()
