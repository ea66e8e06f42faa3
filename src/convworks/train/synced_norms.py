"""Batch norm over the whole batch when several processes each have a part of it.

Each process's own mean and variance would make the result depend on their number. PyTorch's
SyncBatchNorm computes on GPUs only; this is the same for every device, and leaves the model's
layers what they are.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convworks.train.small_maps import Network


def with_synced_norms(network: Network) -> Network:
    """A function that runs the network inside `SyncedNorms`."""

    def synced(images: Tensor) -> Any:
        with SyncedNorms():
            return network(images)

    return synced


class SyncedNorms(TorchFunctionMode):
    """Inside it, batch norms that train take the statistics of all processes' pictures."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and kwargs.get("training"):
            return _norm(*args, **kwargs)
        return func(*args, **kwargs)


def _norm(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,  # noqa: ARG001 (the arguments are those of F.batch_norm)
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    count, mean, variance = _statistics(images)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * count / (count - 1).clamp_min(1), momentum)
    result: Tensor = _Normalise.apply(images, weight, bias, count, mean, variance, eps)
    return result


@torch.no_grad()
def _statistics(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, mean and biased variance of each channel over all processes.

    Exchanged as sums in float64, where mean² does not hide the variance.
    """
    channels = images.shape[1]
    unused = images.new_zeros(2, channels, dtype=torch.float32)
    own = torch.ops.aten.batch_norm_update_stats(images, *unused, 0.0)
    mean, variance = (one.double() for one in own)
    pixels = images.numel() // channels
    sums = torch.stack([torch.ones_like(mean), mean, variance + mean**2]) * pixels
    dist.all_reduce(sums)
    count, mean = sums[0], sums[1] / sums[0]
    return count.float(), mean.float(), (sums[2] / count - mean**2).clamp_min(0).float()


class _Normalise(torch.autograd.Function):
    """N×C×… normalised with given statistics, which depend on the pictures of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        count: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(images, weight, count, mean, variance)
        ctx.eps = eps
        return torch.batch_norm(images, weight, bias, mean, variance, False, 0.0, eps, False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        images, weight, count, mean, variance = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        factor = torch.ones_like(mean) if weight is None else weight
        # As if the statistics were constants; what they add follows from the same two sums. CUDA's
        # kernel asks for the means and roots that training saves, and for a weight.
        found, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            *(gradient, images, factor, mean, variance, mean, inverse, False, ctx.eps),
            (True, True, True),
        )
        sums = torch.stack([to_bias, to_weight])
        own = sums.clone()
        dist.all_reduce(sums)
        scale = factor * inverse
        slope = -scale * inverse * sums[1] / count
        offset = -scale * sums[0] / count - slope * mean
        shape = (-1, *[1] * (images.ndim - 2))
        found = found + (slope.view(shape) * images + offset.view(shape)).to(found.dtype)
        needs = ctx.needs_input_grad
        return (
            found if needs[0] else None,
            own[1] if needs[1] else None,
            own[0] if needs[2] else None,
            None,
            None,
            None,
            None,
        )
