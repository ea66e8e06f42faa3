"""The shapes that the documents print for each layer or block of a network."""

import torch
from torch import nn

from convworks.bench.claims.claim import Claim
from convworks.measure.summary import summarize
from convworks.nets.registry import create_model

SECTIONS = {
    "lenet": "lenet",
    "alexnet": "alexnet",
    "vgg11": "vgg",
    "nin": "nin",
    "googlenet": "googlenet",
    "resnet18": "resnet",
    "densenet_book": "densenet",
}
"""Of the networks whose shapes are printed."""
SHAPES: dict[tuple[str, int], tuple[str, dict[str, str]]] = {
    ("lenet", 28): (
        "S3 7.6",
        {
            "features.conv1": "6×28×28",
            "features.pool1": "6×14×14",
            "features.conv2": "16×10×10",
            "features.pool2": "16×5×5",
            "features.flatten": "400",
            "head.fc1": "120",
            "head.fc2": "84",
            "head.fc3": "10",
        },
    ),
    ("alexnet", 224): (
        "S0 7.1",
        {
            "features.stem.conv": "96×54×54",
            "features.stem.pool": "96×26×26",
            "features.conv2": "256×26×26",
            "features.pool2": "256×12×12",
            "features.conv3": "384×12×12",
            "features.conv4": "384×12×12",
            "features.conv5": "256×12×12",
            "features.pool5": "256×5×5",
            "head.fc1": "4096",
            "head.fc2": "4096",
            "head.fc3": "10",
        },
    ),
    ("vgg11", 224): (
        "S0 7.2",
        {
            "features.block1": "64×112×112",
            "features.block2": "128×56×56",
            "features.block3": "256×28×28",
            "features.block4": "512×14×14",
            "features.block5": "512×7×7",
            "head.flatten": "25088",
            "head.fc1": "4096",
            "head.fc2": "4096",
            "head.fc3": "10",
        },
    ),
    ("nin", 224): (
        "S0 7.3",
        {
            "block1": "96×54×54",
            "pool1": "96×26×26",
            "block2": "256×26×26",
            "pool2": "256×12×12",
            "block3": "384×12×12",
            "pool3": "384×5×5",
            "block4": "10×5×5",
            "average": "10×1×1",
            "flatten": "10",
        },
    ),
    ("googlenet", 96): (
        "S0 7.4",
        {
            "stage1": "64×24×24",
            "stage2": "192×12×12",
            "stage3": "480×6×6",
            "stage4": "832×3×3",
            "pool.average": "1024×1×1",
            "fc": "10",
        },
    ),
    ("resnet18", 224): (
        "S0 7.6",
        {
            "stem.conv": "64×112×112",
            "stem.pool": "64×56×56",
            "stage1": "64×56×56",
            "stage2": "128×28×28",
            "stage3": "256×14×14",
            "stage4": "512×7×7",
            "pool.average": "512×1×1",
            "fc": "10",
        },
    ),
    ("resnet18", 96): (
        "S0 7.6",
        {
            "stem": "64×24×24",
            "stage1": "64×24×24",
            "stage2": "128×12×12",
            "stage3": "256×6×6",
            "stage4": "512×3×3",
        },
    ),
    ("densenet_book", 96): (
        "S0 7.7",
        {
            "stem": "64×24×24",
            "block1": "192×24×24",
            "transition1": "96×12×12",
            "block2": "224×12×12",
            "transition2": "112×6×6",
            "block3": "240×6×6",
            "transition3": "120×3×3",
            "block4": "248×3×3",
            "fc": "10",
        },
    ),
}
"""By network and image size: where it is printed, and what, of one image with one channel."""


def on_meta(name: str, image_size: int, **options: object) -> nn.Module:
    """On the meta device, for one channel and ten classes."""
    with torch.device("meta"):
        return create_model(
            name, num_classes=10, in_channels=1, image_size=image_size, options=options
        )


def _shapes(name: str, image_size: int, layers: dict[str, str]) -> str:
    summary = summarize(on_meta(name, image_size), (1, image_size, image_size), depth=9)
    found = {row.name: "×".join(map(str, row.output)) for row in summary.rows}
    return ", ".join(found[layer] for layer in layers)


CLAIMS = tuple(
    Claim(
        SECTIONS[name],
        source,
        f"shapes of {name} at {size}×{size}",
        ", ".join(layers.values()),
        lambda name=name, size=size, layers=layers: _shapes(name, size, layers),  # type: ignore[misc]
        derived=name == "densenet_book",
    )
    for (name, size), (source, layers) in SHAPES.items()
)
