"""A folder that changes after training: the run's parts stay what they were."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

import convworks as cw
from command import Command, convworks
from conftest import write_digits
from convworks.deploy.evaluation import evaluate_network
from convworks.errors import InputError
from convworks.train.run import load_again

WORDS = ("lenet_bn", "--data", "pictures", "--image-size", "16", "--precision", "fp32")


@pytest.fixture
def run() -> Path:
    write_digits(Path("pictures"), classes=(0, 7), count=40)
    done = convworks("train", *WORDS, "--epochs", "2", "--out", "run")
    assert done.returncode == 0, done.stderr
    return Path("run")


def listed(run: Path, part: str) -> list[str]:
    found = json.loads((run / "split.json").read_text())[part]
    return [name for names in found.values() for name in names]


def test_files_that_come_and_go_change_no_part(run: Path) -> None:
    before = evaluate_network(run)
    known = cw.load(run)
    Path("pictures", listed(run, "train")[0]).unlink()
    for i in range(9):
        shutil.copy("pictures/digit7/001.png", f"pictures/digit0/new{i}.png")
    assert load_again(known.data, run=run).digest == known.data["digest"]
    assert load_again(known.data).digest != known.data["digest"]
    assert evaluate_network(run) == before
    for words in (("export", "run", "--format", "pt2"), ("show", "run", "confusion")):
        done = convworks(*words)
        assert done.returncode == 0, done.stderr

    Path("pictures", listed(run, "test")[0]).unlink()
    after = evaluate_network(run)
    assert after.images == before.images - 1
    (told,) = after.left_out
    assert listed(run, "test")[0] in told
    assert "No such file" in told


def test_a_moved_folder_is_known_by_its_list(run: Path) -> None:
    Path("pictures", listed(run, "train")[0]).unlink()
    Path("pictures").rename("moved")
    done = convworks("export", "run", "--format", "pt2", "--data", "moved")
    assert done.returncode == 0, done.stderr
    write_digits(Path("others"), classes=(1, 2), count=9)
    done = convworks("export", "run", "--format", "pt2", "--data", "others")
    assert done.returncode == 1
    assert "does not hold the pictures that the run was trained on: 16 of 16" in done.stderr


def test_a_stopped_run_goes_on_without_a_file_that_is_gone() -> None:
    write_digits(Path("pictures"), classes=(0, 7), count=40)
    process = Command("train", *WORDS, "--epochs", "40", "--out", "run")
    process.wait_for("epoch  2/")
    process.send_signal(signal.SIGKILL)
    process.end()
    gone = listed(Path("run"), "train")[3]
    Path("pictures", gone).unlink()
    done = convworks("train", "--resume", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (
        f"left out: {Path('pictures', gone).resolve()} (No such file or directory)" in done.stderr
    )
    assert list(json.loads(Path("run/pictures.json").read_text())["unreadable"]) == [gone]


@pytest.mark.parametrize("name", ["../other/1.png", "/etc/passwd", "digit0/../../x.png"])
def test_a_list_that_leads_out_of_the_folder(run: Path, name: str) -> None:
    split = json.loads((run / "split.json").read_text())
    split["test"]["digit0"][0] = name
    (run / "split.json").write_text(json.dumps(split))
    with pytest.raises(InputError, match="cannot hold a picture called"):
        load_again(cw.load(run).data, run=run)


@pytest.mark.parametrize("odd", [3, {"digit0": [5]}, {"digit0": "abc"}, [["digit0"]]])
def test_a_list_of_another_kind(run: Path, odd: object) -> None:
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "train": odd}))
    done = convworks("eval", "run")
    assert done.returncode == 1
    assert "split.json: train cannot be" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="names of files are text elsewhere")
def test_a_folder_whose_name_is_no_text() -> None:
    folder = Path(os.fsdecode(b"caf\xe9"))
    write_digits(folder, classes=(0, 7), count=20)
    words = ("--data", str(folder), "--image-size", "16", "--epochs", "1", "--out", "run")
    done = convworks("train", "lenet_bn", *words)
    assert done.returncode == 0, done.stderr
    assert evaluate_network("run").images == 8
