"""The `convworks` command: parse, call, print. Nothing here imports PyTorch before it is needed."""

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

import tyro

from convworks.cli.bench import BenchCommand
from convworks.cli.command import Command
from convworks.cli.compare import Compare
from convworks.cli.demo import Demo
from convworks.cli.evaluate import Evaluate
from convworks.cli.export import Export
from convworks.cli.models import Models
from convworks.cli.predict import Predict
from convworks.cli.report import Report
from convworks.cli.reproduce import Reproduce
from convworks.cli.show import Show
from convworks.cli.study import StudyCommand
from convworks.cli.summary import Summary
from convworks.cli.train import Train
from convworks.errors import ConvworksError, UsageError

COMMANDS: dict[str, Callable[..., Command]] = {
    "train": Train,
    "models": Models,
    "summary": Summary,
    "compare": Compare,
    "bench": BenchCommand,
    "reproduce": Reproduce,
    "study": StudyCommand,
    "eval": Evaluate,
    "export": Export,
    "predict": Predict,
    "demo": Demo,
    "report": Report,
    "show": Show,
}

DESCRIPTION = """Convolutional image classifiers: build, train, measure, ship.

`convworks train` alone trains LeNet on real digits in seconds, offline."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves as Ctrl-C does, cleanly
    warnings.filterwarnings("ignore", module="PIL")  # what cannot be read is told by ourselves
    for stream in (sys.stdin, sys.stdout):  # names of files need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:  # help, or wrong usage
        code = end.code if isinstance(end.code, int) else 0
    try:
        _flush(sys.stdout)
    except BrokenPipeError:
        pass  # the reader, such as `head`, has had enough
    except OSError as error:
        code = code or _fail(f"Cannot write to standard output ({error.strerror}).", 1)
    with suppress(OSError):
        _flush(sys.stderr)
    sys.exit(code)


def _flush(stream: TextIO) -> None:
    """Writes what is left; what cannot be written is not to be tried again at the very end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit code; wrong usage raises SystemExit(2)."""
    try:
        if list(arguments) == ["--version"]:
            from convworks.version import __version__

            print(f"convworks {__version__}")
            return 0
        _parse(arguments).run(arguments[1:])
    except KeyboardInterrupt as stop:
        return _fail(f"Stopped{f': {stop}' if str(stop) else ''}.", 130)
    except BrokenPipeError:
        return 0  # the reader, such as `head`, has had enough
    except Exception as error:
        return _report(error, arguments)
    return 0


def _parse(arguments: Sequence[str]) -> Command:
    """The command; of a known one only its own options are suggested for a mistyped word."""
    name, rest = "".join(arguments[:1]), list(arguments[1:])
    if name in COMMANDS:
        return tyro.cli(COMMANDS[name], prog=f"convworks {name}", args=rest)
    found: Command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="convworks", description=DESCRIPTION, args=list(arguments)
    )
    return found


def _report(error: Exception, arguments: Sequence[str]) -> int:
    """Prints what failed and returns the exit code."""
    debug = "--debug" in arguments
    if debug:
        traceback.print_exc()
    if _was_stopped(error):
        return _fail("Stopped.", 130)
    if isinstance(error, ConvworksError):
        return _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    return 1 if debug else _fail(f"{_explain(error, arguments)} (Add --debug to see where.)", 1)


def _was_stopped(error: BaseException | None) -> bool:
    """Whether a library, such as PyTorch's exporter, made another error of Ctrl-C."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _explain(error: Exception, arguments: Sequence[str]) -> str:
    """One line for an error that nobody foresaw."""
    text = (str(error).strip().splitlines() or [""])[0]
    exhausted = "out of memory" in text or "can't allocate memory" in text
    if exhausted or isinstance(error, MemoryError):
        if arguments[0] in ("eval", "predict"):  # whose batches and pictures have their size
            return "Out of memory: end other programs, or compute elsewhere, as by --device cpu."
        return "Out of memory: try a smaller --batch-size or --image-size."
    return f"Unexpected {type(error).__name__}: {text}"


def _fail(text: str, code: int) -> int:
    with suppress(OSError):  # such as a full disk, where the code tells still
        print(f"convworks: {text}", file=sys.stderr)
    return code
