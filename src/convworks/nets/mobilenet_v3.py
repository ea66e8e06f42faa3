"""MobileNetV3: MobileNetV2's blocks with gates and cheap sigmoids, sizes found by search.

Howard et al.: Searching for MobileNetV3, ICCV 2019, arXiv:1905.02244, figure 4, tables 1 and 2.

    block (k, e, c, SE, act, s):
    1×1, e ── depthwise k×k/s ── squeeze-excite (e/4) if SE ── 1×1, c ── + x if the shape stays

    large, 3×224×224                                        small
    conv 3×3/2, 16, h-swish              16×112×112          16×112×112
    15 blocks, to                       160×7×7              11 blocks, to 96×7×7
    conv 1×1, h-swish, average               960             576
    linear, h-swish, dropout 0.2            1280            1024
    linear                                  1000            1000
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from convworks.nets.blocks import Stem, conv_norm, divisible, global_pool, relu
from convworks.nets.initialization import init_he
from convworks.nets.mobilenet_v2 import InvertedResidual

EPS = 1e-3

BlockRow = tuple[int, int, int, bool, str, int]
"""Kernel, expanded channels, output channels, squeeze-and-excitation, activation, stride."""

LARGE: tuple[BlockRow, ...] = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hswish", 2),
    (3, 200, 80, False, "hswish", 1),
    (3, 184, 80, False, "hswish", 1),
    (3, 184, 80, False, "hswish", 1),
    (3, 480, 112, True, "hswish", 1),
    (3, 672, 112, True, "hswish", 1),
    (5, 672, 160, True, "hswish", 2),
    (5, 960, 160, True, "hswish", 1),
    (5, 960, 160, True, "hswish", 1),
)
SMALL: tuple[BlockRow, ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hswish", 2),
    (5, 240, 40, True, "hswish", 1),
    (5, 240, 40, True, "hswish", 1),
    (5, 120, 48, True, "hswish", 1),
    (5, 144, 48, True, "hswish", 1),
    (5, 288, 96, True, "hswish", 2),
    (5, 576, 96, True, "hswish", 1),
    (5, 576, 96, True, "hswish", 1),
)
SIZES: dict[str, tuple[Sequence[BlockRow], int]] = {"large": (LARGE, 1280), "small": (SMALL, 1024)}
"""Blocks, and the width of the head."""


def hard_swish() -> nn.Module:
    """x · min(max(x + 3, 0), 6) / 6, in place."""
    return nn.Hardswish(inplace=True)


class MobileNetV3(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S. `size` is `large` or `small`."""

    def __init__(
        self,
        size: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        dropout: float = 0.2,
    ) -> None:
        rows, hidden = SIZES[size]
        blocks = nn.Sequential()
        channels = 16
        for kernel, expanded, width, gated, act, stride in rows:
            block = InvertedResidual(
                channels,
                expanded,
                width,
                kernel,
                stride,
                act=relu if act == "relu" else hard_swish,
                squeeze=divisible(expanded // 4) if gated else 0,
                gate=nn.Hardsigmoid,
                eps=EPS,
            )
            blocks.append(block)
            channels = width
        super().__init__(
            OrderedDict(
                stem=conv_norm(
                    in_channels, 16, 3, 1 if stem == "small" else 2, act=hard_swish, eps=EPS
                ),
                blocks=blocks,
                conv=conv_norm(channels, 6 * channels, 1, act=hard_swish, eps=EPS),
                pool=global_pool(),
                hidden=nn.Linear(6 * channels, hidden),
                act=hard_swish(),
                dropout=nn.Dropout(dropout),
                fc=nn.Linear(hidden, num_classes),
            )
        )
        init_he(self)
