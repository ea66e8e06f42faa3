"""From a name to a network."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Literal

from convworks.errors import InputError, unknown
from convworks.nets.zoo import ZOO, Row

if TYPE_CHECKING:
    from torch import nn

LARGEST_SMALL_IMAGE = 64
"""Up to this side in pixels `stem="auto"` takes the small stem."""


@dataclass(frozen=True)
class ModelSpec:
    """What `create_model` needs to build the same network again; plain values, for JSON."""

    name: str
    num_classes: int
    in_channels: int
    image_size: int
    stem: Literal["paper", "small"]


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern such as `resnet*`, in the zoo's order."""
    return [name for name in ZOO if fnmatchcase(name, pattern.lower())]


def find(name: str) -> Row:
    """The row of that name; InputError with the nearest name when there is none."""
    if name not in ZOO:
        raise unknown("network", name, ZOO, "`convworks models` lists them all.")
    return ZOO[name]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    stem: Literal["auto", "paper", "small"] = "auto",
) -> "nn.Module":
    """A freshly initialised network, an ordinary `nn.Module`.

    It takes N×in_channels×image_size×image_size float images and gives N×num_classes logits.
    What is left out is the paper's (`ZOO[name].input` and `.classes`). `stem="auto"` takes the
    paper's stem above 64 pixels and a 3×3 stride-1 stem without pooling below; a network with
    one stem keeps it. `model.spec` holds the arguments. Weights are drawn from torch's global
    generator.

    Raises InputError, a ValueError, for an unknown name and for an image too small.
    """
    row = find(name)
    spec = ModelSpec(
        name=name,
        num_classes=row.classes if num_classes is None else num_classes,
        in_channels=row.input[0] if in_channels is None else in_channels,
        image_size=(side := row.input[1] if image_size is None else image_size),
        stem=_choose_stem(row, side, stem),
    )
    for option in ("num_classes", "in_channels"):
        if getattr(spec, option) < 1:
            raise InputError(f"{option} must be at least 1, not {getattr(spec, option)}.")
    return build(row, spec)


def build(row: Row, spec: ModelSpec) -> "nn.Module":
    """A row's network, without a check of the image's size."""
    module, constructor = row.build.split(":")
    network = getattr(import_module(f"convworks.nets.{module}"), constructor)
    taken = signature(network).parameters
    common = {key: value for key, value in vars(spec).items() if key in taken}
    model: nn.Module = network(**row.arguments, **common)
    model.spec = spec  # type: ignore[assignment]
    return model


def spec_of(model: "nn.Module") -> ModelSpec | None:
    """The arguments of a network that `create_model` made; None for any other module."""
    spec = getattr(model, "spec", None)
    return spec if isinstance(spec, ModelSpec) else None


def _choose_stem(row: Row, side: int, stem: str) -> Literal["paper", "small"]:
    """The stem for that side in pixels, checked against what the network can take."""
    if stem not in ("auto", "paper", "small"):
        raise unknown("stem", stem, ("auto", "paper", "small"))
    if row.smallest_small is None:
        if stem == "small":
            raise InputError(f"{row.name} has one stem only; leave stem at 'auto'.")
        stem, smallest = "paper", row.smallest
    elif stem == "paper":
        smallest = row.smallest
    elif stem == "small" or side <= LARGEST_SMALL_IMAGE or side < row.smallest:
        stem, smallest = "small", row.smallest_small
    else:
        stem, smallest = "paper", row.smallest
    if side < smallest:
        only_paper = stem == "paper" and row.smallest_small is not None
        way_out = f"use --image-size {smallest} or larger (image_size={smallest} in Python)"
        if only_paper and side >= (row.smallest_small or 0):
            way_out += ", or stem='small'"
        raise InputError(
            f"{row.name} cannot take {side}×{side} images, the smallest side"
            f"{' with the paper stem' if only_paper else ''} is {smallest}: {way_out}."
        )
    return "paper" if stem == "paper" else "small"
