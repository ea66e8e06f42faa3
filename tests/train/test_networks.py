"""What training asks of a network, and what it may be: tied, of any layout, with several heads."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages
from convworks.errors import InputError
from convworks.nets.registry import create_model
from convworks.train.config import TrainConfig
from convworks.train.loop import fit
from convworks.train.run import load


def test_a_model_that_does_not_fit_the_data_is_refused_before_anything_is_written(
    digits: Data,
) -> None:
    for model, message in (
        (create_model("lenet", image_size=28), "made for 1×28×28 images, the data are 1×16×16"),
        (
            create_model("lenet", image_size=16, num_classes=3),
            "gives 3 for a picture, the data have 10 classes",
        ),
        (create_model("resnet18", image_size=16, num_classes=10), "in_channels=data.channels"),
    ):
        with pytest.raises(InputError, match=message):
            fit(model, digits)
    assert not Path("runs").exists()


def test_a_model_that_cannot_run_says_why(digits: Data) -> None:
    with pytest.raises(InputError, match="cannot take 1×16×16 images: .*channel"):
        fit(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 10)), digits)


def test_tied_weights_are_saved(digits: Data) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(256, 256)
            self.second = nn.Linear(256, 256)
            self.second.weight = self.first.weight
            self.last = nn.Linear(256, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.second(self.first(x.flatten(1)).relu()).relu()
            out: torch.Tensor = self.last(hidden)
            return out

    run = fit(Tied(), digits, TrainConfig(epochs=1))
    loaded = load(run.path, model=Tied())
    assert torch.equal(loaded.model.first.weight, loaded.model.second.weight)  # type: ignore[union-attr,arg-type]


def test_networks_of_ones_own_may_count_on_the_usual_layout(digits: Data) -> None:
    class Tutorial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.fc = nn.Linear(784, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.fc(self.conv(x).view(x.shape[0], -1))
            return out

    assert fit(Tutorial(), digits, TrainConfig(epochs=1)).summary is not None


def test_auxiliary_heads_learn_and_are_gone_in_use(digits: Data, tmp_path: Path) -> None:
    """Heads below weigh 0.3; what is reported is the main head's loss."""
    torch.manual_seed(0)
    options = {"auxiliary": True}
    data = load_data("digits", image_size=28)
    assert isinstance(data.train, MemoryImages)
    data = replace(data, train=data.train.take(torch.arange(128)))
    model = create_model("googlenet", num_classes=10, in_channels=1, image_size=28, options=options)
    before = [p.clone() for p in model.get_submodule("auxiliary").parameters()]
    config = TrainConfig(epochs=1, batch_size=64, out=tmp_path / "run", device="cpu")
    run = fit(model, data, config)
    for old, new in zip(before, model.get_submodule("auxiliary").parameters(), strict=True):
        assert not torch.equal(old, new)
    assert run.history[0].train_loss < 1.5 * math.log(10)  # of one head, not of all three
    again = load(run.path)
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(again.model(images), model.cpu().eval()(images))


def test_the_losses_of_auxiliary_heads_are_weighted(digits: Data, tmp_path: Path) -> None:
    """One step of plain SGD on logits that are bare parameters: the gradient is the weight's."""

    class Bare(nn.Module):
        auxiliary_weight = 0.25

        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Parameter(torch.zeros(10))
            self.early = nn.Parameter(torch.zeros(10))

        def forward(self, x: torch.Tensor) -> object:
            logits = self.main.expand(len(x), -1)
            return (logits, self.early.expand(len(x), -1)) if self.training else logits

    model = Bare()
    config = TrainConfig(
        epochs=1,
        batch_size=300,
        lr=1.0,
        optimizer="sgd",
        schedule="constant",
        warmup=0.0,
        augment="none",
        out=tmp_path / "run",
        device="cpu",
    )
    fit(model, digits, config)
    torch.testing.assert_close(model.early, 0.25 * model.main)
    assert model.main.abs().max() > 0
