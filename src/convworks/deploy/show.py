"""The pictures of a trained network: what it has learned, where it looks, what it mistakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from convworks.data.folder import decode
from convworks.data.splits import Data, Images
from convworks.deploy.evaluation import Evaluation, assess, places_of
from convworks.deploy.predict import open_run
from convworks.deploy.shipped import batches
from convworks.errors import ConvworksError, InputError, unknown
from convworks.measure.explain import activation_map, feature_maps
from convworks.nets.registry import spec_of
from convworks.report import figures
from convworks.train.run import Run, load, own_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal[
    "architecture",
    "curves",
    "filters",
    "features",
    "cam",
    "samples",
    "predictions",
    "mistakes",
    "confusion",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
FOR_OWN_PICTURES: tuple[Kind, ...] = ("features", "cam", "predictions")
"""What can be drawn of a picture that is in no data set."""
SHOWN = 12
"""Pictures of a data set that are drawn."""


@dataclass(frozen=True)
class Shown:
    """What was drawn, and what could not be, with the reason."""

    figures: "dict[str, Figure]" = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def show_run(
    path: str | Path,
    kinds: Sequence[Kind] = (),
    *,
    picture: str | Path | None = None,
    data: Data | str | Path | None = None,
    data_root: str | Path | None = None,
) -> Shown:
    """Draws a run folder's network: figures by their kinds.

    None given is all kinds that can be drawn; what cannot be then stands in `missing`. With
    `picture`, a file, that is what the network looks at in place of its test part; `data` are the
    run's own, where their folder has moved. Raises InputError for a folder without a run, and for
    a kind that was asked for and cannot be drawn.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of picture", kind, KINDS)
        if picture is not None and kind not in FOR_OWN_PICTURES:
            raise InputError(f"{kind} is not drawn of a picture of your own: leave --picture out.")
    drawer = _Drawer(load(path), data, data_root, None if picture is None else Path(picture))
    shown = Shown()
    for kind in kinds or (KINDS if picture is None else FOR_OWN_PICTURES):
        try:
            shown.figures[kind] = drawer.draw(kind)
        except ConvworksError as error:
            if kinds or picture is not None:
                raise
            shown.missing[kind] = str(error)
    return shown


def show_data(data: Data) -> "Figure":
    """Training pictures of all classes, as far as there is room, with their labels."""
    places = [(data.train.labels == label).nonzero()[:, 0] for label in range(len(data.classes))]
    each = max(1, 2 * SHOWN // len(data.classes))
    chosen = torch.cat([one[:each] for one in places[: 4 * SHOWN]])
    pixels, labels = _taken(data.train, chosen, data.image_size)
    return figures.samples(pixels, [data.classes[i] for i in labels])


def _taken(images: Images, places: Tensor, side: int) -> tuple[Tensor, list[int]]:
    """Those pictures of a part as the network sees them, uint8, and their labels."""
    taken = images.take(places)
    parts = list(batches(taken, side))
    pixels = torch.cat([torch.from_numpy(pixels) for pixels, _ in parts])
    return pixels, [int(i) for _, labels in parts for i in labels]


@dataclass
class _Drawer:
    run: Run
    given: Data | str | Path | None
    root: str | Path | None
    own: Path | None

    def draw(self, kind: Kind) -> "Figure":
        draw: dict[Kind, Callable[[], Figure]] = {
            "architecture": self.architecture,
            "curves": lambda: figures.three_curves(self.run.history, self.run.path.name),
            "filters": lambda: figures.filters(self.run.model),
            "features": self.features,
            "cam": self.cam,
            "samples": self.samples,
            "predictions": self.predictions,
            "mistakes": self.mistakes,
            "confusion": self.confusion,
        }
        return draw[kind]()

    @cached_property
    def side(self) -> int:
        return self.run.preparation.image_size

    @cached_property
    def data(self) -> Data:
        return own_data(self.run, self.given, self.root)

    @cached_property
    def evaluation(self) -> Evaluation:
        return assess(open_run(self.run), self.data, "test")

    @cached_property
    def looked_at(self) -> tuple[Tensor, list[str]]:
        """Pictures from all over the test part with their labels; the user's own has none."""
        if self.own is not None:
            channels = len(self.run.preparation.mean)
            return decode(self.own, channels, self.side)[None], []
        part = self.data.test
        places = torch.linspace(0, len(part) - 1, min(SHOWN, len(part))).round().long()
        pixels, labels = _taken(part, places, self.side)
        return pixels, [self.data.classes[i] for i in labels]

    def seen(self, pixels: Tensor) -> Tensor:
        """What the network is given for uint8 pictures."""
        return self.run.preparation(pixels)

    @torch.inference_mode()
    def probabilities(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.run.model(self.seen(pixels))
        return logits.softmax(1)

    def architecture(self) -> "Figure":
        spec = spec_of(self.run.model)
        name = spec.name if spec else type(self.run.model).__name__
        shape = (len(self.run.preparation.mean), self.side, self.side)
        return figures.architecture((name, self.run.model, shape))

    def features(self) -> "Figure":
        pixels, _ = self.looked_at
        return figures.feature_maps(pixels[0], feature_maps(self.run.model, self.seen(pixels[:1])))

    def cam(self) -> "Figure":
        """For what the network says; the label stands behind where that is wrong."""
        pixels, labels = self.looked_at
        said = self.probabilities(pixels).argmax(1)
        names = [self.run.classes[i] for i in said.tolist()]
        for i, label in enumerate(labels):
            if names[i] != label:
                names[i] += f" (is {label})"
        return figures.activation_maps(
            pixels, activation_map(self.run.model, self.seen(pixels), said), names
        )

    def samples(self) -> "Figure":
        return show_data(self.data)

    def predictions(self) -> "Figure":
        pixels, labels = self.looked_at
        return figures.predictions(pixels, labels, self.probabilities(pixels), self.run.classes)

    def mistakes(self) -> "Figure":
        """Those made most surely, of the test part."""
        part, worst = self.data.test, self.evaluation.worst
        if not worst:
            raise InputError("The network makes no mistake on its test part.")
        pixels, labels = _taken(part, torch.tensor(places_of(worst, part)), self.side)
        names = [self.data.classes[i] for i in labels]
        return figures.predictions(pixels, names, self.probabilities(pixels), self.run.classes)

    def confusion(self) -> "Figure":
        return figures.confusion_matrix(self.evaluation.confusion, self.run.classes)
