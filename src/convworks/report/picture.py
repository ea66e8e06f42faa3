"""What pictures share: colours, files, the way to write names."""

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from convworks.errors import InputError
from convworks.files import check_parent, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito's palette, apart for every kind of colour vision."""

POWERS = 7
"""From so many digits on an axis writes powers of ten, whose exponents are small in a column."""


def on_white(draw: "Callable[P, Figure]") -> "Callable[P, Figure]":
    """Draws in matplotlib's own colours, whatever style the user has chosen.

    Its fonts remain: labels may need their letters.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        from matplotlib import rc_context, rcParamsDefault

        own = {name: rcParamsDefault[name] for name in rcParamsDefault if name.endswith("color")}
        own["axes.formatter.min_exponent"] = POWERS
        with rc_context(own):
            figure = draw(*args, **kwargs)
            for axes in figure.axes:
                if axes.axison:  # ticks are made when they are first asked for
                    axes.get_xticklabels(which="both")
                    axes.get_yticklabels(which="both")
        return figure

    return drawn


def check_picture(path: Path) -> None:
    """InputError unless the file's ending is of a picture that can be drawn in a folder."""
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"A picture ends with .svg, .png or .pdf, not {path.name}.")
    check_parent(path)


def save_picture(figure: "Figure", path: Path) -> None:
    """Writes it whole, as what the file's ending says: SVG, PNG or PDF.

    Raises InputError where it cannot be written.
    """
    write_file(path, picture_bytes(figure, path.suffix[1:]))


def picture_bytes(figure: "Figure", form: str) -> bytes:
    """The picture as `svg`, `png` or `pdf`; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "convworks", "axes.formatter.min_exponent": POWERS}):
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(buffer, format=form, metadata=metadata, dpi=150)
    return buffer.getvalue()


def written(text: str) -> str:
    """A name as matplotlib is to write it: letters, no mathematics between two $."""
    return text.encode(errors="replace").decode().replace("$", r"\$")
