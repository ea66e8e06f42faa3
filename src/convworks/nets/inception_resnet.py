"""Inception-ResNet-v2: Inception blocks whose result is scaled and added to their input.

Szegedy, Ioffe, Vanhoucke, Alemi 2017, arXiv:1602.07261, figures 15 to 20, section 3.3; widths and
scales as in the authors' released code, whose stem is Inception-v3's. All convolutions with norm
and ReLU but the 1×1 before the sum, which has a bias instead; · separates paths.

    residual:  x ─┬─ paths ── concatenate ── 1×1 to C, × scale ─┬─ add ── ReLU
                  └─────────────────────────────────────────────┘

    3×299×299
    stem        as Inception-v3's                                            192×35×35
    mixed       1×1 96 · 1×1 48, 5×5 64 · 1×1 64, 3×3 96, 3×3 96 · average, 1×1 64   320×35×35
    10 × A, 0.17:  1×1 32 · 1×1 32, 3×3 32 · 1×1 32, 3×3 48, 3×3 64
    halving     3×3/2 384 · 1×1 256, 3×3 256, 3×3/2 384 · max pool          1088×17×17
    20 × B, 0.10:  1×1 192 · 1×1 128, 1×7 160, 7×1 192
    halving     1×1 256, 3×3/2 384 · 1×1 256, 3×3/2 288 ·
                1×1 256, 3×3 288, 3×3/2 320 · max pool                      2080×8×8
    9 × C, 0.20, and one with scale 1 and no ReLU:  1×1 192 · 1×1 192, 1×3 224, 3×1 256
    conv 1×1                                                                1536×8×8
    global average pool, dropout 0.2, linear                                    1000
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from convworks.nets.blocks import Concat, SqueezeExcite, Stem, global_pool
from convworks.nets.inception_bn import average_3x3, pooled
from convworks.nets.inception_v3 import chain, v3_stem
from convworks.nets.inception_v4 import halving_a
from convworks.nets.initialization import init_he


class ScaledResidual(nn.Module):
    """N×C×H×W to the same shape, by way of paths that give `inner` channels together."""

    def __init__(
        self,
        channels: int,
        inner: int,
        paths: Concat,
        scale: float,
        last: bool = False,
        se: int = 0,
    ) -> None:
        super().__init__()
        self.paths = paths
        self.se = SqueezeExcite(channels, max(1, channels // se)) if se else nn.Identity()
        self.project = nn.Conv2d(inner, channels, 1)
        self.scale = scale
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """The input and the scaled body, rectified unless it is the last."""
        out = x + self.scale * self.se(self.project(self.paths(x)))
        return out if self.last else F.relu(out)


def residual_a(se: int = 0) -> ScaledResidual:
    """N×320×H×W to the same shape."""
    paths = Concat(
        path1=chain(320, (32, 1)),
        path2=chain(320, (32, 1), (32, 3)),
        path3=chain(320, (32, 1), (48, 3), (64, 3)),
    )
    return ScaledResidual(320, 128, paths, scale=0.17, se=se)


def residual_b(se: int = 0) -> ScaledResidual:
    """N×1088×H×W to the same shape."""
    paths = Concat(
        path1=chain(1088, (192, 1)),
        path2=chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))),
    )
    return ScaledResidual(1088, 384, paths, scale=0.10, se=se)


def residual_c(last: bool = False, se: int = 0) -> ScaledResidual:
    """N×2080×H×W to the same shape."""
    paths = Concat(
        path1=chain(2080, (192, 1)),
        path2=chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))),
    )
    return ScaledResidual(2080, 448, paths, scale=1.0 if last else 0.20, last=last, se=se)


def mixed() -> Concat:
    """N×192×H×W to N×320×H×W."""
    return Concat(
        path1=chain(192, (96, 1)),
        path2=chain(192, (48, 1), (64, 5)),
        path3=chain(192, (64, 1), (96, 3), (96, 3)),
        path4=pooled(average_3x3(), chain(192, (64, 1))),
    )


def halving_b() -> Concat:
    """N×1088×H×W to N×2080×H/2×W/2."""
    return Concat(
        path1=chain(1088, (256, 1), (384, 3, 2)),
        path2=chain(1088, (256, 1), (288, 3, 2)),
        path3=chain(1088, (256, 1), (288, 3), (320, 3, 2)),
        path4=nn.MaxPool2d(3, stride=2),
    )


class InceptionResNetV2(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 75, with the small stem 7.

    `se` is the reduction of squeeze-and-excitation before every sum (Hu et al., arXiv:1709.01507,
    table 2, with 16), 0: without.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        dropout: float = 0.2,
        se: int = 0,
    ) -> None:
        super().__init__(
            OrderedDict(
                stem=v3_stem(in_channels, stem),
                stage3=nn.Sequential(mixed(), *(residual_a(se) for _ in range(10))),
                halving1=halving_a(320, 256, 256, 384, 384),
                stage4=nn.Sequential(*(residual_b(se) for _ in range(20))),
                halving2=halving_b(),
                stage5=nn.Sequential(
                    *(residual_c(se=se) for _ in range(9)), residual_c(last=True, se=se)
                ),
                conv=chain(2080, (1536, 1)),
                pool=global_pool(),
                dropout=nn.Dropout(dropout),
                fc=nn.Linear(1536, num_classes),
            )
        )
        init_he(self)
