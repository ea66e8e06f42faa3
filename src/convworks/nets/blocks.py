"""Pieces that several networks are built from.

Shapes are N×C×H×W: images, channels, height, width.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from convworks.nets.meta import output_shape

Stem = Literal["paper", "small"]
"""`paper`: as published. `small`: 3×3, stride 1, no pooling, for images up to 64 pixels."""

Size = int | tuple[int, int]
"""Of a kernel: a square's side, or height and width."""

Activation = Callable[[], nn.Module]


def relu() -> nn.Module:
    """ReLU, in place: convolution and norm do not need their output again."""
    return nn.ReLU(inplace=True)


def relu6() -> nn.Module:
    """min(max(x, 0), 6), in place."""
    return nn.ReLU6(inplace=True)


def named(**layers: nn.Module) -> nn.Sequential:
    """An `nn.Sequential` whose layers have these names."""
    return nn.Sequential(OrderedDict(layers))


def same(kernel: Size) -> Size:
    """The padding in pixels that keeps the side at stride 1, for an odd kernel."""
    return (kernel - 1) // 2 if isinstance(kernel, int) else tuple((k - 1) // 2 for k in kernel)  # type: ignore[return-value]


def conv_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """Convolution with a bias, ReLU: the layers of AlexNet, VGG, NiN and GoogLeNet.

    N×in_channels×H×W to N×out_channels×H'×W', H' = ⌊(H − kernel + 2·padding) / stride⌋ + 1.
    """
    return named(
        conv=nn.Conv2d(in_channels, out_channels, kernel, stride, padding),
        relu=relu(),
    )


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: Size,
    stride: int = 1,
    padding: Size | None = None,
    groups: int = 1,
    act: Activation | None = relu,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Convolution, batch norm and, unless `act` is None, activation; padded to keep the side.

    N×in_channels×H×W to N×out_channels×⌈H/stride⌉×⌈W/stride⌉, unless `padding` is given. The
    convolution has no bias, since the norm's β takes its place (Ioffe and Szegedy 2015, section
    3.2).
    """
    layers = named(
        conv=nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            same(kernel) if padding is None else padding,
            groups=groups,
            bias=False,
        ),
        norm=nn.BatchNorm2d(out_channels, eps=eps),
    )
    if act is not None:
        layers.add_module("act", act())
    return layers


def stem_7x7(in_channels: int, width: int, stem: Stem) -> nn.Sequential:
    """ResNet's and DenseNet's first stage: 7×7/2, norm, ReLU, max pool 3×3/2: a quarter the side.

    N×in_channels×H×W to N×width×⌈H/4⌉×⌈W/4⌉ (He et al. 2015, table 1). The small stem (there,
    section 4.2) is 3×3/1 and keeps the side.
    """
    if stem == "small":
        return conv_norm(in_channels, width, 3)
    layers = conv_norm(in_channels, width, 7, stride=2)
    layers.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return layers


class Concat(nn.Module):
    """Runs its named paths on the same input and concatenates their outputs along channels.

    Inception's blocks are made of it (Szegedy et al. 2014, figure 2). All paths must give maps of
    the same size.
    """

    def __init__(self, **paths: nn.Module) -> None:
        super().__init__()
        for name, path in paths.items():
            self.add_module(name, path)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to N×(the paths' channels together)×H'×W'."""
        return torch.cat([path(x) for path in self.children()], dim=1)


class SqueezeExcite(nn.Module):
    """A gate for each channel from the means of all (Hu et al., arXiv:1709.01507, figure 2).

    x ─┬─ global average ── 1×1 to `reduced` ── act ── 1×1 to C ── gate ─┐
       └──────────────────────────────────────────────────────────────── × ──
    """

    def __init__(
        self,
        channels: int,
        reduced: int,
        act: Activation = relu,
        gate: Activation = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.weigh = named(
            squeeze=nn.AdaptiveAvgPool2d(1),
            reduce=nn.Conv2d(channels, reduced, 1),
            act=act(),
            expand=nn.Conv2d(reduced, channels, 1),
            gate=gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to the same shape."""
        gated: Tensor = x * self.weigh(x)
        return gated


def with_gates(blocks: nn.Sequential, in_channels: int, reduction: int) -> nn.Sequential:
    """The same blocks, a squeeze-and-excitation behind each that mixes channels; 0 adds none.

    SE-Inception (Hu et al., figure 3). How many channels a block gives is seen by running it on
    `in_channels`; a gate has `reduction` times fewer numbers inside.
    """
    if not reduction:
        return blocks
    gated = nn.Sequential()
    for name, block in blocks.named_children():
        in_channels, _, _ = output_shape(block, in_channels, 32)
        if any(True for _ in block.parameters()):
            se = SqueezeExcite(in_channels, max(1, in_channels // reduction))
            block = named(block=block, se=se)
        gated.add_module(name, block)
    return gated


class ShuffleChannels(nn.Module):
    """Deals the channels of each group out over all groups (ShuffleNet, figure 1c)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to the same shape, channels g·k + i moved to i·groups + g."""
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class DropPath(nn.Module):
    """Leaves whole pictures out with probability `p` in training, and scales the others up.

    Stochastic depth (Huang et al. 2016, arXiv:1603.09382), for the body of a residual block. Raises
    ValueError for a `p` outside 0…1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"the probability must lie in 0…1, 1 excluded, not {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        if not self.training or self.p == 0:
            return x
        kept = torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)


def divisible(channels: float, by: int = 8) -> int:
    """Channels rounded to a multiple, but never down by more than a tenth.

    As in the code of MobileNet v2 (Sandler et al. 2018) and its successors.
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def global_pool() -> nn.Sequential:
    """N×C×H×W to N×C: the mean of each channel (Lin et al. 2013, section 3.2)."""
    return named(average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
