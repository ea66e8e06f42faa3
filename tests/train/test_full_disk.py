"""A disk that is really full, and one that is read-only: a small tmpfs of the test's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TRAIN = f"{sys.executable} -m convworks train"
RUN = "lenet --image-size 16 --epochs 12"


def in_a_disk_of_its_own(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script that may mount, where nobody else sees it."""
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    return subprocess.run(words, capture_output=True, text=True, timeout=240)


@pytest.fixture(autouse=True)
def _allowed() -> None:
    Path("disk").mkdir()
    try:
        done = in_a_disk_of_its_own("mount -t tmpfs tmpfs disk")
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if done.returncode:
        pytest.skip(f"a disk of its own is not allowed here: {done.stderr}")


FULL = f"""
mount -t tmpfs -o size=8m tmpfs disk
{TRAIN} {RUN} --out disk/run 2> said &
while kill -0 $! && ! grep -q "epoch  3/" said; do sleep 0.05; done
head -c 20m /dev/zero > disk/filler
wait $!
echo $? > code
cp -r disk/run stopped
rm disk/filler
{TRAIN} --resume --out disk/run || exit 1
cp -r disk/run resumed
"""


def test_a_full_disk_loses_nothing() -> None:
    done = in_a_disk_of_its_own(FULL)
    assert done.returncode == 0, done.stderr
    assert Path("code").read_text() == "1\n"
    *_, last = Path("said").read_text().splitlines()
    assert last.startswith("convworks: Cannot write disk/run/")
    assert "(No space left on device); what was saved before is intact. Make room" in last
    assert "Traceback" not in Path("said").read_text()
    state = torch.load("stopped/last.pt", weights_only=True)["state"]
    assert 3 <= state["epoch"] < 12
    assert not list(Path("stopped").glob(".*.tmp"))
    whole = subprocess.run([*TRAIN.split(), *RUN.split(), "--out", "whole"], capture_output=True)
    assert whole.returncode == 0, whole.stderr
    ours, theirs = (load_file(Path(name, "best.safetensors")) for name in ("resumed", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = (
        json.loads(Path(name, "summary.json").read_text()) for name in ("resumed", "whole")
    )
    assert ours["test_loss"] == theirs["test_loss"]


READ_ONLY = f"""
mount -t tmpfs tmpfs disk
{TRAIN} lenet --image-size 16 --epochs 1 --out disk/run || exit 1
rm disk/run/summary.json
mount -o remount,ro disk
for words in "--resume --out disk/run" "{RUN} --out disk/new"; do
    {TRAIN} $words 2> said
    echo $? >> code
    tail -n 1 said >> last
done
{sys.executable} -m convworks eval disk/run > figures || exit 1
"""


def test_a_read_only_folder_is_refused_in_one_line_and_can_be_read() -> None:
    done = in_a_disk_of_its_own(READ_ONLY)
    assert done.returncode == 0, done.stderr
    assert Path("code").read_text() == "1\n1\n"
    resumed, begun = Path("last").read_text().splitlines()
    assert resumed.startswith("convworks: Cannot write in disk/run (Read-only file system): ")
    assert begun.startswith(
        "convworks: Cannot make the run folder disk/new (Read-only file system)"
    )
    assert "accuracy" in Path("figures").read_text()


@pytest.mark.parametrize("words", [("--version",), ("models", "--json"), ("--help",)])
def test_results_that_cannot_be_written_are_one_line(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "convworks", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("convworks: ")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_a_training_goes_on_when_its_progress_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*TRAIN.split(), "--epochs", "2", "--out", "run"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
        )
        assert done.returncode == 0
        assert "test accuracy" in done.stdout
        wrong = subprocess.run([*TRAIN.split(), "--out", "run"], stderr=full)
        assert wrong.returncode == 1
