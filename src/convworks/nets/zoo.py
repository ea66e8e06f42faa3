"""Every network as a row: what builds it, where it was published, what it costs.

The rows stand here and not in the networks' files so that the zoo can be listed without importing
PyTorch. The tests rebuild every row and check each claim.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One network."""

    name: str
    build: str
    """`module:Class` below `convworks.nets`."""
    paper: str
    year: int
    parameters: int
    """At `input` and `classes`."""
    macs: int
    """Multiply-adds of the convolutions and Linear layers for one image; FLOPs are twice that."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    """The constructor's arguments that make this variant."""
    input: tuple[int, int, int] = (1, 224, 224)
    """Channels, height and width in the paper or the book."""
    classes: int = 10
    smallest: int = 1
    """The smallest side in pixels that the paper's stem takes."""
    smallest_small: int | None = 1
    """The same for the small stem; None: the network has one stem only."""


LENET = "LeCun et al., Proc. IEEE 1998"
ALEXNET = "Krizhevsky et al., NeurIPS 2012"
VGG = "Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556"
NIN = "Lin et al., ICLR 2014, arXiv:1312.4400"
GOOGLENET = "Szegedy et al., CVPR 2015, arXiv:1409.4842"
BATCH_NORM = "Ioffe and Szegedy, ICML 2015, arXiv:1502.03167"
RESNET = "He et al., CVPR 2016, arXiv:1512.03385"
DENSENET = "Huang et al., CVPR 2017, arXiv:1608.06993"

ZOO: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            "lenet",
            "lenet:LeNet",
            LENET,
            1998,
            parameters=61_706,
            macs=416_520,
            input=(1, 28, 28),
            smallest=12,
            smallest_small=None,
        ),
        Row(
            "lenet_bn",
            "lenet:LeNetBN",
            BATCH_NORM,
            2015,
            parameters=44_878,
            macs=281_640,
            input=(1, 28, 28),
            smallest=16,
            smallest_small=None,
        ),
        Row(
            "alexnet",
            "alexnet:AlexNet",
            ALEXNET,
            2012,
            parameters=46_764_746,
            macs=938_146_176,
            smallest=67,
            smallest_small=7,
        ),
        Row(
            "vgg11",
            "vgg:VGG",
            VGG,
            2014,
            arguments={"blocks": ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))},
            input=(3, 224, 224),
            classes=1000,
            parameters=132_863_336,
            macs=7_609_090_048,
            smallest=32,
            smallest_small=16,
        ),
        Row(
            "vgg11_small",
            "vgg:VGG",
            VGG,
            2014,
            arguments={"blocks": ((1, 16), (1, 32), (2, 64), (2, 128), (2, 128))},
            parameters=43_093_322,
            macs=512_155_648,
            smallest=32,
            smallest_small=16,
        ),
        Row(
            "nin",
            "nin:NiN",
            NIN,
            2013,
            parameters=1_992_166,
            macs=762_297_352,
            smallest=67,
            smallest_small=7,
        ),
        Row(
            "googlenet",
            "googlenet:GoogLeNet",
            GOOGLENET,
            2014,
            input=(1, 96, 96),
            parameters=5_977_530,
            macs=276_066_304,
        ),
        Row(
            "resnet18",
            "resnet:ResNet",
            RESNET,
            2015,
            arguments={"blocks": (2, 2, 2, 2)},
            input=(3, 224, 224),
            classes=1000,
            parameters=11_689_512,
            macs=1_814_073_344,
        ),
        Row(
            "densenet_book",
            "densenet:DenseNet",
            DENSENET,
            2016,
            arguments={"blocks": (4, 4, 4, 4), "growth": 32},
            input=(1, 96, 96),
            parameters=757_322,
            macs=129_077_168,
            smallest=29,
            smallest_small=8,
        ),
    )
}
