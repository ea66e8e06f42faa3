"""EfficientNet: one small network, scaled in depth, width and image size together.

Tan and Le: EfficientNet: rethinking model scaling for convolutional neural networks, ICML 2019,
arXiv:1905.11946, table 1, equation 3.

    block MBt k×k = inverted residual, expansion t, kernel k, SiLU, squeeze-excite (C/4)

    B0, 3×224×224
    conv 3×3/2, 32                     32×112×112
    MB1 3×3, 16                        16×112×112
    MB6 3×3, 24 × 2                    24×56×56
    MB6 5×5, 40 × 2                    40×28×28
    MB6 3×3, 80 × 3                    80×14×14
    MB6 5×5, 112 × 3                  112×14×14
    MB6 5×5, 192 × 4                  192×7×7
    MB6 3×3, 320                      320×7×7
    conv 1×1, 1280, average pool          1280
    dropout, linear                       1000
"""

from collections import OrderedDict
from math import ceil

from torch import nn

from convworks.nets.blocks import Stem, conv_norm, divisible, global_pool
from convworks.nets.initialization import init_he
from convworks.nets.mobilenet_v2 import InvertedResidual

STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
"""Expansion, kernel, channels, blocks, stride of the first."""


def silu() -> nn.Module:
    """x · sigmoid(x), in place."""
    return nn.SiLU(inplace=True)


class EfficientNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S. `width` and `depth` scale B0.

    In training a block is left out with a probability that grows in proportion to its place,
    towards `drop_path` (Huang et al. 2016, arXiv:1603.09382).
    """

    def __init__(
        self,
        width: float,
        depth: float,
        dropout: float,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        drop_path: float = 0.2,
        eps: float = 1e-5,
    ) -> None:
        total = sum(ceil(count * depth) for _, _, _, count, _ in STAGES)
        blocks = nn.Sequential()
        first = channels = divisible(32 * width)
        for expansion, kernel, base, count, stride in STAGES:
            for i in range(ceil(count * depth)):
                out_channels = divisible(base * width)
                block = InvertedResidual(
                    channels,
                    divisible(channels * expansion),
                    out_channels,
                    kernel,
                    stride if i == 0 else 1,
                    act=silu,
                    squeeze=max(1, channels // 4),
                    squeeze_act=silu,
                    eps=eps,
                    drop=drop_path * len(blocks) / total,
                )
                blocks.append(block)
                channels = out_channels
        super().__init__(
            OrderedDict(
                stem=conv_norm(
                    in_channels, first, 3, 1 if stem == "small" else 2, act=silu, eps=eps
                ),
                blocks=blocks,
                conv=conv_norm(channels, 4 * channels, 1, act=silu, eps=eps),
                pool=global_pool(),
                dropout=nn.Dropout(dropout),
                fc=nn.Linear(4 * channels, num_classes),
            )
        )
        init_he(self)
