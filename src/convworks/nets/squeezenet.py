"""SqueezeNet 1.1: AlexNet's accuracy with a fiftieth of its weights.

Iandola et al. 2016, arXiv:1602.07360, figure 1; version 1.1 of the authors' released code.

    a fire block (s, e):  1×1 s, ReLU ─┬─ 1×1 e, ReLU ─┬─ concatenate: 2e channels
                                       └─ 3×3 e, ReLU ─┘

    3×224×224
    conv 3×3/2, 64, ReLU; max pool 3×3/2            64×55×55
    fire (16, 64), fire (16, 64); max pool 3×3/2   128×27×27
    fire (32, 128), fire (32, 128); max pool       256×13×13
    fire (48, 192) twice, fire (64, 256) twice     512×13×13
    dropout ½, conv 1×1, ReLU, global average pool      1000
"""

from collections import OrderedDict

from torch import nn

from convworks.nets.blocks import Concat, Stem, conv_relu, named
from convworks.nets.initialization import init_he


def fire(in_channels: int, squeeze: int, expand: int) -> nn.Sequential:
    """N×C×H×W to N×2·expand×H×W."""
    return named(
        squeeze=conv_relu(in_channels, squeeze, 1),
        expand=Concat(
            point=conv_relu(squeeze, expand, 1),
            spatial=conv_relu(squeeze, expand, 3, padding=1),
        ),
    )


def pool() -> nn.MaxPool2d:
    """Halves the side, rounded up."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class SqueezeNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 17, with the small stem 4."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        dropout: float = 0.5,
    ) -> None:
        if stem == "small":
            first = conv_relu(in_channels, 64, 3, padding=1)
        else:
            first = conv_relu(in_channels, 64, 3, stride=2)
            first.add_module("pool", pool())
        super().__init__(
            OrderedDict(
                stem=first,
                stage1=nn.Sequential(fire(64, 16, 64), fire(128, 16, 64), pool()),
                stage2=nn.Sequential(fire(128, 32, 128), fire(256, 32, 128), pool()),
                stage3=nn.Sequential(
                    fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), fire(512, 64, 256)
                ),
                dropout=nn.Dropout(dropout),
                classes=conv_relu(512, num_classes, 1),
                average=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
            )
        )
        init_he(self)
