"""What README.md and every page below docs/ tell the reader to do works."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import convworks as cw
import pages
from convworks import api
from convworks.deploy.predict import predict
from convworks.deploy.runtime import open_deployed
from convworks.train import recipes
from pages import PAGES, ROOT, SLOW, blocks, follow, help_of, mentioned, write_outputs, write_photos


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's folder with few pictures in it, and recipes of few steps."""
    monkeypatch.setattr(recipes, "MODERN_STEPS", 1)  # however few the pictures
    monkeypatch.setattr(recipes, "MODERN_EPOCHS", 3)
    known = Path(os.environ.get("CONVWORKS_DATA", "~/.cache/convworks")).expanduser()
    if (known / "FashionMNIST/raw/train-images-idx3-ubyte").exists():
        write_few(known / "FashionMNIST/raw", tmp_path / "data/FashionMNIST/raw")
    monkeypatch.setenv("CONVWORKS_DATA", str(tmp_path / "data"))
    reader = tmp_path / "reader"
    reader.mkdir()
    write_photos(reader)
    monkeypatch.chdir(reader)


def write_few(known: Path, few: Path) -> None:
    """The first pictures of Fashion-MNIST, in files of the same layout."""
    few.mkdir(parents=True)
    for part, count in (("train", 200), ("t10k", 100)):
        images = (known / f"{part}-images-idx3-ubyte").read_bytes()[16 : 16 + 784 * count]
        labels = (known / f"{part}-labels-idx1-ubyte").read_bytes()[8 : 8 + count]
        header = struct.pack(">4i", 2051, count, 28, 28)
        (few / f"{part}-images-idx3-ubyte").write_bytes(header + images)
        (few / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels)


def has_slow(page: Path) -> bool:
    return page.name in SLOW or bool(re.search("<!-- slow -->\n+ *```", page.read_text()))


def needs(page: Path, slow: bool) -> None:
    """Skips where the data of what is to be run are not on this machine."""
    run = [b for b in blocks(page) if not b.parsed_only and (slow or not b.slow)]
    named = any("fashion_mnist" in b.text for b in run if b.language != "text")
    if named and not Path(os.environ["CONVWORKS_DATA"], "FashionMNIST").exists():
        pytest.skip("Fashion-MNIST is not on this machine: set CONVWORKS_DATA")


@pytest.mark.parametrize("page", [p for p in PAGES if "```" in p.read_text()], ids=name)
def test_what_a_page_says_works(page: Path) -> None:
    needs(page, slow=False)
    for block, printed in follow(page, slow=False):
        assert block.text == printed, f"{name(page)}, line {block.line}"
    plt.close("all")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", [p for p in PAGES if has_slow(p)], ids=name)
def test_what_takes_minutes_works_too(page: Path) -> None:
    needs(page, slow=True)
    for block, printed in follow(page, slow=True):
        assert block.text == printed, f"{name(page)}, line {block.line}"
    plt.close("all")


def test_readmes_program_predicts_without_pytorch_and_without_us() -> None:
    """What `predict` says, in at most fifteen lines, where neither of them can be imported."""
    (block,) = [b for b in blocks(ROOT / "README.md") if "onnxruntime" in b.text]
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 15
    config = cw.TrainConfig(epochs=1, out="runs/photos")
    run = api.train("lenet", "my_photos", config, image_size=96, progress=False)
    cw.export(run)
    forbidden = "import sys\nfor name in ('torch', 'convworks'): sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", forbidden + block.text], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (expected,) = predict(open_deployed("runs/photos/model.onnx"), ["cat.jpg"])
    assert done.stdout == f"{expected.labels[0]} {expected.probabilities[0]:.1%}\n"


@pytest.mark.parametrize("page", [p for p in PAGES if mentioned(p)], ids=name)
def test_commands_within_sentences_exist(page: Path) -> None:
    for words in mentioned(page):
        shown = help_of(words[0]) if words else ""
        for option in re.findall(r"--[\w-]+", " ".join(words)):
            assert f"{option} " in f"{shown} --help ", f"convworks {words[0]} has no {option}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nconvworks trian\n```\n", "ended with 2"),
        ("```sh\nconvworks eval nothing\n```\n", "ended with 1"),
        ("```sh\nfalse | true\n```\n", "non-zero"),
        ("<!-- slow -->\n```sh\nconvworks train --epoks 3\n```\n", "wrong usage"),
        ("<!-- parsed only: hours -->\n```sh\nrm -r /\n```\n", "only convworks' own"),
        ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", None),
        ("```toml\nx = 1\n```\n", "give a title"),
        ("```\nx = 1\n```\n", "give a title"),
        ("```sh\nconvworks train\n", "odd fence"),
        ("<!-- slwo -->\n```sh\nconvworks train\n```\n", "nobody knows"),
    ],
)
def test_what_does_not_work_is_noticed(
    text: str, message: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=message):
        follow(page, slow=False)


def test_outputs_are_compared_and_written_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    told = "```python\nprint(1)\n```\n\n```text\n{}\n```\n\nOther:\n\n```text\nfree\n```\n"
    luck = "\n```sh\necho 2 | cat\n```\n\n<!-- varies -->\n```text\n5\n```\n"
    page.write_text(told.format("0") + luck)
    assert [(b.text, printed) for b, printed in follow(page, slow=False)] == [("0\n", "1\n")]
    write_outputs(page)
    assert page.read_text() == told.format("1") + luck
