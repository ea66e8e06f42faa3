"""Whether the labels of a figure can be read."""

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Annotation, Text
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


def lines(figure: Figure) -> list[tuple[Path, Bbox]]:
    """What is drawn as lines, also from names to their points, and where it ends, in pixels."""
    drawn_in: list[tuple[Path, Bbox]] = []
    for axes in figure.axes:
        found: list[Path] = []
        drawn = [line for line in axes.lines if line.get_linestyle() != "None"]
        found += [line.get_transform().transform_path(line.get_path()) for line in drawn]
        for collection in axes.collections:
            if isinstance(collection, LineCollection):
                found += map(collection.get_transform().transform_path, collection.get_paths())
        arrows = [text.arrow_patch for text in axes.texts if isinstance(text, Annotation)]
        found += [arrow.get_path() for arrow in arrows if arrow is not None]
        drawn_in += [(path, axes.bbox) for path in found]
    return drawn_in


def dots(figure: Figure) -> list[tuple[float, float, float]]:
    """The middles and radii of what is drawn as dots, in pixels."""
    found: list[tuple[float, float, float]] = []
    for axes in figure.axes:
        for line in axes.lines:
            if line.get_marker() not in ("None", ""):
                radius = line.get_markersize() / 2 * figure.dpi / 72
                found += [
                    (x, y, radius) for x, y in line.get_transform().transform(line.get_xydata())
                ]
        for collection in axes.collections:
            if isinstance(collection, PathCollection):
                middles = collection.get_offset_transform().transform(collection.get_offsets())
                radii = np.sqrt(collection.get_sizes()) / 2 * figure.dpi / 72
                radii = np.resize(radii, len(middles))
                found += [(x, y, r) for (x, y), r in zip(middles, radii, strict=True)]
    return found


def illegible(figure: Figure) -> Iterator[str]:
    """Labels that overlap, that lie on a line or a dot, or that leave the picture."""
    found, drawn, spots = labels(figure), lines(figure), dots(figure)
    whole = figure.bbox
    for i, (text, box) in enumerate(found):
        if box.x0 < whole.x0 or box.x1 > whole.x1 or box.y0 < whole.y0 or box.y1 > whole.y1:
            yield f"{text} leaves the picture"
        yield from (f"{text} covers {other}" for other, at in found[:i] if box.overlaps(at))
        for line, inside in drawn:
            shown = Bbox.intersection(box, inside)
            if shown is not None and line.intersects_bbox(shown, filled=False):
                yield f"{text} lies on a line"
        for x, y, radius in spots:
            near = np.clip((x, y), box.min, box.max)
            if np.hypot(near[0] - x, near[1] - y) < radius:
                yield f"{text} lies on a dot"


def small(figure: Figure, column: float = 700, least: float = 9) -> Iterator[str]:
    """Texts lower than so many pixels where a column of a page is so wide."""
    shrunk = min(1.0, column / 96 / figure.get_figwidth())
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        pixels = text.get_fontsize() / 72 * 96 * shrunk
        if text.get_visible() and text.get_text() and pixels < least:
            yield f"{text.get_text()} has {pixels:.1f} pixels"
