"""The tour's pictures of operations, drawn from the real operators; pictures.py draws them all."""

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

import convworks as cw
from convworks import ops
from convworks.report.picture import COLOURS

BLUE, VERMILION, GREEN, PINK, *_ = COLOURS
SIDE = 0.3
"""Inches of a cell."""
PICTURES: dict[str, Callable[[], Figure]] = {}


def picture(draw: Callable[[], Figure]) -> Callable[[], Figure]:
    """Enters a function as the picture of its name."""
    PICTURES[draw.__name__.replace("_", "-")] = draw
    return draw


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
