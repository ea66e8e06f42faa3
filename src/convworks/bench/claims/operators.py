"""The documents' examples of operators, computed by `convworks.ops` from their definitions."""

from math import prod

import torch
from torch import Tensor, nn

from convworks import ops
from convworks.bench.claims.claim import Claim, Span, Value
from convworks.measure.summary import SummaryRow, summarize
from convworks.nets.mobilenet_v1 import separable

X = torch.arange(9.0).reshape(3, 3)
K = torch.arange(4.0).reshape(2, 2)
PAIR, KERNELS = torch.stack([X, X + 1]), torch.stack([K, K + 1])
SQUARE = torch.arange(16.0).reshape(1, 4, 4)
EDGE = torch.tensor([[1.0, -1.0]])
SEEDS = 100


def striped() -> Tensor:
    """6×8 ones, columns 2 to 5 zero."""
    image = torch.ones(6, 8)
    image[:, 2:6] = 0
    return image


def _edges() -> str:
    result = ops.corr2d(striped(), EDGE)
    rows = {" ".join(f"{x:g}".replace("-", "−") for x in row) for row in result.tolist()}
    return f"{result.shape[0]}×{result.shape[1]}, every row {' or '.join(rows)}"


def learn_edges() -> tuple[list[float], list[float], list[float]]:
    """Losses, first and second weights after ten steps at rate 0.03, over many seeds."""
    image = striped()[None, None]
    found: list[list[float]] = []
    target = ops.corr2d(striped(), EDGE)
    for seed in range(SEEDS):
        draw = torch.Generator().manual_seed(seed)
        bound = 2**-0.5  # PyTorch's own initialization for two inputs
        kernel = (torch.rand(1, 1, 1, 2, generator=draw) * 2 - 1) * bound
        kernel.requires_grad_()
        for _ in range(10):
            loss = (torch.conv2d(image, kernel)[0, 0] - target).square().sum()
            (slope,) = torch.autograd.grad(loss, kernel)
            kernel = (kernel - 0.03 * slope).detach().requires_grad_()
        found.append([loss.item(), *kernel.flatten().tolist()])
    losses, first, second = (list(each) for each in zip(*found, strict=True))
    return losses, first, second


def _span(numbers: list[float]) -> Span:
    """The middle nine tenths."""
    ordered = sorted(numbers)
    cut = len(ordered) // 20
    return Span(ordered[cut], ordered[-1 - cut])


def _sides(kernel: tuple[int, int], padding: ops.Pair, stride: ops.Pair) -> str:
    result = ops.convolve(torch.rand(1, 8, 8), torch.rand(1, 1, *kernel), None, padding, stride)
    return "×".join(map(str, result.shape[1:]))


def _pooled(
    image: Tensor, window: ops.Pair, stride: ops.Pair, padding: ops.Pair = 0, kind: str = "max"
) -> Value:
    return _numbers(ops.pool2d(image, window, stride, padding, kind)[0])


def _numbers(result: Tensor) -> list[object]:
    found: list[object] = result.tolist()
    return found


def _farthest(results: list[Tensor]) -> float:
    return max((one - results[0]).abs().max().item() for one in results[1:])


def _pointwise() -> str:
    torch.manual_seed(0)
    image, weights = torch.randn(3, 3, 3), torch.randn(2, 3)
    general = ops.convolve(image, weights[:, :, None, None])
    return _below(_farthest([general, ops.pointwise(image, weights)]), 1e-6)


def _three_ways() -> str:
    torch.manual_seed(0)
    image, kernels = torch.randn(3, 8, 8), torch.randn(2, 3, 3, 3)
    ways = (ops.convolve, ops.as_product, ops.by_fourier)
    return _below(_farthest([way(image, kernels) for way in ways]), 1e-5)


def _below(difference: float, bound: float) -> str:
    return f"within {bound:g}" if difference <= bound else f"{difference:g} apart"


def _half_stride() -> str:
    torch.manual_seed(0)
    image, kernel = torch.randn(1, 4, 4), torch.randn(1, 1, 3, 3)
    ours = ops.convolve(ops.stretch(image, 2), kernel, padding=2)
    theirs = torch.conv_transpose2d(image[None], kernel.flip(2, 3), stride=2)[0]
    return _below(_farthest([ours, theirs]), 1e-5)


def _sobel() -> list[object]:
    return _numbers(ops.corr2d(striped(), ops.SOBEL)[0])


def _corner() -> list[object]:
    image = torch.zeros(16, 16)
    image[7:, 7:] = 1
    return _numbers(ops.fast_corners(image).nonzero())


def _tone() -> str:
    """A sine of 1/8 cycle a sample, in windows of 64: the eighth frequency."""
    signal = torch.sin(torch.arange(512) * torch.pi / 4)
    loudest = set(ops.spectrogram(signal, 64, 32)[0].argmax(0).tolist())
    return f"frequency {' or '.join(map(str, loudest))}"


def row(conv: nn.Module, shape: tuple[int, int, int]) -> SummaryRow:
    """What the layer table says of a layer or block as a whole."""
    return summarize(nn.Sequential(conv), shape, depth=1).rows[0]


def _cost_by_formula() -> str:
    """AlexNet's second convolution."""
    products, additions, parameters = ops.convolution_cost((26, 26), (5, 5), 96, 256)
    return f"{products:,} × · {additions:,} + · {parameters:,} parameters"


def _cost_by_trace() -> str:
    found = row(nn.Conv2d(96, 256, 5, padding=2, bias=False), (96, 26, 26))
    additions = found.macs - prod(found.output)
    return f"{found.macs:,} × · {additions:,} + · {found.parameters:,} parameters"


def _share(part: nn.Module, whole: nn.Module) -> float:
    """Of the multiply-adds, 64 channels at 28×28."""
    return row(part, (64, 28, 28)).macs / row(whole, (64, 28, 28)).macs


def _sliced() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(64, 64, (1, 5), padding=(0, 2)), nn.Conv2d(64, 64, (5, 1), padding=(2, 0))
    )


def _dense(kernel: int) -> nn.Module:
    return nn.Conv2d(64, 64, kernel, padding=kernel // 2)


CLAIMS = (
    Claim(
        "operators",
        "S3 7.2",
        "cross-correlation of 0…8 with 0…3",
        [[19, 25], [37, 43]],
        lambda: _numbers(ops.corr2d(X, K)),
    ),
    Claim(
        "operators",
        "S3 7.2",
        "parameters of a layer with a 1×2 kernel and a bias",
        3,
        lambda: row(nn.Conv2d(1, 1, (1, 2)), (1, 6, 8)).parameters,
        derived=True,
    ),
    Claim(
        "operators",
        "S3 7.2",
        "edges of a striped 6×8 image by [1, −1]",
        "6×7, every row 0 1 0 0 0 −1 0",
        _edges,
    ),
    Claim(
        "operators",
        "S3 7.2",
        "edges of its transpose: the largest",
        0,
        lambda: ops.corr2d(striped().T, EDGE).abs().max().item(),
    ),
    Claim(
        "operators",
        "S3 7.2",
        "loss of the learned kernel after 10 steps",
        0.009,
        lambda: _span(learn_edges()[0]),
        reason=f"chance: the middle nine tenths of {SEEDS} seeds",
    ),
    Claim(
        "operators",
        "S3 7.2",
        "its first weight",
        0.98,
        lambda: _span(learn_edges()[1]),
        reason=f"chance: the middle nine tenths of {SEEDS} seeds",
    ),
    Claim(
        "operators",
        "S3 7.2",
        "its second weight",
        -0.99,
        lambda: _span(learn_edges()[2]),
        reason=f"chance: the middle nine tenths of {SEEDS} seeds",
    ),
    *(
        Claim(
            "operators",
            "S3 7.3",
            f"8×8 behind a {k[0]}×{k[1]} kernel, padding {p}, stride {s}",
            printed,
            lambda k=k, p=p, s=s: _sides(k, p, s),  # type: ignore[misc]
        )
        for k, p, s, printed in (
            ((3, 3), 1, 1, "8×8"),
            ((5, 3), (2, 1), 1, "8×8"),
            ((3, 3), 1, 2, "4×4"),
            ((3, 5), (0, 1), (3, 4), "2×2"),
        )
    ),
    Claim(
        "operators",
        "S3 7.4",
        "two input channels",
        [[56, 72], [104, 120]],
        lambda: _numbers(ops.convolve(PAIR, KERNELS[None])[0]),
    ),
    Claim(
        "operators",
        "S3 7.4",
        "three output channels: the second and third",
        [[[76, 100], [148, 172]], [[96, 128], [192, 224]]],
        lambda: _numbers(ops.convolve(PAIR, torch.stack([KERNELS, KERNELS + 1, KERNELS + 2]))[1:]),
    ),
    Claim(
        "operators",
        "S3 7.4",
        "1×1 convolution and a Linear layer on every pixel",
        "within 1e-06",
        _pointwise,
    ),
    Claim(
        "operators",
        "S3 7.5",
        "maximum of 2×2 windows",
        [[4, 5], [7, 8]],
        lambda: _pooled(X[None], 2, 1),
    ),
    Claim(
        "operators",
        "S3 7.5",
        "average of 2×2 windows",
        [[2, 3], [5, 6]],
        lambda: _pooled(X[None], 2, 1, kind="average"),
    ),
    Claim("operators", "S3 7.5", "maximum of 3×3 of 4×4", [[10]], lambda: _pooled(SQUARE, 3, 3)),
    Claim(
        "operators",
        "S3 7.5",
        "window 3, padding 1, stride 2",
        [[5, 7], [13, 15]],
        lambda: _pooled(SQUARE, 3, 2, 1),
    ),
    Claim(
        "operators",
        "S3 7.5",
        "window and stride 2×3, padding 0×1",
        [[5, 7], [13, 15]],
        lambda: _pooled(SQUARE, (2, 3), (2, 3), (0, 1)),
    ),
    Claim(
        "operators",
        "S3 7.5",
        "the second of two channels, the first plus 1",
        [[6, 8], [14, 16]],
        lambda: _numbers(ops.pool2d(torch.cat([SQUARE, SQUARE + 1]), 3, 2, 1)[1]),
    ),
    Claim(
        "operators",
        "S1",
        "cost of 96 to 256 channels, 5×5, at 26×26: formula and traced layer",
        _cost_by_formula(),
        _cost_by_trace,
        derived=True,
    ),
    Claim(
        "operators",
        "S3 7.3",
        "convolution as a product of matrices and by Fourier transform",
        None,
        _three_ways,
        reason="against the definition",
    ),
    Claim(
        "operators",
        "S3 7.3",
        "stride ½, by zeros between the pixels",
        None,
        _half_stride,
        reason="against PyTorch's transposed convolution",
    ),
    Claim(
        "operators",
        "S3 7.2",
        "Sobel's filter on the stripes",
        None,
        _sobel,
        reason="a fixed kernel: a row of the result",
    ),
    Claim(
        "operators",
        "S3 7.2",
        "FAST's corners of a square",
        None,
        _corner,
        reason="row and column of each",
    ),
    Claim(
        "operators",
        "S3 7.5",
        "L2 pooling of 2×2 windows",
        None,
        lambda: _numbers(ops.pool2d(X[None], 2, 1, kind=2.0)[0].round(decimals=3)),
    ),
    Claim(
        "operators",
        "S3 7.3",
        "a tone of an eighth of the rate, in the spectrogram's windows of 64",
        None,
        _tone,
        reason="one-dimensional signals as images",
    ),
    Claim(
        "cheaper-convolutions",
        "S4",
        "4 groups: share of the dense layer's products",
        1 / 4,
        lambda: _share(nn.Conv2d(64, 64, 3, padding=1, groups=4), _dense(3)),
        derived=True,
    ),
    Claim(
        "cheaper-convolutions",
        "S4",
        "depthwise: m_h·m_w·k_h·k_w·c",
        28 * 28 * 3 * 3 * 64,
        lambda: row(nn.Conv2d(64, 64, 3, padding=1, groups=64), (64, 28, 28)).macs,
        derived=True,
    ),
    Claim(
        "cheaper-convolutions",
        "S4",
        "depthwise and 1×1: share of the dense layer's products",
        1 / 64 + 1 / 9,
        lambda: _share(separable(64, 64, 1), _dense(3)),
        tolerance=1e-9,
        derived=True,
    ),
    Claim(
        "cheaper-convolutions",
        "S4",
        "1×5 and 5×1 slices: share of 5×5",
        10 / 25,
        lambda: _share(_sliced(), _dense(5)),
        derived=True,
    ),
)
