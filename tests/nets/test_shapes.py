"""Every shape that the source documents print, from the modules themselves."""

import pytest
import torch
from torch import nn

from convworks.measure.summary import summarize
from convworks.nets.densenet import dense_block, transition
from convworks.nets.googlenet import STAGES, out_channels
from convworks.nets.registry import create_model
from convworks.nets.residual import Block

Shapes = dict[str, tuple[int, ...]]

PRINTED: dict[tuple[str, int], Shapes] = {
    ("lenet", 28): {
        "features.conv1": (6, 28, 28),
        "features.sigmoid1": (6, 28, 28),
        "features.pool1": (6, 14, 14),
        "features.conv2": (16, 10, 10),
        "features.sigmoid2": (16, 10, 10),
        "features.pool2": (16, 5, 5),
        "features.flatten": (400,),
        "head.fc1": (120,),
        "head.fc2": (84,),
        "head.fc3": (10,),
    },
    ("lenet_bn", 28): {
        "features.norm1": (6, 24, 24),
        "features.pool1": (6, 12, 12),
        "features.norm2": (16, 8, 8),
        "features.pool2": (16, 4, 4),
        "head.norm3": (120,),
        "head.norm4": (84,),
        "head.fc3": (10,),
    },
    ("alexnet", 224): {
        "features.stem.relu": (96, 54, 54),
        "features.stem.pool": (96, 26, 26),
        "features.conv2": (256, 26, 26),
        "features.pool2": (256, 12, 12),
        "features.conv3": (384, 12, 12),
        "features.conv4": (384, 12, 12),
        "features.conv5": (256, 12, 12),
        "features.pool5": (256, 5, 5),
        "head.fc1": (4096,),
        "head.fc2": (4096,),
        "head.fc3": (10,),
    },
    ("vgg11", 224): {
        "features.block1": (64, 112, 112),
        "features.block2": (128, 56, 56),
        "features.block3": (256, 28, 28),
        "features.block4": (512, 14, 14),
        "features.block5": (512, 7, 7),
        "head.flatten": (25088,),
        "head.fc1": (4096,),
        "head.fc2": (4096,),
        "head.fc3": (10,),
    },
    ("vgg11_small", 224): {
        "features.block1": (16, 112, 112),
        "features.block5": (128, 7, 7),
        "head.flatten": (6272,),
        "head.fc3": (10,),
    },
    ("nin", 224): {
        "block1": (96, 54, 54),
        "pool1": (96, 26, 26),
        "block2": (256, 26, 26),
        "pool2": (256, 12, 12),
        "block3": (384, 12, 12),
        "pool3": (384, 5, 5),
        "block4": (10, 5, 5),
        "average": (10, 1, 1),
        "flatten": (10,),
    },
    ("googlenet", 96): {
        "stage1": (64, 24, 24),
        "stage2": (192, 12, 12),
        "stage3.inception1": (256, 12, 12),
        "stage3": (480, 6, 6),
        "stage4": (832, 3, 3),
        "stage5.inception1": (832, 3, 3),
        "pool.average": (1024, 1, 1),
        "fc": (10,),
    },
    ("resnet18", 224): {
        "stem.conv": (64, 112, 112),
        "stem": (64, 56, 56),
        "stage1": (64, 56, 56),
        "stage2": (128, 28, 28),
        "stage3": (256, 14, 14),
        "stage4": (512, 7, 7),
        "pool.average": (512, 1, 1),
        "fc": (10,),
    },
    ("resnet18", 96): {
        "stem": (64, 24, 24),
        "stage1": (64, 24, 24),
        "stage2": (128, 12, 12),
        "stage3": (256, 6, 6),
        "stage4": (512, 3, 3),
    },
    ("densenet_book", 96): {
        "stem": (64, 24, 24),
        "block1": (192, 24, 24),
        "transition1": (96, 12, 12),
        "block2": (224, 12, 12),
        "transition2": (112, 6, 6),
        "block3": (240, 6, 6),
        "transition3": (120, 3, 3),
        "block4": (248, 3, 3),
        "fc": (10,),
    },
}


@pytest.mark.parametrize(("name", "size"), PRINTED)
def test_printed_shapes(name: str, size: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=10, in_channels=1, image_size=size)
    found: Shapes = {
        row.name: row.output for row in summarize(model, (1, size, size), depth=9).rows
    }
    assert {row: found[row] for row in PRINTED[name, size]} == PRINTED[name, size]


def test_googlenet_block_channels() -> None:
    assert [[out_channels(paths) for paths in stage] for stage in STAGES] == [
        [256, 480],
        [512, 512, 512, 528, 832],
        [832, 1024],
    ]


def test_residual_blocks() -> None:
    images = torch.rand(4, 3, 6, 6)
    assert Block(3, 3)(images).shape == (4, 3, 6, 6)
    assert Block(3, 6, stride=2)(images).shape == (4, 6, 3, 3)


def test_dense_block_and_transition() -> None:
    block = dense_block(3, layers=2, growth=10)(torch.rand(4, 3, 8, 8))
    assert block.shape == (4, 23, 8, 8)
    assert transition(23, 10)(block).shape == (4, 10, 4, 4)


def test_a_dense_block_keeps_its_input_in_front() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(dense_block(3, layers=2, growth=10)(images)[:, :3], images)


def test_an_identity_shortcut_passes_the_input_on() -> None:
    block = Block(3, 3)
    nn.init.zeros_(block.body.norm2.weight)  # the body then gives 0
    images = torch.rand(2, 3, 6, 6)
    assert torch.equal(block(images), images)
