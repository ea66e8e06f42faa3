"""Takes README's picture of `convworks demo`: two networks, side by side, about a shoe.

    python docs/demo.py

Needs Fashion-MNIST, the extra [demo] and Debian's chromium; trains for a minute or two.
"""

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

PICTURE = Path(__file__).parent / "assets/demo.png"
RUNS = {"lenet": "runs/demo/lenet", "resnet20": "runs/demo/resnet20"}
CONVWORKS = [sys.executable, "-m", "convworks"]
SAMPLE = 9
"""Which of the offered pictures of the test part is clicked."""


def main() -> None:
    for name, out in RUNS.items():
        if not Path(out, "summary.json").exists():
            words = ["train", name, "--data", "fashion_mnist", "--recipe", "quick", "--out", out]
            subprocess.run([*CONVWORKS, *words], check=True)
    serving = [*CONVWORKS, "demo", *RUNS.values()]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            take(server.stdout.readline().split()[0])
        finally:
            server.terminate()


def take(address: str) -> None:
    """The page once it has answered."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        page.goto(address)
        page.locator("#samples button.thumbnail-item").nth(SAMPLE).click()
        expect(page.locator(".network").last).to_contain_text(
            re.compile(r"It took [\d.]+ ms"), timeout=60_000
        )
        page.wait_for_timeout(1000)  # pictures fade in
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
