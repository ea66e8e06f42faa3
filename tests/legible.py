"""Whether the labels of a figure can be read."""

from collections.abc import Iterator
from unittest.mock import patch

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def labels(figure: Figure) -> list[tuple[str, Bbox]]:
    """The texts that are drawn, not those of hidden axes, with the pixels that they cover."""
    drawn: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def note(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text():
            # an annotation's own extent would have the line to its point in it
            box = Text.get_window_extent(text, renderer)  # type: ignore[arg-type]
            drawn.append((text.get_text(), box))
        draw(text, renderer)  # type: ignore[arg-type]

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the first time the layout is not yet settled
    with patch.object(Text, "draw", note):
        canvas.draw()
    return drawn


def illegible(figure: Figure) -> Iterator[str]:
    """Labels that overlap or leave the picture."""
    found = labels(figure)
    whole = figure.bbox
    for i, (text, box) in enumerate(found):
        if box.x0 < whole.x0 or box.x1 > whole.x1 or box.y0 < whole.y0 or box.y1 > whole.y1:
            yield f"{text} leaves the picture"
        yield from (f"{text} covers {other}" for other, at in found[:i] if box.overlaps(at))
