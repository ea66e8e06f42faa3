"""Runs the code blocks of pages and writes what they print into the text block behind each.

    python docs/outputs.py docs/tour/*.md

Blocks run in their order in an empty folder: ```sh by bash, ```python in one namespace a page. A
block that fails ends it, with its page and line, and leaves the page as it was. The tests run the
same and compare.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(
    r"(?<!-->\n)^```(?P<language>sh|python)\n(?P<code>.*?)^```\n(?P<behind>\n```text\n.*?^```\n)?",
    re.MULTILINE | re.DOTALL,
)


def refreshed(page: Path) -> str:
    """The page's text with what its blocks print now."""
    text, done, pieces = page.read_text(), 0, []
    names: dict[str, object] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start("code")) + 1
            print_out = _run_sh if block["language"] == "sh" else _run_python
            printed = print_out(block["code"], names, f"{page}:{line}")
            pieces.append(text[done : block.end("code")] + "```\n")
            if block["behind"]:
                rows = "".join(f"{row.rstrip()}\n" for row in printed.strip("\n").split("\n"))
                pieces.append(f"\n```text\n{rows}```\n")
            done = block.end()
    return "".join(pieces) + text[done:]


def _run_python(code: str, names: dict[str, object], place: str) -> str:
    """What it prints. The line of an error is that of the page."""
    path, _, line = place.rpartition(":")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile("\n" * (int(line) - 1) + code, path, "exec"), names)
    return out.getvalue()


def _run_sh(code: str, _names: dict[str, object], place: str) -> str:
    environment = os.environ | {"COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-e", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{place}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(refreshed(Path(name).resolve()))
