"""Draws the tour's pictures: the networks from the real modules, the rest from the real operators.

    python docs/pictures.py                 # all
    python docs/pictures.py lenet edges     # some

Each function here and in operations.py is a picture of its name, `docs/tour/NAME.svg`. The same
versions give the same bytes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from operations import PICTURES, picture
from torch import nn

import convworks as cw
from convworks.nets.blocks import named
from convworks.nets.convnext import ConvNeXtBlock
from convworks.nets.densenet import dense_block, transition
from convworks.nets.googlenet import STAGES, inception
from convworks.nets.mobilenet_v1 import separable
from convworks.nets.mobilenet_v2 import InvertedResidual
from convworks.nets.nin import nin_block
from convworks.nets.registry import find
from convworks.nets.regnet import XBlock
from convworks.nets.residual import Block, Design
from convworks.nets.shufflenet import UnitV1, UnitV2
from convworks.nets.squeezenet import fire
from convworks.nets.vgg import vgg_block
from convworks.nets.xception import XceptionBlock
from convworks.report.labels import label_points
from convworks.report.picture import COLOURS, save_picture

TOUR = Path(__file__).parent / "tour"


def blocks(*networks: tuple[str, nn.Module, tuple[int, int, int]]) -> Figure:
    """Blocks side by side, opened wholly."""
    return cw.figures.architecture(*networks, depth=2)


def whole(*networks: str, depth: int | None = None) -> Figure:
    return cw.figures.architecture(*networks, depth=depth)


@picture
def lenet() -> Figure:
    return whole("lenet")


@picture
def alexnet() -> Figure:
    return whole("lenet", "alexnet")


@picture
def vgg() -> Figure:
    block = ("a block (2, 128)", vgg_block(64, 128, 2), (64, 112, 112))
    return cw.figures.architecture(block, "vgg11")


@picture
def nin() -> Figure:
    block = ("a NiN block", nin_block(96, 256, 5, padding=2), (96, 26, 26))
    return cw.figures.architecture(block, "nin")


@picture
def inception_block() -> Figure:
    return blocks(("an Inception block", inception(192, STAGES[0][0]), (192, 28, 28)))


@picture
def inception_v3() -> Figure:
    with torch.device("meta"):
        model = cw.create_model("inception_v3")
    return blocks(
        ("stage 3", model.get_submodule("stage3.1"), (256, 35, 35)),
        ("stage 4", model.get_submodule("stage4.0"), (768, 17, 17)),
        ("stage 5", model.get_submodule("stage5.2"), (2048, 8, 8)),
    )


@picture
def inception_resnet() -> Figure:
    with torch.device("meta"):
        model = cw.create_model("inception_resnet_v2")
    return blocks(("a block of the first stage", model.get_submodule("stage3.1"), (320, 35, 35)))


@picture
def residual_blocks() -> Figure:
    return blocks(
        ("plain", Block(64, 64, design=Design(shortcut="none")), (64, 56, 56)),
        ("basic", Block(64, 64), (64, 56, 56)),
        ("basic, new shape", Block(64, 128, 2), (64, 56, 56)),
        ("bottleneck", Block(256, 64, design=Design(bottleneck=True)), (256, 56, 56)),
        ("pre-activated", Block(64, 64, design=Design(order="preact")), (64, 56, 56)),
    )


@picture
def resnet18() -> Figure:
    return whole("resnet18", depth=0)


@picture
def se_block() -> Figure:
    return blocks(("basic, with a gate", Block(64, 64, design=Design(se=16)), (64, 56, 56)))


@picture
def resnext_blocks() -> Figure:
    groups = Design(bottleneck=True, groups=32, group_width=4)
    return blocks(
        ("ResNet", Block(256, 64, design=Design(bottleneck=True)), (256, 56, 56)),
        ("ResNeXt", Block(256, 64, design=groups), (256, 56, 56)),
    )


@picture
def densenet() -> Figure:
    layers = dense_block(64, 2, 32)
    return blocks(
        ("a dense block", named(layer1=layers[0], layer2=layers[1]), (64, 24, 24)),
        ("a transition", transition(128, 64), (128, 24, 24)),
    )


@picture
def fire_block() -> Figure:
    return blocks(("a fire block", fire(128, 16, 64), (128, 28, 28)))


@picture
def xception_block() -> Figure:
    return blocks(("a block of the middle", XceptionBlock(728, 728, 728, 728), (728, 19, 19)))


@picture
def mobilenet_blocks() -> Figure:
    gated = InvertedResidual(40, 120, 40, 5, squeeze=32, gate=nn.Hardsigmoid, act=nn.ReLU)
    return blocks(
        ("separable (v1)", separable(64, 64, 1), (64, 28, 28)),
        ("inverted residual (v2)", InvertedResidual(32, 192, 32), (32, 28, 28)),
        ("with a gate (v3)", gated, (40, 28, 28)),
    )


@picture
def shufflenet_units() -> Figure:
    return blocks(
        ("version 1", UnitV1(240, 240, 3, 1), (240, 28, 28)),
        ("version 2", UnitV2(116), (116, 28, 28)),
    )


@picture
def efficientnet_block() -> Figure:
    silu = InvertedResidual(40, 240, 40, 5, act=nn.SiLU, squeeze=10, squeeze_act=nn.SiLU)
    return blocks(("EfficientNet", silu, (40, 28, 28)))


@picture
def regnet_blocks() -> Figure:
    return blocks(
        ("X", XBlock(152, 152, 8, 1, se=False), (152, 14, 14)),
        ("Y", XBlock(152, 152, 8, 1, se=True), (152, 14, 14)),
    )


@picture
def convnext_block() -> Figure:
    return blocks(
        ("ResNet", Block(256, 64, design=Design(bottleneck=True)), (256, 56, 56)),
        ("ConvNeXt", ConvNeXtBlock(96, 0.0), (96, 56, 56)),
    )


@picture
def airbench() -> Figure:
    return whole("airbench94")


ON_THE_MAP = {
    "to 2014": ("alexnet", "vgg16", "nin", "googlenet"),
    "2015, 2016": ("inception_v3", "resnet18", "resnet50", "resnet152", "densenet121"),
    "small": ("squeezenet1_1", "mobilenet_v1", "mobilenet_v2", "shufflenet_v2_x1_0"),
    "from 2019": ("efficientnet_b0", "efficientnet_b4", "convnext_base"),
}


@picture
def map() -> Figure:  # noqa: A001
    figure = Figure(figsize=(8, 6.2), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.12)  # room for a name right of the largest
    points: dict[str, tuple[float, float]] = {}
    for (age, names), colour, mark in zip(ON_THE_MAP.items(), COLOURS, "osD^", strict=False):
        rows = [find(name) for name in names]
        at = [(row.parameters / 1e6, row.macs / 1e6) for row in rows]
        axes.scatter(*zip(*at, strict=True), color=colour, marker=mark, label=age, zorder=3)
        points |= dict(zip(names, at, strict=True))
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel("multiply-adds a picture, millions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small", loc="upper left")
    label_points(figure, axes, points)
    return figure


def draw(names: Sequence[str]) -> None:
    """Writes the pictures of these names, none: all."""
    for name in names or PICTURES:
        torch.manual_seed(0)
        save_picture(PICTURES[name](), TOUR / f"{name}.svg")


if __name__ == "__main__":
    draw(sys.argv[1:])
