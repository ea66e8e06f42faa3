"""ConvNeXt: a ResNet rebuilt step by step with what transformers taught.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie: A ConvNet for the 2020s, CVPR 2022, arXiv:2201.03545,
figure 4, table 9.

    a block, c:  x ─┬─ depthwise 7×7 ── layer norm ── linear, 4c, GELU ── linear, c ── scale ─┬─ add
                    └─────────────────────────────────────────────────────────────────────────┘

    tiny, 3×224×224
    stem      conv 4×4/4, 96, layer norm              96×56×56
    stage 1   3 blocks, 96                            96×56×56
    stage 2   layer norm, conv 2×2/2; 3 blocks, 192  192×28×28
    stage 3   layer norm, conv 2×2/2; 9 blocks, 384  384×14×14
    stage 4   layer norm, conv 2×2/2; 3 blocks, 768  768×7×7
    global average pool, layer norm, linear             1000
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.nets.blocks import DropPath, Stem, named

EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of N×C×H×W, each pixel by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """N×C×H×W to the same shape. `drop` is the probability to be left out in training."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.pixel = named(
            norm=nn.LayerNorm(channels, eps=EPS),
            expand=nn.Linear(channels, 4 * channels),
            act=nn.GELU(),
            project=nn.Linear(4 * channels, channels),
        )
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        """The input and the scaled body."""
        body = self.pixel(self.spatial(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        out: Tensor = x + self.drop(self.layer_scale * body)
        return out


class ConvNeXt(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 32, with the small stem 8."""

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        drop_path: float = 0.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        total, done, channels = sum(depths), 0, widths[0]
        conv = nn.Conv2d(in_channels, channels, 4, stride=4)
        if stem == "small":
            conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=named(conv=conv, norm=ChannelNorm(channels, eps=EPS))
        )
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            stage = nn.Sequential()
            if i > 0:
                stage.append(ChannelNorm(channels, eps=EPS))
                stage.append(nn.Conv2d(channels, width, 2, stride=2))
            for _ in range(depth):
                stage.append(ConvNeXtBlock(width, drop_path * done / (total - 1)))
                done += 1
            layers[f"stage{i + 1}"] = stage
            channels = width
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["norm"] = ChannelNorm(channels, eps=EPS)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        for layer in self.modules():  # appendix A.1
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
