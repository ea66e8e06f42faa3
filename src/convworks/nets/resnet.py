"""ResNet: blocks that add what they computed to what they were given; and its relatives.

He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385,
figures 2 and 5, table 1, section 4.2. Batch norm follows every convolution, the shortcut's 1×1 too.

The blocks are drawn in `residual.py`.

    ResNet-18, 3×224×224
    stem      conv 7×7/2, 64, norm, ReLU; max pool 3×3/2   64×56×56
    stage 1   2 blocks, 64                                 64×56×56
    stage 2   2 blocks, 128, the first with stride 2      128×28×28
    stage 3   2 blocks, 256, the first with stride 2      256×14×14
    stage 4   2 blocks, 512, the first with stride 2      512×7×7
    global average pool                                       512
    linear                                                   1000

For CIFAR (section 4.2): a 3×3 stem of 16 channels, three stages of 16, 32, 64.

The relatives are arguments: `groups` and `group_width` make ResNeXt (Xie et al. 2017,
arXiv:1611.05431, figure 3c: w = groups · group_width · c / 64); `order` the orderings of He et al.
2016 (arXiv:1603.05027, figure 4); `shortcut="none"` the plain networks; `se` SE-ResNet (Hu et al.
2018); wider `widths` Wide ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from convworks.errors import InputError
from convworks.nets.blocks import Stem, global_pool, relu, stem_7x7
from convworks.nets.initialization import init_he
from convworks.nets.residual import Block, Design, Order, Shortcut, residual_stage


class ResNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S.

    `blocks` and `widths` are of the stages; `stem_width` channels enter the first. The other
    arguments are `Design`'s. `zero_last`: the last norm of every block begins with γ = 0, or the
    last convolution with weights of 0 where no norm follows it, so that the block begins as its
    shortcut (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        stem_width: int = 64,
        bottleneck: bool = False,
        order: Order = "original",
        shortcut: Shortcut = "projection",
        groups: int = 1,
        group_width: int = 64,
        se: int = 0,
        stride_on_1x1: bool = False,
        dropout: float = 0.0,
        zero_last: bool = False,
    ) -> None:
        design = Design(
            bottleneck, order, shortcut, groups, group_width, se, stride_on_1x1, dropout
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=stem_7x7(in_channels, stem_width, stem)
        )
        if order == "preact":  # the first block begins with norm and ReLU
            layers["stem"] = nn.Sequential(
                OrderedDict(
                    (name, layer)
                    for name, layer in layers["stem"].named_children()
                    if name in ("conv", "pool")
                )
            )
        channels = stem_width
        for i, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stride = 1 if i == 0 else 2
            layers[f"stage{i + 1}"] = residual_stage(channels, width, count, stride, design)
            channels = width * design.expansion
        if order == "preact":
            layers["norm"] = nn.BatchNorm2d(channels)
        if order in ("preact", "relu_only_preact"):
            layers["relu"] = relu()
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)
        if zero_last:
            _zero_last(self, order)


class CifarResNet(ResNet):
    """A ResNet whose published stem is 3×3 with stride 1: N×C×S×S images to N×classes; any S.

    (2n, 2n, 2n) layers in three stages, 6n + 2 in all (9n + 2 with bottlenecks). In the order
    `preact` the first block's norm and ReLU come before its shortcut too, as in the 2016 paper.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int] = (16, 32, 64),
        num_classes: int = 10,
        in_channels: int = 3,
        bottleneck: bool = False,
        order: Order = "original",
        shortcut: Shortcut = "padding",
        se: int = 0,
        stride_on_1x1: bool = False,
        dropout: float = 0.0,
        zero_last: bool = False,
    ) -> None:
        super().__init__(
            blocks,
            widths,
            num_classes,
            in_channels,
            "small",
            16,
            bottleneck,
            order,
            shortcut,
            se=se,
            stride_on_1x1=stride_on_1x1,
            dropout=dropout,
            zero_last=zero_last,
        )
        first = self.get_submodule("stage1.0")
        if order == "preact" and isinstance(first, Block):
            first.share_activation()


def _zero_last(model: nn.Module, order: Order) -> None:
    """Weights 0 in the last norm of every block's body, or in the convolution that stands there."""
    if order == "relu_before_add":
        raise InputError(
            "zero_last does not go with relu_before_add: its ReLU would learn nothing."
        )
    for block in model.modules():
        if isinstance(block, Block):
            kinds = nn.BatchNorm2d, nn.Conv2d
            last = [layer for layer in block.body.children() if isinstance(layer, kinds)][-1]
            nn.init.zeros_(last.weight)
