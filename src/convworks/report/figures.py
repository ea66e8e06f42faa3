"""Every picture that convworks draws, as matplotlib figures: one door to them all.

    figure = cw.figures.architecture("lenet", "alexnet")
    cw.figures.save_picture(figure, Path("networks.svg"))

All stand on white: the colours are chosen for it, and on a dark page the picture is a light card.
A transparent background would need letters that are neither dark nor light, faint on both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convworks.errors import InputError
from convworks.report.architecture import architecture
from convworks.report.compare import accuracy_over_cost
from convworks.report.confusion import row_shares
from convworks.report.curves import curves, three_curves
from convworks.report.layout import width_of
from convworks.report.picture import on_white, save_picture, written
from convworks.report.roofline import under_roofs
from convworks.report.tiles import activation_maps, feature_maps, filters, predictions, samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "accuracy_over_cost",
    "activation_maps",
    "architecture",
    "confusion_matrix",
    "curves",
    "feature_maps",
    "filters",
    "predictions",
    "samples",
    "save_picture",
    "three_curves",
    "under_roofs",
]

COUNTED = 30
"""Up to so many classes, counts stand in the cells of a confusion matrix."""


@on_white
def confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> "Figure":
    """What was said of the pictures of each class, a row a class, shaded by the row's shares.

    Raises InputError for a matrix that is not as long and wide as there are classes.
    """
    from matplotlib.figure import Figure

    if [len(row) for row in matrix] != [len(classes)] * len(classes):
        raise InputError(
            f"A confusion matrix of {len(classes)} classes has as many rows and cells."
        )
    shares = row_shares(matrix)
    letters = 8.0 if len(classes) <= COUNTED else 6.0
    digits = max((width_of(str(n), letters) for row in matrix for n in row), default=0.0)
    cell = max(1.5 * letters, digits + 6 if len(classes) <= COUNTED else 0) / 72
    names = max(width_of(name, letters) for name in classes) / 72
    side = cell * len(classes)
    figure = Figure(figsize=(side + names + 0.75, side + names + 0.6), facecolor="white")
    width, height = figure.get_size_inches()
    place = ((names + 0.4) / width, 0.1 / height, side / width, side / height)
    axes = figure.add_axes(place)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [written(name) for name in classes]
    axes.set_xticks(range(len(classes)), labels, rotation=90, fontsize=letters)
    axes.set_yticks(range(len(classes)), labels, fontsize=letters)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlabel("said", fontsize=letters + 1)
    axes.xaxis.set_label_position("top")
    axes.set_ylabel("is", fontsize=letters + 1)
    axes.spines[:].set_color("#999999")
    if len(classes) <= COUNTED:
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                colour = "white" if shares[i, j] > 0.5 else "#222222"
                if count:
                    axes.text(
                        j, i, str(count), color=colour, fontsize=letters, ha="center", va="center"
                    )
    return figure
