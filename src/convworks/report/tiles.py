"""Pictures in rows: samples, predictions, filters, feature maps, where a network looked.

Each tile is as wide as the longest label needs, and labels longer than that are cut, so that none
covers another. Pixels are uint8 N×C×H×W, one or three channels.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convworks.errors import InputError, unknown
from convworks.report.layout import width_of
from convworks.report.picture import COLOURS, on_white, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS = 8.0
"""Size of labels in points."""
TILE = 1.0
"""Inches of a picture's side."""
LONGEST = 28
"""Characters of a label."""
CHANNELS = 8
"""Of a layer's maps, the first so many are drawn."""
TOP = 3
"""Likeliest classes beside a picture."""
LARGEST = 96
"""Filters of a layer that are drawn."""
HEAT = "viridis"
"""Even in lightness, apart for every kind of colour vision."""
RIGHT, WRONG = COLOURS[0], COLOURS[1]


@on_white
def samples(pixels: Tensor, labels: Sequence[str]) -> "Figure":
    """Pictures, uint8 N×C×H×W, with their N labels.

    Raises InputError for no pictures, for other shapes and for another number of labels.
    """
    _check(pixels, labels)
    figure, places = _grid(len(pixels), labels, lines=1)
    for axes, picture, label in zip(places, pixels, labels, strict=True):
        _show(axes, picture)
        axes.set_title(_short(label), fontsize=LETTERS, pad=3)
    return figure


@on_white
def predictions(
    pixels: Tensor, labels: Sequence[str], probabilities: Tensor, classes: Sequence[str]
) -> "Figure":
    """Pictures with their labels, and the likeliest classes as bars: vermilion where wrong.

    `pixels` are uint8 N×C×H×W, `probabilities` N×classes; `labels` may be empty where the truth is
    not known. Raises InputError for no pictures, for other shapes and where the numbers differ.
    """
    from matplotlib.figure import Figure

    _check(pixels, probabilities)
    if labels:
        _check(pixels, labels)
    top = min(TOP, len(classes))
    widest = max(width_of(_short(name), LETTERS) for name in classes) / 72
    bar = max(1.2, widest + 0.2)
    wide, tall = TILE + bar + 0.7, TILE + 0.35
    columns = min(3, len(pixels))
    width, height = columns * wide, ceil(len(pixels) / columns) * tall
    figure = Figure(figsize=(width, height), facecolor="white")
    for i, (picture, row) in enumerate(zip(pixels, probabilities, strict=True)):
        x, y = (i % columns) * wide + 0.08, height - (i // columns + 1) * tall + 0.06
        axes = figure.add_axes((x / width, y / height, TILE / width, TILE / height))
        _show(axes, picture)
        if labels:
            axes.set_title(_short(labels[i]), fontsize=LETTERS, loc="left", pad=3)
        place = ((x + TILE + 0.12) / width, y / height, bar / width, TILE / height)
        shares, places = row.topk(top)
        names = [classes[place] for place in places.tolist()]
        _bars(figure.add_axes(place), shares.tolist(), names, labels[i] if labels else None)
    return figure


def _bars(axes: "Axes", shares: Sequence[float], names: Sequence[str], truth: str | None) -> None:
    """Names above their bars, the probability behind; the true class has a mark too."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(TOP, 0)
    for i, (share, name) in enumerate(zip(shares, names, strict=True)):
        colour = RIGHT if truth is None or name == truth else WRONG
        axes.barh(i + 0.72, share, 0.28, color=colour if i == 0 or colour == RIGHT else "#bbbbbb")
        mark = " ✓" if name == truth else ""
        axes.text(0, i + 0.36, _short(name) + mark, fontsize=LETTERS, va="center")
        axes.text(
            share + 0.03,
            i + 0.72,
            f"{share:.0%}",
            fontsize=LETTERS - 1,
            va="center",
            color="#444444",
        )


@on_white
def filters(model: nn.Module, layer: str | None = None) -> "Figure":
    """The kernels of a convolution, None: of the first.

    Of three input channels in their colours, scaled together; else the mean over the channels,
    grey where a weight is zero, white where it is positive. Raises InputError when there is no such
    convolution.
    """
    convs = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    name = layer if layer is not None else next(iter(convs), None)
    if name not in convs:
        if name is None:
            raise InputError("The network has no convolution: there are no filters to draw.")
        raise unknown("convolution", name, convs)
    weights = convs[name].weight.detach().float().cpu()
    shown = weights[:LARGEST]
    if shown.shape[1] != 3:
        shown = shown.mean(1, keepdim=True)
    largest = shown.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    pixels = ((shown / largest + 1) * 127.5).round().to(torch.uint8)
    figure, places = _grid(len(pixels), [], lines=0, tile=0.5)
    for axes, picture in zip(places, pixels, strict=True):
        _show(axes, picture)
    count, channels, height, width = weights.shape
    some = f", the first {LARGEST}" if count > LARGEST else ""
    title = f"{name or type(model).__name__}: {count} filters {channels}×{height}×{width}{some}"
    _title(figure, title)
    return figure


@on_white
def feature_maps(picture: Tensor, found: Mapping[str, Tensor]) -> "Figure":
    """A picture (uint8 C×H×W) and, a row a layer, the first maps that it makes of it.

    `found` is of `measure.explain.feature_maps` for one picture. Each map has its own scale, dark
    the least. Raises InputError where `found` is empty.
    """
    from matplotlib.figure import Figure

    if not found:
        raise InputError("The network gives no maps of this picture: take a larger one.")
    names = [f"{name}  {'×'.join(map(str, maps.shape[1:]))}" for name, maps in found.items()]
    tall, head = 0.75, 0.24
    left = (CHANNELS + 1.3) * (tall + 0.05)
    width = max(left, max(width_of(name, LETTERS) for name in names) / 72 + 1.3 * tall)
    height = len(found) * (tall + head) + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")

    def place(column: float, row: int) -> "Axes":
        low = height - (row + 1) * (tall + head)
        at = (0.05 + column * (tall + 0.05)) / width
        return figure.add_axes((at, low / height, tall / width, tall / height))

    _show(place(0, 0), picture)
    for row, (name, maps) in enumerate(zip(names, found.values(), strict=True)):
        for i, one in enumerate(maps[0, :CHANNELS].float().cpu()):
            axes = place(1.3 + i, row)
            axes.imshow(one.numpy(), cmap=HEAT, interpolation="nearest")
            axes.set_axis_off()
            if i == 0:
                axes.set_title(written(name), fontsize=LETTERS, loc="left", pad=3)
    return figure


@on_white
def activation_maps(pixels: Tensor, found: Tensor, labels: Sequence[str]) -> "Figure":
    """Each picture beside itself under the map: yellow where the network looked most.

    `pixels` are uint8 N×C×H×W; `found` is N×H×W of `measure.explain.activation_map` (Grad-CAM,
    Selvaraju et al. 2017); `labels` say for which class. Raises InputError for no pictures, for
    other shapes and where the numbers differ.
    """
    _check(pixels, found)
    _check(pixels, labels)
    figure, places = _grid(len(pixels), labels, lines=1, wide=2)
    for axes, picture, seen, label in zip(places, pixels, found, labels, strict=True):
        grey = picture.float().mean(0).div(255).cpu()
        heat = _heat(seen.float().cpu())
        under = 0.45 * grey[..., None].expand(-1, -1, 3) + 0.55 * heat
        colour = picture.float().div(255).cpu().expand(3, -1, -1).movedim(0, 2)
        gap = torch.ones(len(grey), max(1, grey.shape[1] // 16), 3)
        axes.imshow(torch.cat([colour, gap, under], 1).numpy(), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(_short(label), fontsize=LETTERS, pad=3)
    return figure


def _heat(seen: Tensor) -> Tensor:
    from matplotlib import colormaps

    return torch.from_numpy(colormaps[HEAT](seen.numpy())[..., :3]).float()


def _grid(
    count: int, labels: Sequence[str], *, lines: int, tile: float = TILE, wide: int = 1
) -> "tuple[Figure, list[Axes]]":
    """Places for so many pictures, in about as many rows as columns, with room for labels."""
    from matplotlib.figure import Figure

    label = max((width_of(_short(text), LETTERS) for text in labels), default=0.0) / 72
    cell = max(wide * tile, label) + 0.08
    high = tile + 0.08 + 0.2 * lines
    columns = max(1, min(count, ceil((1.6 * count * high / cell) ** 0.5)))
    rows = ceil(count / columns)
    width, height = columns * cell + 0.1, rows * high + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    places = []
    for i in range(count):
        x = 0.05 + (i % columns) * cell + (cell - wide * tile) / 2
        y = height - 0.05 - (i // columns) * high - 0.2 * lines - tile
        place = (x / width, y / height, wide * tile / width, tile / height)
        places.append(figure.add_axes(place))
    return figure, places


def _title(figure: "Figure", text: str) -> None:
    """Above everything, with room of its own."""
    width, height = figure.get_size_inches()
    wider = max(width, width_of(text, LETTERS + 1) / 72 + 0.2)
    taller = height + 0.3
    for axes in figure.axes:
        box = axes.get_position()
        x = (box.x0 * width + (wider - width) / 2) / wider
        axes.set_position(
            (x, box.y0 * height / taller, box.width * width / wider, box.height * height / taller)
        )
    figure.set_size_inches(wider, taller)
    at, text = (0.5, 1 - 0.16 / taller), written(text)
    figure.text(*at, text, fontsize=LETTERS + 1, ha="center", va="center")


def _show(axes: "Axes", picture: Tensor) -> None:
    pixels = picture.cpu().movedim(0, 2).numpy()
    grey = pixels.shape[2] == 1
    extra: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if grey else {}
    axes.imshow(pixels[..., 0] if grey else pixels, interpolation="nearest", **extra)
    axes.set_axis_off()


def _short(label: str) -> str:
    return written(label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…")


def _check(pixels: Tensor, others: Tensor | Sequence[str]) -> None:
    if not len(pixels):
        raise InputError("There are no pictures to draw.")
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        shape = "×".join(map(str, pixels.shape))
        raise InputError(f"Pictures are N×1×H×W or N×3×H×W, not {shape}.")
    if len(pixels) != len(others):
        raise InputError(f"{len(pixels)} pictures do not fit {len(others)} labels or maps.")
