"""The blocks of residual networks: what ResNet and its relatives have in common.

    basic, c:         x ─┬─ 3×3, c ── 3×3, c ───────────────────┬─ add ── ReLU
                         └─ as is, or 1×1 if the shape changes ─┘
    bottleneck, c:    x ─┬─ 1×1, w ── 3×3, w ── 1×1, 4c ────────┬─ add ── ReLU
                         └─ as is, or 1×1 if the shape changes ─┘

He et al., CVPR 2016, arXiv:1512.03385, figures 2 and 5. Every convolution has a batch norm behind
it, or before it in the orders of He et al., ECCV 2016, arXiv:1603.05027, figure 4:

    original           conv norm relu conv norm | add | relu
    norm_after_add     conv norm relu conv      | add | norm relu
    relu_before_add    conv norm relu conv norm relu | add
    relu_only_preact   relu conv norm relu conv norm | add
    preact             norm relu conv norm relu conv | add

In the last two a ReLU, behind a norm in the last, follows the sum of the network's last block.
The inner width w is groups · group_width · c / 64: c for ResNet, and for ResNeXt (Xie et al., CVPR
2017, arXiv:1611.05431, figure 3c) 32 groups of 4 channels at c = 64.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from convworks.nets.blocks import SqueezeExcite, named, relu

Order = Literal["original", "norm_after_add", "relu_before_add", "relu_only_preact", "preact"]
"""Figure 4 (a) to (e) of the 2016 paper."""

Shortcut = Literal["projection", "padding", "none"]
"""What stands in for the identity where the shape changes: a 1×1 convolution (option B of the
paper), or the input with zero channels behind it, every second pixel (option A). none: no
shortcuts at all, a plain network."""


@dataclass(frozen=True)
class Design:
    """What all blocks of a network have in common."""

    bottleneck: bool = False
    order: Order = "original"
    shortcut: Shortcut = "projection"
    groups: int = 1
    group_width: int = 64
    se: int = 0
    """The reduction of squeeze-and-excitation; 0: without."""
    stride_on_1x1: bool = False
    """Halve the side in the bottleneck's first 1×1, as in the paper; else in its 3×3 ("v1.5")."""
    dropout: float = 0.0
    """Between the convolutions of a basic block (Wide ResNet, section 3.3)."""

    @property
    def expansion(self) -> int:
        """Output channels of a block by its nominal width."""
        return 4 if self.bottleneck else 1


class PadShortcut(nn.Module):
    """Every second pixel, zero channels behind: no parameters (option A)."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to N×(C + extra)×H/stride×W/stride."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def residual_body(design: Design, in_channels: int, width: int, stride: int) -> nn.Sequential:
    """The convolutions of a block with their norms and ReLUs in the design's order."""
    body = nn.Sequential()
    convs = _convs(design, in_channels, width, stride)
    for i, conv in enumerate(convs, start=1):
        last = i == len(convs)
        norm = nn.BatchNorm2d(conv.in_channels if design.order == "preact" else conv.out_channels)
        if design.order == "preact":
            layers = {"norm": norm, "relu": relu(), "conv": conv}
        elif design.order == "relu_only_preact":
            # The shortcut needs the input of the first ReLU as it was.
            layers = {"relu": nn.ReLU(inplace=i > 1), "conv": conv, "norm": norm}
        else:
            layers = {"conv": conv, "norm": norm, "relu": relu()}
            if last and design.order == "norm_after_add":
                del layers["norm"]
            if last and design.order != "relu_before_add":
                del layers["relu"]
        for name, layer in layers.items():
            if design.dropout and last and name == "conv":
                body.add_module("dropout", nn.Dropout(design.dropout))
            body.add_module(f"{name}{i}", layer)
    if design.se:
        channels = convs[-1].out_channels
        body.add_module("se", SqueezeExcite(channels, max(1, channels // design.se)))
    return body


def _convs(design: Design, in_channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    """The figure's convolutions, without bias."""

    def conv(
        in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        padding = (kernel - 1) // 2
        return nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False
        )

    if not design.bottleneck:
        return [conv(in_channels, width, 3, stride), conv(width, width, 3)]
    inner = width * design.group_width // 64 * design.groups
    first, middle = (stride, 1) if design.stride_on_1x1 else (1, stride)
    return [
        conv(in_channels, inner, 1, first),
        conv(inner, inner, 3, middle, design.groups),
        conv(inner, width * design.expansion, 1),
    ]


def shortcut(design: Design, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """What a block adds to its body: the input where the shape stays."""
    if (stride == 1 and in_channels == out_channels) or design.shortcut == "none":
        return nn.Identity()
    if design.shortcut == "padding":
        return PadShortcut(stride, out_channels - in_channels)
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    if design.order == "preact":
        return named(conv=conv)
    return named(conv=conv, norm=nn.BatchNorm2d(out_channels))


class Block(nn.Module):
    """N×C×H×W to N×(width·expansion)×H/stride×W/stride.

    `before` acts on the input of body and shortcut together: a pre-activated block whose shape
    changes projects the activated input. `after` acts on the sum.
    """

    def __init__(
        self, in_channels: int, width: int, stride: int = 1, design: Design | None = None
    ) -> None:
        super().__init__()
        design = design or Design()
        out_channels = width * design.expansion
        self.before: nn.Module = nn.Identity()
        self.body = residual_body(design, in_channels, width, stride)
        self.shortcut = shortcut(design, in_channels, out_channels, stride)
        self.after: nn.Module = nn.Identity()
        if design.order == "original":
            self.after = relu()
        elif design.order == "norm_after_add":
            self.after = named(norm=nn.BatchNorm2d(out_channels), relu=relu())
        elif design.order == "preact" and not isinstance(self.shortcut, nn.Identity):
            self.share_activation()
        self.plain = design.shortcut == "none"

    def share_activation(self) -> None:
        """Puts the norm and ReLU that a pre-activated body begins with before the shortcut too."""
        if isinstance(self.before, nn.Identity):
            self.before, self.body = self.body[:2], self.body[2:]

    def forward(self, x: Tensor) -> Tensor:
        """The sum of body and shortcut; a plain block gives its body."""
        x = self.before(x)
        body = self.body(x)
        out: Tensor = self.after(body if self.plain else body + self.shortcut(x))
        return out


def residual_stage(
    in_channels: int, width: int, blocks: int, stride: int, design: Design
) -> nn.Sequential:
    """Blocks one after the other; the first changes channels and side."""
    stage = nn.Sequential(Block(in_channels, width, stride, design))
    for _ in range(blocks - 1):
        stage.append(Block(width * design.expansion, width, 1, design))
    return stage
