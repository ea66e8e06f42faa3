"""README.md and the pages below docs/, read as what they are: programs in pieces.

docs/contributing.md has the rules. What a page says is run in its order, in a folder of its own:
`sh` blocks as commands, `python` blocks in one namespace. Blocks with a title are files.
`text` right behind a block is what that prints;

    python tests/pages.py docs/tour/*.md

writes it there anew.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import pytest
import tyro
from PIL import Image
from sklearn.datasets import load_sample_images

from convworks.cli import COMMANDS, run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CHECKS = (ROOT / ".ci/run").read_text().splitlines()

SLOW = ("README.md",)
"""Pages all of whose commands are run by the slow tests only: together they take minutes."""

FENCE = re.compile(
    r"^(?:[ ]*<!-- (?P<mark>[^\n]*?) -->\n\n?)?"
    r"(?P<indent>[ ]*)(?P<ticks>```+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks)$",
    re.DOTALL | re.MULTILINE,
)
INFO = re.compile(r'(?P<language>\w+)(?: title="(?P<title>[\w./-]+)")?')
SHELLS = re.compile(r"[|<>&;$`()]")
"""What only a shell understands."""
SETTING = re.compile(r"\w+=.*")
"""Of the environment, before a command."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    mark: str
    """What the comment before it says."""
    behind: bool
    """Whether it stands right behind another block."""
    margin: str
    place: tuple[int, int]
    """Where its text begins and ends in the page."""

    @property
    def in_the_checks(self) -> bool:
        return self.language == "sh" and self.text.strip() in CHECKS

    @property
    def parsed_only(self) -> bool:
        return self.mark.startswith("parsed only: ")

    @property
    def slow(self) -> bool:
        unmarked = self.page.name in SLOW and self.language == "sh" and not self.parsed_only
        return (unmarked or self.mark == "slow") and not self.in_the_checks

    @property
    def commands(self) -> list[str]:
        """The lines of a `sh` block, those that end in a backslash put together."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; AssertionError for one of which nobody knows what it is."""
    source = page.read_text()
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(source):
        line = source.count("\n", 0, match.start("ticks")) + 1
        info = INFO.fullmatch(match["info"].strip())
        where = f"{page.relative_to(ROOT)}, line {line}"
        assert info is not None, f'{where}: say ```sh, ```python, ```text, or give a title="file"'
        language, title = info["language"], info["title"]
        assert language in ("sh", "python", "text") or title, f'{where}: give a title="file"'
        text = dedent(match["text"])
        behind = bool(found) and not source[end : match.start()].strip()
        mark, place = match["mark"] or "", match.span("text")
        known = mark in ("", "slow", "varies") or mark.startswith("parsed only: ")
        assert known, f"{where}: nobody knows what the comment {mark!r} means"
        found.append(Block(page, line, language, title, text, mark, behind, match["indent"], place))
        end = match.end()
    assert source.count("```") == 2 * len(found), f"{page.relative_to(ROOT)}: an odd fence"
    return found


def follow(page: Path, slow: bool) -> list[tuple[Block, str]]:
    """Does in the working folder what the page says, with what is slow or without.

    Gives the blocks that show what the block before them printed, with what it printed now.
    """
    namespace: dict[str, object] = {"__name__": "page"}
    printed: str | None = None
    outputs = []
    for block in blocks(page):
        if block.title is not None:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)
            printed = None
        elif block.language == "text":
            if block.behind and printed is not None and block.mark != "varies":
                outputs.append((block, printed))
            printed = None
        elif block.in_the_checks:
            printed = None
        elif block.parsed_only or (block.slow and not slow):
            check(block)
            printed = None
        else:
            lines = do(block, namespace).strip("\n").splitlines()
            printed = "".join(f"{line.rstrip()}\n" for line in lines)
    return outputs


def do(block: Block, namespace: dict[str, object]) -> str:
    """Runs a block and gives what it prints."""
    shown = StringIO()
    with redirect_stdout(shown):
        if block.language == "python":
            # Its own lines, so that a traceback points into the page.
            exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)
        else:
            plain = not any(SHELLS.search(command.split(" #")[0]) for command in block.commands)
            for command in block.commands if plain else [block.text]:
                with _told(block, command):
                    execute(command, plain)
    return shown.getvalue()


def write_outputs(page: Path) -> None:
    """Puts into the page what its blocks print now; the working folder is the page's."""
    text = page.read_text()
    for block, printed in reversed(follow(page, slow=True)):
        start, end = block.place
        text = text[:start] + indent(printed, block.margin) + text[end:]
    page.write_text(text)


def check(block: Block) -> None:
    """What is not run is at least of the language, its options known."""
    if block.language == "python":
        compile("\n" * block.line + block.text, str(block.page), "exec")
        return
    for command in block.commands:
        with _told(block, command):
            words = iter(shlex.split(command, comments=True))
            first = next(word for word in words if not SETTING.fullmatch(word))
            if first == "torchrun":  # its own options end where the module is named
                first = next(word for word in words if word == "convworks")
            assert first == "convworks", "only convworks' own commands can be parsed"
            parse(list(words))


def parse(words: list[str]) -> None:
    """Reads a command's words as the command does; AssertionError for wrong ones."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="convworks", args=words)
    except SystemExit as wrong:
        raise AssertionError("wrong usage") from wrong


def execute(command: str, plain: bool) -> None:
    """Runs a plain line of convworks in this process, which saves seconds, all else in a shell."""
    words = shlex.split(command, comments=True)
    if plain and words[:2] == ["convworks", "demo"]:
        serve(words[1:])
    elif plain and words[0] == "convworks":
        arguments = [found for word in words[1:] for found in _expanded(word, command)]
        try:
            code = run(arguments)
        except SystemExit as usage:  # --help ends with 0, wrong usage with 2
            code = usage.code
        assert code == 0, f"ended with {code}"
    else:
        shell = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(
            shell, check=True, env=environment(), stdout=subprocess.PIPE, text=True
        )
        sys.stdout.write(done.stdout)


def _expanded(word: str, command: str) -> list[str]:
    """The files that an unquoted pattern stands for, as a shell would find them."""
    quoted = f"'{word}'" in command or f'"{word}"' in command
    if quoted or not set(word) & set("*?["):
        return [word]
    return sorted(map(str, Path().glob(word))) or [word]


def serve(words: list[str]) -> None:
    """A command that serves until it is stopped: starts it, and stops it once it listens."""
    with subprocess.Popen(
        [sys.executable, "-m", "convworks", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.terminate()
        assert said.startswith("http://127.0.0.1:")
        assert process.wait(timeout=30) == 0


def environment() -> dict[str, str]:
    """This process's, in which `convworks` and `python` are those of the tests."""
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    source = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PATH": os.pathsep.join(places), "PYTHONPATH": os.pathsep.join(source)}


@contextmanager
def _told(block: Block, command: str) -> Iterator[None]:
    """Says on a failure which line of which page it was."""
    try:
        yield
    except Exception as error:
        page = block.page.relative_to(ROOT)
        raise AssertionError(f"{page}, line {block.line}: {command}: {error}") from error


def mentioned(page: Path) -> list[list[str]]:
    """The words of each command that stands within a sentence."""
    prose = FENCE.sub("", page.read_text())
    found = re.findall(r"`convworks( [^`]+)?`", prose)
    return [words.split() for words in found]


def write_photos(folder: Path) -> None:
    """`my_photos/`, `holiday/` and `cat.jpg`: parts of two real photographs."""
    luck = np.random.default_rng(0)
    for kind, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
        for number in range(16):
            place = "holiday" if number > 13 else f"my_photos/{kind}"
            side = int(luck.integers(120, 320))
            y, x = luck.integers(0, 427 - side), luck.integers(0, 640 - side)
            path = folder / place / f"{kind}{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo[y : y + side, x : x + side]).resize((100, 80)).save(path)
    Image.open(folder / "holiday/flower15.jpg").save(folder / "cat.jpg")


@cache
def help_of(command: str) -> str:
    """What `convworks COMMAND --help` prints."""
    shown = StringIO()
    with redirect_stdout(shown), pytest.raises(SystemExit) as done:
        run([command, "--help"])
    assert not done.value.code, f"there is no convworks {command}"
    return shown.getvalue()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        told = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            write_photos(Path(folder))
            write_outputs(told)
