"""Draws the tour's pictures: the networks from the real modules, the rest from the real operators.

    python docs/pictures.py                 # all
    python docs/pictures.py lenet edges     # some

Each function here is a picture of its name, `docs/tour/NAME.svg`. The same versions give the same
bytes.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

import convworks as cw
from convworks import ops
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
from convworks.report.labels import label_points
from convworks.report.picture import COLOURS, save_picture

TOUR = Path(__file__).parent / "tour"
BLUE, VERMILION, GREEN, PINK, ORANGE, SKY = COLOURS
SIDE = 0.3
"""Inches of a cell."""
PICTURES: dict[str, Callable[[], Figure]] = {}


def picture(draw: Callable[[], Figure]) -> Callable[[], Figure]:
    """Enters a function as the picture of its name."""
    PICTURES[draw.__name__.replace("_", "-")] = draw
    return draw


# Cells of numbers


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """White, in units of a cell from the upper left corner."""
    figure = Figure(figsize=(width * SIDE, height * SIDE), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def cells(
    axes: Axes,
    x: float,
    y: float,
    numbers: Tensor,
    title: str = "",
    colours: Callable[[int, int], str] = lambda _y, _x: "white",
    digits: bool = True,
) -> None:
    """A matrix as a grid with its upper left corner there, its title above."""
    height, width = numbers.shape
    for row in range(height):
        for column in range(width):
            place = (x + column, y + row)
            fill = colours(row, column)
            axes.add_patch(Rectangle(place, 1, 1, facecolor=fill, edgecolor="#666666", lw=0.7))
            if digits:
                text = f"{numbers[row, column].item():g}".replace("-", "−")
                middle = (place[0] + 0.5, place[1] + 0.53)
                axes.text(*middle, text, ha="center", va="center", fontsize=8)
    write(axes, x + width / 2, y - 0.45, title)


def write(axes: Axes, x: float, y: float, text: str, size: float = 8.5) -> None:
    """Text around a point."""
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color="#222222")


def frame(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """A thick frame around cells."""
    axes.add_patch(Rectangle((x, y), width, height, facecolor="none", edgecolor=colour, lw=2))


@picture
def cross_correlation() -> Figure:
    image, kernel = torch.arange(9.0).reshape(3, 3), torch.arange(4.0).reshape(2, 2)
    result = ops.corr2d(image, kernel)
    figure, axes = canvas(13, 6)
    cells(axes, 0.5, 1.2, image, "image", lambda y, x: "#d6e8f5" if y < 2 and x < 2 else "white")
    frame(axes, 0.5, 1.2, 2, 2, BLUE)
    write(axes, 4.25, 2.7, "∗", 14)
    cells(axes, 5, 1.7, kernel, "kernel", lambda _y, _x: "#fbe3cc")
    write(axes, 8, 2.7, "=", 14)
    cells(axes, 9, 1.7, result, "result", lambda y, x: "#d0ece2" if (y, x) == (0, 0) else "white")
    window = image[:2, :2].flatten().tolist()
    terms = " + ".join(
        f"{a:g}·{b:g}" for a, b in zip(window, kernel.flatten().tolist(), strict=True)
    )
    write(axes, 6.5, 5.1, f"{terms} = {result[0, 0].item():g}")
    return figure


@picture
def edges() -> Figure:
    bar = torch.ones(6, 8)
    bar[:, 2:6] = 0
    found = ops.corr2d(bar, torch.tensor([[1.0, -1.0]]))
    turned = ops.corr2d(bar.T, torch.tensor([[1.0, -1.0]]))
    tints = {-1.0: "#fbe3cc", 0.0: "white", 1.0: "#d6e8f5"}

    def signs(numbers: Tensor) -> Callable[[int, int], str]:
        return lambda y, x: tints[numbers[y, x].item()]

    def greys(numbers: Tensor) -> Callable[[int, int], str]:
        return lambda y, x: "white" if numbers[y, x] else "#bbbbbb"

    figure, axes = canvas(17.5, 18.2)
    cells(axes, 0.5, 1.2, bar, "a dark bar", greys(bar))
    cells(axes, 10, 1.2, found, "∗ [1 −1]: its two edges", signs(found))
    cells(axes, 1.5, 9.7, bar.T, "the bar turned", greys(bar.T))
    cells(axes, 11, 9.7, turned, "∗ [1 −1]: nothing", signs(turned))
    return figure


@picture
def stride() -> Figure:
    """8×8, padding 1, a 3×3 window that moves by 2."""
    figure, axes = canvas(19, 11.7)

    def colours(y: int, x: int) -> str:
        return "#eeeeee" if min(y, x) == 0 or max(y, x) == 9 else "white"

    cells(axes, 0.6, 1.2, torch.zeros(10, 10), "8×8 with padding 1", colours, digits=False)
    for i, colour in enumerate((BLUE, VERMILION, GREEN, PINK)):
        inside = 0.1 * (i % 2)  # so that neighbours do not cover each other
        frame(axes, 0.6 + 2 * i + inside, 1.2 + inside, 3 - 2 * inside, 3 - 2 * inside, colour)
    tints = ("#d6e8f5", "#fbe3cc", "#d0ece2", "#f4e1ec")
    side = ops.output_size(8, 3, padding=1, stride=2)
    result = torch.zeros(side, side)

    def first_row(y: int, x: int) -> str:
        return tints[x] if y == 0 else "white"

    cells(axes, 14, 1.2, result, "3×3, stride 2: 4×4", first_row, digits=False)
    write(axes, 12.3, 3.2, "→", 16)
    return figure


@picture
def receptive_field() -> Figure:
    figure, axes = canvas(21, 7)
    five, three, one = torch.zeros(5, 5), torch.zeros(3, 3), torch.zeros(1, 1)

    def near(size: int) -> Callable[[int, int], str]:
        return lambda y, x: "#d6e8f5" if max(y, x) < size else "#eef5fa"

    cells(axes, 0.5, 1.2, five, "5×5 pixels", near(3), digits=False)
    frame(axes, 0.5, 1.2, 3, 3, BLUE)
    cells(axes, 9, 2.2, three, "first 3×3 layer", lambda _y, _x: "#fbe3cc", digits=False)
    frame(axes, 9, 2.2, 1, 1, BLUE)
    cells(axes, 17.5, 3.2, one, "second", lambda _y, _x: "#d0ece2", digits=False)
    for start, end in (((3.5, 1.2), (9, 2.2)), ((3.5, 4.2), (9, 3.2))):
        axes.plot(*zip(start, end, strict=True), color=BLUE, lw=1)
    for start, end in (((12, 2.2), (17.5, 3.2)), ((12, 5.2), (17.5, 4.2))):
        axes.plot(*zip(start, end, strict=True), color=VERMILION, lw=1)
    return figure


@picture
def pooling() -> Figure:
    numbers = torch.tensor([[1, 3, 0, 2], [5, 2, 1, 1], [0, 0, 4, 8], [2, 2, 6, 2]]).float()
    figure, axes = canvas(15.5, 6)
    tints = ("#d6e8f5", "#fbe3cc", "#d0ece2", "#f4e1ec")
    cells(axes, 0.5, 1.2, numbers, "a map", lambda y, x: tints[2 * (y // 2) + x // 2])
    for x, kind in ((7, "max"), (12, "average")):
        result = ops.pool2d(numbers[None], 2, kind=kind)[0]
        cells(axes, x, 2.2, result, kind, lambda y, x: tints[2 * y + x])
    write(axes, 5.75, 3.2, "→", 16)
    return figure


@picture
def norms() -> Figure:
    """Four pictures (rows), six channels (columns): which cells share a mean."""
    kinds: dict[str, Callable[[int, int], bool]] = {
        "batch norm": lambda _n, c: c == 0,
        "layer norm": lambda n, _c: n == 0,
        "instance norm": lambda n, c: n == 0 and c == 0,
        "group norm, 2 groups": lambda n, c: n == 0 and c < 3,
    }
    figure, axes = canvas(18, 13.6)
    for i, (name, together) in enumerate(kinds.items()):
        x, y = 1.8 + 9 * (i % 2), 1.2 + 6.2 * (i // 2)

        def colour(n: int, c: int, together: Callable[[int, int], bool] = together) -> str:
            return "#8fc1e3" if together(n, c) else "white"

        cells(axes, x, y, torch.zeros(4, 6), name, colour, digits=False)
        write(axes, x + 3, y + 4.5, "channels")
        axes.text(x - 0.6, y + 2, "pictures", rotation=90, fontsize=8.5, ha="center", va="center")
    write(axes, 9, 13, "each cell is one map; blue: the numbers that share a mean and a variance")
    return figure


@picture
def filters() -> Figure:
    """A digit enlarged, so that corners have the room that they need."""
    digits = cw.load_data("digits", image_size=8).train
    four = digits.labels.tolist().index(4)
    pixels = digits.pixels[four].float() / 255
    image = nn.functional.interpolate(pixels[None], scale_factor=4, mode="bilinear")[0, 0]
    slope = ops.corr2d(image, ops.SOBEL)
    found = {
        "a digit": image,
        "box: blurred": ops.corr2d(image, ops.BOX),
        "Sobel: to the right": slope,
        "Sobel: down": ops.corr2d(image, ops.SOBEL.T),
        "FAST: corners": image,
    }
    figure = Figure(figsize=(9, 2.1), facecolor="white")
    for i, (name, shown) in enumerate(found.items()):
        axes = figure.add_axes((0.01 + i * 0.2, 0.02, 0.18, 0.84))
        signed = name.startswith("Sobel")
        limit = shown.abs().max().item()
        axes.imshow(
            shown.numpy(),
            cmap="PuOr" if signed else "gray",
            vmin=-limit if signed else 0,
            vmax=limit,
            interpolation="nearest",
        )
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    rows, columns = ops.fast_corners(image).nonzero().unbind(1)
    figure.axes[-1].scatter(columns.tolist(), rows.tolist(), s=14, color=VERMILION)
    return figure


# Networks


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
def mobile_blocks() -> Figure:
    dense = named(conv=nn.Conv2d(64, 64, 3, padding=1))
    return blocks(
        ("dense", dense, (64, 28, 28)),
        ("separable (MobileNet)", separable(64, 64, 1), (64, 28, 28)),
        ("inverted residual (v2)", InvertedResidual(32, 192, 32), (32, 28, 28)),
        ("ShuffleNet", UnitV1(240, 240, 3, 1), (240, 28, 28)),
        ("ShuffleNetV2", UnitV2(116), (116, 28, 28)),
        ("fire (SqueezeNet)", fire(128, 16, 64), (128, 28, 28)),
    )


@picture
def modern_blocks() -> Figure:
    silu = InvertedResidual(40, 240, 40, 5, act=nn.SiLU, squeeze=10, squeeze_act=nn.SiLU)
    return blocks(
        ("EfficientNet", silu, (40, 28, 28)),
        ("RegNetX", XBlock(152, 152, 8, 1, se=False), (152, 14, 14)),
        ("ConvNeXt", ConvNeXtBlock(96, 0.0), (96, 56, 56)),
    )


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
