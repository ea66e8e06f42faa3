"""Convolutions onto small maps as products of matrices, which CPUs compute faster.

oneDNN parallelises and vectorises a convolution over the pixels of its result. Onto 3×3 maps it
reaches a quarter of the machine's arithmetic in the gradient of the weights (512 to 512 channels,
128 images, bf16: 21.7 ms where 5.1 would do) and half in the result (9.7 ms). As one product of
matrices, every window a row, the same takes 6.9 and 6.7 ms (`benchmarks/small_maps.py`). The
gradient of the input stays oneDNN's. Sums are in fp32 in both, so results differ by rounding only.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convworks.measure.summary import Summary

LARGEST_MAP = 16
"""Pixels of the result; at 6×6 oneDNN is the faster."""
LEAST_WEIGHTS = 2**20
"""With fewer the calls around the product cost what it gains, as in GoogLeNet; so they do for 1×1
convolutions."""

Pair = tuple[int, int]
Network = Callable[[Tensor], Any]


def with_small_maps(
    model: nn.Module, summary: Summary, device: torch.device, network: Network | None = None
) -> Network:
    """A function that runs the model inside `SmallMaps` if a layer gains by it, else the model.

    `network` runs in the model's place, when something stands around it.
    """
    network = network or model
    gains = False
    for row in summary.rows:
        layer = model.get_submodule(row.name)
        if isinstance(layer, nn.Conv2d) and len(row.output) == 3:
            _, height, width = row.output
            gains |= _gains(layer.weight, layer.groups, height * width)
    if device.type != "cpu" or not gains:
        return network

    def mapped(images: Tensor) -> Any:
        with SmallMaps():
            return network(images)

    return mapped


def _gains(weight: Tensor, groups: int, pixels: int) -> bool:
    large = weight.numel() >= LEAST_WEIGHTS and prod(weight.shape[2:]) > 1
    return groups == 1 and large and pixels <= LARGEST_MAP


class SmallMaps(TorchFunctionMode):
    """Inside it, `conv2d` calls that train on a CPU and give small maps become products."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d and not kwargs:
            found = _convolve(*args)
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _convolve(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """What `torch.conv2d` gives; None: it should compute it."""
    pads, steps = _pair(padding), _pair(stride)
    if (
        images.device.type != "cpu"
        or images.ndim != 4
        or _pair(dilation) != (1, 1)
        or pads is None
        or steps is None
        or not torch.is_grad_enabled()
        or not weight.requires_grad
    ):
        return None
    rows, columns = _map(images.shape[2:], weight.shape[2:], steps, pads)
    if min(rows, columns) < 1 or not _gains(weight, groups, rows * columns):
        return None
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        images, weight = images.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    result: Tensor = _AsProduct.apply(images, weight, steps, pads)
    return result if bias is None else result + bias[:, None, None]


class _AsProduct(torch.autograd.Function):
    """N×C×H×W with O×C×h×w to N×O×H'×W', channels last."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        rows, columns = _map(images.shape[2:], weight.shape[2:], stride, padding)
        product = _windows(images, weight.shape[2:], stride, padding) @ _matrix(weight).t()
        return product.view(len(images), rows, columns, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (gradient,) = gradients
        images, weight = ctx.saved_tensors
        pixels = gradient.permute(0, 2, 3, 1).reshape(-1, len(weight))
        windows = _windows(images, weight.shape[2:], ctx.stride, ctx.padding)
        out, channels, height, width = weight.shape
        matrix = (pixels.t() @ windows).view(out, height, width, channels)
        to_images = None
        if ctx.needs_input_grad[0]:
            to_images, _, _ = torch.ops.aten.convolution_backward(
                gradient,
                images,
                weight,
                None,
                ctx.stride,
                ctx.padding,
                (1, 1),
                False,
                (0, 0),
                1,
                (True, False, False),
            )
        return to_images, matrix.permute(0, 3, 1, 2), None, None


def _matrix(weight: Tensor) -> Tensor:
    """O×hwC."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _windows(images: Tensor, kernel: torch.Size, stride: Pair, padding: Pair) -> Tensor:
    """NH'W'×hwC: a row for each window."""
    down, right = padding
    padded = torch.nn.functional.pad(images.permute(0, 2, 3, 1), (0, 0, right, right, down, down))
    windows = padded.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])
    channels = images.shape[1]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel[0] * kernel[1] * channels)


def _map(side: torch.Size, kernel: torch.Size, stride: Pair, padding: Pair) -> Pair:
    """Height and width of the result."""
    height, width = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(side, kernel, stride, padding, strict=True)
    )
    return height, width


def _pair(value: Any) -> Pair | None:
    """Two numbers; None for padding by a word."""
    if isinstance(value, int):
        return value, value
    return tuple(value) if isinstance(value, list | tuple) and len(value) == 2 else None
