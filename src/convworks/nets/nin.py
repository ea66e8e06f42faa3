"""Network in network: 1×1 convolutions inside, global average pooling instead of linear layers.

Lin, Chen, Yan: Network in network, ICLR 2014, arXiv:1312.4400, figure 2; sizes as in the book.

    a NiN block k×k, c = conv k×k, c, ReLU, conv 1×1, c, ReLU, conv 1×1, c, ReLU

    1×224×224
    NiN block 11×11/4, 96        96×54×54
    max pool 3×3/2               96×26×26
    NiN block 5×5, 256, pad 2   256×26×26
    max pool 3×3/2              256×12×12
    NiN block 3×3, 384, pad 1   384×12×12
    max pool 3×3/2              384×5×5
    dropout ½
    NiN block 3×3, 10, pad 1     10×5×5
    global average pool          10×1×1
    flatten                          10
"""

from collections import OrderedDict

from torch import nn

from convworks.nets.blocks import Stem, conv_relu, named
from convworks.nets.initialization import init_xavier


def nin_block(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    mixes: int = 2,
) -> nn.Sequential:
    """N×C×H×W to N×out×H'×W', with so many 1×1 convolutions."""
    block = named(spatial=conv_relu(in_channels, out_channels, kernel, stride, padding))
    for i in range(mixes):
        block.add_module(f"mix{i + 1}", conv_relu(out_channels, out_channels, 1))
    return block


class NiN(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 67, with the small stem 7.

    `mixes` counts the 1×1 convolutions of a block.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        stem: Stem = "paper",
        dropout: float = 0.5,
        mixes: int = 2,
    ) -> None:
        if stem == "small":
            first: dict[str, nn.Module] = {
                "block1": nin_block(in_channels, 96, 3, padding=1, mixes=mixes)
            }
        else:
            first = {
                "block1": nin_block(in_channels, 96, 11, stride=4, mixes=mixes),
                "pool1": nn.MaxPool2d(3, stride=2),
            }
        super().__init__(
            OrderedDict(
                **first,
                block2=nin_block(96, 256, 5, padding=2, mixes=mixes),
                pool2=nn.MaxPool2d(3, stride=2),
                block3=nin_block(256, 384, 3, padding=1, mixes=mixes),
                pool3=nn.MaxPool2d(3, stride=2),
                dropout=nn.Dropout(dropout),
                block4=nin_block(384, num_classes, 3, padding=1, mixes=mixes),
                average=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
            )
        )
        init_xavier(self)
