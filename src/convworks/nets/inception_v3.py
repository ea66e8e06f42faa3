"""Inception-v3.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception architecture for computer vision,
CVPR 2016, arXiv:1512.00567, table 1, figures 5, 6, 7 and 10; widths as in the authors' released
code and torchvision.

    A(p), figure 5              B, figure 10            C(c), figure 6
    1×1 64                      3×3/2 384               1×1 192
    1×1 48 ─ 5×5 64             1×1 64 ─ 3×3 96 ─       1×1 c ─ 1×7 c ─ 7×1 192
    1×1 64 ─ 3×3 96 ─ 3×3 96      3×3/2 96              1×1 c ─ 7×1 c ─ 1×7 c ─ 7×1 c ─ 1×7 192
    average ─ 1×1 p             max pool /2             average ─ 1×1 192

    D                           E, figure 7
    1×1 192 ─ 3×3/2 320         1×1 320
    1×1 192 ─ 1×7 192 ─         1×1 384 ─┬─ 1×3 384
      7×1 192 ─ 3×3/2 192                └─ 3×1 384
    max pool /2                 1×1 448 ─ 3×3 384 ─┬─ 1×3 384
                                                   └─ 3×1 384
                                average ─ 1×1 192

    3×299×299
    stem      3×3/2 32, 3×3 32, 3×3 64, max pool, 1×1 80, 3×3 192, max pool   192×35×35
    stage 3   A(32), A(64), A(64), B                                          768×17×17
    stage 4   C(128), C(160), C(160), C(192)                                  768×17×17
    stage 5   D, E, E                                                        2048×8×8
    global average pool, dropout, linear                                          1000

The auxiliary head (section 4) reads stage 4; it is there to train with.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convworks.errors import InputError
from convworks.nets.blocks import (
    Concat,
    Stem,
    conv_norm,
    global_pool,
    named,
    with_gates,
)
from convworks.nets.inception_bn import Layer, average_3x3, pooled
from convworks.nets.inception_bn import chain as padded_chain
from convworks.nets.initialization import init_he
from convworks.nets.meta import output_shape

EPS = 1e-3


def chain(in_channels: int, *layers: Layer) -> nn.Sequential:
    """Convolutions one after the other, with the norms of the authors' released code."""
    return padded_chain(in_channels, *layers, eps=EPS)


def v3_stem(in_channels: int, stem: Stem) -> nn.Sequential:
    """N×C×299×299 to N×192×35×35; the small stem keeps the side."""
    if stem == "small":
        return chain(in_channels, (192, 3))
    return nn.Sequential(
        chain(in_channels, (32, 3, 2), (32, 3, 1), (64, 3)),
        nn.MaxPool2d(3, stride=2),
        chain(64, (80, 1), (192, 3, 1)),
        nn.MaxPool2d(3, stride=2),
    )


def block_a(c: int, p: int) -> Concat:
    """N×c×H×W to N×(224 + p)×H×W."""
    return Concat(
        path1=chain(c, (64, 1)),
        path2=chain(c, (48, 1), (64, 5)),
        path3=chain(c, (64, 1), (96, 3), (96, 3)),
        path4=pooled(average_3x3(count_padding=True), chain(c, (p, 1))),
    )


def block_b(c: int) -> Concat:
    """N×c×H×W to N×(480 + c)×H/2×W/2."""
    return Concat(
        path1=chain(c, (384, 3, 2)),
        path2=chain(c, (64, 1), (96, 3), (96, 3, 2)),
        path3=nn.MaxPool2d(3, stride=2),
    )


def block_c(c: int, inner: int) -> Concat:
    """N×c×H×W to N×768×H×W."""
    wide, tall = (1, 7), (7, 1)
    return Concat(
        path1=chain(c, (192, 1)),
        path2=chain(c, (inner, 1), (inner, wide), (192, tall)),
        path3=chain(c, (inner, 1), (inner, tall), (inner, wide), (inner, tall), (192, wide)),
        path4=pooled(average_3x3(count_padding=True), chain(c, (192, 1))),
    )


def block_d(c: int) -> Concat:
    """N×c×H×W to N×(512 + c)×H/2×W/2."""
    return Concat(
        path1=chain(c, (192, 1), (320, 3, 2)),
        path2=chain(c, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
        path3=nn.MaxPool2d(3, stride=2),
    )


def spread(c: int) -> Concat:
    """N×c×H×W to N×768×H×W: 1×3 and 3×1 side by side."""
    return Concat(wide=chain(c, (384, (1, 3))), tall=chain(c, (384, (3, 1))))


def block_e(c: int) -> Concat:
    """N×c×H×W to N×2048×H×W."""
    return Concat(
        path1=chain(c, (320, 1)),
        path2=named(chain=chain(c, (384, 1)), spread=spread(384)),
        path3=named(chain=chain(c, (448, 1), (384, 3)), spread=spread(384)),
        path4=pooled(average_3x3(count_padding=True), chain(c, (192, 1))),
    )


def auxiliary_head(num_classes: int) -> nn.Sequential:
    """N×768×H×W to N×classes logits, from at least 17×17 down to 1×1."""
    return named(
        pool=nn.AvgPool2d(5, stride=3),
        reduce=conv_norm(768, 128, 1, eps=EPS),
        conv=conv_norm(128, 768, 5, padding=0, eps=EPS),
        average=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(768, num_classes),
    )


class InceptionV3(nn.Module):
    """N×C×S×S images to N×classes logits; S at least 75, with the small stem 7.

    With `auxiliary`, in training, two of them, the main one first; stage 4 must then see 17×17: S
    at least 299, with the small stem 35. `se` is the reduction of squeeze-and-excitation behind
    every block, 0: without.
    """

    auxiliary_weight = 0.4
    """Of the auxiliary head's loss, as in the authors' released code."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 299,
        stem: Stem = "paper",
        auxiliary: bool = False,
        dropout: float = 0.5,
        se: int = 0,
    ) -> None:
        super().__init__()
        self.stem = v3_stem(in_channels, stem)
        stage3 = nn.Sequential(block_a(192, 32), block_a(256, 64), block_a(288, 64), block_b(288))
        self.stage3 = with_gates(stage3, 192, se)
        stage4 = nn.Sequential(*(block_c(768, inner) for inner in (128, 160, 160, 192)))
        self.stage4 = with_gates(stage4, 768, se)
        self.auxiliary = auxiliary_head(num_classes) if auxiliary else None
        if auxiliary:
            side = output_shape(named(stem=self.stem, stage=stage3), in_channels, image_size)[1]
            if side < 17:
                raise InputError(
                    f"The auxiliary head needs 17×17 pixels in stage 4, not {side}×{side}: take"
                    " larger images or leave it out."
                )
        stage5 = nn.Sequential(block_d(768), block_e(1280), block_e(2048))
        self.stage5 = with_gates(stage5, 768, se)
        self.head = nn.Sequential(
            OrderedDict(
                pool=global_pool(), dropout=nn.Dropout(dropout), fc=nn.Linear(2048, num_classes)
            )
        )
        init_he(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; in training with the auxiliary head, its logits second."""
        x = self.stage4(self.stage3(self.stem(x)))
        logits: Tensor = self.head(self.stage5(x))
        if self.auxiliary is not None and self.training:
            return logits, self.auxiliary(x)
        return logits
