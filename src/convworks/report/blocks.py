"""What an architecture's picture shows, before it has places: boxes, paths and repeated parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from torch import nn

from convworks.measure.flow import Flow, Fork, Step
from convworks.nets.blocks import DropPath, same

Tone = Literal["conv", "pool", "linear", "join", "block", "other"]

SMALL = (
    *("_BatchNorm", "LayerNorm", "GroupNorm", "LocalResponseNorm", "_DropoutNd"),
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Mish"),
    *("Sigmoid", "Hardsigmoid", "Hardswish", "Hardtanh", "Tanh", "Softmax"),
)
"""Classes of layers that stand in the box of the layer that they follow."""
WORDS = {
    "BatchNorm2d": "batch norm",
    "BatchNorm1d": "batch norm",
    "LayerNorm": "layer norm",
    "ChannelNorm": "layer norm",
    "GroupNorm": "group norm",
    "Sigmoid": "sigmoid",
    "Hardsigmoid": "h-sigmoid",
    "Hardswish": "h-swish",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "ShuffleChannels": "shuffle channels",
    "PadShortcut": "pad with zeros",
    "cat": "concatenate",
    "mul": "multiply",
    "relu": "ReLU",
    "sigmoid": "sigmoid",
    "max_pool2d_with_indices": "max pool",
    "avg_pool2d": "average pool",
    "_adaptive_avg_pool2d": "average pool",
    "mean": "mean",
}
"""What a class of layers or an operation is called; the others go by their own names."""
POINTWISE = ("relu", "sigmoid", "gelu", "silu", "hardswish", "tanh", "softmax", "native_batch_norm")
"""Operations that stand in the box of the layer that they follow."""
HIDDEN = (nn.Identity, nn.Flatten, nn.Unflatten, DropPath)
MANY = 3
"""So many equal layers in a row, and two equal blocks, are drawn once."""


@dataclass(frozen=True)
class Line:
    """A line of a box."""

    text: str
    small: bool = False


@dataclass(frozen=True)
class Box:
    """Layers, or a block that is not opened. Boxes that say the same are equal."""

    lines: tuple[Line, ...]
    tone: Tone
    output: tuple[int, ...] = field(compare=False)


@dataclass(frozen=True)
class Paths:
    """Side by side between the same two places; an empty one is a shortcut."""

    paths: "tuple[tuple[Part, ...], ...]"

    @property
    def output(self) -> tuple[int, ...]:
        """Nothing of its own: paths end in what joins them."""
        return ()


@dataclass(frozen=True)
class Repeated:
    """Equal blocks one after the other, drawn once."""

    inside: "tuple[Part, ...]"
    times: int
    output: tuple[int, ...] = field(compare=False)


Part = Box | Paths | Repeated


def parts(step: Step, depth: int) -> tuple[Part, ...]:
    """What is in a module, blocks that branch opened `depth` levels deep."""
    if step.inside is None:
        return tuple(_box(step))
    return _merged(_units(step.inside, depth, _branching(step.inside)))


def grouped(step: Step, depth: int) -> list[tuple[str, tuple[Part, ...]]]:
    """The same in groups: each child of several boxes with its name, the rest without."""
    if step.inside is None or any(isinstance(item, Fork) for item in step.inside):
        return [("", parts(step, depth))]
    branching = _branching(step.inside)
    found: list[tuple[str, tuple[Part, ...]]] = []
    for several, items in groupby(step.inside, lambda item: bool(_children(item))):
        if not several:
            found.append(("", _merged(_units(tuple(items), depth, branching))))
            continue
        for item in items:
            assert isinstance(item, Step)
            inside = _merged(_unit(item, depth, branching))
            single = len(inside) == 1 and isinstance(inside[0], Box)
            found.append(("" if single else item.name.rpartition(".")[2], inside))
    return [(name, inside) for name, inside in found if inside]


def count(drawn: Sequence[Part]) -> int:
    """How many boxes."""
    total = 0
    for part in drawn:
        if isinstance(part, Box):
            total += 1
        elif isinstance(part, Paths):
            total += sum(count(path) for path in part.paths)
        else:
            total += count(part.inside)
    return total


def _children(item: Step | Fork) -> Flow:
    return (item.inside or ()) if isinstance(item, Step) else ()


def _branching(flow: Flow) -> frozenset[str]:
    """The classes of modules that branch somewhere; the others are opened at any depth."""
    found: set[str] = set()
    for item in flow:
        if isinstance(item, Fork):
            for path in item.paths:
                found |= _branching(path)
        elif item.inside:
            found |= _branching(item.inside)
            if any(isinstance(inner, Fork) for inner in item.inside):
                found.add(item.kind)
    return frozenset(found)


def _units(flow: Flow, depth: int, branching: frozenset[str]) -> list[Part]:
    """The parts of a flow, equal neighbours drawn once."""
    units: list[tuple[Part, ...]] = []
    for i, item in enumerate(flow):
        if isinstance(item, Fork):
            paths = tuple(_merged(_units(path, depth, branching)) for path in item.paths)
            units.append((Paths(paths),))
        elif item.kind == "mul" and not (i and isinstance(flow[i - 1], Fork)):
            units.append((Box((Line("scale", small=True),), "other", item.output),))
        else:
            units.append(tuple(_unit(item, depth, branching)))
    found: list[Part] = []
    for _, run in groupby(units):
        equal = list(run)
        last = equal[-1]
        single = len(last) == 1 and isinstance(last[0], Box) and last[0].tone != "block"
        if len(equal) < (MANY if single else 2) or not last:
            found += [part for unit in equal for part in unit]
        else:
            found.append(Repeated(last, len(equal), last[-1].output))
    return found


def _unit(step: Step, depth: int, branching: frozenset[str]) -> list[Part]:
    """A module or an operation."""
    if step.inside is None:
        return _box(step)
    if step.kind not in branching:
        return list(_merged(_units(step.inside, depth, branching)))
    if depth:
        return list(_merged(_units(step.inside, depth - 1, branching)))
    return _closed(step, _merged(_units(step.inside, 0, branching - {"Concat"})))


def _closed(step: Step, inside: tuple[Part, ...]) -> list[Part]:
    """A block as one box that names its layers, beside it what goes past them.

    That is the shortcut of a residual block, or what a dense layer puts before its own channels. A
    gate, which multiplies, is part of what a block computes. What splits or shuffles channels
    before and behind keeps a box of its own.
    """

    def box(layers: tuple[Part, ...]) -> Box:
        lines = tuple(Line(text, small=True) for text in _in_words(layers))
        return Box((Line(_title(step)), *lines), "block", step.output)

    bare = _bare(inside)
    matter = [i for i, part in enumerate(bare) if not isinstance(part, Box) or part.tone != "other"]
    match [bare[i] for i in matter]:
        case [Paths(paths=(_, _) as paths), Box(lines=(Line(text="add" | "concatenate"),)) as join]:
            shortcut, main = sorted(paths, key=count)
            if count(shortcut) < min(2, count(main)):
                beside = [(box(path),) if path is main else _bare(path) for path in paths]
                before, behind = bare[: matter[0]], bare[matter[-1] + 1 :]
                return [*before, Paths(tuple(beside)), join, *behind]
    return [box(inside)]


def _bare(drawn: Sequence[Part]) -> tuple[Part, ...]:
    """Without norms, activations and dropout."""
    found: list[Part] = []
    for part in drawn:
        if not isinstance(part, Box):
            found.append(part)
        elif lines := tuple(line for line in part.lines if not line.small):
            found.append(Box(lines, part.tone, part.output))
    return tuple(found)


def _title(step: Step) -> str:
    """The class, or for one that only says how data flow the name it has, such as inception."""
    named = step.name.rpartition(".")[2].rstrip("0123456789")
    return named if step.kind == "Concat" and named else step.kind


def _in_words(drawn: Sequence[Part]) -> list[str]:
    """The layers of a block: a line for each of several paths, for what is before, and behind."""
    lines: list[str] = []
    chain: list[Part] = []
    for part in drawn:
        if isinstance(part, Paths) and sum(map(bool, part.paths)) > 1:
            before = _in_line(chain)
            lines += [f"{before} →"] if before else []
            lines += [_in_line(path) for path in part.paths if path]
            chain = []
        else:
            chain.append(part)
    behind = _in_line(chain)
    if behind:
        lines.append(f"→ {behind}" if lines else behind)
    return lines


def _in_line(drawn: Sequence[Part]) -> str:
    """Layers one after the other; paths among them in brackets."""
    words: list[str] = []
    for part in drawn:
        if isinstance(part, Paths):
            paths = [_in_line(path) for path in part.paths if path]
            words += paths if len(paths) < 2 else [f"({' | '.join(paths)})"]
        elif isinstance(part, Repeated):
            words.append(f"{part.times} × ({_in_line(part.inside)})")
        elif part.tone != "join":
            large = [line.text for line in part.lines if not line.small]
            words += large[:1]
    return " → ".join(words)


def _merged(drawn: Sequence[Part]) -> tuple[Part, ...]:
    """Norms, activations and dropout in the box of the layer before them, or else behind them."""
    found: list[Part] = []
    for part in drawn:
        last = found[-1] if found else None
        if isinstance(part, Box) and isinstance(last, Box) and _go_together(last, part):
            tone = part.tone if _is_small(last) else last.tone
            found[-1] = Box(_joined(last.lines, part.lines), tone, part.output)
        else:
            found.append(part)
    return tuple(found)


def _go_together(one: Box, two: Box) -> bool:
    if one.tone == "block":
        return False
    return _is_small(two) or (_is_small(one) and two.tone in ("conv", "linear"))


def _is_small(part: Box) -> bool:
    return all(line.small for line in part.lines)


def _joined(first: tuple[Line, ...], second: tuple[Line, ...]) -> tuple[Line, ...]:
    if first[-1].small and second[0].small:
        both = Line(f"{first[-1].text} · {second[0].text}", small=True)
        return (*first[:-1], both, *second[1:])
    return (*first, *second)


def _box(step: Step) -> list[Part]:
    """A single layer or operation; nothing for one that does nothing worth a box."""
    layer = step.layer
    if isinstance(layer, HIDDEN):
        return []
    if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p == 0:
        return []
    text, tone = _name(step)
    bases = [base.__name__ for base in type(layer).__mro__] if layer is not None else []
    small = any(base in SMALL for base in bases) or (layer is None and step.kind in POINTWISE)
    return [Box((Line(text, small),), tone, step.output)]


def _name(step: Step) -> tuple[str, Tone]:
    """What to call a layer, with its kernel, channels and stride, and what sort it is."""
    layer = step.layer
    word = WORDS.get(step.kind, step.kind)
    if isinstance(layer, nn.Conv2d):
        return _conv_name(layer), "conv"
    if isinstance(layer, nn.Linear):
        return f"linear, {layer.out_features}", "linear"
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        kind = "max pool" if isinstance(layer, nn.MaxPool2d) else "average pool"
        stride = layer.kernel_size if layer.stride is None else layer.stride
        return f"{_size(layer.kernel_size)} {kind}{_stride(stride)}", "pool"
    if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        kind = "average pool" if isinstance(layer, nn.AdaptiveAvgPool2d) else "max pool"
        whole = layer.output_size in (1, (1, 1))
        size = "" if whole else f" to {_size(layer.output_size)}"  # type: ignore[arg-type]
        return f"{'global ' if whole else ''}{kind}{size}", "pool"
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return f"dropout {layer.p:g}", "other"
    if layer is None:
        return word, "join" if step.kind in ("add", "cat", "mul") else "other"
    return word, "other"


def _conv_name(conv: nn.Conv2d) -> str:
    depthwise = conv.groups == conv.in_channels > 1
    kind = "depthwise conv" if depthwise else "conv"
    text = f"{_size(conv.kernel_size)} {kind}, {conv.out_channels}{_stride(conv.stride)}"
    if conv.groups > 1 and not depthwise:
        text += f", {conv.groups} groups"
    padding = conv.padding if isinstance(conv.padding, str) else tuple(conv.padding)
    if padding not in ((0, 0), "valid", "same", same(conv.kernel_size)):  # type: ignore[arg-type]
        text += f", pad {_size(padding)}"  # type: ignore[arg-type]
    return text


def _size(size: int | tuple[int, ...]) -> str:
    both = (size, size) if isinstance(size, int) else size
    return "×".join(map(str, both))


def _stride(stride: int | tuple[int, ...]) -> str:
    both = {stride} if isinstance(stride, int) else set(stride)
    return "" if both == {1} else f", /{_size(stride) if len(both) > 1 else both.pop()}"
