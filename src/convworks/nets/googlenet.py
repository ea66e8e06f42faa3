"""GoogLeNet (Inception v1), without batch norm, as the book draws it; auxiliary heads by choice.

Szegedy et al.: Going deeper with convolutions, CVPR 2015, arXiv:1409.4842, figures 2b and 3,
table 1. The 5×5 path is 5×5 (torchvision's is 3×3).

    an Inception block (a, (b, c), (d, e), f), every convolution followed by ReLU:
    ┌─ conv 1×1, a ──────────────────────────────┐
    ├─ conv 1×1, b ────── conv 3×3, c, pad 1 ────┤
    ├─ conv 1×1, d ────── conv 5×5, e, pad 2 ────┼─ concatenate: a + c + e + f channels
    └─ max pool 3×3/1 ─── conv 1×1, f ───────────┘

    1×96×96
    stage 1   conv 7×7/2, 64; max pool 3×3/2                          64×24×24
    stage 2   conv 1×1, 64; conv 3×3, 192; max pool 3×3/2            192×12×12
    stage 3   2 Inception blocks: 256, 480; max pool 3×3/2           480×6×6
    stage 4   5 Inception blocks: 512, 512, 512, 528, 832; max pool  832×3×3
    stage 5   2 Inception blocks: 832, 1024; global average pool         1024
    linear                                                                 10

Two auxiliary heads (section 5) read the first and the fourth block of stage 4, to train what lies
below: average pool 5×5/3 ── conv 1×1, 128 ── linear 1024, ReLU, dropout 0.7 ── linear.
"""

from torch import Tensor, nn

from convworks.errors import InputError
from convworks.nets.blocks import (
    Concat,
    Stem,
    conv_relu,
    global_pool,
    named,
    with_gates,
)
from convworks.nets.initialization import init_xavier
from convworks.nets.meta import output_shape

Paths = tuple[int, tuple[int, int], tuple[int, int], int]
"""The channels of the four paths, in the order of the figure above."""

STAGES: tuple[tuple[Paths, ...], ...] = (
    ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),
    (
        (192, (96, 208), (16, 48), 64),
        (160, (112, 224), (24, 64), 64),
        (128, (128, 256), (24, 64), 64),
        (112, (144, 288), (32, 64), 64),
        (256, (160, 320), (32, 128), 128),
    ),
    ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
)
"""Stages 3, 4 and 5."""


def inception(in_channels: int, paths: Paths) -> Concat:
    """N×C×H×W to N×(a + c + e + f)×H×W."""
    a, (b, c), (d, e), f = paths
    return Concat(
        path1=conv_relu(in_channels, a, 1),
        path2=named(reduce=conv_relu(in_channels, b, 1), conv=conv_relu(b, c, 3, padding=1)),
        path3=named(reduce=conv_relu(in_channels, d, 1), conv=conv_relu(d, e, 5, padding=2)),
        path4=named(
            pool=nn.MaxPool2d(3, stride=1, padding=1), project=conv_relu(in_channels, f, 1)
        ),
    )


def inception_stage(in_channels: int, stage: tuple[Paths, ...]) -> nn.Sequential:
    """Inception blocks one after the other."""
    blocks = nn.Sequential()
    for i, paths in enumerate(stage):
        blocks.add_module(f"inception{i + 1}", inception(in_channels, paths))
        in_channels = out_channels(paths)
    return blocks


def out_channels(paths: Paths) -> int:
    """The channels that a block with these paths gives."""
    a, (_, c), (_, e), f = paths
    return a + c + e + f


def auxiliary_head(in_channels: int, side: int, num_classes: int) -> nn.Sequential:
    """N×C×side×side to N×classes logits; side at least 5."""
    if side < 5:
        raise InputError(
            f"The auxiliary heads need 5×5 pixels in stage 4, not {side}×{side}: take larger images"
            " or leave them out."
        )
    return named(
        pool=nn.AvgPool2d(5, stride=3),
        reduce=conv_relu(in_channels, 128, 1),
        flatten=nn.Flatten(),
        fc1=nn.Linear(128 * ((side - 5) // 3 + 1) ** 2, 1024),
        relu=nn.ReLU(inplace=True),
        dropout=nn.Dropout(0.7),
        fc2=nn.Linear(1024, num_classes),
    )


class GoogLeNet(nn.Module):
    """N×C×S×S images to N×classes logits; any S.

    With `auxiliary`, in training, three of them, the main one first; S is then fixed. `se` is the
    reduction of squeeze-and-excitation behind every Inception block, 0: without.
    """

    auxiliary_weight = 0.3
    """Of each auxiliary head's loss (section 5)."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 96,
        stem: Stem = "paper",
        auxiliary: bool = False,
        se: int = 0,
    ) -> None:
        super().__init__()
        self.stage1 = conv_relu(in_channels, 64, 7, stride=2, padding=3)
        if stem == "small":
            self.stage1 = conv_relu(in_channels, 64, 3, padding=1)
        else:
            self.stage1.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        self.stage2 = named(
            reduce=conv_relu(64, 64, 1),
            conv=conv_relu(64, 192, 3, padding=1),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stage3 = with_gates(inception_stage(192, STAGES[0]), 192, se)
        self.stage3.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        self.stage4 = with_gates(inception_stage(480, STAGES[1]), 480, se)
        self.stage4.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        self.stage5 = with_gates(inception_stage(832, STAGES[2]), 832, se)
        self.pool = global_pool()
        self.fc = nn.Linear(1024, num_classes)
        self.auxiliary = nn.ModuleDict()
        if auxiliary:
            below = nn.Sequential(self.stage1, self.stage2, self.stage3)
            side = output_shape(below, in_channels, image_size)[1]
            for block, channels in (("inception1", 512), ("inception4", 528)):
                self.auxiliary[block] = auxiliary_head(channels, side, num_classes)
        init_xavier(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits; in training, the auxiliary heads' behind them."""
        x = self.stage3(self.stage2(self.stage1(x)))
        if not (self.training and self.auxiliary):
            logits: Tensor = self.fc(self.pool(self.stage5(self.stage4(x))))
            return logits
        early: list[Tensor] = []
        for name, block in self.stage4.named_children():
            x = block(x)
            if name in self.auxiliary:
                early.append(self.auxiliary[name](x))
        return self.fc(self.pool(self.stage5(x))), *early
