"""What several tests need."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # exactness to the last bit is promised for the CPU
# Those that share the cores, and the processes that tests start, have one thread each.
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from browser import browser, visit  # noqa: F401 (fixtures of all)

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def digit_pictures(tmp_path: Path) -> Path:
    """An image folder: 12 real digits of each of three classes as PNG files."""
    root = tmp_path / "pictures"
    write_digits(root, classes=(0, 1, 2), count=12)
    return root


def write_digits(root: Path, classes: tuple[int, ...], count: int, skip: int = 0) -> None:
    """Writes digits as PNG files, one folder a class."""
    digits = load_digits()
    for label in classes:
        folder = root / f"digit{label}"
        folder.mkdir(parents=True)
        for i, image in enumerate(digits.images[digits.target == label][skip : skip + count]):
            Image.fromarray((image * 15.9375).astype("uint8")).resize((24, 20)).save(
                folder / f"{i:03}.png"
            )


@pytest.fixture
def fashion_root() -> Path:
    """The data root that holds Fashion-MNIST; skips the test where there is none."""
    root = Path(os.environ.get("CONVWORKS_DATA", "~/.cache/convworks")).expanduser()
    if not (root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.skip("Fashion-MNIST is not on this machine: set CONVWORKS_DATA")
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go to runs/ of the working folder."""
    if root := os.environ.get("CONVWORKS_DATA"):
        monkeypatch.setenv("CONVWORKS_DATA", str(Path(root).resolve()))
    monkeypatch.chdir(tmp_path)
