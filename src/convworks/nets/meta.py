"""The shapes of what a network computes, from runs on the meta device: no memory, no arithmetic."""

import copy
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from convworks.errors import InputError

aten = torch.ops.aten


def _product(*given: Tensor, **_scales: object) -> Any:
    left, right = given[-2:]
    if left.shape[1] != right.shape[0]:
        return NotImplemented
    return left.new_empty(left.shape[0], right.shape[1])


def _convolution(
    x: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    groups: int,
) -> Any:
    if transposed or x.shape[1] != weight.shape[1] * groups:
        return NotImplemented
    return _windows(x, weight.shape[0], (weight.shape[2:], stride, padding, dilation))


def _max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Any:
    window = (kernel, stride or kernel, padding, dilation)
    result = _windows(x, x.shape[1], window, ceil_mode=ceil_mode)
    return result if result is NotImplemented else (result, result.to(torch.long))


def _average_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    *_what_is_counted: object,
) -> Any:
    window = (kernel, stride or kernel, padding, (1,))
    return _windows(x, x.shape[1], window, ceil_mode=ceil_mode)


def _windows(
    x: Tensor, channels: int, window: Sequence[Sequence[int]], *, ceil_mode: bool = False
) -> Any:
    """Where a window of those sizes, strides, paddings and dilations lies on N×C×H×W.

    What is unusual or wrong is left to the kernel, which knows what to say.
    """
    if x.ndim != 4:
        return NotImplemented
    sizes, strides, paddings, dilations = (tuple(of) * (2 // len(of)) for of in window)
    sides = []
    for n, k, s, p, d in zip(x.shape[2:], sizes, strides, paddings, dilations, strict=True):
        free = n + 2 * p - d * (k - 1) - 1
        if free < 0 or s < 1 or 2 * p > k:
            return NotImplemented
        side = (free + (s - 1) * ceil_mode) // s + 1
        sides.append(side - (ceil_mode and (side - 1) * s >= n + p))  # none begins in the padding
    return x.new_empty(x.shape[0], channels, *sides)


def _pointwise(left: Any, right: Any, **_scale: object) -> Any:
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return NotImplemented
    shape = left.shape
    if shape != right.shape:
        shape = torch.broadcast_shapes(shape, right.shape)  # type: ignore[no-untyped-call]
    like = left if left.ndim >= right.ndim else right  # a single number may be another device's
    return like.new_empty(shape, dtype=torch.result_type(left, right))


def _batch_norm(
    x: Tensor, weight: Tensor | None, *given: Any, **_names: object
) -> tuple[Tensor, Tensor, Tensor]:
    training = given[3]
    like = x if weight is None else weight
    mean, deviation = (like.new_empty(x.shape[1] if training else 0) for _ in range(2))
    return x.new_empty(x.shape), mean, deviation


def _batch_norm_backward(
    _gradient: Tensor, x: Tensor, weight: Tensor | None, *given: Any
) -> tuple[Tensor | None, ...]:
    of_input, *of_scales = given[-1]
    like = x if weight is None else weight
    scales = (like.new_empty(x.shape[1]) if asked else None for asked in of_scales)
    return x.new_empty(x.shape) if of_input else None, *scales


def _empty(x: Tensor, *, dtype: torch.dtype | None = None, **given: object) -> Any:
    if given.keys() - {"memory_format", "pin_memory"} or given.get("memory_format") not in KEEPING:
        return NotImplemented
    return x.new_empty(x.shape, dtype=dtype)


KEEPING = (None, torch.preserve_format, torch.contiguous_format)

SHAPES: dict[Any, Callable[..., Any]] = {
    aten.mm.default: _product,
    aten.addmm.default: _product,
    aten.convolution.default: _convolution,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.empty_like.default: _empty,
    aten.add.Tensor: _pointwise,
    aten.mul.Tensor: _pointwise,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
}
"""Results of operations whose kernels for the meta device are written in Python."""


def _keeps_shape(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether its first argument is changed in place, number by number, as by an activation."""
    by_number = {torch.Tag.pointwise, torch.Tag.nondeterministic_seeded} & set(func.tags)
    alone = not any(isinstance(x, Tensor) for x in args[1:])
    return bool(by_number) and alone and func._schema.name.endswith("_") and args[0].is_meta


def _rule(func: Any, args: tuple[Any, ...]) -> Callable[..., Any] | None:
    """What knows the result, for tensors without numbers that lie in memory in the usual order.

    Kernels keep another order, such as channels-last, which decides what `view` can do.
    """
    rule = SHAPES.get(func)
    given = [x for x in args if isinstance(x, Tensor)]
    usual = rule is _product or all(x.is_contiguous() for x in given)
    return rule if usual and all(x.is_meta for x in given) else None


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls kernels without PyTorch's compiler and the computer algebra system that it brings.

    Their import is a quarter of the time of `convworks summary vgg19`, and batch norm's kernel was
    0.6 of that of `convworks compare 'resnet*'`.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.call(func, args, kwargs or {})

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation's result. What is to be noted of each is noted around this."""
        if _keeps_shape(func, args):
            return args[0]
        rule = _rule(func, args)
        result = rule(*args, **kwargs) if rule else NotImplemented
        return func(*args, **kwargs) if result is NotImplemented else result


def on_meta(module: nn.Module) -> nn.Module:
    """A copy whose weights have shapes only: running it takes neither memory nor arithmetic."""
    attributes = (value for part in module.modules() for value in vars(part).values())
    tensors = [one for one in attributes if isinstance(one, Tensor)]
    twins: dict[int, object] = {
        id(one): _on_meta(one) for one in (*module.parameters(), *module.buffers(), *tensors)
    }
    return copy.deepcopy(module, twins)


def _on_meta(tensor: Tensor) -> Tensor:
    if is_lazy(tensor):
        return type(tensor)(device="meta", dtype=tensor.dtype)  # type: ignore[call-arg]
    # Not empty_like, which on its way to the meta device imports a computer algebra system.
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def flat_features(layers: nn.Module, in_channels: int, image_size: int) -> int:
    """How many numbers an image is after `layers`, flattened: the first Linear's input.

    Raises InputError when the image is too small for the layers.
    """
    return prod(output_shape(layers, in_channels, image_size))


def output_shape(layers: nn.Module, in_channels: int, image_size: int) -> tuple[int, ...]:
    """What `layers` make of an image of that side in pixels: usually channels, height, width.

    Raises InputError when the image is too small for the layers.
    """
    images = torch.empty(2, in_channels, image_size, image_size, device="meta")
    try:
        with Kernels():  # type: ignore[no-untyped-call]
            output: Tensor = on_meta(layers)(images)
    except RuntimeError as error:
        raise InputError(
            f"Images of {image_size}×{image_size} pixels are too small for this network."
        ) from error
    return tuple(output.shape[1:])
