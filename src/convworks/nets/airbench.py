"""Airbench: a small network that learns CIFAR-10 in seconds.

Jordan: 94% on CIFAR-10 in 3.29 seconds on a single GPU, arXiv:2404.00498, section 3 and appendix A.

    airbench94, 3×32×32
    whiten    conv 2×2, 24, GELU                        24×31×31
    block 1   conv 3×3, max pool 2/2, norm, GELU        64×15×15
              conv 3×3, norm, GELU
    block 2   the same                                 256×7×7
    block 3   the same                                 256×3×3
    global max pool                                        256
    linear, without bias                                    10

The paper computes the first layer's weights from the training pictures, so that it whitens their
2×2 patches, and keeps them and every norm's γ as they are; here all are learned. Its factor 1/9 on
the logits is in the last layer's initial weights.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from convworks.nets.blocks import named

PATCH = 2
"""Side of the patches that the first layer sees."""


class Airbench(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 9."""

    def __init__(
        self,
        widths: Sequence[int] = (64, 256, 256),
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        channels = 2 * in_channels * PATCH**2  # each of a patch's directions, and its negative
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            whiten=named(conv=nn.Conv2d(in_channels, channels, PATCH), act=nn.GELU())
        )
        for i, width in enumerate(widths):
            layers[f"block{i + 1}"] = _block(channels, width)
            channels = width
        layers["pool"] = named(pool=nn.AdaptiveMaxPool2d(1), flatten=nn.Flatten())
        layers["fc"] = nn.Linear(channels, num_classes, bias=False)
        super().__init__(layers)
        _initialize(self)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two convolutions, the first of which halves the side."""
    return named(
        conv1=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        pool=nn.MaxPool2d(2),
        norm1=nn.BatchNorm2d(out_channels),
        act1=nn.GELU(),
        conv2=nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(out_channels),
        act2=nn.GELU(),
    )


@torch.no_grad()
def _initialize(network: Airbench) -> None:
    """3×3 convolutions begin by passing on what they see (section 3.3), the logits small."""
    whiten, fc = network.get_submodule("whiten.conv"), network.get_submodule("fc")
    assert isinstance(whiten, nn.Conv2d)
    assert isinstance(fc, nn.Linear)
    half = len(whiten.weight) // 2
    nn.init.orthogonal_(whiten.weight[:half])
    whiten.weight[half:] = -whiten.weight[:half]
    fc.weight /= 9
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer is not whiten:
            nn.init.dirac_(layer.weight[: layer.in_channels])
