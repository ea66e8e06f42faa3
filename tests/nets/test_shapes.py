"""Shapes that follow from the documents; those that they print are `bench.claims`."""

import pytest
import torch
from torch import nn

from convworks.measure.summary import summarize
from convworks.nets.densenet import dense_block
from convworks.nets.registry import create_model
from convworks.nets.residual import Block

Shapes = dict[str, tuple[int, ...]]

EXPECTED: dict[tuple[str, int], Shapes] = {
    ("lenet_bn", 28): {
        "features.norm1": (6, 24, 24),
        "features.pool1": (6, 12, 12),
        "features.norm2": (16, 8, 8),
        "features.pool2": (16, 4, 4),
        "head.norm3": (120,),
        "head.norm4": (84,),
        "head.fc3": (10,),
    },
    ("vgg11_small", 224): {
        "features.block1": (16, 112, 112),
        "features.block5": (128, 7, 7),
        "head.flatten": (6272,),
        "head.fc3": (10,),
    },
}


@pytest.mark.parametrize(("name", "size"), EXPECTED)
def test_shapes(name: str, size: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=10, in_channels=1, image_size=size)
    found: Shapes = {
        row.name: row.output for row in summarize(model, (1, size, size), depth=9).rows
    }
    assert {row: found[row] for row in EXPECTED[name, size]} == EXPECTED[name, size]


def test_a_dense_block_keeps_its_input_in_front() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(dense_block(3, layers=2, growth=10)(images)[:, :3], images)


def test_an_identity_shortcut_passes_the_input_on() -> None:
    block = Block(3, 3)
    nn.init.zeros_(block.body.norm2.weight)  # the body then gives 0
    images = torch.rand(2, 3, 6, 6)
    assert torch.equal(block(images), images)
