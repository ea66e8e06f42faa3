"""What is promised of a GPU, where there is one; the same on the CPU shows that the tests work."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from command import convworks
from convworks.data.splits import Data
from convworks.nets.initialization import seeded
from convworks.nets.registry import create_model
from convworks.train.config import TrainConfig
from convworks.train.loop import fit
from small import StopAfterEpoch, assert_same
from torchrun import EXACT, TRAIN, assert_same_run, torchrun

WITHOUT = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=WITHOUT)],
)
SMALL = [*EXACT, "--epochs", "2", "--image-size", "16"]


def network() -> nn.Module:
    return seeded(0, lambda: create_model("resnet20", in_channels=1, image_size=16))


@DEVICES
def test_a_repeated_and_a_resumed_run_have_the_same_bits(digits: Data, device: str) -> None:
    config = TrainConfig(epochs=2, batch_size=32, device=device, deterministic=True)  # type: ignore[arg-type]
    first = fit(network(), digits, replace(config, out=Path("first")))
    again = fit(network(), digits, replace(config, out=Path("again")))
    assert_same(first, again)
    stopped = replace(config, out=Path("stopped"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(network(), digits, stopped, observers=[StopAfterEpoch(1)])
    assert_same(fit(network(), digits, stopped, resume=True), first)


@DEVICES
def test_one_process_a_device_ends_where_the_cpu_does(device: str) -> None:
    """On GPUs by NCCL, as many as there are."""
    processes = torch.cuda.device_count() if device == "cuda" else 1
    words = ["lenet", *SMALL, "--device", device, "--out", "together"]
    code, _, err = torchrun(processes, *TRAIN, *words)
    assert code == 0, err
    done = convworks("train", "lenet", *SMALL, "--device", "cpu", "--out", "alone")
    assert done.returncode == 0, done.stderr
    assert_same_run("together", "alone")


@DEVICES
def test_a_device_tests_and_predicts_as_the_cpu_does(device: str, digit_pictures: Path) -> None:
    done = convworks("train", "lenet", *SMALL, "--device", "cpu", "--out", "run")
    assert done.returncode == 0, done.stderr
    picture = str(next(digit_pictures.glob("*/*.png")))
    for words, figures in (
        (["eval", "run"], ("loss", "accuracy")),
        (["predict", "run", picture, "--top", "10"], ("probabilities",)),
    ):
        told = [convworks(*words, "--json", "--device", where) for where in ("cpu", device)]
        assert [one.returncode for one in told] == [0, 0], told[1].stderr
        ours, theirs = (json.loads(one.stdout) for one in told)
        for figure in figures:
            assert theirs[figure] == pytest.approx(ours[figure], abs=1e-3)
