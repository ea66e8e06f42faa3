"""What each layer of a network asks of this machine, and how close it comes to its roof.

The step of `bench` runs with a clock around every operation that reaches PyTorch's kernels, forward
and backward. A layer's floor is the time that its products take at the measured peak of their
precision, or that reading its operands and writing its results once takes at the measured
bandwidth, whichever is more: Williams, Waterman and Patterson, "Roofline: an insightful visual
performance model for multicore architectures", 2009.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from statistics import median
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from convworks.bench.contest import Contestant
from convworks.bench.machine import Machine
from convworks.measure.trace import in_parts
from convworks.nets.meta import Kernels
from convworks.train.device import PRECISIONS, memory_kept, precision_name, wait

UPDATE = "loss and update"
"""What is computed outside the network."""
WHOLE = "(between modules)"
"""What the network's own `forward` computes."""
WARM_UP_STEPS = 2
LAYER = "convworks layer"
"""The key beside autograd's nodes."""
aten = torch.ops.aten
FREE = {aten.empty, aten.empty_like, aten.empty_strided, aten._unsafe_view, aten.as_strided_}
"""With the views, what touches no number."""
UNREAD = {
    aten.copy_: "self",
    aten.zero_: "self",
    aten.fill_: "self",
    aten.zeros_like: "self",
    aten.ones_like: "self",
    aten.new_zeros: "self",
    aten.avg_pool2d_backward: "self",
    aten._adaptive_avg_pool2d_backward: "self",
    aten.max_pool2d_with_indices_backward: "self",
}
"""Arguments of which only the shape is looked at."""
UNWRITTEN = {aten._fused_adamw_: "grads"}
"""Arguments that only a loss scaler has changed."""


@dataclass(frozen=True)
class LayerTime:
    """One layer in one step of a batch, forward and backward together."""

    name: str
    kind: str
    flops: int
    """Two for each multiply-add of its products."""
    others: int
    """Numbers that its other operations read."""
    bytes: int
    """Read and written by its operations, each operand and result once."""
    held: int
    """Bytes held for it through the step: its weights, in training their gradients, the optimizer's
    two numbers, and what is kept for backward: activations, weights in 16 bits."""
    seconds: float
    compute_floor: float
    """Seconds of its products at the peak of their precision."""
    memory_floor: float
    """Seconds of its bytes at the measured bandwidth."""
    floor: float
    """Seconds of its operations, each at its lower roof."""

    @property
    def intensity(self) -> float:
        """FLOPs for each byte, one for each number that operations without products read."""
        return (self.flops + self.others) / self.bytes if self.bytes else 0.0

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which roof is the lower one for it."""
        return "compute" if self.compute_floor > self.memory_floor else "memory"

    @property
    def attained(self) -> float:
        """Floor over seconds; above 1 where the caches serve what was counted as memory."""
        return self.floor / self.seconds


@dataclass(frozen=True)
class Roofline:
    """A step of a network under the roofs of a machine."""

    network: str
    training: bool
    batch_size: int
    precision: str
    machine: Machine
    layers: tuple[LayerTime, ...]
    """In the order of their first operation; what lies outside the network is the last."""

    @property
    def total(self) -> LayerTime:
        """The whole step: sums."""
        return total("the whole step", self.layers)

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self) | {
            "layers": [_plain(one) for one in self.layers],
            "total": _plain(self.total),
            "peak_share": self.peak_share,
        }

    @property
    def peak_share(self) -> float:
        """Of the arithmetic peak: the products' floor over the time of all operations."""
        whole = self.total
        return whole.compute_floor / whole.seconds


def _plain(one: LayerTime) -> dict[str, object]:
    derived = {"intensity": one.intensity, "bound": one.bound, "attained": one.attained}
    return asdict(one) | derived


def total(name: str, layers: Sequence[LayerTime]) -> LayerTime:
    """Several layers as one."""
    sums = {
        field.name: sum(getattr(one, field.name) for one in layers)
        for field in fields(LayerTime)
        if field.name not in ("name", "kind")
    }
    return LayerTime(name, "", **sums)


def by_kind(roofline: Roofline) -> list[LayerTime]:
    """The layers of a kind together, those that take longest first."""
    kinds: dict[str, list[LayerTime]] = defaultdict(list)
    for one in roofline.layers:
        kinds[one.kind].append(one)
    return sorted((total(k, v) for k, v in kinds.items()), key=lambda one: -one.seconds)


def measure_roofline(
    contestant: Contestant, machine: Machine, *, training: bool, repeats: int = 5
) -> Roofline:
    """Times every operation of a step, `repeats` times, and takes the median of each.

    An operation's clock begins when the device is idle and ends when it is idle again: on a GPU the
    time of starting a kernel is in it, which shows in small batches.
    """
    model = contestant.model()
    step = contestant.training_step(model) if training else contestant.inference_step(model)
    rounds = []
    with memory_kept(contestant.device), _named(model) as stack:
        held = _held(model, step, stack, training=training)
        for _ in range(WARM_UP_STEPS):
            step()
        for _ in range(repeats):
            with _Clock(contestant.device, stack) as clock:
                step()
            rounds.append(clock.operations)
    return Roofline(
        contestant.name,
        training,
        contestant.batch_size,
        precision_name(contestant.precision()),
        machine,
        tuple(_layers(model, rounds, machine, held)),
    )


def _held(
    model: nn.Module, step: Callable[[], None], stack: list[str], *, training: bool
) -> dict[str, int]:
    """The modules' bytes that stay through a step; a module's own, without its children's."""
    copies = 4 if training else 1  # weights, gradients, the two averages of AdamW
    held = {
        name: copies * sum(p.numel() * p.element_size() for p in module.parameters(recurse=False))
        for name, module in model.named_modules()
    }
    known = {p.untyped_storage()._cdata for p in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if stack and storage._cdata not in known:
            known.add(storage._cdata)
            held[stack[-1]] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return held


@dataclass
class _Operation:
    layer: str
    flops: int
    others: int
    bytes: int
    precision: torch.dtype
    seconds: float


def _layers(
    model: nn.Module,
    rounds: list[list[_Operation]],
    machine: Machine,
    held: Mapping[str, int],
) -> Iterator[LayerTime]:
    """The operations of all rounds put together for each layer."""
    peaks = {dtype: machine.flops_per_second[name] for name, dtype in PRECISIONS.items()}
    parts: dict[str, list[LayerTime]] = defaultdict(list)
    for same in zip(*rounds, strict=True):
        one = same[0]
        computing = one.flops / peaks.get(one.precision, peaks[torch.float32])
        moving = one.bytes / machine.bytes_per_second
        operation = LayerTime(
            one.layer,
            "",
            one.flops,
            one.others,
            one.bytes,
            0,
            median(each.seconds for each in same),
            computing,
            moving,
            max(computing, moving),
        )
        parts[one.layer].append(operation)
    modules = dict(model.named_modules())
    for name in sorted(parts, key=lambda name: name == UPDATE):
        kind = type(modules[name]).__name__ if name in modules else UPDATE
        yield replace(total(name or WHOLE, parts[name]), kind=kind, held=held.get(name, 0))


class _Clock(Kernels):  # type: ignore[no-untyped-call]
    """Notes every operation with the layer inside which, or inside whose backward, it happens."""

    def __init__(self, device: torch.device, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.stack = stack
        self.operations: list[_Operation] = []

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Takes its time, or that of the operations that it is made of."""
        if (result := in_parts(self, func, args, kwargs)) is not NotImplemented:
            return result
        kind = func._overloadpacket
        wait(self.device)
        started = perf_counter()
        result = func(*args, **kwargs)
        wait(self.device)
        seconds = perf_counter() - started
        read, written = _operands(func, args, kwargs)
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        moved = 0
        if not func.is_view and kind not in FREE:
            moved = _bytes(read) + _bytes(made or written)  # an optimizer's step returns nothing
        flops = others = 0
        if kind in flop_registry:
            flops = flop_registry[kind](*args, **kwargs, out_val=result)
        elif moved:
            others = max((x.numel() for x in read), default=0)
        precision = read[0].dtype if read else torch.float32
        self.operations.append(_Operation(self._layer(), flops, others, moved, precision, seconds))
        return result

    def _layer(self) -> str:
        if self.stack:
            return self.stack[-1]
        node = torch._C._current_autograd_node()
        return str(_notes(node).get(LAYER, UPDATE)) if node is not None else UPDATE


def _operands(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """The arguments that an operation reads, and those that it writes into."""
    kind = func._overloadpacket
    read: list[Tensor] = []
    written: list[Tensor] = []
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        tensors = [x for x in tree_leaves(value) if isinstance(x, Tensor)]
        changed = argument.alias_info and argument.alias_info.is_write
        if changed and UNWRITTEN.get(kind) != argument.name:
            written += tensors
        if UNREAD.get(kind) != argument.name and not argument.is_out:
            read += tensors
    return read, written


def _bytes(tensors: list[Tensor]) -> int:
    """Of the storages that hold them, as far as they use these."""
    storages = {
        x.untyped_storage()._cdata: min(x.numel() * x.element_size(), x.untyped_storage().nbytes())
        for x in tensors
    }
    return sum(storages.values())


def _notes(node: Any) -> dict[str, Any]:
    """What is written beside one of autograd's nodes."""
    notes: dict[str, Any] = node.metadata
    return notes


@contextmanager
def _named(model: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that are running; autograd's nodes get the innermost's."""
    stack: list[str] = []
    handles = []

    def leave(name: str, output: object) -> None:
        stack.pop()
        todo = [x.grad_fn for x in tree_leaves(output) if isinstance(x, Tensor)]
        while todo:
            node = todo.pop()
            if node is not None and LAYER not in _notes(node):
                _notes(node)[LAYER] = name
                todo += [before for before, _ in node.next_functions]

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: stack.append(name)))
        handles.append(
            module.register_forward_hook(lambda _m, _g, output, name=name: leave(name, output))
        )
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()
