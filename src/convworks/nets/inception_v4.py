"""Inception-v4.

Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the impact of residual
connections on learning, AAAI 2017, arXiv:1602.07261, figures 3 to 9. All convolutions with norm
and ReLU; · separates paths.

    stem, 3×299×299: 3×3/2 32, 3×3 32, 3×3 64                       64×147×147
          max pool · 3×3/2 96                                      160×73×73
          1×1 64, 3×3 96 · 1×1 64, 1×7 64, 7×1 64, 3×3 96          192×71×71
          3×3/2 192 · max pool                                     384×35×35
    4 × A: 1×1 96 · 1×1 64, 3×3 96 · 1×1 64, 3×3 96, 3×3 96 · average, 1×1 96
    halving: 3×3/2 384 · 1×1 192, 3×3 224, 3×3/2 256 · max pool   1024×17×17
    7 × B: 1×1 384 · 1×1 192, 1×7 224, 7×1 256 ·
           1×1 192, 7×1 192, 1×7 224, 7×1 224, 1×7 256 · average, 1×1 128
    halving: 1×1 192, 3×3/2 192 · 1×1 256, 1×7 256, 7×1 320, 3×3/2 320 · max pool   1536×8×8
    3 × C: 1×1 256 · 1×1 384, (1×3 256 · 3×1 256) ·
           1×1 384, 3×1 448, 1×3 512, (1×3 256 · 3×1 256) · average, 1×1 256
    global average pool, dropout 0.2, linear                         1000
"""

from collections import OrderedDict

from torch import nn

from convworks.nets.blocks import Concat, Stem, global_pool, named, with_gates
from convworks.nets.inception_bn import average_3x3, pooled
from convworks.nets.inception_v3 import chain
from convworks.nets.initialization import init_he

WIDE, TALL = (1, 7), (7, 1)


def paper_stem(in_channels: int) -> nn.Sequential:
    """N×C×299×299 to N×384×35×35."""
    return nn.Sequential(
        chain(in_channels, (32, 3, 2), (32, 3, 1), (64, 3)),
        Concat(pool=nn.MaxPool2d(3, stride=2), conv=chain(64, (96, 3, 2))),
        Concat(
            path1=chain(160, (64, 1), (96, 3, 1)),
            path2=chain(160, (64, 1), (64, WIDE), (64, TALL), (96, 3, 1)),
        ),
        Concat(conv=chain(192, (192, 3, 2)), pool=nn.MaxPool2d(3, stride=2)),
    )


def block_a() -> Concat:
    """N×384×H×W to the same shape."""
    return Concat(
        path1=chain(384, (96, 1)),
        path2=chain(384, (64, 1), (96, 3)),
        path3=chain(384, (64, 1), (96, 3), (96, 3)),
        path4=pooled(average_3x3(), chain(384, (96, 1))),
    )


def halving_a(c: int, k: int, m: int, n: int, last: int) -> Concat:
    """N×c×H×W to N×(n + last + c)×H/2×W/2, figure 7."""
    return Concat(
        path1=chain(c, (n, 3, 2)),
        path2=chain(c, (k, 1), (m, 3), (last, 3, 2)),
        path3=nn.MaxPool2d(3, stride=2),
    )


def block_b() -> Concat:
    """N×1024×H×W to the same shape."""
    return Concat(
        path1=chain(1024, (384, 1)),
        path2=chain(1024, (192, 1), (224, WIDE), (256, TALL)),
        path3=chain(1024, (192, 1), (192, TALL), (224, WIDE), (224, TALL), (256, WIDE)),
        path4=pooled(average_3x3(), chain(1024, (128, 1))),
    )


def halving_b() -> Concat:
    """N×1024×H×W to N×1536×H/2×W/2, figure 8."""
    return Concat(
        path1=chain(1024, (192, 1), (192, 3, 2)),
        path2=chain(1024, (256, 1), (256, WIDE), (320, TALL), (320, 3, 2)),
        path3=nn.MaxPool2d(3, stride=2),
    )


def spread(c: int) -> Concat:
    """N×c×H×W to N×512×H×W: 1×3 and 3×1 side by side."""
    return Concat(wide=chain(c, (256, (1, 3))), tall=chain(c, (256, (3, 1))))


def block_c() -> Concat:
    """N×1536×H×W to the same shape."""
    return Concat(
        path1=chain(1536, (256, 1)),
        path2=named(chain=chain(1536, (384, 1)), spread=spread(384)),
        path3=named(chain=chain(1536, (384, 1), (448, (3, 1)), (512, (1, 3))), spread=spread(512)),
        path4=pooled(average_3x3(), chain(1536, (256, 1))),
    )


class InceptionV4(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 75, with the small stem 7.

    `se` is the reduction of squeeze-and-excitation behind every block, 0: without.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        dropout: float = 0.2,
        se: int = 0,
    ) -> None:
        small = stem == "small"
        stage3 = [*(block_a() for _ in range(4)), halving_a(384, 192, 224, 384, 256)]
        stage4 = [*(block_b() for _ in range(7)), halving_b()]
        stage5 = [block_c() for _ in range(3)]
        super().__init__(
            OrderedDict(
                stem=chain(in_channels, (384, 3)) if small else paper_stem(in_channels),
                stage3=with_gates(nn.Sequential(*stage3), 384, se),
                stage4=with_gates(nn.Sequential(*stage4), 1024, se),
                stage5=with_gates(nn.Sequential(*stage5), 1536, se),
                pool=global_pool(),
                dropout=nn.Dropout(dropout),
                fc=nn.Linear(1536, num_classes),
            )
        )
        init_he(self)
