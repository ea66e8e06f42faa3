"""`convworks show` as users call it."""

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from command import convworks
from conftest import write_digits
from convworks import cli


def show(*words: str) -> int:
    """The exit code, in this process: a new one takes seconds."""
    return cli.run(["show", *words])


def test_networks_are_drawn_side_by_side_by_a_process() -> None:
    words = ["show", "lenet", "alexnet", "--format", "png", "--json"]
    done = convworks(*words)
    assert done.returncode == 0, done.stderr
    (path,) = json.loads(done.stdout)
    assert path == "figures/lenet-alexnet.png"
    with Image.open(path) as picture:
        width, height = picture.size
    assert width > 500
    assert height > 1000


def test_a_block_and_a_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("googlenet", "--block", "stage3.inception1", "--out", "a/b") == 0
    assert show("resnet18", "--block", "stage1.0", "--set", "se=16", "--input", "1x32x32") == 0
    files = ["a/b/googlenet-stage3.inception1.svg", "figures/resnet18-stage1.0.svg"]
    assert capsys.readouterr().out.split() == files
    assert all(Path(file).read_bytes().startswith(b"<?xml") for file in files)


def test_a_run_and_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lenet", "--epochs", "1", "--image-size", "16", "--out", "a"]
    assert cli.run(["train", *words]) == 0
    capsys.readouterr()
    assert show("a", "filters", "cam", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ["a/figures/filters.svg", "a/figures/cam.svg"]
    assert show("a", "--block", "features") == 2
    assert "--block does nothing for a run" in capsys.readouterr().err
    assert show("digits", "--out", "samples") == 0
    assert capsys.readouterr().out == "samples/digits-samples.svg\n"
    write_digits(Path("photos"), classes=(1, 7), count=10)
    with tarfile.open("photos.tar", "w") as packed:
        packed.add("photos", ".")
    assert show("photos.tar", "--out", "samples") == 0
    assert capsys.readouterr().out == "samples/photos-samples.svg\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Name networks of the zoo, a run folder or a data set."),
        (["lenett"], 1, "There is no network, run or data set 'lenett'; did you mean 'lenet'"),
        (["lenet", "cam"], 2, "Only a run has cam"),
        (["lenet", "--picture", "a.png"], 2, "--picture does nothing for a network"),
        (["lenet", "--block", "feature"], 1, "There is no block of lenet 'feature'"),
        (["vgg11", "--input", "3x16x16", "--depth", "-1"], 1, "depth must be 0 or more"),
        (["lenet", "--input", "1x8x8"], 1, "lenet cannot take 8×8 images"),
        (["digits", "lenet"], 2, "A data set is drawn alone"),
        (["lenet", "--out", "file"], 1, "file (File exists): choose another --out."),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    assert show(*words) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("figures").exists()
