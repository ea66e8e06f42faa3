"""The site that mkdocs builds is whole, needs nothing from outside and shows all of the API."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import convworks
from browser import Visit
from convworks import figures, ops
from convworks.nets import blocks
from pages import ROOT

LOADING = {"img", "link", "script", "source", "iframe", "video", "audio", "embed", "object"}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with every warning an error: links and anchors that lead nowhere, unknown names."""
    made = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(made)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return made


class Loaded(HTMLParser):
    """The addresses that a browser loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in LOADING:
            self.addresses += [v for k, v in attrs if k in ("src", "href", "data") and v]


def test_pages_load_only_what_lies_beside_them(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert len(loaded.addresses) > 3
        for address in loaded.addresses:
            parts = urlsplit(address)
            assert not parts.netloc, f"{page.name}: {address}"
            assert parts.scheme in ("", "data"), f"{page.name}: {address}"
            if parts.path and not parts.scheme and page.name != "404.html":
                assert (page.parent / parts.path).exists(), f"{page.name}: {address}"


def test_it_works_in_a_browser_without_a_server(site: Path, visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 360, "height": 800})
    for page in ("index.html", "api/training.html", "studies/lenet.html", *_notebooks(site)[:1]):
        visit.page.goto((site / page).as_uri())
        visit.page.locator("h1").first.wait_for()
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 360, page
    visit.page.set_viewport_size({"width": 1280, "height": 800})
    visit.page.get_by_placeholder("Search").click()
    visit.page.keyboard.type("predict_memory")
    visit.page.locator(".md-search-result__link[href*='api/measuring.html']").first.wait_for()
    assert visit.outside == []
    assert visit.complaints == []


def _notebooks(site: Path) -> list[str]:
    return [str(p.relative_to(site)) for p in sorted(site.glob("tutorials/*.html"))]


def test_every_public_name_has_its_place(site: Path) -> None:
    shown = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    assert len(convworks.__all__) > 20
    names = [f"convworks.{name}" for name in convworks.__all__]
    names += [f"convworks.figures.{name}" for name in figures.__all__]
    for module in (ops, blocks):
        names += [
            f"{module.__name__}.{name}"
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    missing = [name for name in names if f'id="{name}"' not in shown]
    assert missing == []
