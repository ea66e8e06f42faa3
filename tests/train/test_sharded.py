"""Networks whose weights are spread over processes, each a real one."""

import os
import signal
import sys

import pytest

from command import Command, convworks
from torchrun import TRAIN, assert_same_run, children, records, started, torchrun

SPREAD = ["--lr", "0.002", "--precision", "fp32", "--batch-size", "61", "--image-size", "16"]
SPREAD += ["--epochs", "5", "--optimizer", "nesterov"]


def test_a_network_in_parts_trains_as_a_whole_one_and_goes_on_alone() -> None:
    whole = convworks("train", "lenet_bn", *SPREAD, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = started(2, *TRAIN, "lenet_bn", *SPREAD, "--fsdp", "on", "--out", "parts")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            os.killpg(process.pid, signal.SIGINT)
            break
    _, rest = process.communicate(timeout=120)
    assert "go on with: convworks train --resume --out parts" in rest
    assert 3 <= len(records("parts")) < 5
    alone = convworks("train", "--resume", "--out", "parts")
    assert alone.returncode == 2
    assert "start them with torchrun --nproc-per-node N" in alone.stderr
    done = convworks("train", "--resume", "--out", "parts", "--fsdp", "off")
    assert done.returncode == 0, done.stderr
    assert_same_run("whole", "parts")


@pytest.mark.slow
@pytest.mark.parametrize("every", ["1", "1min"])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_process_of_a_network_in_parts_is_told_to_stop(every: str) -> None:
    """The others learn of it before anything is saved, which takes all of them."""
    extent = ["--epochs", "500", "--fsdp", "on", "--save-every", every, "--out", "parts"]
    process = started(2, *TRAIN, "lenet_bn", *SPREAD, *extent)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2/"):
            os.kill(children(process)[1], signal.SIGINT)
            break
    _, rest = process.communicate(timeout=100)
    assert "go on with: convworks train --resume --out parts" in rest
    assert convworks("eval", "parts").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["lenet_bn", "resnet20", "googlenet"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_network_that_began_as_a_whole_goes_on_in_parts(model: str, optimizer: str) -> None:
    """The losses of four epochs and the best weights' test, which Adam's rounding leaves alike."""
    side = "32" if model == "googlenet" else "16"
    arguments = ["--precision", "fp32", "--image-size", side, "--batch-size", "240"]
    arguments += ["--lr", "0.001", "--epochs", "4", "--optimizer", optimizer]
    whole = convworks("train", model, *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    first = Command("train", model, *arguments, "--out", "parts")
    first.wait_for("epoch 2/")
    first.send_signal(signal.SIGINT)
    assert first.end().returncode == 130
    assert 2 <= len(records("parts")) < 4
    code, out, err = torchrun(2, *TRAIN, "--resume", "--out", "parts", "--fsdp", "on")
    assert code == 0, err
    assert out.count("test accuracy") == 1
    for a, b in zip(records("whole"), records("parts"), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-2)
        assert a["val_accuracy"] == pytest.approx(b["val_accuracy"], abs=0.03)
    assert convworks("eval", "parts").returncode == 0


@pytest.mark.parametrize(
    "other", [("--freeze", "--init", "x"), ("--compile", "on"), ("--sync-norms", "off")]
)
def test_what_parts_do_not_go_with(other: tuple[str, ...]) -> None:
    done = convworks("train", "--fsdp", "on", *other)
    assert done.returncode == 2
    assert (
        f"--fsdp on does not go with {' '.join(other[: 1 if len(other) > 2 else 2])}" in done.stderr
    )
