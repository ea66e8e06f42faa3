"""Pieces that several networks are built from.

Shapes are N×C×H×W: images, channels, height, width.
"""

import copy
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from convworks.errors import InputError

Stem = Literal["paper", "small"]
"""`paper`: as published. `small`: 3×3, stride 1, no pooling, for images up to 64 pixels."""


def named(**layers: nn.Module) -> nn.Sequential:
    """An `nn.Sequential` whose layers have these names."""
    return nn.Sequential(OrderedDict(layers))


def conv_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """Convolution, ReLU."""
    return named(
        conv=nn.Conv2d(in_channels, out_channels, kernel, stride, padding),
        relu=nn.ReLU(inplace=True),
    )


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """Convolution, batch norm, ReLU; no bias, since the norm's β takes its place."""
    return named(
        conv=nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        norm=nn.BatchNorm2d(out_channels),
        relu=nn.ReLU(inplace=True),
    )


def stem_7x7(in_channels: int, width: int, stem: Stem) -> nn.Sequential:
    """ResNet's and DenseNet's first stage: 7×7/2, norm, ReLU, max pool 3×3/2: a quarter the side.

    The small stem (He et al. 2015, section 4.2) is 3×3/1 and keeps the side.
    """
    if stem == "small":
        return conv_norm_relu(in_channels, width, 3, padding=1)
    layers = conv_norm_relu(in_channels, width, 7, stride=2, padding=3)
    layers.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return layers


class Concat(nn.Module):
    """Runs its named paths on the same input and concatenates their outputs along channels."""

    def __init__(self, **paths: nn.Module) -> None:
        super().__init__()
        for name, path in paths.items():
            self.add_module(name, path)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to N×(the paths' channels together)×H'×W'."""
        return torch.cat([path(x) for path in self.children()], dim=1)


def global_pool() -> nn.Sequential:
    """N×C×H×W to N×C: the mean of each channel."""
    return named(average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())


def on_meta(module: nn.Module) -> nn.Module:
    """A copy whose weights have shapes only: running it takes neither memory nor arithmetic."""
    twins: dict[int, object] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in module.parameters()
    }
    twins |= {id(b): torch.empty_like(b, device="meta") for b in module.buffers()}
    return copy.deepcopy(module, twins)


def flat_features(layers: nn.Module, in_channels: int, image_size: int) -> int:
    """How many numbers an image is after `layers`, flattened: the first Linear's input.

    Raises InputError when the image is too small for the layers.
    """
    images = torch.empty(2, in_channels, image_size, image_size, device="meta")
    try:
        output: Tensor = on_meta(layers)(images)
    except RuntimeError as error:
        raise InputError(
            f"Images of {image_size}×{image_size} pixels are too small for this network."
        ) from error
    return output.shape[1:].numel()


def init_xavier(model: nn.Module) -> None:
    """Xavier uniform weights and zero biases (Glorot and Bengio 2010, equation 16)."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_he(model: nn.Module) -> None:
    """He normal weights by fan-out, zero biases (He et al. 2015, arXiv:1502.01852, section 2.2).

    The last Linear, which no ReLU follows, keeps PyTorch's default weights.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
