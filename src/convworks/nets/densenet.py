"""DenseNet: every layer sees the outputs of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, CVPR 2017,
arXiv:1608.06993, figures 1 and 2, table 1.

    a dense layer:       x ── norm, ReLU, conv 3×3, g ── concatenate(x, ·): C + g channels
    with bottleneck b:   x ── norm, ReLU, conv 1×1, b·g ── norm, ReLU, conv 3×3, g ── concatenate
    a dense block (n):   n dense layers: C + n·g channels
    a transition:        norm, ReLU, conv 1×1 to C/2, average pool 2×2/2

    the book's, growth g = 32, 1×96×96                   DenseNet-121, 3×224×224, b = 4
    stem          conv 7×7/2, 64; max pool   64×24×24     64×56×56
    block 1       4 layers                  192×24×24    6 layers   256×56×56
    transition 1                             96×12×12               128×28×28
    block 2       4 layers                  224×12×12    12 layers  512×28×28
    transition 2                            112×6×6                 256×14×14
    block 3       4 layers                  240×6×6      24 layers 1024×14×14
    transition 3                            120×3×3                 512×7×7
    block 4       4 layers                  248×3×3      16 layers 1024×7×7
    norm, ReLU, global average pool             248                1024
    linear                                       10                1000
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convworks.nets.blocks import Stem, global_pool, named, relu, stem_7x7
from convworks.nets.initialization import init_he


class DenseLayer(nn.Module):
    """N×C×H×W to N×(C + growth)×H×W.

    `recompute`: what the body computes is not kept for the backward pass but computed again (Pleiss
    et al. 2017, arXiv:1707.06990). The joined inputs are kept, so memory grows with the square of
    the depth as before, but half as fast.
    """

    def __init__(
        self, in_channels: int, growth: int, bottleneck: int = 0, recompute: bool = False
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.body = named(norm=nn.BatchNorm2d(in_channels), relu=relu())
        if bottleneck:
            inner = bottleneck * growth
            self.body.add_module("reduce", nn.Conv2d(in_channels, inner, 1, bias=False))
            self.body.add_module("norm2", nn.BatchNorm2d(inner))
            self.body.add_module("relu2", relu())
            in_channels = inner
        self.body.add_module("conv", nn.Conv2d(in_channels, growth, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """The input with the new channels behind it."""
        if self.recompute and torch.is_grad_enabled():
            new = checkpoint(
                self.body,
                x,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _untracked(self.body)),
            )
            return torch.cat([x, new], dim=1)
        return torch.cat([x, self.body(x)], dim=1)


@contextmanager
def _untracked(layers: nn.Module) -> Iterator[None]:
    """Batch norms leave their running statistics alone: computed again is not seen again."""
    norms = [layer for layer in layers.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def dense_block(
    in_channels: int, layers: int, growth: int, bottleneck: int = 0, recompute: bool = False
) -> nn.Sequential:
    """N×C×H×W to N×(C + layers·growth)×H×W."""
    return nn.Sequential(
        *(
            DenseLayer(in_channels + i * growth, growth, bottleneck, recompute)
            for i in range(layers)
        )
    )


Pool = Literal["average", "max"]


def transition(in_channels: int, out_channels: int, pool: Pool = "average") -> nn.Sequential:
    """N×C×H×W to N×out×H/2×W/2."""
    return named(
        norm=nn.BatchNorm2d(in_channels),
        relu=relu(),
        conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
        pool=nn.AvgPool2d(2) if pool == "average" else nn.MaxPool2d(2),
    )


class DenseNet(nn.Sequential):
    """N×C×S×S images to N×classes logits; S at least 29, with the small stem 8.

    `blocks` counts the layers of each dense block; `width` is the stem's; `bottleneck` is the
    figure's b, 0 for none; `pool` is the transitions'.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        growth: int = 32,
        width: int = 64,
        bottleneck: int = 0,
        recompute: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "paper",
        pool: Pool = "average",
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem_7x7(in_channels, width, stem))
        channels = width
        for i, depth in enumerate(blocks):
            layers[f"block{i + 1}"] = dense_block(channels, depth, growth, bottleneck, recompute)
            channels += depth * growth
            if i < len(blocks) - 1:
                layers[f"transition{i + 1}"] = transition(channels, channels // 2, pool)
                channels //= 2
        layers["norm"] = nn.BatchNorm2d(channels)
        layers["relu"] = relu()
        layers["pool"] = global_pool()
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        init_he(self)


class CifarDenseNet(DenseNet):
    """DenseNet-BC for CIFAR: a bare 3×3 convolution as the stem, 2·growth channels wide."""

    def __init__(
        self,
        blocks: Sequence[int],
        growth: int = 12,
        bottleneck: int = 4,
        recompute: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__(
            blocks, growth, 2 * growth, bottleneck, recompute, num_classes, in_channels, "small"
        )
        self.stem = named(conv=nn.Conv2d(in_channels, 2 * growth, 3, padding=1, bias=False))
        init_he(self.stem)
