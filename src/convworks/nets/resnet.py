"""ResNet: blocks that add what they computed to what they were given.

He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385,
figure 2 and table 1. Batch norm follows every convolution (section 3.4), the shortcut's 1×1 too.

    a basic block, c channels:
        ┌─ conv 3×3, norm, ReLU ── conv 3×3, norm ─┐
    x ──┤                                          ├─ add ── ReLU
        └─ as is; conv 1×1, norm if shape changes ─┘

    ResNet-18, 3×224×224
    stem      conv 7×7/2, 64, norm, ReLU; max pool 3×3/2   64×56×56
    stage 1   2 blocks, 64                                 64×56×56
    stage 2   2 blocks, 128, the first with stride 2      128×28×28
    stage 3   2 blocks, 256, the first with stride 2      256×14×14
    stage 4   2 blocks, 512, the first with stride 2      512×7×7
    global average pool                                       512
    linear                                                   1000
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from convworks.nets.blocks import Stem, conv_norm_relu, global_pool, init_he, named, stem_7x7


class BasicBlock(nn.Module):
    """N×C×H×W to N×out×H/stride×W/stride."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = named(
            first=conv_norm_relu(in_channels, out_channels, 3, stride=stride, padding=1),
            conv=nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            norm=nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = named(
                conv=nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                norm=nn.BatchNorm2d(out_channels),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of body and shortcut, rectified."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


def residual_stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks one after the other; the first changes channels and side."""
    stage = nn.Sequential(BasicBlock(in_channels, out_channels, stride))
    for _ in range(blocks - 1):
        stage.append(BasicBlock(out_channels, out_channels))
    return stage


class ResNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; any S. `blocks` counts the blocks of the four stages."""

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
    ) -> None:
        super().__init__(
            OrderedDict(
                stem=stem_7x7(in_channels, 64, stem),
                stage1=residual_stage(64, 64, blocks[0], stride=1),
                stage2=residual_stage(64, 128, blocks[1], stride=2),
                stage3=residual_stage(128, 256, blocks[2], stride=2),
                stage4=residual_stage(256, 512, blocks[3], stride=2),
                pool=global_pool(),
                fc=nn.Linear(512, num_classes),
            )
        )
        init_he(self)
