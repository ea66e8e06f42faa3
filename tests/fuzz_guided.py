"""The parsers under a fuzzer that looks for inputs of new branches (atheris, libFuzzer).

    python tests/fuzz_guided.py idx -runs=10000

The kinds are TARGETS; other options are libFuzzer's. Whatever is neither taken nor refused in one
line ends it with the traceback and the input in a file.
"""

import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["convworks", "PIL"]):
    import torch
    from PIL import Image

    import convworks as cw
    import convworks.cli.summary
    import convworks.measure.summary
    import convworks.train.run
    from convworks.cli import COMMANDS, run
    from convworks.data.folder import decode
    from convworks.errors import ConvworksError
    from convworks.studies.reader import load_study

    cw.load, cw.load_data  # noqa: B018 (imported now, and so watched)
    Image.init()  # Pillow's formats
from fuzz import prepare


def idx(content: bytes) -> None:
    Path("mnist/MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(content)
    cw.load_data("mnist", root="mnist")


def picture(content: bytes) -> None:
    Path("changed.png").write_bytes(content)
    decode(Path("changed.png"), 3, 16, None)


def config(content: bytes) -> None:
    Path("whole/config.json").write_bytes(content)
    cw.load("whole")


def weights(content: bytes) -> None:
    Path("whole/best.safetensors").write_bytes(content)
    cw.load("whole")


def study(content: bytes) -> None:
    Path("mine.toml").write_bytes(content)
    load_study("mine.toml")


def words(content: bytes) -> None:
    """All commands are read, and those that begin no long work carried out."""
    given = content.decode("utf-8", "surrogateescape").split(" ")
    shown = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(shown):
        try:
            code = run(given)
        except SystemExit as usage:
            code = usage.code  # type: ignore[assignment]
    text = shown.getvalue()
    assert code in (0, 1, 2, None), text
    assert "Traceback" not in text, text
    assert "Unexpected" not in text, text


TARGETS: dict[str, tuple[Callable[[bytes], None], str]] = {
    "idx": (idx, "mnist/MNIST/raw/t10k-labels-idx1-ubyte"),
    "picture": (picture, "pictures/*"),
    "config": (config, "whole/config.json"),
    "weights": (weights, "whole/best.safetensors"),
    "study": (study, str(Path(cw.__file__).parent / "studies" / "*.toml")),
    "words": (words, "words*"),
}
"""What takes the bytes, and which good files to begin with."""
SHORT = {"summary", "models"}
LINES = (
    "summary lenet --input 1x28x28 --depth 1 --json",
    "models --json",
    "train lenet --data digits --epochs 1 --lr 0.1 --set dropout=0.5 --out run --seed 3",
    "compare lenet resnet18 --batch-size 8 --json",
    "study norms --budget quick --out page.md",
    "eval whole --data digits --json",
    "export whole --format openvino --int8 --out small.xml",
    "predict whole a.png - --top 3 --format csv",
)


def once(target: Callable[[bytes], None], content: bytes) -> None:
    """An exception, which ends the fuzzer, unless the bytes are taken or refused in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target(content)
        except ConvworksError as error:
            if "\n" in str(error):
                raise ValueError("a message of several lines") from error


def main() -> None:
    kind, *options = sys.argv[1:]
    target, good = TARGETS[kind]
    torch.set_num_threads(1)
    logging.disable()
    with tempfile.TemporaryDirectory() as place, chdir(place):
        prepare()
        for number, line in enumerate(LINES):
            Path(f"words{number}").write_text(line)
        for name in COMMANDS.keys() - SHORT:
            COMMANDS[name].run = lambda *_: None  # type: ignore[attr-defined]
        Path("corpus").mkdir()
        at, pattern = (Path("/"), good[1:]) if good.startswith("/") else (Path(), good)
        for number, path in enumerate(sorted(at.glob(pattern))):
            shutil.copy(path, f"corpus/{number}")
        atheris.Setup(
            [sys.argv[0], "corpus", "-rss_limit_mb=8192", *options],
            lambda content: once(target, content),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
