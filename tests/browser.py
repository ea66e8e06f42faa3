"""A real headless browser for the tests of pages; they skip where there is none."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

HERE = frozenset((None, "127.0.0.1", "localhost", "::1"))
"""Hosts of files, embedded pictures and servers on this machine."""
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""A camera of moving patterns, which every page may use."""


@dataclass
class Visit:
    """A page with what went wrong on it so far."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions that no script caught."""
    outside: list[str] = field(default_factory=list)
    """Addresses beyond this machine that were asked for; they are refused."""

    def __post_init__(self) -> None:
        self.page.route("**/*", self._route)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._note(message.type, message.text))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _route(self, route: Route) -> None:
        if urlsplit(route.request.url).hostname in HERE:
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()


@pytest.fixture(scope="module")  # not longer: it occupies the thread's event loop
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: install the package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", *CAMERA],
            timeout=120_000,  # ms; a first start on a busy machine is slow
        )
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A fresh page, 1280×800, without cookies or cache of the others."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    yield Visit(page)
    page.close()
