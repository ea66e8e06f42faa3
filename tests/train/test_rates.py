"""The learning-rate range test: what it suggests, and that it leaves no trace."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot
from torch import nn

from convworks import api
from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages
from convworks.errors import TrainingError
from convworks.nets.initialization import seeded
from convworks.nets.registry import create_model
from convworks.report.rates import draw_rates
from convworks.train.config import TrainConfig
from convworks.train.rates import find_lr


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits", image_size=16)


def network() -> nn.Module:
    return seeded(0, lambda: create_model("lenet_bn", num_classes=10, in_channels=1, image_size=16))


def test_the_suggested_rate_is_a_good_one(digits: Data) -> None:
    """Of three rates, a hundredth of it and a hundred times it among them, it learns the most."""
    model = network()
    found = find_lr(model, digits, TrainConfig(batch_size=32))
    assert found.rates[0] == pytest.approx(1e-6)
    assert list(found.rates) == sorted(found.rates)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 100
    assert min(found.smoothed) == found.smoothed[found.rates.index(found.lowest)]
    assert found.suggestion == pytest.approx(found.lowest / 10, rel=0.34)
    assert str(found).startswith(f"--lr {found.suggestion:g}: a tenth of")
    assert found.guessing == pytest.approx(2.302, abs=2e-3)  # ten classes, about equally frequent
    assert "guessing" not in str(found)
    assert "But guessing gives 1.00" in str(replace(found, guessing=1.0))
    losses = {}
    for factor in (0.01, 1.0, 100.0):
        config = TrainConfig(epochs=1, batch_size=32, lr=found.suggestion * factor)
        losses[factor] = api.fit(network(), digits, config, progress=False).history[0].val_loss
    assert min(losses, key=losses.__getitem__) == 1.0, losses


def test_it_leaves_no_trace_and_repeats(digits: Data) -> None:
    model, twin = network(), network()
    model.get_parameter("features.conv1.weight").requires_grad_(False)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = find_lr(model, digits, TrainConfig(batch_size=64, freeze=True))
    assert torch.equal(torch.rand(1), expected)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["features.conv1.weight"]  # the caller's own, not --freeze's
    assert find_lr(model, digits, TrainConfig(batch_size=64, freeze=True)) == first
    assert not Path("runs").exists()


def test_it_stops_where_the_loss_breaks(digits: Data) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
    found = find_lr(plain, digits, TrainConfig(batch_size=64, optimizer="sgd"))
    assert max(found.losses) <= 4 * min(found.losses)
    assert len(found.rates) < 100  # of as many steps up to a rate of 10
    assert found.rates[-1] < 10


def test_where_nothing_is_learned_it_says_so(digits: Data) -> None:
    assert isinstance(digits.train, MemoryImages)
    blank = MemoryImages(torch.zeros_like(digits.train.pixels), digits.train.labels)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 10, bias=False))  # 0 for black pictures
    config = TrainConfig(normalize="off", augment="none")
    with pytest.raises(TrainingError, match="fell at no learning rate from 1e-06 to 10") as caught:
        find_lr(model, replace(digits, train=blank), config)
    assert "\n" not in str(caught.value)


def test_the_picture_shows_what_is_suggested(digits: Data) -> None:
    found = find_lr(network(), digits, TrainConfig(batch_size=64))
    figure = draw_rates(found)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    lines = {str(line.get_label()): line.get_xdata() for line in axes.lines}
    assert list(lines["smoothed"]) == list(found.rates)
    assert list(lines[f"suggested, {found.suggestion:g}"]) == [found.suggestion] * 2
    pyplot.close("all")
