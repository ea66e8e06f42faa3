"""MobileNet: every 3×3 convolution split into one over space and one over channels.

Howard et al. 2017, arXiv:1704.04861, figure 3, table 1.

    separable (c, s):  depthwise 3×3/s, norm, ReLU6 ── 1×1, c, norm, ReLU6

    3×224×224
    conv 3×3/2, 32, norm, ReLU6                                        32×112×112
    separable 64; 128/2, 128; 256/2, 256; 512/2, 5 × 512; 1024/2, 1024  1024×7×7
    global average pool, linear                                           1000

The paper writes ReLU; the authors' released code, and so the published weights, cut it off at 6.
"""

from collections import OrderedDict

from torch import nn

from convworks.nets.blocks import Stem, conv_norm, global_pool, named, relu6
from convworks.nets.initialization import init_he

LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)
"""(channels, stride) of the separable convolutions, all but the last two."""


def separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """N×C×H×W to N×out×H/stride×W/stride."""
    return named(
        depthwise=conv_norm(in_channels, in_channels, 3, stride, groups=in_channels, act=relu6),
        pointwise=conv_norm(in_channels, out_channels, 1, act=relu6),
    )


class MobileNetV1(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, stem: Stem = "paper") -> None:
        layers = nn.Sequential()
        channels = 32
        for width, stride in (*LAYERS, (1024, 2), (1024, 1)):
            layers.append(separable(channels, width, stride))
            channels = width
        super().__init__(
            OrderedDict(
                stem=conv_norm(in_channels, 32, 3, stride=1 if stem == "small" else 2, act=relu6),
                layers=layers,
                pool=global_pool(),
                fc=nn.Linear(channels, num_classes),
            )
        )
        init_he(self)
