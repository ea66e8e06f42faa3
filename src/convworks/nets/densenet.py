"""DenseNet: every layer sees the outputs of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, CVPR 2017,
arXiv:1608.06993, figures 1 and 2.

    a dense layer:       x ── norm, ReLU, conv 3×3, g ── concatenate(x, ·): C + g channels
    a dense block (n):   n dense layers: C + n·g channels
    a transition:        norm, ReLU, conv 1×1 to C/2, average pool 2×2/2

    the book's, growth g = 32, 1×96×96
    stem          conv 7×7/2, 64, norm, ReLU; max pool 3×3/2    64×24×24
    block 1       4 layers                                     192×24×24
    transition 1                                                96×12×12
    block 2       4 layers                                     224×12×12
    transition 2                                               112×6×6
    block 3       4 layers                                     240×6×6
    transition 3                                               120×3×3
    block 4       4 layers                                     248×3×3
    norm, ReLU, global average pool                                248
    linear                                                          10
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convworks.nets.blocks import Stem, global_pool, init_he, named, stem_7x7


class DenseLayer(nn.Module):
    """N×C×H×W to N×(C + growth)×H×W."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.body = named(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input with the new channels behind it."""
        return torch.cat([x, self.body(x)], dim=1)


def dense_block(in_channels: int, layers: int, growth: int) -> nn.Sequential:
    """N×C×H×W to N×(C + layers·growth)×H×W."""
    return nn.Sequential(*(DenseLayer(in_channels + i * growth, growth) for i in range(layers)))


def transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """N×C×H×W to N×out×H/2×W/2."""
    return named(
        norm=nn.BatchNorm2d(in_channels),
        relu=nn.ReLU(inplace=True),
        conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
        pool=nn.AvgPool2d(2),
    )


class DenseNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 29, with the small stem 8.

    `blocks` counts the layers of each dense block.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        growth: int = 32,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem_7x7(in_channels, 64, stem))
        channels = 64
        for i, depth in enumerate(blocks):
            layers[f"block{i + 1}"] = dense_block(channels, depth, growth)
            channels += depth * growth
            if i < len(blocks) - 1:
                layers[f"transition{i + 1}"] = transition(channels, channels // 2)
                channels //= 2
        layers["norm"] = nn.BatchNorm2d(channels)
        layers["relu"] = nn.ReLU(inplace=True)
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)
