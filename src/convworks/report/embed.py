"""Pictures that stand inside a page, so that it needs no other file."""

import base64
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""A colour that nothing else has: what is drawn in it takes the colour of the page's text."""
THEME: dict[Any, str] = {
    "svg.fonttype": "none",  # letters as letters: shorter, and in the page's own font
    "svg.hashsalt": "convworks",
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}
"""matplotlib's settings for figures that become `inline_svg`."""


def inline_svg(figure: "Figure", name: str, alt: str) -> str:
    """The figure as an SVG element, its ids begun with `name` so that no other has them.

    Neither may hold what HTML gives a meaning.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1).replace(
        INK, "currentColor"
    )


def png_uri(pixels: np.ndarray) -> str:
    """A data: address of uint8 H×W, H×W×3 or, with opacity, H×W×4."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
