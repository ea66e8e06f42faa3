"""VGG: blocks of 3×3 convolutions, each block halving the side.

Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition,
ICLR 2015, arXiv:1409.1556, table 1.

    a block (n, c) = n × (conv 3×3, c, pad 1, ReLU), max pool 2×2/2

    VGG-11, 3×224×224
    block (1, 64)     64×112×112
    block (1, 128)   128×56×56
    block (2, 256)   256×28×28
    block (2, 512)   512×14×14
    block (2, 512)   512×7×7
    flatten              25088
    linear, ReLU, dropout ½    4096
    linear, ReLU, dropout ½    4096
    linear                     1000
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from convworks.nets.alexnet import fc_head
from convworks.nets.blocks import Stem, relu
from convworks.nets.initialization import init_xavier
from convworks.nets.meta import flat_features


def vgg_block(
    in_channels: int, out_channels: int, convs: int, norm: bool = False, pool: bool = True
) -> nn.Sequential:
    """N×C×H×W to N×out×H/2×W/2 (the same H×W without the pool)."""
    block = nn.Sequential()
    for i in range(convs):
        channels = in_channels if i == 0 else out_channels
        conv = nn.Conv2d(channels, out_channels, 3, padding=1)
        block.add_module(f"conv{i + 1}", conv)
        if norm:
            block.add_module(f"norm{i + 1}", nn.BatchNorm2d(out_channels))
        block.add_module(f"relu{i + 1}", relu())
    if pool:
        block.add_module("pool", nn.MaxPool2d(2))
    return block


class VGG(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 32, with the small stem 16.

    `blocks` is (convolutions, channels) of each block; `norm` puts batch norm behind every
    convolution, whose bias stays, as in torchvision. The small stem leaves out the first
    block's pooling: its convolution is already 3×3 with stride 1.
    """

    def __init__(
        self,
        blocks: Sequence[tuple[int, int]],
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 224,
        stem: Stem = "paper",
        norm: bool = False,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        features = nn.Sequential()
        channels = in_channels
        for i, (convs, width) in enumerate(blocks):
            pool = i > 0 or stem == "paper"
            features.add_module(f"block{i + 1}", vgg_block(channels, width, convs, norm, pool))
            channels = width
        in_features = flat_features(features, in_channels, image_size)
        head = fc_head(in_features, hidden, num_classes, dropout)
        super().__init__(OrderedDict(features=features, head=head))
        init_xavier(self)
