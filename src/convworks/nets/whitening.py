"""Whitening: batch norm that also removes what channels have in common.

Huang, Yang, Lang, Deng: Decorrelated batch normalization, CVPR 2018, arXiv:1804.08450, section 3:

    Σ = covariance of the C channels over the batch and all pixels, + ε on the diagonal
    x̂ = Σ^(−1/2) (x − mean)         of all roots the symmetric one, which changes x least (ZCA)
    y = γ x̂ + β                     γ and β for each channel, as in batch norm

In use, moving averages of the mean and of Σ^(−1/2) stand in for the batch's (algorithm 1).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InverseRoot(torch.autograd.Function):
    """Σ^(−1/2) of a symmetric positive C×C matrix.

    The gradient is Daleckii's and Krein's, which stays finite where two eigenvalues are the same,
    unlike that of the eigenvectors: the quotient of differences of λ^(−1/2) is
    −1 / (√λᵢ √λⱼ (√λᵢ + √λⱼ)).
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        """C×C to C×C."""
        values, vectors = torch.linalg.eigh(matrix)
        roots = values.sqrt()
        ctx.save_for_backward(roots, vectors)
        result: Tensor = (vectors / roots) @ vectors.T
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """C×C to C×C."""
        roots, vectors = ctx.saved_tensors
        (gradient,) = gradients
        row, column = roots[:, None], roots[None, :]
        inner = vectors.T @ (gradient + gradient.T) @ vectors / 2
        result: Tensor = vectors @ (-inner / (row * column * (row + column))) @ vectors.T
        return result


class Whitening(nn.Module):
    """N×C×H×W or N×C to the same shape, in training with the identity as covariance.

    `momentum` is the weight of the batch in the moving averages, as PyTorch means it.
    """

    running_mean: Tensor
    running_root: Tensor

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_root", torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        mean, root = (self.running_mean, self.running_root)
        if self.training:
            mean, root = self._of_batch(x)
        if self.weight is not None:
            root = root * self.weight[:, None]
        shift = -(root * mean).sum(1)  # not a product of matrices, which autocast would round
        if self.bias is not None:
            shift = shift + self.bias
        if x.ndim == 2:
            return F.linear(x, root, shift)
        return F.conv2d(x, root[:, :, None, None], shift)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and Σ^(−1/2) in fp32, noted in the moving averages."""
        with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):
            flat = x.float().movedim(1, 0).flatten(1)
            mean = flat.mean(1)
            centred = flat - mean[:, None]
            covariance = centred @ centred.T / flat.shape[1]
            ridge = self.eps * torch.eye(len(mean), device=x.device)
            root: Tensor = InverseRoot.apply(covariance + ridge)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_root.lerp_(root, self.momentum)
        return mean, root
