"""SENet-154, the winner of ImageNet 2017: a ResNeXt-152 with gates and wider, earlier convolutions.

Hu, Shen, Albanie, Sun, Wu: Squeeze-and-excitation networks, arXiv:1709.01507v4, appendix.

    a block, c, 64 groups, all convolutions with norm:
    x ─┬─ 1×1, 2c, ReLU ── 3×3/s in groups, 4c, ReLU ── 1×1, 4c ── squeeze-excite /16 ─┬─ add, ReLU
       └─ as is, or 3×3/s (1×1 in stage 1) if the shape changes ───────────────────────┘

    3×224×224
    conv 3×3/2, 64; 3×3, 64; 3×3, 128; max pool 3×3/2   128×56×56
    3, 8, 36, 3 blocks of c = 64, 128, 256, 512        2048×7×7
    global average pool, dropout 0.2, linear               1000
"""

from collections import OrderedDict

from torch import Tensor, nn

from convworks.nets.blocks import SqueezeExcite, Stem, conv_norm, global_pool, named, relu
from convworks.nets.initialization import init_he


class SEBlock(nn.Module):
    """N×C×H×W to N×4·width×H/stride×W/stride."""

    def __init__(self, in_channels: int, width: int, stride: int, kernel: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.body = named(
            first=conv_norm(in_channels, 2 * width, 1),
            spatial=conv_norm(2 * width, out_channels, 3, stride, groups=64),
            last=conv_norm(out_channels, out_channels, 1, act=None),
            se=SqueezeExcite(out_channels, out_channels // 16),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv_norm(in_channels, out_channels, kernel, stride, act=None)
        self.relu = relu()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of body and shortcut, rectified."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


class SENet154(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S from 3, with the small stem any."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        dropout: float = 0.2,
    ) -> None:
        first = named(
            conv1=conv_norm(in_channels, 64, 3, stride=1 if stem == "small" else 2),
            conv2=conv_norm(64, 64, 3),
            conv3=conv_norm(64, 128, 3),
        )
        if stem == "paper":
            first.add_module("pool", nn.MaxPool2d(3, stride=2, ceil_mode=True))
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=first)
        channels = 128
        for i, (depth, width) in enumerate(zip((3, 8, 36, 3), (64, 128, 256, 512), strict=True)):
            stride, kernel = (1, 1) if i == 0 else (2, 3)
            stage = nn.Sequential(SEBlock(channels, width, stride, kernel))
            for _ in range(depth - 1):
                stage.append(SEBlock(4 * width, width, 1, kernel))
            layers[f"stage{i + 1}"] = stage
            channels = 4 * width
        layers["pool"] = global_pool()
        layers["dropout"] = nn.Dropout(dropout)
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)
