"""LeNet-5, with sigmoids as the book draws it, and its batch-normalised form.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition,
Proc. IEEE 1998, figure 2.

    LeNet, 1×28×28              LeNetBN, 1×28×28
    conv 5×5, 6, pad 2  6×28×28   conv 5×5, 6          6×24×24
    sigmoid                       norm, sigmoid
    average pool 2/2    6×14×14   max pool 2/2         6×12×12
    conv 5×5, 16       16×10×10   conv 5×5, 16        16×8×8
    sigmoid                       norm, sigmoid
    average pool 2/2   16×5×5     max pool 2/2        16×4×4
    flatten                400    flatten                256
    linear, sigmoid        120    linear, norm, sigmoid  120
    linear, sigmoid         84    linear, norm, sigmoid   84
    linear                  10    linear                  10

What the book's exercises change are arguments: the activation, the pooling, dropout before the last
Linear and before the one before it.
"""

from collections import OrderedDict
from typing import Literal

from torch import nn

from convworks.nets.blocks import named
from convworks.nets.initialization import init_xavier
from convworks.nets.meta import flat_features

Activation = Literal["sigmoid", "tanh", "relu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}
Pool = Literal["average", "max"]
POOLS: dict[Pool, type[nn.AvgPool2d | nn.MaxPool2d]] = {
    "average": nn.AvgPool2d,
    "max": nn.MaxPool2d,
}


class LeNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 12."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        activation: Activation = "sigmoid",
        pool: Pool = "average",
        dropout: float = 0.0,
    ) -> None:
        act, pooling = ACTIVATIONS[activation], POOLS[pool]
        features = named(
            conv1=nn.Conv2d(in_channels, 6, 5, padding=2),
            act1=act(),
            pool1=pooling(2),
            conv2=nn.Conv2d(6, 16, 5),
            act2=act(),
            pool2=pooling(2),
            flatten=nn.Flatten(),
        )
        head = named(
            fc1=nn.Linear(flat_features(features, in_channels, image_size), 120),
            act3=act(),
            **_dropout("dropout3", dropout),
            fc2=nn.Linear(120, 84),
            act4=act(),
            **_dropout("dropout4", dropout),
            fc3=nn.Linear(84, num_classes),
        )
        super().__init__(OrderedDict(features=features, head=head))
        init_xavier(self)


def _dropout(name: str, p: float) -> dict[str, nn.Module]:
    """A layer of that name, none for a probability of 0."""
    return {name: nn.Dropout(p)} if p else {}


class LeNetBN(nn.Sequential):
    """LeNet with batch norm before every sigmoid: N×C×S×S to N×classes; S at least 16.

    The layers before a norm keep their bias, as in the book, though the norm subtracts it again.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        features = named(
            conv1=nn.Conv2d(in_channels, 6, 5),
            norm1=nn.BatchNorm2d(6),
            sigmoid1=nn.Sigmoid(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            norm2=nn.BatchNorm2d(16),
            sigmoid2=nn.Sigmoid(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
        )
        head = named(
            fc1=nn.Linear(flat_features(features, in_channels, image_size), 120),
            norm3=nn.BatchNorm1d(120),
            sigmoid3=nn.Sigmoid(),
            fc2=nn.Linear(120, 84),
            norm4=nn.BatchNorm1d(84),
            sigmoid4=nn.Sigmoid(),
            fc3=nn.Linear(84, num_classes),
        )
        super().__init__(OrderedDict(features=features, head=head))
        init_xavier(self)
