"""Inception with batch norm (BN-Inception, v2).

Ioffe and Szegedy: Batch normalization: accelerating deep network training by reducing internal
covariate shift, ICML 2015, arXiv:1502.03167, figure 5. Against GoogLeNet: norm behind every
convolution, two 3×3 for the 5×5, averages in most blocks, halving inside two blocks. The paper's
first 7×7 is separable as well; here it is dense.

    a block (a, (b, c), (d, e), f), every convolution with norm and ReLU:
    ┌─ 1×1 a ────────────────────────┐        halving: ┌─ 1×1 b ─ 3×3/2 c ─────────┐
    ├─ 1×1 b ─ 3×3 c ────────────────┤                 ├─ 1×1 d ─ 3×3 e ─ 3×3/2 e ─┤
    ├─ 1×1 d ─ 3×3 e ─ 3×3 e ────────┼─ concatenate    └─ max pool 3×3/2 ──────────┴─ concatenate
    └─ pool 3×3/1 ─ 1×1 f ───────────┘

    3×224×224
    stage 1   conv 7×7/2, 64; max pool                64×56×56
    stage 2   conv 1×1, 64; conv 3×3, 192; max pool  192×28×28
    stage 3   256, 320, halving                      576×14×14
    stage 4   576, 576, 608, 608, halving           1056×7×7
    stage 5   1024, 1024                            1024×7×7
    global average pool, linear                        1000

The figure prints 576 for the third and fourth block of stage 4; its own paths give 608, as the
released network has.
"""

from collections import OrderedDict

from torch import nn

from convworks.nets.blocks import Concat, Size, Stem, conv_norm, global_pool, with_gates
from convworks.nets.initialization import init_he

Layer = tuple[int, Size] | tuple[int, Size, int]
"""Channels and kernel, padded to keep the side; with stride 2 as the third, not padded."""


def chain(in_channels: int, *layers: Layer, eps: float = 1e-5, pad: bool = False) -> nn.Sequential:
    """Convolutions one after the other, each with norm and ReLU.

    A third number is the stride, and takes the padding away (stride 1: only that) unless `pad`.
    """
    path = nn.Sequential()
    for i, (channels, kernel, *rest) in enumerate(layers):
        padding = 0 if rest and not pad else None
        stride = rest[0] if rest else 1
        conv = conv_norm(in_channels, channels, kernel, stride, padding, eps=eps)
        path.add_module(f"conv{i + 1}", conv)
        in_channels = channels
    return path


def pooled(pool: nn.Module, path: nn.Sequential) -> nn.Sequential:
    """Pooling, then the path."""
    return nn.Sequential(OrderedDict(pool=pool, **dict(path.named_children())))


def average_3x3(count_padding: bool = False) -> nn.AvgPool2d:
    """3×3 averages that keep the side."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=count_padding)


Paths = tuple[int, tuple[int, int], tuple[int, int], int]


def block(in_channels: int, paths: Paths, pool: nn.Module | None = None) -> Concat:
    """N×C×H×W to N×(a + c + e + f)×H×W; averages unless another pool is given."""
    a, (b, c), (d, e), f = paths
    return Concat(
        path1=chain(in_channels, (a, 1)),
        path2=chain(in_channels, (b, 1), (c, 3)),
        path3=chain(in_channels, (d, 1), (e, 3), (e, 3)),
        path4=pooled(pool or average_3x3(), chain(in_channels, (f, 1))),
    )


def halving(in_channels: int, b: int, c: int, d: int, e: int) -> Concat:
    """N×C×H×W to N×(c + e + C)×H/2×W/2."""
    return Concat(
        path1=chain(in_channels, (b, 1), (c, 3, 2), pad=True),
        path2=chain(in_channels, (d, 1), (e, 3), (e, 3, 2), pad=True),
        path3=nn.MaxPool2d(3, stride=2, padding=1),
    )


class InceptionBN(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S.

    `se` is the reduction of squeeze-and-excitation behind every block (SE-BN-Inception, Hu et al.,
    arXiv:1709.01507, table 2, with 16), 0: without.
    """

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, stem: Stem = "paper", se: int = 0
    ) -> None:
        if stem == "small":
            stage1 = conv_norm(in_channels, 64, 3)
        else:
            stage1 = conv_norm(in_channels, 64, 7, stride=2)
            stage1.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        stage2 = chain(64, (64, 1), (192, 3))
        stage2.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        super().__init__(
            OrderedDict(
                stage1=stage1,
                stage2=stage2,
                stage3=with_gates(
                    nn.Sequential(
                        block(192, (64, (64, 64), (64, 96), 32)),
                        block(256, (64, (64, 96), (64, 96), 64)),
                        halving(320, 128, 160, 64, 96),
                    ),
                    192,
                    se,
                ),
                stage4=with_gates(
                    nn.Sequential(
                        block(576, (224, (64, 96), (96, 128), 128)),
                        block(576, (192, (96, 128), (96, 128), 128)),
                        block(576, (160, (128, 160), (128, 160), 128)),
                        block(608, (96, (128, 192), (160, 192), 128)),
                        halving(608, 128, 192, 192, 256),
                    ),
                    576,
                    se,
                ),
                stage5=with_gates(
                    nn.Sequential(
                        block(1056, (352, (192, 320), (160, 224), 128)),
                        block(1024, (352, (192, 320), (192, 224), 128), nn.MaxPool2d(3, 1, 1)),
                    ),
                    1056,
                    se,
                ),
                pool=global_pool(),
                fc=nn.Linear(1024, num_classes),
            )
        )
        init_he(self)
