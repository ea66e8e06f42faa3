"""From a name to a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from convworks.errors import InputError, first_line, unknown
from convworks.nets.zoo import ZOO, Row

if TYPE_CHECKING:
    from torch import nn

Initialization = Literal["paper", "xavier", "he"]
"""`paper`: as the network's own file draws them."""

COMMON = ("num_classes", "in_channels", "image_size", "stem")
"""What every network is told, as far as its class takes it."""

LARGEST_SMALL_IMAGE = 64
"""Up to this side in pixels `stem="auto"` takes the small stem."""


@dataclass(frozen=True)
class ModelSpec:
    """What `create_model` needs to build the same network again; plain values, for JSON."""

    name: str
    num_classes: int
    in_channels: int
    image_size: int
    """The side in pixels."""
    stem: Literal["paper", "small"]
    initialization: Initialization = "paper"
    """How fresh weights are drawn."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Arguments of the network's class in place of the row's."""


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
    initialization: Initialization = "paper",
    weights: Literal["torchvision", "timm"] | None = None,
    options: Mapping[str, object] | None = None,
) -> "nn.Module":
    """A network of the zoo, an ordinary `nn.Module`, freshly initialised or pretrained.

    It takes N×in_channels×image_size×image_size float images and gives N×num_classes logits.
    What is left out is the paper's (`ZOO[name].input` and `.classes`). `stem="auto"` takes the
    paper's stem above 64 pixels and a 3×3 stride-1 stem without pooling below; a network with
    one stem keeps it. `options` are arguments of the network's class, such as {"se": 16} or
    {"stride_on_1x1": True}, or of `nets.exchange.exchange`, which changes the norms and the
    convolutions of any network; `model.spec` holds them all.

    Fresh weights are drawn from torch's global generator, as the network's own file says or by the
    name of the method. `weights` takes a library's published ones in their place, kept in that
    library's cache; see `nets.weights.load_published` for what becomes of them with other classes,
    channels or stem.

    Raises InputError, a ValueError, for an unknown name, an option that the network has not, an
    image too small, and weights that are not published or cannot be downloaded.
    """
    row = find(name)
    spec = ModelSpec(
        name=name,
        num_classes=row.classes if num_classes is None else num_classes,
        in_channels=row.input[0] if in_channels is None else in_channels,
        image_size=(side := row.input[1] if image_size is None else image_size),
        stem=_choose_stem(row, side, stem),
        initialization=initialization,
        options=dict(options or {}),
    )
    for option in ("num_classes", "in_channels"):
        if getattr(spec, option) < 1:
            raise InputError(f"{option} must be at least 1, not {getattr(spec, option)}.")
    _check_options(row, spec.options)
    try:
        model = build(row, spec)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        if not spec.options:
            raise
        raise InputError(
            f"{name} cannot be made with {dict(spec.options)}: {first_line(error)}."
        ) from error
    if initialization != "paper":
        from convworks.nets.initialization import initialize

        initialize(model, initialization)
    if weights is not None:
        from convworks.nets.weights import load_published

        load_published(model, weights)
    return model


def build(row: Row, spec: ModelSpec) -> "nn.Module":
    """A row's network, without a check of the image's size and the options."""
    from convworks.nets.exchange import exchange

    network = _network(row)
    taken = signature(network).parameters
    common = {name: getattr(spec, name) for name in COMMON if name in taken}
    own = {name: value for name, value in spec.options.items() if name in taken}
    model = network(**{**row.arguments, **common, **own})
    if layers := {name: value for name, value in spec.options.items() if name not in taken}:
        exchange(model, **layers)  # type: ignore[arg-type]
    model.spec = spec  # type: ignore[assignment]
    return model


def options_of(name: str) -> dict[str, object]:
    """What `create_model` takes as `options` for that network, with the values they have.

    Raises InputError for an unknown name.
    """
    row = find(name)
    return {
        option: row.arguments.get(option, parameter.default)
        for option, parameter in signature(_network(row)).parameters.items()
        if option not in COMMON
    }


def _network(row: Row) -> "type[nn.Module]":
    """The class that builds a row."""
    module, constructor = row.build.split(":")
    network: type[nn.Module] = getattr(import_module(f"convworks.nets.{module}"), constructor)
    return network


def _check_options(row: Row, options: Mapping[str, object]) -> None:
    """InputError for an option that the network has not, or a value of another kind."""
    from convworks.nets.exchange import exchange

    kinds = get_type_hints(exchange) | get_type_hints(_network(row).__init__)
    for option, value in options.items():
        if option in COMMON:
            raise InputError(f"{option} is an argument of create_model, not one of the options.")
        if option not in kinds or option in ("model", "return"):
            every = [name for name in get_type_hints(exchange) if name not in ("model", "return")]
            known = [*options_of(row.name), *every]
            raise unknown(f"option of {row.name}", option, known, "It has: " + ", ".join(known))
        kind = kinds[option]
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise unknown(option, str(value), get_args(kind))
        elif kind in (bool, int, float):
            number = int | float if kind is float else kind
            if not isinstance(value, number) or (isinstance(value, bool) and kind is not bool):
                article = "an" if kind is int else "a"
                raise InputError(
                    f"{row.name}'s {option} takes {article} {kind.__name__}, not {value!r}."
                )
            if value < 0:
                raise InputError(f"{row.name}'s {option} must be 0 or more, not {value!r}.")


def spec_of(model: "nn.Module") -> ModelSpec | None:
    """The arguments of a network that `create_model` made; None for any other module."""
    spec = getattr(model, "spec", None)
    return spec if isinstance(spec, ModelSpec) else None


def published_of(model: "nn.Module") -> str | None:
    """Whose published weights `create_model` put into a network; None where it did not."""
    source = getattr(model, "published", None)
    return source if isinstance(source, str) else None


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
