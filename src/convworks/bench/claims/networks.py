"""The documents' figures of networks: parameters, costs, blocks, and where the documents err."""

from collections.abc import Callable

import torch
from torch import nn

from convworks import ops
from convworks.bench.claims.claim import Claim, Value
from convworks.bench.claims.operators import row
from convworks.bench.claims.shapes import SECTIONS, on_meta
from convworks.measure.memory import predict_memory
from convworks.measure.summary import Totals, summarize
from convworks.measure.units import show_bytes
from convworks.nets.blocks import Concat
from convworks.nets.densenet import dense_block, transition
from convworks.nets.googlenet import STAGES, inception, out_channels
from convworks.nets.registry import create_model
from convworks.nets.residual import Block
from convworks.nets.zoo import ZOO

FLOPS_FOR_MACS = "it is the number of multiply-adds, each of which is two operations"


def _totals(name: str, image_size: int = 224) -> Totals:
    return summarize(on_meta(name, image_size), (1, image_size, image_size)).totals


def _published(name: str) -> Totals:
    """With three channels and a thousand classes."""
    spec = ZOO[name]
    with torch.device("meta"):
        return summarize(create_model(name), spec.input).totals


def _linear_bytes() -> str:
    model = on_meta("alexnet", 224)
    layers = (model.get_submodule("head.fc1"), model.get_submodule("head.fc2"))
    count = sum(p.numel() for layer in layers for p in layer.parameters())
    return f"{4 * count / 1e6:.0f} MB"


def _stem_side(image_size: int) -> int:
    return ops.output_size(image_size, 11, stride=4)


def _millions(block: Callable[[], nn.Module], field: str) -> Callable[[], Value]:
    """Of a block on 192 channels at 28×28."""

    def compute() -> Value:
        number: int = getattr(row(block(), (192, 28, 28)), field)
        return number / 1e6

    return compute


def _output(block: nn.Module, channels: int, side: int) -> str:
    return "×".join(map(str, block(torch.rand(4, channels, side, side)).shape))


def _two_dense_layers() -> nn.Sequential:
    return dense_block(3, layers=2, growth=10)


def _without_channels() -> str:
    try:
        nn.BatchNorm2d()  # type: ignore[call-arg]
    except TypeError:
        return "TypeError"
    return "a layer"


def _training_memory(recompute: bool) -> str:
    model = on_meta("densenet_book", 224, recompute=recompute)
    return show_bytes(predict_memory(model, (1, 224, 224), 256, optimizer="sgd").total)


def _inception_paths() -> list[str]:
    """The channels of the convolutions of each block's four paths, as the network has them."""
    blocks = [m for m in on_meta("googlenet", 96).modules() if isinstance(m, Concat)]
    found = []
    for block in blocks:
        paths = [
            "→".join(str(m.out_channels) for m in path.modules() if isinstance(m, nn.Conv2d))
            for path in block.children()
        ]
        found.append(", ".join(paths))
    return found


def _grouped_widths() -> str:
    layers = [m for m in on_meta("resnext50_32x4d", 224).modules() if isinstance(m, nn.Conv2d)]
    grouped = [m for m in layers if m.groups > 1]
    widths = dict.fromkeys(m.out_channels for m in grouped)
    groups = {m.groups for m in grouped}
    return f"{', '.join(map(str, widths))} in {', '.join(map(str, groups))}"


def _dropouts(name: str) -> str:
    rates = [m.p for m in on_meta(name, 224).modules() if isinstance(m, nn.Dropout)]
    return ", ".join(f"{rate:g}" for rate in rates)


def _smallest(name: str) -> int:
    return ZOO[name].smallest


BLOCKS: tuple[tuple[str, Callable[[], nn.Module], float, float], ...] = (
    ("Inception block", lambda: inception(192, STAGES[0][0]), 0.16, 128),
    ("3×3", lambda: nn.Conv2d(192, 256, 3, padding=1), 0.44, 346),
    ("5×5", lambda: nn.Conv2d(192, 256, 5, padding=2), 1.22, 963),
)
"""Parameters and multiply-adds in millions, as printed."""
INCEPTION_PATHS = (
    "64, 96→128, 16→32, 32",
    "128, 128→192, 32→96, 64",
    "192, 96→208, 16→48, 64",
    "160, 112→224, 24→64, 64",
    "128, 128→256, 24→64, 64",
    "112, 144→288, 32→64, 64",
    "256, 160→320, 32→128, 128",
    "256, 160→320, 32→128, 128",
    "384, 192→384, 48→128, 128",
)
"""Channels of the nine blocks."""
IMAGENET = "needs ImageNet"
CIFAR = "needs CIFAR-10; `convworks study degradation` asks it of other pictures"
CLAIMS = (
    Claim(
        "alexnet",
        "S0 7.1",
        "the image's side, for a first map of 54×54",
        "244 → 54",
        lambda: f"224 → {_stem_side(224)}, 244 → {_stem_side(244)}",
        reason="244 is written once where 224 is meant: (244 − 11 + 4) / 4 gives 59, not 54",
        truth="224 → 54, 244 → 59",
    ),
    Claim(
        "alexnet",
        "S0 7.1",
        "parameters of the two large Linear layers",
        "nearly 1 GB",
        _linear_bytes,
        reason="26.2 M and 16.8 M numbers of four bytes",
        truth="172 MB",
    ),
    Claim(
        "alexnet",
        "S0 7.1",
        "of the first, in millions",
        26.2,
        lambda: on_meta("alexnet", 224).get_parameter("head.fc1.weight").numel() / 1e6,
        tolerance=0.002,
    ),
    Claim(
        "alexnet",
        "S0 7.1",
        "of the second, in millions",
        16.8,
        lambda: on_meta("alexnet", 224).get_parameter("head.fc2.weight").numel() / 1e6,
        tolerance=0.002,
    ),
    *(
        Claim(
            SECTIONS[name],
            source,
            f"dropout of {name}",
            printed,
            lambda name=name: _dropouts(name),  # type: ignore[misc]
        )
        for name, source, printed in (
            ("alexnet", "S0 7.1", "0.5, 0.5"),
            ("vgg11", "S0 7.2", "0.5, 0.5"),
            ("nin", "S0 7.3", "0.5"),
        )
    ),
    Claim(
        "vgg",
        "S3 8.2",
        "parameters of VGG-11, ten classes, one channel",
        None,
        lambda: _totals("vgg11").parameters,
        reason="128.8 M; with a thousand classes and colours 132.9 M",
    ),
    Claim(
        "vgg",
        "S0 7.2",
        "its multiply-adds over AlexNet's",
        None,
        lambda: _totals("vgg11").macs / _totals("alexnet").macs,
        reason="at 224×224; docs/roofline.md has their times, docs/tour/index.md their memory",
    ),
    Claim(
        "vgg",
        "S0 7.2",
        "multiply-adds at 224 over those at 96",
        None,
        lambda: _totals("vgg11").macs / _totals("vgg11", 96).macs,
        reason="nearly (224 / 96)² = 5.4: the Linear layers' are few",
    ),
    *(
        Claim(
            "nin",
            "S0 7.3",
            f"{what} of NiN over AlexNet's",
            None,
            lambda field=field: (
                getattr(_totals("nin"), field)  # type: ignore[misc]
                / getattr(_totals("alexnet"), field)
            ),
        )
        for field, what in (("parameters", "parameters"), ("macs", "multiply-adds"))
    ),
    Claim(
        "googlenet",
        "S0 7.4",
        "channels of the nine Inception blocks",
        [[256, 480], [512, 512, 512, 528, 832], [832, 1024]],
        lambda: [[out_channels(paths) for paths in stage] for stage in STAGES],
    ),
    Claim(
        "googlenet",
        "S0 7.4",
        "their paths: 1×1, 1×1 to 3×3, 1×1 to 5×5, 1×1 behind pooling",
        " · ".join(INCEPTION_PATHS),
        lambda: " · ".join(_inception_paths()),
    ),
    *(
        Claim(
            "googlenet",
            "S4",
            f"192 → 256 channels at 28×28: {what}, {unit}",
            printed,
            _millions(block, field),
            tolerance=0.03 if printed < 1 else 0.01,
        )
        for what, block, parameters, macs in BLOCKS
        for field, unit, printed in (
            ("parameters", "M parameters", parameters),
            ("macs", "M multiply-adds", macs),
        )
    ),
    *(
        Claim(
            "googlenet",
            "S4",
            f"192 → 256 channels at 28×28: {what}, M FLOPs",
            printed,
            lambda block=block: 2 * row(block(), (192, 28, 28)).macs / 1e6,  # type: ignore[misc]
            tolerance=0.01,
            reason=FLOPS_FOR_MACS,
            truth=2 * printed,
        )
        for what, block, _, printed in BLOCKS
    ),
    *(
        Claim(
            "googlenet",
            "S0 7.4",
            f"GoogLeNet's parameters over {title}'s",
            None,
            lambda name=name: _totals("googlenet").parameters / _totals(name).parameters,  # type: ignore[misc]
        )
        for name, title in (("alexnet", "AlexNet"), ("vgg11", "VGG-11"), ("nin", "NiN"))
    ),
    *(
        Claim(
            SECTIONS[name],
            "S0 7.4",
            f"smallest image that {name} takes",
            None,
            lambda name=name: _smallest(name),  # type: ignore[misc]
            reason="with the paper's stem; a test finds it for every network",
        )
        for name in SECTIONS
    ),
    Claim(
        "resnet",
        "S3 8.6",
        "a batch norm layer made without its channel count",
        "a layer",
        _without_channels,
        reason="the count is required; nn.LazyBatchNorm2d finds it by itself",
        truth="TypeError",
    ),
    Claim(
        "resnet",
        "S0 7.6",
        "a block on 4×3×6×6",
        "4×3×6×6",
        lambda: _output(Block(3, 3), 3, 6),
    ),
    Claim(
        "resnet",
        "S0 7.6",
        "with 6 channels and stride 2",
        "4×6×3×3",
        lambda: _output(Block(3, 6, stride=2), 3, 6),
    ),
    Claim("resnet", "S1", "CIFAR-10 error, plain-56 to plain-20", "higher", None, reason=CIFAR),
    Claim(
        "resnet",
        "S1",
        "ImageNet error of plain-18, plain-34, ResNet-18, ResNet-34, %",
        [27.94, 28.54, 27.88, 25.03],
        None,
        reason=IMAGENET,
    ),
    *(
        Claim(
            "resnext",
            "S4",
            f"{title}: {unit}",
            printed,
            lambda name=name, field=field, size=size: getattr(_published(name), field) / size,  # type: ignore[misc]
            tolerance=0.01,
        )
        for name, title, parameters, macs in (
            ("resnet50", "ResNet-50", 25.5, 4.1),
            ("resnext50_32x4d", "ResNeXt-50 32×4d", 25.0, 4.2),
        )
        for field, unit, size, printed in (
            ("parameters", "M parameters", 1e6, parameters),
            ("macs", "G multiply-adds", 1e9, macs),
        )
    ),
    *(
        Claim(
            "resnext",
            "S4",
            f"{title}: G FLOPs",
            printed,
            lambda name=name: 2 * _published(name).macs / 1e9,  # type: ignore[misc]
            tolerance=0.01,
            reason=FLOPS_FOR_MACS,
            truth=2 * printed,
        )
        for name, title, printed in (
            ("resnet50", "ResNet-50", 4.1),
            ("resnext50_32x4d", "ResNeXt-50 32×4d", 4.2),
        )
    ),
    Claim(
        "resnext",
        "S4",
        "widths of the grouped 3×3 convolutions in the four stages, and their groups",
        "128, 256, 512, 1024 in 32",
        _grouped_widths,
    ),
    Claim(
        "densenet",
        "S0 7.7",
        "a block of two layers, growth 10, on 4×3×8×8",
        "4×23×8×8",
        lambda: _output(_two_dense_layers(), 3, 8),
    ),
    Claim(
        "densenet",
        "S0 7.7",
        "a transition to 10 channels behind it",
        "4×10×4×4",
        lambda: _output(nn.Sequential(_two_dense_layers(), transition(23, 10)), 3, 8),
    ),
    Claim(
        "densenet",
        "S0 7.7",
        "memory of a training step at 224×224, batch 256",
        None,
        lambda: _training_memory(recompute=False),
        reason="predicted, fp32, plain SGD",
    ),
    Claim(
        "densenet",
        "S0 7.7",
        "the same, norms and ReLUs computed again in backward",
        None,
        lambda: _training_memory(recompute=True),
        reason="--set recompute=true",
    ),
)
