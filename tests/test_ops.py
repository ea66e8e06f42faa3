"""The operators from first principles against PyTorch's; `bench.claims` has the textbook's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.measure.summary import summarize
from convworks.ops import (
    BOX,
    SOBEL,
    BatchNorm,
    Conv2d,
    as_product,
    by_fourier,
    convolution_cost,
    convolve,
    corr2d,
    fast_corners,
    pad,
    pointwise,
    pool2d,
    spectrogram,
    stretch,
)

X = torch.arange(9.0).reshape(3, 3)
K = torch.arange(4.0).reshape(2, 2)


def test_the_edge_kernel_is_learned() -> None:
    """With three times the steps of the textbook, whose ten are not enough for every seed."""
    image = torch.ones(6, 8)
    image[:, 2:6] = 0
    target = corr2d(image, torch.tensor([[1.0, -1.0]]))
    for seed in range(3):
        torch.manual_seed(seed)
        conv = Conv2d(1, 1, (1, 2), bias=False)
        for _ in range(30):
            loss = (conv(image[None, None])[0, 0] - target).square().sum()
            conv.zero_grad()
            loss.backward()
            assert conv.weight.grad is not None
            with torch.no_grad():
                conv.weight -= 0.03 * conv.weight.grad
        assert conv.weight.flatten().tolist() == pytest.approx([1, -1], abs=0.02)
        assert loss.item() < 0.01


windows = st.tuples(st.integers(1, 3), st.integers(1, 3))
sides = st.tuples(st.integers(3, 8), st.integers(3, 8))
channels = st.integers(1, 4)
seeds = st.integers(0, 99)


# Channels taken and given, the picture's height and width, kernel, stride, padding, seed.
Pair = tuple[int, int]
Convolution = tuple[int, int, Pair, Pair, Pair, Pair, int]
convolutions = st.tuples(channels, channels, sides, windows, windows, windows, seeds)


@settings(max_examples=40, deadline=None)
@given(convolutions)
def test_convolutions_are_pytorchs(drawn: Convolution) -> None:
    taken, given_, side, kernel, stride, padding, seed = drawn
    torch.manual_seed(seed)
    image = torch.randn(taken, *side)
    kernels, bias = torch.randn(given_, taken, *kernel), torch.randn(given_)
    expected = F.conv2d(image[None], kernels, bias, stride, padding)[0]
    torch.testing.assert_close(convolve(image, kernels, bias, padding, stride), expected)
    expected = F.conv2d(image[None], kernels, None, stride, padding)[0]
    torch.testing.assert_close(as_product(image, kernels, padding, stride), expected)
    plain = F.conv2d(image[None], kernels)[0]
    torch.testing.assert_close(by_fourier(image, kernels), plain, atol=1e-5, rtol=1e-5)
    single = F.conv2d(image[None, :1], kernels[:1, :1])[0, 0]
    torch.testing.assert_close(corr2d(image[0], kernels[0, 0]), single)
    around = (padding[1], padding[1], padding[0], padding[0])
    torch.testing.assert_close(pad(image, padding, 2.5), F.pad(image, around, value=2.5))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), convolutions)
def test_the_layer_is_pytorchs_and_learns_as_it_does(batch: int, drawn: Convolution) -> None:
    taken, given_, side, kernel, stride, padding, seed = drawn
    torch.manual_seed(seed)
    ours = Conv2d(taken, given_, kernel, padding, stride).double()
    theirs = nn.Conv2d(taken, given_, kernel, stride, padding).double()
    bound = theirs.weight[0].numel() ** -0.5
    assert all(p.abs().max() <= bound for p in ours.parameters())
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(batch, taken, *side).double()
    torch.testing.assert_close(ours(images), theirs(images))
    for layer in (ours, theirs):
        layer(images).square().sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@settings(max_examples=30, deadline=None)
@given(channels, sides, windows, windows, st.floats(1, 6), seeds)
def test_poolings_are_pytorchs(
    count: int,
    side: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    p: float,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    image = torch.randn(count, *side)
    inner = (kernel[0] // 2, kernel[1] // 2)  # PyTorch pads by at most half the window
    for kind, theirs in (("max", F.max_pool2d), ("average", F.avg_pool2d)):
        expected = theirs(image[None], kernel, stride, inner)[0]
        torch.testing.assert_close(pool2d(image, kernel, stride, inner, kind), expected)
    above = image.abs() + 0.1
    expected = nn.LPPool2d(p, kernel, stride)(above[None])[0]
    torch.testing.assert_close(pool2d(above, kernel, stride, kind=p), expected)


@settings(max_examples=20, deadline=None)
@given(channels, channels, sides, seeds)
def test_a_pointwise_convolution_is_a_linear_layer(
    taken: int, given_: int, side: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    image, weights = torch.randn(taken, *side), torch.randn(given_, taken)
    expected = F.linear(image.movedim(0, 2), weights).movedim(2, 0)
    torch.testing.assert_close(pointwise(image, weights), expected, atol=1e-5, rtol=1e-5)
    expected = F.conv2d(image[None], weights[:, :, None, None])[0]
    torch.testing.assert_close(pointwise(image, weights), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_stride_below_one_is_a_transposed_convolution(factor: int) -> None:
    torch.manual_seed(0)
    image, kernels = torch.randn(2, 4, 5), torch.randn(3, 2, 3, 3)
    expected = F.conv_transpose2d(image[None], kernels.transpose(0, 1).flip(2, 3), stride=factor)
    found = convolve(stretch(image, factor), kernels, padding=2)
    torch.testing.assert_close(found, expected[0])


def test_stochastic_pooling_draws_in_proportion() -> None:
    torch.manual_seed(0)
    image = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]).repeat(2000, 1, 1)
    drawn = pool2d(image, 2, kind="stochastic").flatten()
    assert set(drawn.tolist()) == {1.0, 3.0}
    assert (drawn == 3).float().mean().item() == pytest.approx(0.75, abs=0.04)
    assert pool2d(torch.zeros(1, 2, 2), 2, kind="stochastic").item() == 0


def test_filters() -> None:
    ramp = torch.arange(5.0).repeat(5, 1)
    assert (corr2d(ramp, SOBEL) == 8).all()
    assert (corr2d(ramp, SOBEL.T) == 0).all()
    torch.testing.assert_close(corr2d(ramp, BOX), ramp[1:-1, 1:-1])


def test_corners_are_at_the_corner() -> None:
    image = torch.zeros(16, 16)
    image[7:, 7:] = 1
    corners = fast_corners(image)
    assert corners[7, 7]
    assert corners.nonzero().max() <= 9  # near the corner, not along the edges
    assert torch.equal(fast_corners(1 - image), corners)
    assert not fast_corners(torch.zeros(16, 16)).any()
    edge = torch.zeros(16, 16)
    edge[:, 8:] = 1
    assert not fast_corners(edge).any()


def test_a_spectrogram_shows_when_which_tone_sounds() -> None:
    time = torch.arange(512)
    signal = torch.sin(time * torch.pi / 4 * (1 + (time >= 256)))  # then an octave higher
    picture = spectrogram(signal, 64, 64)
    assert picture.shape == (1, 33, 8)
    assert picture[0].argmax(0).tolist() == [8] * 4 + [16] * 4


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), channels, st.none() | sides, seeds)
def test_batch_norm_is_pytorchs(
    batch: int, count: int, side: tuple[int, int] | None, seed: int
) -> None:
    torch.manual_seed(seed)
    ours = BatchNorm(count).double()
    theirs: nn.Module = (nn.BatchNorm2d(count) if side else nn.BatchNorm1d(count)).double()
    assert (ours.gamma == 1).all()
    assert (ours.beta == 0).all()
    shape = (batch, count, *(side or ()))
    for _ in range(3):
        images = 3 + 2 * torch.randn(shape).double()
        mine, other = images.clone().requires_grad_(), images.clone().requires_grad_()
        found, expected = ours(mine), theirs(other)
        torch.testing.assert_close(found, expected)
        weights = torch.randn(shape).double()
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(ours.gamma.grad, theirs.get_parameter("weight").grad)
        torch.testing.assert_close(ours.beta.grad, theirs.get_parameter("bias").grad)
    torch.testing.assert_close(ours.mean, theirs.get_buffer("running_mean"))
    torch.testing.assert_close(ours.variance, theirs.get_buffer("running_var"))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_a_network_trains_with_it_as_with_pytorchs() -> None:
    def trained(norms: list[nn.Module]) -> tuple[list[float], Tensor]:
        torch.manual_seed(0)
        images, labels = torch.randn(32, 1, 8, 8).double(), torch.randint(3, (32,))
        network = nn.Sequential(
            *(nn.Conv2d(1, 4, 3), norms[0], nn.ReLU(), nn.Flatten()),
            *(nn.Linear(144, 6), norms[1], nn.Sigmoid(), nn.Linear(6, 3)),
        ).double()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        losses = []
        for _ in range(30):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, network.eval()(images)

    ours, used = trained([BatchNorm(4), BatchNorm(6)])
    theirs, expected = trained([nn.BatchNorm2d(4), nn.BatchNorm1d(6)])
    assert ours[-1] < 0.5 * ours[0]
    assert ours == pytest.approx(theirs, rel=1e-6)
    torch.testing.assert_close(used, expected)


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
    for way in (as_product, by_fourier):
        with pytest.raises(InputError, match="has 1 channels, the kernels take 3"):
            way(torch.zeros(1, 4, 4), torch.zeros(2, 3, 2, 2))
    with pytest.raises(InputError, match="has 2 channels, the kernels take 3"):
        pointwise(torch.zeros(2, 4, 4), torch.zeros(1, 3))
    image, kernels = torch.zeros(1, 4, 4), torch.zeros(1, 1, 5, 5)
    for work in (
        lambda: convolve(image, kernels),
        lambda: as_product(image, kernels),
        lambda: by_fourier(image, kernels),
        lambda: corr2d(image[0], kernels[0, 0]),
        lambda: pool2d(image, 5),
    ):
        with pytest.raises(InputError, match="A 5×5 window does not fit a 4×4 image"):
            work()
    with pytest.raises(InputError, match="Pooling is max, .* or a number p above 0, not min"):
        pool2d(torch.zeros(1, 4, 4), 2, kind="min")
    with pytest.raises(InputError, match="a number p above 0, not inf"):
        pool2d(torch.zeros(1, 4, 4), 2, kind=float("inf"))
    with pytest.raises(InputError, match="takes numbers from 0 on"):
        pool2d(torch.tensor([[[1.0, -1.0]]]), (1, 2), kind="stochastic")
    with pytest.raises(InputError, match="A window of 64 samples does not fit a signal of 63"):
        spectrogram(torch.zeros(63), 64, 8)
    with pytest.raises(InputError, match="cannot train on one number a channel"):
        BatchNorm(4)(torch.zeros(1, 4))


def test_numbers_stay_of_their_kind() -> None:
    image, kernels = (X / 7)[None].double(), torch.rand(1, 1, 2, 2).double()
    for result in (convolve(image, kernels, padding=1), pool2d(image, 2), stretch(image, 2)):
        assert result.dtype == torch.float64
    expected = torch.conv2d(image[None], kernels)[0]
    assert (convolve(image, kernels) - expected).abs().max() < 1e-15


def test_images_are_left_as_they_were() -> None:
    image: Tensor = X[None].clone()
    pool2d(image, 2)
    convolve(image, K[None, None], padding=1)
    assert torch.equal(image, X[None])
