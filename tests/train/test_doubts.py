"""What looks wrong is said, and what is wrong is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import convworks as cw
from convworks.data.splits import Data, MemoryImages
from convworks.errors import InputError
from convworks.train.loop import fit
from convworks.train.observer import Observer


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
