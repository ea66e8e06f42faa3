"""What pictures share: files and labels."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convworks.errors import InputError
from convworks.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito's palette, apart for every kind of colour vision."""


def check_picture(path: Path) -> None:
    """InputError unless the file's ending is of a picture that can be drawn in a folder."""
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"A picture ends with .svg, .png or .pdf, not {path.name}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to draw {path.name} in.")


def save_picture(figure: "Figure", path: Path) -> None:
    """Writes it whole, as what the file's ending says: SVG, PNG or PDF.

    Raises InputError where it cannot be written.
    """
    write_file(path, picture_bytes(figure, path.suffix[1:]))


def picture_bytes(figure: "Figure", form: str) -> bytes:
    """The picture as `svg`, `png` or `pdf`; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "convworks"}):
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(buffer, format=form, metadata=metadata, dpi=150)
    return buffer.getvalue()


def written(text: str) -> str:
    """A name as matplotlib is to write it: letters, no mathematics between two $."""
    return text.encode(errors="replace").decode().replace("$", r"\$")


def label_points(figure: "Figure", axes: "Axes", points: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their points, each at the nearest of some places where it covers nothing.

    Neither other dots nor what is written in the axes. A line leads to the farther places.
    """
    from matplotlib.text import Text

    steps = (-12, 4, -24, 16, -40, 32, -56, 48, -72, 64, -88, 80, -104, 96, -120, -136, -152)
    places = [(side, up) for up in steps for side in (6, -6)]
    figure.draw_without_rendering()
    legend = axes.get_legend()
    taken: list[Bbox] = [
        written.get_window_extent() for written in [*axes.texts, *([legend] if legend else [])]
    ]
    drawn = [np.asarray(dots.get_offsets()) for dots in axes.collections]
    dots = axes.transData.transform(np.concatenate([np.array([*points.values()]), *drawn]))
    for name, point in points.items():
        for place in places:
            text = axes.annotate(
                written(name),
                point,
                place,
                textcoords="offset points",
                ha="left" if place[0] > 0 else "right",
                fontsize="small",
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "#777777"}
                if abs(place[1]) > 30
                else None,
            )
            text.get_window_extent()  # puts it in its place; with the line, that it may cross
            box = Text.get_window_extent(text)
            inside = axes.bbox.count_contains(box.corners()) == 4
            free = inside and not any(box.overlaps(other) for other in taken)
            if free and not any(box.contains(*dot) for dot in dots):
                break
            if place != places[-1]:
                text.remove()
        taken.append(box)
