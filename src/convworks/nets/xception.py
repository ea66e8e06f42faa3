"""Xception: Inception taken to its end: every convolution depthwise, then 1×1.

Chollet: Xception: deep learning with depthwise separable convolutions, CVPR 2017,
arXiv:1610.02357, figure 5. separable = depthwise 3×3, 1×1, norm.

    a block: x ─┬─ (ReLU, separable) × n [─ max pool 3×3/2] ─┬─ add
                └─ as is, or 1×1/2, norm ────────────────────┘

    3×299×299
    entry    conv 3×3/2, 32; conv 3×3, 64, both norm, ReLU       64×147×147
             blocks of 2, halving: 128 (no first ReLU), 256, 728  728×19×19
    middle   8 blocks of 3, 728                                  728×19×19
    exit     block of 2, halving: 728, 1024                     1024×10×10
             separable 1536, ReLU; separable 2048, ReLU         2048×10×10
    global average pool, linear                                      1000
"""

from collections import OrderedDict

from torch import Tensor, nn

from convworks.nets.blocks import Stem, conv_norm, global_pool, named, relu
from convworks.nets.initialization import init_he


def separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """N×C×H×W to N×out×H×W."""
    return named(
        depthwise=nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        pointwise=nn.Conv2d(in_channels, out_channels, 1, bias=False),
        norm=nn.BatchNorm2d(out_channels),
    )


class XceptionBlock(nn.Module):
    """N×C×H×W to N×(the last of `widths`)×H'×W', the side halved where the channels change."""

    def __init__(self, in_channels: int, *widths: int, first_relu: bool = True) -> None:
        super().__init__()
        halve = widths[-1] != in_channels
        self.body = nn.Sequential()
        channels = in_channels
        for i, width in enumerate(widths):
            if i > 0 or first_relu:
                self.body.append(nn.ReLU(inplace=i > 0))  # the shortcut needs the input as it was
            self.body.append(separable(channels, width))
            channels = width
        self.shortcut: nn.Module = nn.Identity()
        if halve:
            self.body.append(nn.MaxPool2d(3, stride=2, padding=1))
            self.shortcut = conv_norm(in_channels, channels, 1, stride=2, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of body and shortcut."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class Xception(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 7, with the small stem any."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, stem: Stem = "paper") -> None:
        if stem == "small":
            first = conv_norm(in_channels, 64, 3)
        else:
            first = named(
                conv1=conv_norm(in_channels, 32, 3, stride=2, padding=0),
                conv2=conv_norm(32, 64, 3, padding=0),
            )
        super().__init__(
            OrderedDict(
                stem=first,
                entry=nn.Sequential(
                    XceptionBlock(64, 128, 128, first_relu=False),
                    XceptionBlock(128, 256, 256),
                    XceptionBlock(256, 728, 728),
                ),
                middle=nn.Sequential(*(XceptionBlock(728, 728, 728, 728) for _ in range(8))),
                exit=named(
                    block=XceptionBlock(728, 728, 1024),
                    conv1=separable(1024, 1536),
                    relu1=relu(),
                    conv2=separable(1536, 2048),
                    relu2=relu(),
                ),
                pool=global_pool(),
                fc=nn.Linear(2048, num_classes),
            )
        )
        init_he(self)
