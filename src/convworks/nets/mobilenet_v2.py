"""MobileNetV2: residual blocks that widen, filter, and narrow again.

Sandler et al.: MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018,
arXiv:1801.04381, figure 4, table 2.

    inverted residual (t, c, s), all convolutions with norm:
    x ─┬─ 1×1, t·C, ReLU6 ── depthwise 3×3/s, ReLU6 ── 1×1, c ─┬─ add
       └────────────── if s = 1 and the channels stay ─────────┘

    3×224×224
    conv 3×3/2, 32                              32×112×112
    (1, 16, 1)                                  16×112×112
    (6, 24, 2) × 2, (6, 32, 2) × 3              32×28×28
    (6, 64, 2) × 4, (6, 96, 1) × 3              96×14×14
    (6, 160, 2) × 3, (6, 320, 1)               320×7×7
    conv 1×1, 1280, global average pool            1280
    dropout 0.2, linear                            1000
"""

from collections import OrderedDict

from torch import Tensor, nn

from convworks.nets.blocks import (
    Activation,
    DropPath,
    SqueezeExcite,
    Stem,
    conv_norm,
    global_pool,
    relu,
    relu6,
)
from convworks.nets.initialization import init_he


class InvertedResidual(nn.Module):
    """N×C×H×W to N×out×H/stride×W/stride, by way of `expanded` channels.

    `squeeze` channels make a squeeze-and-excitation behind the depthwise convolution (MobileNetV3,
    EfficientNet), 0 none. `drop` is the probability to leave the body out in training.
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        act: Activation = relu6,
        squeeze: int = 0,
        squeeze_act: Activation = relu,
        gate: Activation = nn.Sigmoid,
        eps: float = 1e-5,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.body = nn.Sequential()
        if expanded != in_channels:
            expand = conv_norm(in_channels, expanded, 1, act=act, eps=eps)
            self.body.add_module("expand", expand)
        depthwise = conv_norm(expanded, expanded, kernel, stride, groups=expanded, act=act, eps=eps)
        self.body.add_module("depthwise", depthwise)
        if squeeze:
            self.body.add_module("se", SqueezeExcite(expanded, squeeze, squeeze_act, gate))
        project = conv_norm(expanded, out_channels, 1, act=None, eps=eps)
        self.body.add_module("project", project)
        if drop and self.residual:
            self.body.add_module("drop", DropPath(drop))

    def forward(self, x: Tensor) -> Tensor:
        """The body, and the input where the shape stays."""
        body: Tensor = self.body(x)
        return x + body if self.residual else body


STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion t, channels c, blocks, stride of the first."""


class MobileNetV2(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        dropout: float = 0.2,
    ) -> None:
        blocks = nn.Sequential()
        channels = 32
        for expansion, width, count, stride in STAGES:
            for i in range(count):
                block = InvertedResidual(
                    channels, expansion * channels, width, stride=stride if i == 0 else 1
                )
                blocks.append(block)
                channels = width
        super().__init__(
            OrderedDict(
                stem=conv_norm(in_channels, 32, 3, 1 if stem == "small" else 2, act=relu6),
                blocks=blocks,
                conv=conv_norm(channels, 1280, 1, act=relu6),
                pool=global_pool(),
                dropout=nn.Dropout(dropout),
                fc=nn.Linear(1280, num_classes),
            )
        )
        init_he(self)
