"""The probability-integral transform as a norm: how many of its channel's numbers are smaller.

    z = (x − mean) / √(variance + ε)     over the batch and all pixels, as batch norm
    y = γ √12 (Φ(z) − ½) + β             Φ: the share of normally distributed numbers below z

Numbers that are normally distributed come out evenly spread, between −√3 and √3, with mean 0 and
variance 1. The normal distribution stands in for the channel's own, whose shares have no gradient.
"""

import torch
from torch import Tensor, nn


class ProbabilityIntegral(nn.Module):
    """N×C×H×W or N×C to the same shape; `norm` is a batch norm without γ and β."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, affine: bool = True) -> None:
        super().__init__()
        self.norm = norm
        self.weight = nn.Parameter(torch.ones(norm.num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(norm.num_features)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        z = self.norm(x).float()
        spread = 3**0.5 * torch.erf(z / 2**0.5)
        if self.weight is not None and self.bias is not None:
            shape = (-1, *[1] * (x.ndim - 2))
            spread = spread * self.weight.view(shape) + self.bias.view(shape)
        return spread.to(x.dtype)
