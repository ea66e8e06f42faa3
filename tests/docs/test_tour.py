"""The tour's pictures are what the real networks give, and its notebooks run."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import torch

from convworks.report.picture import save_picture
from convworks.studies.reader import shipped
from legible import illegible, small
from pages import PAGES, ROOT

TOUR, TUTORIALS = ROOT / "docs/tour", ROOT / "docs/tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
VERSION = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
"""Of matplotlib, which stands in every picture."""
LETTER = re.compile(r"(?<=DejaVuSans-)[0-9a-f]+")
"""A letter's place in its font file: Debian's DejaVu counts otherwise than matplotlib's own."""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """docs/pictures.py and docs/notebooks.py."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import notebooks  # type: ignore[import-not-found]
    import pictures  # type: ignore[import-not-found]

    yield pictures, notebooks
    for name in ("pictures", "operations", "notebooks"):
        del sys.modules[name]


def test_every_picture_stands_on_a_page_and_has_its_command(
    commands: tuple[ModuleType, ModuleType],
) -> None:
    pages = "".join(page.read_text() for page in TOUR.glob("*.md"))
    shown = set(re.findall(r"!\[[^\]]+\]\(([\w-]+)\.svg\)", pages))
    assert shown == set(commands[0].PICTURES) == {file.stem for file in TOUR.glob("*.svg")}
    assert max(file.stat().st_size for file in TOUR.glob("*.svg")) < 150_000


@pytest.mark.parametrize("name", sorted(file.stem for file in TOUR.glob("*.svg")))
def test_a_picture_is_what_its_command_draws(
    name: str, commands: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    """All of them: none needs a training, and the slowest takes two seconds."""
    torch.manual_seed(0)
    save_picture(commands[0].PICTURES[name](), tmp_path / "drawn.svg")
    drawn, shipped = (tmp_path / "drawn.svg").read_text(), (TOUR / f"{name}.svg").read_text()
    assert _lines(drawn) == _lines(shipped)


def test_every_picture_can_be_read(commands: tuple[ModuleType, ModuleType]) -> None:
    for name, draw in commands[0].PICTURES.items():
        torch.manual_seed(0)
        figure = draw()
        assert [*illegible(figure), *small(figure)] == [], name


def _lines(svg: str) -> list[str]:
    """A picture's lines, its letters numbered in the order in which they come."""
    seen: dict[str, str] = {}
    numbered = LETTER.sub(lambda at: seen.setdefault(at[0], str(len(seen))), VERSION.sub("", svg))
    return numbered.splitlines()


def test_the_studies_that_pages_name_exist() -> None:
    texts = [page.read_text() for page in (*PAGES, *NOTEBOOKS)]
    named = {name for text in texts for name in re.findall(r"convworks study (\w[\w.-]*)", text)}
    assert len(named) > 10
    assert {name for name in named if not name.endswith(".toml")} <= set(shipped())


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_says(
    notebook: Path,
    commands: tuple[ModuleType, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    stored = nbformat.read(notebook, as_version=4)
    now = commands[1].executed(notebook, tmp_path)
    for before, after in zip(stored.cells, now.cells, strict=True):
        assert kinds(before) == kinds(after), before.source
    assert "/tmp" not in notebook.read_text()
    assert notebook.stat().st_size < 400_000


def kinds(cell: nbformat.NotebookNode) -> list[list[str]]:
    """What sorts of output a cell shows; their figures depend on the machine."""
    outputs = cell.get("outputs", ())
    assert all(output.get("name") != "stderr" for output in outputs)
    return [sorted(output.get("data", {"text": ""})) for output in outputs]
