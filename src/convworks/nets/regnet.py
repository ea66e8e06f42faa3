"""RegNet: a stage's width from a line, quantised; and AnyNet, which takes any widths.

Radosavovic, Kosaraju, Girshick, He, Dollár: Designing network design spaces, CVPR 2020,
arXiv:2003.13678, equations 2 to 4, figures 3 and 4.

    X block, width w, groups of g channels, all convolutions with norm:
        x ─┬─ 1×1, w, ReLU ── 3×3/s in groups, w, ReLU ── 1×1, w ─┬─ add ── ReLU
           └─ as is, or 1×1/s if the shape changes ───────────────┘
    Y block: squeeze-and-excitation (a quarter of the input's channels) behind the 3×3

    conv 3×3/2, 32, norm, ReLU; four stages, each halving the side; average pool; linear
    width of block j: w_0 + w_a · j, rounded to w_0 · w_m^k and to a multiple of 8
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from math import log

from torch import Tensor, nn

from convworks.nets.blocks import (
    SqueezeExcite,
    Stem,
    conv_norm,
    global_pool,
    named,
    relu,
)
from convworks.nets.initialization import init_he


class XBlock(nn.Module):
    """N×C×H×W to N×width×H/stride×W/stride; with `se` the Y block."""

    def __init__(
        self, in_channels: int, width: int, group_width: int, stride: int, se: bool
    ) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != width:
            self.shortcut = conv_norm(in_channels, width, 1, stride, act=None)
        self.body = named(
            first=conv_norm(in_channels, width, 1),
            spatial=conv_norm(width, width, 3, stride, groups=width // group_width),
        )
        if se:
            self.body.add_module("se", SqueezeExcite(width, round(in_channels / 4)))
        self.body.add_module("last", conv_norm(width, width, 1, act=None))
        self.relu = relu()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of shortcut and body, rectified."""
        out: Tensor = self.relu(self.shortcut(x) + self.body(x))
        return out


class AnyNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S. A width, depth and group width for each stage."""

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        group_widths: Sequence[int],
        se: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=conv_norm(in_channels, 32, 3, stride=1 if stem == "small" else 2)
        )
        channels = 32
        for i, (width, depth, group) in enumerate(zip(widths, depths, group_widths, strict=True)):
            stage = nn.Sequential(XBlock(channels, width, group, 2, se))
            for _ in range(depth - 1):
                stage.append(XBlock(width, width, group, 1, se))
            layers[f"stage{i + 1}"] = stage
            channels = width
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)


class RegNet(AnyNet):
    """AnyNet with the widths that depth, w_0, w_a and w_m give; group widths of at most g."""

    def __init__(
        self,
        depth: int,
        w_0: int,
        w_a: float,
        w_m: float,
        g: int,
        se: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        exact = [w_0 + w_a * j for j in range(depth)]
        steps = [round(log(width / w_0) / log(w_m)) for width in exact]
        quantised = [int(round(w_0 * w_m**k / 8) * 8) for k in steps]
        stages = [(width, len(list(blocks))) for width, blocks in groupby(quantised)]
        groups = [min(g, width) for width, _ in stages]
        # Half way between two multiples the even one, as in the authors' code and table.
        widths = [round(w / group) * group for (w, _), group in zip(stages, groups, strict=True)]
        depths = [count for _, count in stages]
        super().__init__(widths, depths, groups, se, num_classes, in_channels, stem)
