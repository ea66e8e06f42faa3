"""Training itself: it learns, it repeats, it says what is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convworks import api
from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages
from convworks.errors import InputError, TrainingError
from convworks.nets.registry import create_model
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.loop import best_epoch, fit, mix
from convworks.train.observer import EpochRecord, Observer, Plan
from convworks.train.recipes import MODERN_LR, QUICK_LR
from convworks.train.run import evaluate, load
from small import SmallNet, assert_same, small_net, without_times


def test_same_seed_same_numbers_other_seed_other_numbers(digits: Data) -> None:
    config = TrainConfig(epochs=2, batch_size=32)
    first = fit(small_net(), digits, replace(config, out=Path("a")))
    torch.rand(5)
    assert_same(fit(small_net(), digits, replace(config, out=Path("b"))), first)
    other = fit(small_net(), digits, replace(config, out=Path("c"), seed=1))
    assert without_times(other) != without_times(first)


def test_training_leaves_the_global_random_state_alone(digits: Data) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model = SmallNet()
    torch.manual_seed(3)
    fit(model, digits, TrainConfig(epochs=1))
    assert torch.equal(torch.rand(2), expected)


def test_the_run_folder(digits: Data) -> None:
    torch.manual_seed(0)
    model = create_model("lenet", num_classes=10, in_channels=1, image_size=16)
    run = api.fit(model, digits, TrainConfig(epochs=2), progress=False)
    assert run.path == Path("runs/lenet-digits")
    assert {file.name for file in run.path.iterdir()} == {
        ".lock",
        "config.json",
        "metrics.jsonl",
        "last.pt",
        "best.safetensors",
        "summary.json",
        "curves.svg",
    }
    config = json.loads((run.path / "config.json").read_text())
    assert config["model"] == {
        "name": "lenet",
        "num_classes": 10,
        "in_channels": 1,
        "image_size": 16,
        "stem": "paper",
        "initialization": "paper",
        "options": {},
    }
    assert config["data"]["name"] == "digits"
    assert config["train"]["epochs"] == 2
    assert config["train"]["lr"] > 0  # decided by the recipe, written down
    assert {"python", "torch", "cpu", "convworks", "commit"} <= config["environment"].keys()
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert torch.load(run.path / "last.pt", weights_only=True)["state"]["epoch"] == 2
    second = fit(model, digits, TrainConfig(epochs=1))
    assert second.path == Path("runs/lenet-digits-2")


def test_a_loaded_run_predicts_as_the_trained_one(digits: Data) -> None:
    torch.manual_seed(0)
    model = create_model("lenet_bn", num_classes=10, in_channels=1, image_size=16)
    run = fit(model, digits, TrainConfig(epochs=2, precision="fp32"))
    loaded = load(run.path)
    assert loaded.summary == run.summary
    assert loaded.classes == digits.classes
    metrics = evaluate(loaded, digits)
    assert run.summary is not None
    assert metrics.accuracy == run.summary.test_accuracy
    assert metrics.loss == pytest.approx(run.summary.test_loss, rel=1e-4)
    val = evaluate(loaded, digits, part="val")
    assert val.accuracy == best_epoch(run.history).val_accuracy


def test_the_best_epoch_is_kept_not_the_last(digits: Data) -> None:
    """A rate that ruins the second half: the weights of the first half must be the ones kept."""

    class Ruin(Observer):
        def epoch(self, history: tuple[EpochRecord, ...]) -> None:
            if len(history) == 2:
                with torch.no_grad():
                    model.fc.weight.zero_()
                    model.fc.bias.zero_()
                    model.fc.requires_grad_(False)

    model = small_net()
    run = fit(model, digits, TrainConfig(epochs=3, batch_size=32, lr=0.01), observers=[Ruin()])
    assert run.summary is not None
    assert run.summary.best_epoch < 3
    assert run.summary.val_accuracy == max(r.val_accuracy for r in run.history)
    assert run.summary.test_accuracy > 0.3
    assert model.fc.weight.abs().sum() > 0


def test_a_loss_that_is_not_finite_stops_the_run(digits: Data) -> None:
    class Poison(Observer):
        def epoch(self, history: tuple[EpochRecord, ...]) -> None:
            if len(history) == 2:
                with torch.no_grad():
                    model.fc.weight.fill_(float("nan"))

    model, out = small_net(), Path("poisoned")
    config = TrainConfig(epochs=4, batch_size=32, out=out)
    with pytest.raises(
        TrainingError, match=r"Stopped at step 19 \(epoch 3\).*smaller --lr"
    ) as caught:
        fit(model, digits, config, observers=[Poison()])
    assert "\n" not in str(caught.value)
    assert len(load(out, model=SmallNet()).history) == 2  # what was good is still there
    saved = checkpoint.load_last(out)
    assert saved is not None
    assert all(t.isfinite().all() for t in saved["model"].values())


def test_a_learning_rate_beyond_reason_is_explained(digits: Data) -> None:
    config = TrainConfig(epochs=3, batch_size=32, lr=1e30, optimizer="sgd", warmup=0.0)
    with pytest.raises(TrainingError, match="is not finite; .*smaller --lr .it was 1e.30"):
        fit(small_net(), digits, config)


def test_learning_rate_schedule(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten per cent of rise, then a half cosine to zero; or a constant."""
    rates: list[float] = []

    class Note(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    monkeypatch.setattr(torch.optim, "SGD", Note)
    config = TrainConfig(epochs=4, batch_size=30, optimizer="sgd", lr=0.1)
    fit(small_net(), digits, config)
    assert len(rates) == 40
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates[22] == pytest.approx(0.05)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.001
    rates.clear()
    fit(small_net(), digits, replace(config, recipe="book", lr=None))
    assert set(rates) == {0.05}


def test_the_books_recipe_is_plain_sgd(digits: Data) -> None:
    """One epoch is the textbook loop, step for step: w ← w − lr·gradient, pixels from 0 to 1."""
    config = TrainConfig(recipe="book", epochs=1, batch_size=300, lr=0.1, precision="fp32")
    model, twin = small_net(), small_net()
    model.drop.p = twin.drop.p = 0.0
    run = fit(model, digits, config)
    assert isinstance(digits.train, MemoryImages)
    images = nn.functional.interpolate(digits.train.pixels / 255, (16, 16), mode="bilinear")
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(twin(images), digits.train.labels)
    loss.backward()
    optimizer.step()
    assert run.history[0].train_loss == pytest.approx(loss.item(), rel=1e-4)
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-5)


def test_observers_see_the_run(digits: Data) -> None:
    seen: list[object] = []

    class Witness(Observer):
        def begin(self, plan: Plan) -> None:
            seen.append(plan)

        def epoch(self, history: tuple[EpochRecord, ...]) -> None:
            seen.append(history[-1])

    run = fit(small_net(), digits, TrainConfig(epochs=2, batch_size=32), observers=[Witness()])
    plan, *records = seen
    assert isinstance(plan, Plan)
    assert (plan.epochs, plan.steps_per_epoch, plan.model) == (2, 9, "SmallNet")
    assert tuple(records) == run.history


def test_init_begins_with_the_weights_of_another_run(digits: Data) -> None:
    first = fit(small_net(), digits, TrainConfig(epochs=3, batch_size=32, lr=0.01))
    model = small_net(9)
    config = TrainConfig(epochs=1, lr=1e-9, warmup=0.0, init=first.path, augment="none")
    fit(model, digits, config)
    weights, _ = checkpoint.load_weights(first.path)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="is of another network than lenet.*not features.conv1"):
        fit(
            create_model("lenet", num_classes=10, in_channels=1, image_size=16),
            digits,
            TrainConfig(init=first.path),
        )
    with pytest.raises(InputError, match="Cannot read weights from nowhere"):
        fit(small_net(), digits, TrainConfig(init=Path("nowhere")))


def test_seeds_of_neighbours_differ() -> None:
    seeds = {mix(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 2) != mix(2, 1)


class Seen(nn.Module):
    """Remembers what it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)
        self.images: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.images.append(x.clone())
        logits: torch.Tensor = self.fc(x.flatten(1))
        return logits


def test_what_each_augmentation_does_to_the_pictures() -> None:
    digits = load_data("digits", image_size=8)
    assert isinstance(digits.train, MemoryImages)
    originals = {bytes(p.flatten().tolist()) for p in digits.train.pixels}
    mirrored = {bytes(p.flip(2).flatten().tolist()) for p in digits.train.pixels}
    kinds: dict[Any, tuple[float, float]] = {}
    for augment in ("none", "flip", "crop", "flip-crop"):
        network = Seen()
        fit(network, digits, TrainConfig(epochs=1, augment=augment, normalize="off"))
        seen = (torch.cat(network.images) * 255).round().to(torch.uint8)
        texts = [bytes(picture.flatten().tolist()) for picture in seen]
        kinds[augment] = (
            sum(text in originals for text in texts) / len(texts),
            sum(text in mirrored for text in texts) / len(texts),
        )
    assert kinds["none"] == (1.0, 0.0)
    assert sum(kinds["flip"]) == 1.0
    assert 0.4 < kinds["flip"][0] < 0.6
    assert kinds["crop"][0] < 0.2  # one shift of nine is none
    assert kinds["crop"][1] == 0.0
    assert sum(kinds["flip-crop"]) < 0.2


def test_the_quick_recipe_dares_more_where_there_are_norms(digits: Data) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    rates = []
    for name, network in (("norms", small_net()), ("plain", plain)):
        run = fit(network, digits, TrainConfig(recipe="quick", epochs=1, out=Path(name)))
        rates.append(checkpoint.read_settings(run.path)["train"]["lr"])
    assert rates == [QUICK_LR, MODERN_LR]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precisions_learn_too(digits: Data, precision: Any) -> None:
    config = TrainConfig(epochs=8, batch_size=32, lr=0.01, augment="none", precision=precision)
    run = fit(small_net(), digits, config)
    assert run.summary is not None
    assert run.summary.precision == precision
    assert run.summary.val_accuracy > 0.8
    assert all(p.dtype == torch.float32 for p in run.model.parameters())


def test_compiled_training_learns(digits: Data) -> None:
    config = TrainConfig(epochs=4, batch_size=32, lr=0.01, augment="none", precision="fp32")
    plain = fit(small_net(), digits, config)
    compiled = fit(small_net(), digits, replace(config, compile="on"))
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    for ours, theirs in zip(compiled.history[:2], plain.history[:2], strict=True):
        # Dropout draws other numbers in compiled code, so the two agree only roughly.
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=0.1)
    assert compiled.history[-1].val_accuracy > 0.5


def test_the_first_real_epoch_of_fashion_mnist(fashion_root: Path) -> None:
    data = load_data("fashion_mnist", root=fashion_root)
    torch.manual_seed(0)
    model = create_model("lenet", num_classes=10, in_channels=1, image_size=28)
    run = fit(model, data, TrainConfig(epochs=1))
    assert run.summary is not None
    assert run.summary.test_images == 10_000
    assert run.summary.test_accuracy > 0.6


def test_evaluation_on_another_split_is_refused(digits: Data) -> None:
    run = fit(small_net(), digits, TrainConfig(epochs=1))
    with pytest.raises(InputError, match="not split.* seed=0 and val_fraction=0.1"):
        evaluate(run, load_data("digits", seed=1))
    with pytest.raises(InputError, match="no part 'tests'; did you mean 'test'"):
        evaluate(run, digits, part="tests")  # type: ignore[arg-type]
