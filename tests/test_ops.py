"""The operators from first principles: the textbook's examples, and PyTorch's kernels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.measure.summary import summarize
from convworks.ops import (
    BatchNorm,
    convolution_cost,
    convolve,
    corr2d,
    output_size,
    pointwise,
    pool2d,
)

X = torch.arange(9.0).reshape(3, 3)
K = torch.arange(4.0).reshape(2, 2)


def test_cross_correlation() -> None:
    assert corr2d(X, K).tolist() == [[19, 25], [37, 43]]


def test_edges() -> None:
    image = torch.ones(6, 8)
    image[:, 2:6] = 0
    edges = corr2d(image, torch.tensor([[1.0, -1.0]]))
    assert edges.shape == (6, 7)
    assert edges.tolist() == [[0, 1, 0, 0, 0, -1, 0]] * 6
    assert not corr2d(image.T, torch.tensor([[1.0, -1.0]])).any()


def test_the_edge_kernel_is_learned() -> None:
    image = torch.ones(6, 8)
    image[:, 2:6] = 0
    target = corr2d(image, torch.tensor([[1.0, -1.0]]))
    losses = []
    for seed in range(3):
        torch.manual_seed(seed)
        conv = nn.Conv2d(1, 1, (1, 2), bias=False)
        for _ in range(30):
            loss = (conv(image[None, None])[0, 0] - target).square().sum()
            conv.zero_grad()
            loss.backward()
            with torch.no_grad():
                conv.weight -= 0.03 * conv.weight.grad
        losses.append(loss.item())
        assert conv.weight.flatten().tolist() == pytest.approx([1, -1], abs=0.02)
    assert max(losses) < 0.01


@pytest.mark.parametrize(
    ("kernel", "padding", "stride", "expected"),
    [
        ((3, 3), 1, 1, (8, 8)),
        ((5, 3), (2, 1), 1, (8, 8)),
        ((3, 3), 1, 2, (4, 4)),
        ((3, 5), (0, 1), (3, 4), (2, 2)),
    ],
)
def test_padding_and_stride(
    kernel: tuple[int, int], padding: int, stride: int, expected: tuple[int, int]
) -> None:
    result = convolve(torch.rand(1, 8, 8), torch.rand(1, 1, *kernel), None, padding, stride)
    assert result.shape[1:] == expected
    pads, steps = (x if isinstance(x, tuple) else (x, x) for x in (padding, stride))
    sides = (output_size(8, k, p, s) for k, p, s in zip(kernel, pads, steps, strict=True))
    assert tuple(sides) == expected


def test_several_channels() -> None:
    image, kernel = torch.stack([X, X + 1]), torch.stack([K, K + 1])
    assert convolve(image, kernel[None]).tolist() == [[[56, 72], [104, 120]]]
    kernels = torch.stack([kernel, kernel + 1, kernel + 2])
    assert convolve(image, kernels)[1:].tolist() == [
        [[76, 100], [148, 172]],
        [[96, 128], [192, 224]],
    ]


def test_a_1x1_convolution_is_a_linear_layer_on_every_pixel() -> None:
    torch.manual_seed(0)
    image, weights = torch.randn(3, 3, 3), torch.randn(2, 3)
    torch.testing.assert_close(
        pointwise(image, weights), convolve(image, weights[:, :, None, None]), rtol=0, atol=1e-6
    )


def test_pooling() -> None:
    assert pool2d(X[None], 2, 1).tolist() == [[[4, 5], [7, 8]]]
    assert pool2d(X[None], 2, 1, kind="average").tolist() == [[[2, 3], [5, 6]]]
    square = torch.arange(16.0).reshape(1, 4, 4)
    assert pool2d(square, 3).tolist() == [[[10]]]
    assert pool2d(square, 3, 2, 1).tolist() == [[[5, 7], [13, 15]]]
    assert pool2d(square, (2, 3), (2, 3), (0, 1)).tolist() == [[[5, 7], [13, 15]]]
    two = torch.cat([square, square + 1])
    assert pool2d(two, 3, 2, 1)[1].tolist() == [[6, 8], [14, 16]]


windows = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=30, deadline=None)
@given(kernel=windows, stride=windows, padding=windows, seed=st.integers(0, 99))
def test_they_are_pytorchs(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    image = torch.randn(2, 6, 7)
    kernels, bias = torch.randn(3, 2, *kernel), torch.randn(3)
    expected = F.conv2d(image[None], kernels, bias, stride, padding)[0]
    torch.testing.assert_close(convolve(image, kernels, bias, padding, stride), expected)
    inner = (padding[0] * kernel[0] // 6, padding[1] * kernel[1] // 6)  # at most half the window
    for kind, theirs in (("max", F.max_pool2d), ("average", F.avg_pool2d)):
        expected = theirs(image[None], kernel, stride, inner)[0]
        torch.testing.assert_close(pool2d(image, kernel, stride, inner, kind), expected)


@pytest.mark.parametrize("shape", [(8, 4), (8, 4, 5, 6)])
def test_batch_norm_is_pytorchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = BatchNorm(4)
    theirs: nn.Module = nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    assert (ours.gamma == 1).all()
    assert (ours.beta == 0).all()
    for _ in range(3):
        images = 3 + 2 * torch.randn(shape)
        mine, other = images.clone().requires_grad_(), images.clone().requires_grad_()
        found, expected = ours(mine), theirs(other)
        torch.testing.assert_close(found, expected)
        weights = torch.randn(shape)
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(mine.grad, other.grad)
    torch.testing.assert_close(ours.mean, theirs.get_buffer("running_mean"))
    torch.testing.assert_close(ours.variance, theirs.get_buffer("running_var"))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_costs_are_those_of_the_layer_table(groups: int) -> None:
    conv = nn.Conv2d(8, 16, (3, 5), padding=(1, 2), groups=groups)
    row = summarize(nn.Sequential(conv), (8, 10, 12)).rows[0]
    products, additions, parameters = convolution_cost((10, 12), (3, 5), 8, 16, groups, bias=True)
    assert (row.macs, row.parameters) == (products, parameters)
    assert products - additions == 16 * 10 * 12


def test_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="has 2 channels, the kernels take 3"):
        convolve(torch.zeros(2, 4, 4), torch.zeros(1, 3, 2, 2))
    with pytest.raises(InputError, match="A 5×5 kernel does not fit a 4×4 image"):
        convolve(torch.zeros(1, 4, 4), torch.zeros(1, 1, 5, 5))
    with pytest.raises(InputError, match="Pooling is max or average, not min"):
        pool2d(torch.zeros(1, 4, 4), 2, kind="min")


def test_images_are_left_as_they_were() -> None:
    image: Tensor = X[None].clone()
    pool2d(image, 2)
    convolve(image, K[None, None], padding=1)
    assert torch.equal(image, X[None])
