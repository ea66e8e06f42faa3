"""What is counted: by hand for each kind of layer, and against others who count."""

import os
import subprocess
import sys
import time

import pytest
import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convworks.errors import InputError
from convworks.measure.summary import SummaryRow, summarize
from convworks.nets.registry import create_model, list_models
from convworks.nets.zoo import ZOO

aten = torch.ops.aten


def row_of(layer: nn.Module, shape: tuple[int, ...]) -> SummaryRow:
    """The row of one layer behind nothing."""
    return summarize(nn.Sequential(layer), shape).rows[0]


PLAIN = {
    "plain": (nn.Conv2d(3, 8, 3), (8, 6, 6), 8 * 6 * 6 * 3 * 9, (3, 3)),
    "padded": (nn.Conv2d(3, 8, 3, padding=1), (8, 8, 8), 8 * 8 * 8 * 3 * 9, (3, 3)),
    "strided": (nn.Conv2d(3, 8, 3, stride=2), (8, 3, 3), 8 * 3 * 3 * 3 * 9, (3, 3)),
    "dilated": (nn.Conv2d(3, 8, 3, dilation=2), (8, 4, 4), 8 * 4 * 4 * 3 * 9, (5, 5)),
    "oblong": (nn.Conv2d(3, 8, (1, 7)), (8, 8, 2), 8 * 8 * 2 * 3 * 7, (1, 7)),
    "grouped": (nn.Conv2d(3, 9, 3, groups=3), (9, 6, 6), 9 * 6 * 6 * 9, (3, 3)),
    "depthwise": (nn.Conv2d(3, 3, 3, groups=3), (3, 6, 6), 3 * 6 * 6 * 9, (3, 3)),
    "transposed": (nn.ConvTranspose2d(3, 8, 2, 2), (8, 16, 16), 3 * 8 * 8 * 8 * 4, (1, 1)),
    "transposed, overlapping": (
        nn.ConvTranspose2d(3, 8, 4, 2, 1),
        (8, 16, 16),
        3 * 8 * 8 * 8 * 16,
        (2, 2),
    ),
    "linear": (nn.Linear(8, 5), (3, 8, 5), 3 * 8 * 8 * 5, (1, 1)),
    "lazy": (nn.LazyConv2d(8, 3), (8, 6, 6), 8 * 6 * 6 * 3 * 9, (3, 3)),
}
"""Layer on 3×8×8, output, multiply-adds, receptive field."""


@pytest.mark.parametrize("kind", PLAIN)
def test_products_by_hand(kind: str) -> None:
    layer, output, macs, sees = PLAIN[kind]
    row = row_of(layer, (3, 8, 8))
    assert (row.input, row.output, row.macs) == ((3, 8, 8), output, macs)
    assert row.receptive_field == sees
    assert (row.elementwise, row.pooled, row.normalised) == (0, 0, 0)
    assert row.kept_bytes == 3 * 8 * 8 * 4  # its input, for the weight's gradient


POOLS = {
    "max": (nn.MaxPool2d(2), (3, 4, 4), 3 * 16 * 4, (2, 2)),
    "max, overlapping": (nn.MaxPool2d(3, 2), (3, 3, 3), 3 * 9 * 9, (3, 3)),
    "max, ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), (3, 4, 4), 3 * 16 * 9, (3, 3)),
    "max, dilated": (nn.MaxPool2d(3, 1, dilation=2), (3, 4, 4), 3 * 16 * 9, (5, 5)),
    "average": (nn.AvgPool2d(2), (3, 4, 4), 3 * 16 * 4, (2, 2)),
    "adaptive": (nn.AdaptiveAvgPool2d(2), (3, 2, 2), 3 * 64, (4, 4)),
    "global": (nn.AdaptiveAvgPool2d(1), (3, 1, 1), 3 * 64, None),
    "global max": (nn.AdaptiveMaxPool2d(1), (3, 1, 1), 3 * 64, None),
}


@pytest.mark.parametrize("kind", POOLS)
def test_pooling_by_hand(kind: str) -> None:
    layer, output, pooled, sees = POOLS[kind]
    row = row_of(layer, (3, 8, 8))
    assert (row.output, row.pooled, row.receptive_field) == (output, pooled, sees)
    assert (row.macs, row.elementwise, row.normalised) == (0, 0, 0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.LayerNorm(8),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4),
    ],
)
def test_normalisations_by_hand(layer: nn.Module) -> None:
    row = row_of(layer, (4, 8, 8))
    assert (row.normalised, row.macs, row.pooled, row.elementwise) == (256, 0, 0, 0)


@pytest.mark.parametrize(
    "layer", [nn.ReLU(), nn.ReLU(inplace=True), nn.Sigmoid(), nn.GELU(), nn.SiLU(), nn.Hardswish()]
)
def test_activations_by_hand(layer: nn.Module) -> None:
    row = row_of(layer, (4, 8, 8))
    assert (row.elementwise, row.macs, row.pooled, row.normalised) == (256, 0, 0, 0)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.sampled_from((1, 2, 4)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    transposed=st.booleans(),
    side=st.integers(9, 14),
)
def test_convolutions_against_the_flop_counter(
    groups: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
    transposed: bool,
    side: int,
) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(4, 8, kernel, stride, padding, groups=groups, dilation=dilation)
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(1, 4, side, side))
    assert 2 * summarize(model, (4, side, side)).totals.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", list_models())
def test_the_zoo_against_the_flop_counter(name: str) -> None:
    row = ZOO[name]
    with torch.device("meta"):
        model = create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *row.input, device="meta"))
    assert 2 * row.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ["lenet", "resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_convolutions_and_linears_against_torchinfo(name: str) -> None:
    """torchinfo counts a layer's parameters, biases and norms' too, once an output pixel."""
    row = ZOO[name]
    model = create_model(name)
    theirs = torchinfo.summary(model, (1, *row.input), verbose=0, device="cpu")
    ours = {one.name: one for one in summarize(model, row.input).rows}
    compared = 0
    for info in theirs.summary_list:
        if info.is_leaf_layer and isinstance(info.module, nn.Conv2d | nn.Linear):
            name = next(key for key, module in model.named_modules() if module is info.module)
            bias = info.module.bias is not None
            shape = ours[name].output
            assert info.macs == ours[name].macs + bias * torch.Size(shape).numel()
            assert tuple(info.output_size[1:]) == shape
            compared += 1
    assert compared > 4


def multiply_adds_of_fvcore(model: nn.Module, shape: tuple[int, ...]) -> int:
    """fvcore's "flops" of products are multiply-adds; norms and adaptive pooling left out."""
    analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, *shape))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counted = analysis.by_operator()
    return int(sum(counted[kind] for kind in ("conv", "linear", "matmul", "bmm", "addmm")))


QUICK = ("lenet", "resnet18")


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in list_models() if n not in QUICK)],
)
def test_products_against_fvcore(name: str) -> None:
    assert multiply_adds_of_fvcore(create_model(name), ZOO[name].input) == ZOO[name].macs


@pytest.mark.parametrize(
    ("name", "block", "sees", "options"),
    [
        ("vgg16", "features", 212, {}),
        ("resnet50", "stage4", 483, {"stride_on_1x1": True}),
        ("resnet101", "stage4", 1027, {"stride_on_1x1": True}),
        ("mobilenet_v1", "layers", 315, {}),
        ("inception_v3", "stage5", 1311, {}),
    ],
)
def test_receptive_fields_as_published(
    name: str, block: str, sees: int, options: dict[str, object]
) -> None:
    """Araujo, Norris, Sim: Computing receptive fields of CNNs, Distill 2019, table."""
    with torch.device("meta"):
        model = create_model(name, options=options)
    rows = summarize(model, ZOO[name].input, depth=1).rows
    assert {row.name: row.receptive_field for row in rows}[block] == (sees, sees)


@pytest.mark.parametrize(
    "name", ["lenet", "alexnet", "nin", "googlenet", "resnet18", "densenet_book"]
)
def test_what_is_kept_is_what_autograd_keeps(name: str) -> None:
    """The real network on the CPU, every saved storage once, weights apart."""
    size = 28 if name == "lenet" else 96
    model = create_model(name, num_classes=10, in_channels=1, image_size=size, stem="auto").train()
    count = 4
    weights = {p.untyped_storage().data_ptr() for p in model.state_dict().values()}
    found: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.ndim and tensor.shape[0] == count:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.randn(count, 1, size, size))
    expected = sum(found.values()) / count
    assert summarize(model, (1, size, size)).totals.kept_bytes == expected


class Fails(nn.Module):
    """A layer with a mistake."""

    def forward(self, x: Tensor) -> Tensor:
        """Never returns."""
        raise ValueError("no such thing\nand more")


def test_a_layer_that_fails_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), Fails()))
    with pytest.raises(InputError, match="cannot take 1×8×8 images: no such thing in 1.1$"):
        summarize(model, (1, 8, 8))
    with pytest.raises(InputError, match=r"cannot take 1×4×4 images: .* in 1$"):
        summarize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 5)), (1, 4, 4))
    with pytest.raises(InputError, match=r"cannot take 2×4×4 images: .*32.*30.*[^.] in 1$"):
        summarize(nn.Sequential(nn.Flatten(), nn.Linear(30, 10)), (2, 4, 4))


def test_lazy_modules_stay_lazy() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    summary = summarize(model, (1, 6, 6))
    assert summary.totals.parameters == (4 * 9 + 4) + (64 * 2 + 2)
    assert isinstance(model[0], nn.LazyConv2d)
    assert model(torch.randn(1, 1, 6, 6)).shape == (1, 2)


def test_a_large_network_needs_no_weights_and_little_time() -> None:
    """VGG-19's 575 MB of weights are not allocated; the start of Python and torch included."""
    program = (
        "import resource, torch; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "from convworks.cli import run; code = run(['summary', 'vgg19', '--json']);"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "import sys; print(after - before, file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        times.append(time.perf_counter() - started)
        assert int(done.stderr.strip().splitlines()[-1]) < 200 * 1024  # KiB
    assert '"parameters": 143667240' in done.stdout
    assert min(times) < 4  # two seconds on an idle machine; a busy one may take twice that
