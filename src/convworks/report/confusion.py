"""What a network says of its test part: the confusion matrix and the mistakes, for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convworks.report.embed import png_uri

MOST = 15
"""So many kinds of mistakes are listed beside a picture of the matrix."""
HEAT = (0, 90, 141), (176, 72, 0)
"""Blue for what is right and vermilion for what is wrong, dark enough for white figures on them."""
STRONG = 0.83
"""Above this opacity white figures are easier to read than black ones."""


@dataclass(frozen=True)
class Wrong:
    """A picture given the wrong label."""

    picture: str
    """Its file, or its place in the test part."""
    label: str
    said: str
    probability: float
    """Of what was said."""
    pixels: np.ndarray
    """uint8, H×W or H×W×3."""


@dataclass(frozen=True)
class Answers:
    """What a network says of its test part."""

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """A row for each class, what was said of its pictures."""
    wrong: tuple[Wrong, ...]
    """The mistakes made most surely."""


@dataclass(frozen=True)
class Heat:
    """A cell of a confusion matrix."""

    count: int
    colour: str
    """CSS."""
    strong: bool
    """Whether text on it must be white."""


def count_right(tested: Answers) -> tuple[int, int]:
    """How many pictures got their own label, and how many there are."""
    counts = np.array(tested.confusion)
    return int(np.trace(counts)), int(counts.sum())


def row_shares(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    """Of each class's pictures, the share that was said to be of each class."""
    counts = np.array(confusion, dtype=float)
    shares: np.ndarray = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def _opacity(shares: np.ndarray) -> np.ndarray:
    """Of the heat: small shares of mistakes are to be seen."""
    opacity: np.ndarray = np.sqrt(shares)
    return opacity


def heat_table(tested: Answers) -> list[tuple[str, list[Heat], str]]:
    """For each class its name, its cells, and the share that was right."""
    shares = row_shares(tested.confusion)
    opacity = _opacity(shares)
    rows = []
    for i, counts in enumerate(tested.confusion):
        cells = []
        for j, count in enumerate(counts):
            red, green, blue = HEAT[i != j]
            colour = f"rgb({red} {green} {blue} / {opacity[i, j]:.2f})"
            cells.append(Heat(count, colour, bool(opacity[i, j] > STRONG)))
        rows.append((tested.classes[i], cells, f"{shares[i, i]:.1%}" if sum(counts) else ""))
    return rows


def heat_picture(tested: Answers) -> str:
    """The matrix as a PNG's data: address, four pixels a class."""
    opacity = _opacity(row_shares(tested.confusion))
    right = np.eye(len(opacity), dtype=bool)[..., None]
    colours = np.where(right, *(np.array(colour) for colour in HEAT))
    pixels = np.concatenate([colours, 255 * opacity[..., None]], axis=2).round().astype(np.uint8)
    return png_uri(pixels.repeat(4, 0).repeat(4, 1))


def most_frequent(tested: Answers) -> list[tuple[str, str, int]]:
    """The mistakes that were made most often: class, what was said, how often."""
    counts = np.array(tested.confusion)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST]
    places = [divmod(int(one), len(counts)) for one in order]
    return [(tested.classes[i], tested.classes[j], int(counts[i, j])) for i, j in places]
