"""ResNet: blocks that add what they computed to what they were given; and its relatives.

He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385,
figures 2 and 5, table 1, section 4.2. Batch norm follows every convolution, the shortcut's 1×1 too.

    basic, c:         x ─┬─ 3×3, c ── 3×3, c ───────────────────┬─ add ── ReLU
                         └─ as is, or 1×1 if the shape changes ─┘
    bottleneck, c:    x ─┬─ 1×1, w ── 3×3, w ── 1×1, 4c ────────┬─ add ── ReLU       w = c
                         └─ as is, or 1×1 if the shape changes ─┘

    ResNet-18, 3×224×224
    stem      conv 7×7/2, 64, norm, ReLU; max pool 3×3/2   64×56×56
    stage 1   2 blocks, 64                                 64×56×56
    stage 2   2 blocks, 128, the first with stride 2      128×28×28
    stage 3   2 blocks, 256, the first with stride 2      256×14×14
    stage 4   2 blocks, 512, the first with stride 2      512×7×7
    global average pool                                       512
    linear                                                   1000

For CIFAR (section 4.2): a 3×3 stem of 16 channels, three stages of 16, 32, 64.

The relatives are arguments: `groups` and `group_width` make ResNeXt (Xie et al. 2017,
arXiv:1611.05431, figure 3c: w = groups · group_width · c / 64); `order` the orderings of He et al.
2016 (arXiv:1603.05027, figure 4); `shortcut="none"` the plain networks; `se` SE-ResNet (Hu et al.
2018); wider `widths` Wide ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from convworks.nets.blocks import (
    SqueezeExcite,
    Stem,
    global_pool,
    init_he,
    named,
    relu,
    stem_7x7,
)

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
        if design.dropout and last:
            body.add_module("dropout", nn.Dropout(design.dropout))
        for name, layer in layers.items():
            body.add_module(f"{name}{i}", layer)
    if design.se:
        channels = convs[-1].out_channels
        body.add_module("se", SqueezeExcite(channels, channels // design.se))
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
            self.before, self.body = self.body[:2], self.body[2:]
        self.plain = design.shortcut == "none"

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


class ResNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S.

    `blocks` and `widths` are of the stages; `stem_width` channels enter the first. The other
    arguments are `Design`'s. `zero_last`: the last norm of every block begins with γ = 0, so that
    the block begins as its shortcut (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        stem_width: int = 64,
        bottleneck: bool = False,
        order: Order = "original",
        shortcut: Shortcut = "projection",
        groups: int = 1,
        group_width: int = 64,
        se: int = 0,
        stride_on_1x1: bool = False,
        dropout: float = 0.0,
        zero_last: bool = False,
    ) -> None:
        design = Design(
            bottleneck, order, shortcut, groups, group_width, se, stride_on_1x1, dropout
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=stem_7x7(in_channels, stem_width, stem)
        )
        if order == "preact":  # the first block begins with norm and ReLU
            layers["stem"] = nn.Sequential(
                OrderedDict(
                    (name, layer)
                    for name, layer in layers["stem"].named_children()
                    if name in ("conv", "pool")
                )
            )
        channels = stem_width
        for i, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stride = 1 if i == 0 else 2
            layers[f"stage{i + 1}"] = residual_stage(channels, width, count, stride, design)
            channels = width * design.expansion
        if order == "preact":
            layers["norm"] = nn.BatchNorm2d(channels)
            layers["relu"] = relu()
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)
        if zero_last:
            _zero_last_norms(self)


class CifarResNet(ResNet):
    """A ResNet whose published stem is 3×3 with stride 1: N×C×S×S images to N×classes; any S.

    (2n, 2n, 2n) layers in three stages, 6n + 2 in all (9n + 2 with bottlenecks).
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int] = (16, 32, 64),
        num_classes: int = 10,
        in_channels: int = 3,
        bottleneck: bool = False,
        order: Order = "original",
        shortcut: Shortcut = "padding",
        dropout: float = 0.0,
        zero_last: bool = False,
    ) -> None:
        super().__init__(
            blocks,
            widths,
            num_classes,
            in_channels,
            "small",
            16,
            bottleneck,
            order,
            shortcut,
            dropout=dropout,
            zero_last=zero_last,
        )


def _zero_last_norms(model: nn.Module) -> None:
    """γ = 0 in the last norm of every block's body."""
    for block in model.modules():
        if isinstance(block, Block):
            norms = [m for m in block.body.modules() if isinstance(m, nn.BatchNorm2d)]
            nn.init.zeros_(norms[-1].weight)
