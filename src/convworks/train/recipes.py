"""The constants a network is trained with when the user gives none."""

from dataclasses import dataclass, fields, replace
from math import ceil

from convworks.train.config import Augment, Optimizer, Schedule, TrainConfig

MODERN_EPOCHS = 10
MODERN_STEPS = 1200
"""The modern recipe takes at least so many steps: a small set needs more than ten passes."""

SMALL_SET, SMALL_BATCH, BATCH = 5_000, 32, 128
"""Below so many training pictures the modern recipe takes the smaller batch: more steps a pass."""

MODERN_LR = 1e-3
"""GoogLeNet and NiN, deep and without normalisation, learn less at twice the rate: 0.10 and 0.25
against 0.49 and 0.38 on validation after 100 steps on Fashion-MNIST (one seed)."""

MODERN_SIGMOID_LR = 8e-3
"""For networks whose activations are sigmoids, which pass on little gradient: LeNet reaches 0.991
on digits with this rate and 0.974 with half of it (validation, means of seeds 0, 1, 2: `convworks
train --lr 4e-3 --epochs 30 --batch-size 32`)."""

QUICK_EPOCHS = 2
QUICK_LR = 5e-3
"""For networks with norms, which bear the higher rate from the first steps: airbench94, with its
widths at 32, 96, 192, reaches 0.931 on Fashion-MNIST's validation part with this and with twice
the rate (seed 0)."""


@dataclass(frozen=True)
class Recipe:
    """The values that `TrainConfig` may leave open, all decided."""

    epochs: int
    batch_size: int
    lr: float
    optimizer: Optimizer
    schedule: Schedule
    warmup: float
    weight_decay: float
    label_smoothing: float
    augment: Augment
    normalize: str


@dataclass(frozen=True)
class BookRow:
    """The book's settings for one network; `section` is where it prints them."""

    section: str
    lr: float
    batch_size: int
    image_size: int


BOOK: dict[str, BookRow] = {
    "lenet": BookRow("homework notebook", lr=0.1, batch_size=128, image_size=28),
    "lenet_bn": BookRow("7.5", lr=1.0, batch_size=256, image_size=28),
    "alexnet": BookRow("7.1", lr=0.01, batch_size=128, image_size=224),
    "vgg11": BookRow("7.2", lr=0.05, batch_size=128, image_size=224),
    "vgg11_small": BookRow("7.2", lr=0.05, batch_size=128, image_size=224),
    "nin": BookRow("7.3", lr=0.1, batch_size=128, image_size=224),
    "googlenet": BookRow("7.4", lr=0.1, batch_size=128, image_size=96),
    "resnet18": BookRow("7.6", lr=0.05, batch_size=256, image_size=96),
    "densenet_book": BookRow("7.7", lr=0.1, batch_size=256, image_size=96),
}
BOOK_DEFAULT = BookRow("none", lr=0.05, batch_size=128, image_size=224)
"""For a network that the book does not train."""


def resolve(
    config: TrainConfig,
    network: str,
    train_images: int,
    *,
    mirror: bool,
    sigmoids: bool = False,
    norms: bool = False,
) -> Recipe:
    """The recipe for a network and a training part, with the config's own values in place.

    `mirror`: whether a mirrored picture keeps its class; `sigmoids`: whether the network's
    activations are sigmoids; `norms`: whether it has normalisation layers.
    """
    if config.recipe == "book":
        recipe = _book(network)
    else:
        recipe = _modern(config.batch_size, train_images, mirror, sigmoids)
        if config.recipe == "quick":
            recipe = _quick(recipe, norms)
    given = {
        f.name: value for f in fields(Recipe) if (value := getattr(config, f.name)) is not None
    }
    return replace(recipe, **given)


def _book(network: str) -> Recipe:
    """Plain SGD at a constant rate for ten epochs, pixels from 0 to 1."""
    row = BOOK.get(network, BOOK_DEFAULT)
    return Recipe(
        epochs=10,
        batch_size=row.batch_size,
        lr=row.lr,
        optimizer="sgd",
        schedule="constant",
        warmup=0.0,
        weight_decay=0.0,
        label_smoothing=0.0,
        augment="none",
        normalize="off",
    )


def _modern(asked: int | None, train_images: int, mirror: bool, sigmoids: bool) -> Recipe:
    """One recipe for every network, with and without normalisation layers."""
    batch_size = asked or (SMALL_BATCH if train_images < SMALL_SET else BATCH)
    steps_an_epoch = max(1, train_images // batch_size)
    return Recipe(
        epochs=max(MODERN_EPOCHS, ceil(MODERN_STEPS / steps_an_epoch)),
        batch_size=batch_size,
        lr=MODERN_SIGMOID_LR if sigmoids else MODERN_LR,
        optimizer="adamw",
        schedule="cosine",
        warmup=0.1,
        weight_decay=0.05,
        label_smoothing=0.1,
        augment="flip-crop" if mirror else "crop",
        normalize="on",
    )


def _quick(modern: Recipe, norms: bool) -> Recipe:
    """The modern recipe in a few epochs: in so few, no picture is seen often enough to be learned
    by heart, and changing the pictures only costs accuracy."""
    return replace(
        modern,
        epochs=max(QUICK_EPOCHS, modern.epochs * QUICK_EPOCHS // MODERN_EPOCHS),
        lr=QUICK_LR if norms else modern.lr,
        warmup=0.2,
        augment="none",
    )
