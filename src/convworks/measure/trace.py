"""What each module of a network does to one image, from runs on the meta device.

Nothing is described a second time: the real modules run, without memory and arithmetic, and every
operation that reaches PyTorch's kernels is noted for the modules inside which it happens.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from convworks.errors import InputError, first_line
from convworks.nets.meta import Kernels, on_meta

BATCH = 1009
"""Images of the run in training: a prime, to tell what grows with them from what does not."""


@dataclass(frozen=True)
class Sight:
    """What one number of a feature map sees of the image."""

    height: float = 1
    """Of its receptive field, in pixels; infinite where it depends on the whole image."""
    width: float = 1
    step_y: float = 1
    """How many pixels lie between neighbours."""
    step_x: float = 1

    def through(self, kernel: Sequence[float], stride: Sequence[float]) -> "Sight":
        """Behind a window of that size."""
        return Sight(
            self.height + (kernel[0] - 1) * self.step_y,
            self.width + (kernel[1] - 1) * self.step_x,
            self.step_y * stride[0],
            self.step_x * stride[1],
        )

    def beside(self, other: "Sight") -> "Sight":
        """Of what is computed from both."""
        return Sight(
            max(self.height, other.height),
            max(self.width, other.width),
            max(self.step_y, other.step_y),
            max(self.step_x, other.step_x),
        )


EVERYTHING = Sight(inf, inf)

aten = torch.ops.aten
WINDOWS = {
    aten.max_pool2d_with_indices,
    aten.max_pool2d,
    aten.avg_pool2d,
}
"""Pooling with a kernel as the second argument and a stride as the third."""
WHOLE = {aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d, aten.mean, aten.amax}
NORMS = {
    aten.native_batch_norm,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_no_training,
    aten._batch_norm_with_update,
    aten._batch_norm_no_update,
    aten.native_layer_norm,
    aten.native_group_norm,
}
UNTAGGED = {
    aten.hardswish,
    aten.hardswish_,
    aten._prelu_kernel,
    aten.log_sigmoid_forward,
    aten.glu,
    aten._softmax,
    aten._log_softmax,
    aten.mish_,
    aten.threshold_,
    aten.rsub,
}
"""Elementwise operations that PyTorch does not mark as such."""
PRODUCTS = {aten.mm, aten.addmm}
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    NotImplementedError,
    AssertionError,  # PyTorch's counter of products, for matrices that do not fit
)
"""What modules raise for images that they cannot take."""


@dataclass
class Work:
    """What a module computes for one image."""

    macs: int = 0
    """Multiply-adds of convolutions and matrix products."""
    elementwise: int = 0
    """Numbers given by activations, sums, gates."""
    pooled: int = 0
    """Numbers read by pooling, those of overlapping windows more than once."""
    normalised: int = 0
    """Numbers given by normalisations."""
    kept: int = 0
    """Bytes of fp32 training that are kept for backward."""
    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    sight: Sight = Sight()
    """Of the output."""


@dataclass
class Trace:
    """The modules' work under their names; the network's own under ''."""

    work: dict[str, Work] = field(default_factory=lambda: defaultdict(Work))
    twin: nn.Module = field(default_factory=nn.Identity)
    """The copy that ran: its parameters have shapes, those of lazy modules too."""


def trace(model: nn.Module, shape: Sequence[int], *, keep: bool = True) -> Trace:
    """Runs `model` on one image of that shape in evaluation, then with `keep` in training.

    The model itself is neither run nor changed. InputError names the layer that fails.
    """
    found = Trace(twin=on_meta(model).eval())
    with _inside(found) as stack, torch.no_grad(), _Operations(found, stack):
        run_checked(found.twin, torch.empty(1, *shape, device="meta"), shape, stack)
    if keep:
        _note_kept(found, shape)
    return found


def _note_kept(found: Trace, shape: Sequence[int]) -> None:
    """One run in training: what autograd keeps, where it is kept first."""
    twin = found.twin.train()
    known = {_storage(t) for t in (*twin.parameters(), *twin.buffers())}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in known:
            known.add(storage)
            alive.append(tensor)  # so that no other tensor gets its storage's address
            size, rest = divmod(tensor.untyped_storage().nbytes(), BATCH)
            for name in stack if rest == 0 else ():
                found.work[name].kept += size
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
    with _inside(found) as stack, hooks, Kernels():  # type: ignore[no-untyped-call]
        run_checked(twin, torch.empty(BATCH, *shape, device="meta"), shape, stack)


def run_checked(
    model: nn.Module, images: Tensor, shape: Sequence[int], stack: Sequence[str] = ()
) -> Any:
    """What it gives; the InputError of a failure names the module on top of the stack, if any."""
    try:
        return model(images)
    except FAILURES as error:
        size = "×".join(map(str, shape))
        where = f" in {stack[-1]}" if any(stack[-1:]) else ""
        reason = first_line(error).rstrip(".")
        raise InputError(f"The network cannot take {size} images: {reason}{where}") from error


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def _inside(found: Trace) -> Iterator[list[str]]:
    """Inside which modules the network is: their names, from the network's own to the innermost."""
    stack: list[str] = []
    handles = []

    def enter(name: str, given: tuple[Any, ...]) -> None:
        stack.append(name)
        tensors = [x for x in tree_leaves(given) if isinstance(x, Tensor)]
        if tensors and not found.work[name].input:
            found.work[name].input = tuple(tensors[0].shape[1:])

    def leave(name: str, output: object) -> None:
        stack.pop()
        if isinstance(output, Tensor):
            found.work[name].output = tuple(output.shape[1:])
            found.work[name].sight = getattr(output, "sight", found.work[name].sight)

    for name, module in found.twin.named_modules():
        handles.append(
            module.register_forward_pre_hook(lambda _m, given, name=name: enter(name, given))
        )
        handles.append(
            module.register_forward_hook(lambda _m, _g, output, name=name: leave(name, output))
        )
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def in_parts(mode: Kernels, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation's result by simpler ones, each of which `mode` sees; NotImplemented if simple.

    Products, which PyTorch's counter of operations knows, are.
    """
    if func._overloadpacket in flop_registry:
        return NotImplemented
    with mode:
        return func.decompose(*args, **kwargs)


class _Operations(Kernels):
    """Counts each operation for the modules on the stack, and follows the receptive field."""

    def __init__(self, found: Trace, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found
        self.stack = stack

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Counts it, or the operations that it is made of."""
        if (result := in_parts(self, func, args, kwargs)) is not NotImplemented:
            return result
        result = super().call(func, args, kwargs)
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        for name in self.stack:
            _add(self.found.work[name], func, args, kwargs, result, made)
        sight = _look(func, args, given, made)
        for x in made:
            x.sight = sight  # type: ignore[attr-defined]
        return result


def _add(
    work: Work, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, made: Any
) -> None:
    kind = func._overloadpacket
    if kind in flop_registry:
        work.macs += flop_registry[kind](*args, **kwargs, out_val=result) // 2
    elif kind in WINDOWS:
        height, width = _pair(args[1])
        work.pooled += made[0].numel() * height * width
    elif kind in WHOLE:
        work.pooled += args[0].numel()
    elif kind in NORMS:
        work.normalised += made[0].numel()
    elif torch.Tag.pointwise in func.tags or kind in UNTAGGED:
        work.elementwise += made[0].numel()


def _look(func: Any, args: tuple[Any, ...], given: list[Tensor], made: list[Tensor]) -> Sight:
    """What the operation's results see: what its inputs see together, through its window."""
    kind = func._overloadpacket
    sight = Sight()
    for x in given:
        sight = sight.beside(getattr(x, "sight", sight))
    if kind is aten.convolution:
        _, weight, _, stride, _, dilation, transposed = args[:7]
        kernel = [
            (k - 1) * d + 1 for k, d in zip(_pair(weight.shape[2:]), _pair(dilation), strict=True)
        ]
        strides: list[float] = [*_pair(stride)]
        if transposed:  # s results for each number, which look at k/s of them
            kernel = [ceil(k / s) for k, s in zip(kernel, strides, strict=True)]
            strides = [1 / s for s in strides]
        return sight.through(kernel, strides)
    if kind in WINDOWS:
        stride = args[2] if len(args) > 2 and args[2] else args[1]
        dilated = kind is not aten.avg_pool2d and len(args) > 4
        dilation = _pair(args[4]) if dilated else (1, 1)
        kernel = [(k - 1) * d + 1 for k, d in zip(_pair(args[1]), dilation, strict=True)]
        return sight.through(kernel, _pair(stride))
    if kind in WHOLE and args[0].ndim == 4:
        after = made[0].shape[2:] if made[0].ndim == 4 else (1, 1)
        ratios = [n / m for n, m in zip(args[0].shape[2:], after, strict=True)]
        if max(ratios) > 1 and tuple(after) == (1, 1):
            return EVERYTHING
        return sight.through([ceil(r) for r in ratios], ratios)
    if kind in PRODUCTS and given[-2].shape[0] == 1:  # the rows are images, not pixels
        return EVERYTHING
    return sight


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers[0], numbers[-1]
