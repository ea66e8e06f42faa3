"""What looks wrong is said, and what is wrong is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convworks as cw
from convworks.data.splits import Data, MemoryImages
from convworks.errors import DivergedError, InputError
from convworks.train.doubts import after_epoch
from convworks.train.loop import fit
from convworks.train.observer import EpochRecord, Observer, Progress


class Notes(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


def notes_of(model: nn.Module, data: Data, config: cw.TrainConfig) -> list[str]:
    notes = Notes()
    fit(model, data, config, observers=[notes])
    return notes.heard


def lenet_bn(classes: int = 10) -> nn.Module:
    return cw.create_model("lenet_bn", num_classes=classes, in_channels=1, image_size=16)


def digits(count: int = 300) -> Data:
    return cw.load_data("digits", image_size=16, train_images=count)


def test_a_healthy_training_says_nothing() -> None:
    assert notes_of(lenet_bn(), digits(), cw.TrainConfig(epochs=6)) == []


def test_a_network_that_does_not_learn() -> None:
    model = lenet_bn()
    *_, head = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    nn.init.zeros_(head.weight)  # it always says the first class
    head.bias.data.copy_(torch.eye(10)[0])
    heard = notes_of(model, digits(), cw.TrainConfig(epochs=6, lr=1e-12))
    assert len(heard) == 1
    assert "after 3 epochs it does no better than guessing" in heard[0]
    assert "--find-lr" in heard[0]


def epoch(number: int, loss: float = 0.5, accuracy: float = 0.9) -> EpochRecord:
    return EpochRecord(number, loss, accuracy, loss, accuracy, 0.1, 100.0, 1.0)


def notes_after(*records: EpochRecord, epochs: int) -> list[tuple[int, str]]:
    """What is said of ten classes after each epoch."""
    labels, scaler = torch.arange(1000) % 10, torch.amp.GradScaler("cpu", enabled=False)
    return [
        (count, text)
        for count in range(1, len(records) + 1)
        for text in after_epoch(records[:count], epochs, labels, scaler)
    ]


def test_a_network_that_dies_is_told_of_once() -> None:
    """Whenever that is, and early in a long training."""
    dead = [epoch(n + 1, 2.3, 0.1) for n in range(40)]
    ((when, text),) = notes_after(*dead, epochs=100)
    assert when == 10
    assert "after 10 epochs it does no better than guessing (10.0%" in text
    alive = [epoch(n + 1) for n in range(12)]
    ((when, _),) = notes_after(*alive, *dead, epochs=60)
    assert when == 15
    assert not notes_after(*[epoch(n + 1, 2.3, 0.1) for n in range(5)], epochs=5)


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ((2.3, 1.9, 1.2), None),
        ((3.5, 2.9, 2.0), None),  # a bad beginning
        ((0.001, 0.02), None),  # of weights that knew it all
        ((8.0, 9.0), 1),
        ((2.3, 1e6, 1e9), 2),
        ((2.3, 0.1, 0.2, 2.6, 2.4), 4),
    ],
)
def test_a_rate_that_makes_the_loss_grow(losses: tuple[float, ...], told: int | None) -> None:
    heard = notes_after(*[epoch(n + 1, loss) for n, loss in enumerate(losses)], epochs=20)
    assert [when for when, _ in heard] == [told] * (told is not None)
    assert all(
        "guessing gives 2.3: the steps are too long. Try a smaller --lr" in t for _, t in heard
    )


def test_a_diverging_training_is_told_of() -> None:
    """Its loss stays finite: batch norm forgives weights of any size, the head does not."""
    config = cw.TrainConfig(epochs=2, optimizer="sgd", lr=30.0, schedule="constant", warmup=0.0)
    heard = notes_of(lenet_bn(), digits(), config)
    assert sum("the steps are too long" in text for text in heard) == 1


class Overflowing(nn.Module):
    """Its gradients do not fit fp16, its logits do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(256, 10)
        self.head.weight.register_hook(lambda gradient: gradient * float("inf"))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits


def test_gradients_that_overflow_in_fp16() -> None:
    config = cw.TrainConfig(epochs=2, batch_size=16, precision="fp16", out=Path("run"))
    heard = notes_of(Overflowing(), digits(), config)
    assert any("gradients overflow in fp16" in text for text in heard)
    assert not any(
        "overflow" in text for text in notes_of(lenet_bn(), digits(), replace(config, out=None))
    )


def test_running_averages_that_are_not_finite_are_not_saved() -> None:
    """Validation stays finite with them: what is divided by infinity is 0."""

    class Ruin(Observer):
        def step(self, progress: Progress) -> None:
            if progress.epoch == 1:
                norm.running_var.fill_(float("inf"))

    model = lenet_bn()
    norm = next(x for x in model.modules() if isinstance(x, nn.BatchNorm2d))
    name = next(n for n, x in model.named_modules() if x is norm)
    with pytest.raises(DivergedError, match=f"{name}.running_var is not finite"):
        fit(model, digits(), cw.TrainConfig(epochs=3, out=Path("run")), observers=[Ruin()])
    saved = torch.load("run/last.pt", weights_only=True)
    assert saved["state"]["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("kind", ["pixels", "labels"])
def test_pixels_and_labels_of_other_kinds(part: str, kind: str) -> None:
    """Floats of 0 to 1 would be taken for nearly black, and might be NaN."""
    data = digits()
    images = getattr(data, part)
    bad = replace(data, **{part: replace(images, **{kind: getattr(images, kind).float()})})
    with pytest.raises(InputError, match=f"The {part} part has .*float32.*: give torch.uint8"):
        fit(lenet_bn(), bad, cw.TrainConfig(epochs=1, out=Path("never")))
    assert not Path("never").exists()


def test_batch_norm_over_one_picture() -> None:
    one = cw.TrainConfig(epochs=1, batch_size=1)
    with pytest.raises(InputError, match="more than one picture a step"):
        notes_of(lenet_bn(), digits(20), one)
    resnet = cw.create_model("resnet20", num_classes=10, in_channels=1, image_size=16)
    assert any("one picture a step" in text for text in notes_of(resnet, digits(20), one))
    lenet = cw.create_model("lenet", num_classes=10, in_channels=1, image_size=16)
    assert not any("batch norm" in text for text in notes_of(lenet, digits(20), one))


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("wrong", [-1, 10])
def test_labels_out_of_range(part: str, wrong: int) -> None:
    data = digits()
    images = getattr(data, part)
    labels = images.labels.clone()
    labels[3] = wrong
    bad = replace(data, **{part: MemoryImages(images.pixels, labels)})
    with pytest.raises(InputError, match=rf"labels of the {part} part run from .*{wrong}"):
        fit(lenet_bn(), bad, cw.TrainConfig(epochs=1, out=Path("never")))
    assert not Path("never").exists()


def test_a_class_that_is_missing() -> None:
    data = digits()
    keep = (data.train.labels != 4).nonzero().squeeze(1)
    heard = notes_of(
        lenet_bn(), replace(data, train=data.train.take(keep)), cw.TrainConfig(epochs=1)
    )
    assert any("uneven classes: 0 (4)" in text for text in heard)


def test_pictures_in_two_parts_at_once() -> None:
    data = digits()
    train, test = data.train, data.test
    assert isinstance(train, MemoryImages)
    assert isinstance(test, MemoryImages)
    both = MemoryImages(
        torch.cat([test.pixels, train.pixels[:7]]), torch.cat([test.labels, train.labels[:7]])
    )
    heard = notes_of(lenet_bn(), replace(data, test=both), cw.TrainConfig(epochs=1))
    assert any("7 of 366 test pictures stand in the training part too" in text for text in heard)


def test_deterministic_is_the_same_on_a_cpu_and_ends() -> None:
    runs = [
        fit(cw_seeded(), digits(), cw.TrainConfig(epochs=1, deterministic=deterministic))
        for deterministic in (False, True)
    ]
    assert not torch.are_deterministic_algorithms_enabled()
    ours, theirs = (run.model.state_dict() for run in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def cw_seeded() -> nn.Module:
    torch.manual_seed(0)
    return lenet_bn()
