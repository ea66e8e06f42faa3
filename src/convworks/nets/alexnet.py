"""AlexNet, one stream, as the book draws it.

Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks,
NeurIPS 2012, figure 2. The paper splits the channels over two GPUs and normalises responses;
neither is done here.

    1×224×224
    conv 11×11/4, 96, ReLU       96×54×54
    max pool 3×3/2               96×26×26
    conv 5×5, 256, pad 2, ReLU  256×26×26
    max pool 3×3/2              256×12×12
    conv 3×3, 384, pad 1, ReLU  384×12×12
    conv 3×3, 384, pad 1, ReLU  384×12×12
    conv 3×3, 256, pad 1, ReLU  256×12×12
    max pool 3×3/2              256×5×5
    linear, ReLU, dropout ½          4096
    linear, ReLU, dropout ½          4096
    linear                             10
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from convworks.nets.blocks import Stem, conv_relu, named
from convworks.nets.initialization import init_xavier
from convworks.nets.meta import flat_features


def fc_head(in_features: int, hidden: int, num_classes: int, dropout: float) -> nn.Sequential:
    """The three Linear layers that end AlexNet and VGG: N×C×H×W, flattened, to N×classes."""
    return named(
        flatten=nn.Flatten(),
        fc1=nn.Linear(in_features, hidden),
        relu1=nn.ReLU(inplace=True),
        dropout1=nn.Dropout(dropout),
        fc2=nn.Linear(hidden, hidden),
        relu2=nn.ReLU(inplace=True),
        dropout2=nn.Dropout(dropout),
        fc3=nn.Linear(hidden, num_classes),
    )


class AlexNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 67, with the small stem 7.

    `widths` are the convolutions' channels, `hidden` the Linear layers' width. For 28 pixels, where
    those of the paper are more than such images need, take widths (32, 64, 96, 96, 64) and hidden
    256: 1/64 of the parameters that the small stem leaves, and 1/14 of the multiply-adds.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 224,
        stem: Stem = "paper",
        hidden: int = 4096,
        dropout: float = 0.5,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
    ) -> None:
        w1, w2, w3, w4, w5 = widths
        if stem == "small":
            first = conv_relu(in_channels, w1, 3, padding=1)
        else:
            first = conv_relu(in_channels, w1, 11, stride=4)
            first.add_module("pool", nn.MaxPool2d(3, stride=2))
        features = named(
            stem=first,
            conv2=conv_relu(w1, w2, 5, padding=2),
            pool2=nn.MaxPool2d(3, stride=2),
            conv3=conv_relu(w2, w3, 3, padding=1),
            conv4=conv_relu(w3, w4, 3, padding=1),
            conv5=conv_relu(w4, w5, 3, padding=1),
            pool5=nn.MaxPool2d(3, stride=2),
        )
        in_features = flat_features(features, in_channels, image_size)
        head = fc_head(in_features, hidden, num_classes, dropout)
        super().__init__(OrderedDict(features=features, head=head))
        init_xavier(self)
