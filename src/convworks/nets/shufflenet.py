"""ShuffleNet, first and second version: grouped or split 1×1 convolutions, mixed by a shuffle.

Zhang et al.: ShuffleNet, CVPR 2018, arXiv:1707.01083, figure 2, table 1.
Ma et al.: ShuffleNet V2, ECCV 2018, arXiv:1807.11164, figure 3 c and d, table 5.

    v1 unit (g groups), stride 1:                    stride 2:
    1×1 in g groups, c/4, norm, ReLU ── shuffle      the same, the depthwise one with stride 2,
    ── depthwise 3×3, norm ── 1×1 in g groups, c,    c less the input's channels, and behind it
    norm ── add x ── ReLU                            the input's 3×3/2 averages ── ReLU

    v2 unit, stride 1: half the channels pass;       stride 2: both paths see all channels
    the other half: 1×1, norm, ReLU ── depthwise     path 1: depthwise 3×3/2, norm ── 1×1, ReLU
    3×3, norm ── 1×1, norm, ReLU; concatenate,       path 2: as at stride 1, with stride 2
    shuffle                                          concatenate, shuffle

    3×224×224
    conv 3×3/2, 24, norm, ReLU; max pool 3×3/2      24×56×56
    stage 2   4 units, the first with stride 2      28×28
    stage 3   8 units, the first with stride 2      14×14
    stage 4   4 units, the first with stride 2       7×7
    (v2: conv 1×1, norm, ReLU), average, linear     1000
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.nets.blocks import Concat, ShuffleChannels, Stem, conv_norm, global_pool, named
from convworks.nets.initialization import init_he

REPEATS = (4, 8, 4)


class UnitV1(nn.Module):
    """N×C×H×W to N×out×H/stride×W/stride; with stride 2 the input is a part of the output."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, stride: int, first: bool = False
    ) -> None:
        super().__init__()
        inner = out_channels // 4
        new = out_channels - in_channels if stride == 2 else out_channels
        # The very first 1×1 sees only 24 channels and is not grouped (section 3.2).
        self.body = named(
            squeeze=conv_norm(in_channels, inner, 1, groups=1 if first else groups),
            shuffle=ShuffleChannels(groups),
            depthwise=conv_norm(inner, inner, 3, stride, groups=inner, act=None),
            expand=conv_norm(inner, new, 1, groups=groups, act=None),
        )
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Sum or concatenation, rectified."""
        if self.pool is None:
            return F.relu(x + self.body(x))
        return F.relu(torch.cat([self.pool(x), self.body(x)], dim=1))


class UnitV2(nn.Module):
    """N×C×H×W to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = half_path(channels // 2, channels // 2, stride=1)
        self.shuffle = ShuffleChannels(2)

    def forward(self, x: Tensor) -> Tensor:
        """The first half as it is, the second through the body, shuffled."""
        kept, changed = x.chunk(2, dim=1)
        out: Tensor = self.shuffle(torch.cat([kept, self.body(changed)], dim=1))
        return out


def half_path(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """1×1, depthwise 3×3, 1×1."""
    return named(
        first=conv_norm(in_channels, out_channels, 1),
        depthwise=conv_norm(out_channels, out_channels, 3, stride, groups=out_channels, act=None),
        last=conv_norm(out_channels, out_channels, 1),
    )


def halving_unit_v2(in_channels: int, out_channels: int) -> nn.Sequential:
    """N×C×H×W to N×out×H/2×W/2."""
    half = out_channels // 2
    direct = named(
        depthwise=conv_norm(in_channels, in_channels, 3, 2, groups=in_channels, act=None),
        point=conv_norm(in_channels, half, 1),
    )
    return named(
        paths=Concat(path1=direct, path2=half_path(in_channels, half, stride=2)),
        shuffle=ShuffleChannels(2),
    )


def shuffle_stem(in_channels: int, stem: Stem) -> nn.Sequential:
    """N×C×S×S to N×24×S/4×S/4; the small stem keeps the side."""
    if stem == "small":
        return conv_norm(in_channels, 24, 3)
    layers = conv_norm(in_channels, 24, 3, stride=2)
    layers.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return layers


class ShuffleNetV1(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S. `width` is stage 2's, doubled by each next."""

    def __init__(
        self,
        groups: int,
        width: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=shuffle_stem(in_channels, stem))
        channels = 24
        for i, repeats in enumerate(REPEATS):
            out_channels = width * 2**i
            stage = nn.Sequential(UnitV1(channels, out_channels, groups, 2, first=i == 0))
            for _ in range(repeats - 1):
                stage.append(UnitV1(out_channels, out_channels, groups, 1))
            layers[f"stage{i + 2}"] = stage
            channels = out_channels
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)


class ShuffleNetV2(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S. `widths` are of stages 2 to 4 and the last 1×1."""

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=shuffle_stem(in_channels, stem))
        channels = 24
        for i, (repeats, width) in enumerate(zip(REPEATS, widths[:3], strict=True)):
            stage = nn.Sequential(halving_unit_v2(channels, width))
            for _ in range(repeats - 1):
                stage.append(UnitV2(width))
            layers[f"stage{i + 2}"] = stage
            channels = width
        layers["conv"] = conv_norm(channels, widths[3], 1)
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(widths[3], num_classes)
        super().__init__(layers)
        init_he(self)
