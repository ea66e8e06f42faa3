"""What runs on the meta device say of shapes, against the kernels of the CPU."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convworks.measure.summary import summarize
from convworks.nets.meta import Kernels

aten = torch.ops.aten
X, C = torch.randn(2, 4, 3, 3), torch.rand(4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("func", "given"),
    [
        (aten.mm.default, (X[0, 0], X[0, 1])),
        (aten.addmm.default, (X[0, 0], X[0, 0], X[0, 1])),
        (aten.add.Tensor, (X, X[:1, :, :1])),
        (aten.add.Tensor, (X[0, 0, 0, 0], X)),
        (aten.mul.Tensor, (X[:, :, :1, :1], X)),
        (aten.relu_.default, (X,)),
        (aten.div_.Scalar, (X, 2.0)),
        (aten.bernoulli_.float, (X, 0.5)),
        (aten.unsqueeze_.default, (X, 1)),
        (aten.transpose_.default, (X[:, :2], 0, 1)),
        (aten.empty_like.default, (X,)),
        (aten.native_batch_norm.default, (X, C, C, C, C, True, 0.1, 1e-5)),
        (aten.native_batch_norm.default, (X, None, None, None, None, True, 0.1, 1e-5)),
        (aten.native_batch_norm.default, (X, C, C, C, C, False, 0.1, 1e-5)),
        (
            aten.native_batch_norm_backward.default,
            (X, X, C, C, C, C, C, True, 1e-5, [True, True, True]),
        ),
        (
            aten.native_batch_norm_backward.default,
            (X, X, C, C, C, C, C, True, 1e-5, [False, True, True]),
        ),
    ],
)
def test_the_known_shapes_are_the_kernels(
    func: Any, given: tuple[Any, ...], dtype: torch.dtype
) -> None:
    """Those of the CPU, for pictures of either precision; moments stay fp32."""

    def on(device: str) -> list[Any]:
        moved = (x.clone().to(device) if isinstance(x, Tensor) else x for x in given)
        return [x.to(dtype) if isinstance(x, Tensor) and x.ndim != 1 else x for x in moved]

    def shapes(found: Any) -> list[tuple[torch.Size, torch.dtype] | None]:
        several = found if isinstance(found, tuple | list) else [found]
        return [None if x is None else (x.shape, x.dtype) for x in several]

    with Kernels():  # type: ignore[no-untyped-call]
        known = func(*on("meta"))
    assert shapes(known) == shapes(func(*on("cpu")))


@settings(deadline=None)
@drawn(st.data())
def test_windows_lie_where_the_kernels_put_them(data: st.DataObject) -> None:
    """Convolutions and pools of any size, stride and padding; the impossible are refused alike."""
    pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
    sides, size, stride, dilation = (data.draw(pairs) for _ in range(4))
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    ceil_mode, groups = data.draw(st.booleans()), data.draw(st.sampled_from([1, 2, 3]))

    def shapes(device: str) -> list[torch.Size | str]:
        x = torch.zeros(2, 4, *sides, device=device)
        weight = torch.zeros(6, 2, *size, device=device)
        return [
            _shape_or_error(F.conv2d, x, weight, None, stride, padding, dilation, groups),
            _shape_or_error(F.max_pool2d, x, size, stride, padding, dilation, ceil_mode),
            _shape_or_error(F.avg_pool2d, x, size, stride, padding, ceil_mode),
        ]

    with Kernels():  # type: ignore[no-untyped-call]
        known = shapes("meta")
    assert known == shapes("cpu")


def _shape_or_error(layer: Any, *given: Any) -> torch.Size | str:
    try:
        shape: torch.Size = layer(*given).shape
    except RuntimeError:
        return "refused"
    return shape


class Turned(nn.Module):
    """What the real network does with channels-last maps, and with numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x).contiguous(memory_format=torch.channels_last), 2)
        x = torch.empty_like(self.norm(x)).permute(0, 2, 3, 1).view(len(x), -1)
        twice = torch.ones(1, dtype=torch.long).mul_(2) + torch.ones(1, dtype=torch.long)
        return x.repeat(1, int(twice))


def test_the_order_in_memory_and_real_numbers_are_left_alone() -> None:
    assert summarize(Turned(), (3, 8, 8)).totals.output == (4 * 4 * 4 * 3,)


def test_a_network_is_measured_without_pytorchs_compiler() -> None:
    """Its import, with that of a computer algebra system, would take as long as all the rest."""
    program = (
        "import sys, torch; from convworks.nets.registry import create_model;"
        " from convworks.measure.summary import summarize\n"
        "with torch.device('meta'): model = create_model('vgg19')\n"
        "summarize(model, (3, 224, 224)); assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tensors_that_are_no_buffers_are_shapes_too() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.conv(x - self.mean)
            return result

    model = Shifted()
    assert summarize(model, (3, 8, 8)).totals.macs == 4 * 27 * 36
    assert model.mean.device.type == "cpu"
