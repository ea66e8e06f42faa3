"""The operators from first principles: what a convolutional network computes, written out.

Slow on purpose. Every loop is one of the definition's, so that the text can be read beside a
textbook and the tests can hold PyTorch's kernels against it. Tensors are floats; images are
channels × height × width, and sizes are in pixels. A window that does not fit its image raises
InputError, a ValueError.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from convworks.errors import InputError

Pair = int | tuple[int, int]


def output_size(size: int, kernel: int, padding: int = 0, stride: int = 1) -> int:
    """How many windows fit along a side of n pixels: ⌊(n − k + 2p + s) / s⌋; below 1, none."""
    return (size - kernel + 2 * padding + stride) // stride


def corr2d(image: Tensor, kernel: Tensor) -> Tensor:
    """The two-dimensional cross-correlation of H×W with h×w, (H − h + 1)×(W − w + 1).

    Each result is the sum of the products of the kernel and the window that it lies on. Raises
    InputError when the kernel is larger than the image.
    """
    height, width = kernel.shape
    rows, columns = _windows(image, (height, width), (1, 1))
    result = image.new_zeros(rows, columns)
    for y, x in product(range(rows), range(columns)):
        result[y, x] = (image[y : y + height, x : x + width] * kernel).sum()
    return result


def convolve(
    image: Tensor, kernels: Tensor, bias: Tensor | None = None, padding: Pair = 0, stride: Pair = 1
) -> Tensor:
    """A convolutional layer: c×H×W with o×c×h×w kernels to o×H'×W'.

    Every output channel is the sum over the input channels of their cross-correlations; stride
    keeps every s-th of them. Raises InputError when channels differ or no window fits.
    """
    _check_channels(image, kernels)
    padded = pad(image, padding)
    down, right = _pair(stride)
    maps = [
        torch.stack([corr2d(x, k) for x, k in zip(padded, kernel, strict=True)]).sum(0)
        for kernel in kernels
    ]
    result = torch.stack(maps)[:, ::down, ::right]
    return result if bias is None else result + bias[:, None, None]


class Conv2d(nn.Module):
    """A convolutional layer that learns its kernels and biases: N×c×H×W to N×o×H'×W'.

    `convolve` for each image of the batch; autograd follows its loops. What is learned has the
    names that PyTorch gives it and begins as there, evenly spread up to 1/√(c·h·w). Raises
    InputError as `convolve` does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Pair,
        padding: Pair = 0,
        stride: Pair = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        height, width = _pair(kernel)
        bound = (in_channels * height * width) ** -0.5
        weight = torch.empty(out_channels, in_channels, height, width).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = (
            nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound)) if bias else None
        )
        self.padding = padding
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """A batch of maps."""
        return torch.stack(
            [convolve(image, self.weight, self.bias, self.padding, self.stride) for image in x]
        )


def pad(image: Tensor, padding: Pair, value: float = 0.0) -> Tensor:
    """The image with rows and columns of `value` on every side: c×H×W to c×(H + 2p)×(W + 2q).

    `padding` is p and q, or one number for both.
    """
    vertical, horizontal = _pair(padding)
    channels, height, width = image.shape
    result = image.new_full((channels, height + 2 * vertical, width + 2 * horizontal), value)
    result[:, vertical : vertical + height, horizontal : horizontal + width] = image
    return result


def pointwise(image: Tensor, weights: Tensor) -> Tensor:
    """A 1×1 convolution as what it is: one Linear layer, o×c, applied to every pixel.

    c×H×W to o×H×W (Lin et al. 2013, "Network in network", section 3.1). Raises InputError when
    channels differ.
    """
    _check_channels(image, weights)
    channels, height, width = image.shape
    return (weights @ image.reshape(channels, height * width)).reshape(-1, height, width)


def as_product(image: Tensor, kernels: Tensor, padding: Pair = 0, stride: Pair = 1) -> Tensor:
    """`convolve` as one product of matrices: every window a column, every kernel a row.

    c×H×W with o×c×h×w kernels to o×H'×W' (Chellapilla et al. 2006). Raises InputError
    when channels differ or no window fits.
    """
    _check_channels(image, kernels)
    padded, (down, right) = pad(image, padding), _pair(stride)
    height, width = kernels.shape[2:]
    rows, columns = _windows(padded, (height, width), (down, right))
    windows = [
        padded[:, y * down : y * down + height, x * right : x * right + width].reshape(-1)
        for y, x in product(range(rows), range(columns))
    ]
    products = kernels.reshape(len(kernels), -1) @ torch.stack(windows, dim=1)
    return products.reshape(-1, rows, columns)


def by_fourier(image: Tensor, kernels: Tensor) -> Tensor:
    """`convolve` without padding or stride, by the convolution theorem (Mathieu et al. 2013).

    c×H×W with o×c×h×w kernels to o×(H − h + 1)×(W − w + 1); InputError when the kernel is larger
    or channels differ. Cross-correlation is a product of the image's transform with the kernel's
    conjugated one; the rows and columns that wrap around the edge are cut off.
    """
    _check_channels(image, kernels)
    height, width = image.shape[1:]
    rows, columns = _windows(image, kernels.shape[2:], (1, 1))
    spectrum = torch.fft.rfft2(image)
    filters = torch.fft.rfft2(kernels, s=(height, width)).conj()
    full: Tensor = torch.fft.irfft2((spectrum * filters).sum(1), s=(height, width))
    return full[:, :rows, :columns]


def stretch(image: Tensor, factor: int) -> Tensor:
    """Zeros between the pixels: a stride of 1 behind it is a stride of 1/`factor`.

    What a transposed convolution begins with (Dumoulin and Visin 2016, section 4); the side n
    becomes (n − 1)·factor + 1, the channels stay.
    """
    channels, height, width = image.shape
    result = image.new_zeros(channels, (height - 1) * factor + 1, (width - 1) * factor + 1)
    result[:, ::factor, ::factor] = image
    return result


def spectrogram(signal: Tensor, window: int, hop: int) -> Tensor:
    """A sound as a picture: 1×(window/2 + 1)×times, the size of each frequency in each window.

    `signal` holds samples, `window` and `hop` are counted in them. Networks for images then take
    it as it is. Windows are Hann's. Raises InputError when the signal is shorter than a window.
    """
    if len(signal) < window:
        raise InputError(f"A window of {window} samples does not fit a signal of {len(signal)}.")
    frames = signal.unfold(0, window, hop) * torch.hann_window(window)
    sizes: Tensor = torch.fft.rfft(frames).abs()
    return sizes.T[None]


BOX = torch.full((3, 3), 1 / 9)
"""The mean of nine pixels: a blur."""
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
"""The slope from left to right; its transpose gives that from top to bottom."""
CIRCLE = ((-3, 0), (-3, 1), (-2, 2), (-1, 3), (0, 3), (1, 3), (2, 2), (3, 1))
"""Half of the sixteen pixels around a corner of `fast_corners`, rows and columns."""


def fast_corners(image: Tensor, threshold: float = 0.2, arc: int = 9) -> Tensor:
    """Where H×W pixels are corners, as booleans (Rosten and Drummond 2006, "FAST").

    A corner is a pixel with `arc` neighbours in a row, of the sixteen on a circle of radius 3,
    that are all brighter or all darker than itself by `threshold`. Not a convolution: a
    comparison follows each difference. Within 3 pixels of the edge nothing is a corner. `threshold`
    is in the image's own unit.
    """
    circle = [*CIRCLE, *((-y, -x) for y, x in CIRCLE)]
    result = torch.zeros(image.shape, dtype=torch.bool)
    inner = image[3:-3, 3:-3]
    height, width = inner.shape
    around = torch.stack(
        [image[3 + y : 3 + y + height, 3 + x : 3 + x + width] - inner for y, x in circle]
    )
    for beyond in (around > threshold, around < -threshold):
        twice = torch.cat([beyond, beyond[: arc - 1]])
        result[3:-3, 3:-3] |= twice.unfold(0, arc, 1).all(-1).any(0)
    return result


def pool2d(
    image: Tensor,
    window: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    kind: str | float = "max",
) -> Tensor:
    """The `max`, the `average` or another summary of every window, each channel by itself.

    c×H×W to c×H'×W', with `output_size` for the sides.
    A number p gives Lp pooling, the p-th root of the sum of p-th powers; `stochastic` one of the
    numbers, each with a probability in proportion to it (Zeiler and Fergus 2013). The stride is
    the window's size unless given. Padding counts as zeros, and never wins a maximum. Raises
    InputError for another `kind`, when no window fits, and for a negative number where numbers are
    drawn.
    """
    operators: dict[str, Callable[[Tensor], Tensor]] = {
        "max": torch.max,
        "average": torch.mean,
        "stochastic": _draw,
    }
    if not isinstance(kind, str) and 0 < kind < torch.inf:
        operators[kind := str(kind)] = partial(_norm, p=float(kind))
    if kind not in operators:
        raise InputError(f"Pooling is max, average, stochastic or a number p above 0, not {kind}.")
    height, width = _pair(window)
    down, right = _pair(window if stride is None else stride)
    padded = pad(image, padding, value=-torch.inf if kind == "max" else 0.0)
    rows, columns = _windows(padded, (height, width), (down, right))
    result = image.new_zeros(len(image), rows, columns)
    for c, y, x in product(range(len(image)), range(rows), range(columns)):
        top, left = y * down, x * right
        result[c, y, x] = operators[kind](padded[c, top : top + height, left : left + width])
    return result


def _norm(window: Tensor, p: float) -> Tensor:
    return window.abs().pow(p).sum().pow(1 / p)


def _draw(window: Tensor) -> Tensor:
    numbers = window.flatten()
    if (numbers < 0).any():
        raise InputError("Stochastic pooling takes numbers from 0 on, as a ReLU gives them.")
    if not numbers.any():
        return torch.zeros(())
    return numbers[torch.multinomial(numbers, 1)[0]]


def _windows(image: Tensor, window: Sequence[int], stride: tuple[int, int]) -> tuple[int, int]:
    """How many fit down and across; InputError for none."""
    height, width = image.shape[-2:]
    rows = output_size(height, window[0], stride=stride[0])
    columns = output_size(width, window[1], stride=stride[1])
    if min(rows, columns) < 1:
        raise InputError(f"A {window[0]}×{window[1]} window does not fit a {height}×{width} image.")
    return rows, columns


def _check_channels(image: Tensor, kernels: Tensor) -> None:
    if image.shape[0] != kernels.shape[1]:
        raise InputError(
            f"The image has {image.shape[0]} channels, the kernels take {kernels.shape[1]}."
        )


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015, algorithms 1 and 2), for N×C or N×C×H×W.

    In training every channel is shifted and scaled to mean 0 and variance 1 over the batch, and
    over all pixels; in use by moving averages of what training saw. γ begins at 1, β at 0.
    `momentum` is the weight of the old value (PyTorch's is that of the new). Raises InputError when
    it is to train on one number a channel, whose variance nobody knows.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.9) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        others = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        mean, variance = self.mean, self.variance
        if self.training:
            mean = x.mean(others)
            variance = (x - mean.view(shape)).square().mean(others)
            count = x.numel() // x.shape[1]
            if count < 2:
                raise InputError("Batch normalisation cannot train on one number a channel.")
            with torch.no_grad():  # the averages take the unbiased variance
                self._move(self.mean, mean)
                self._move(self.variance, variance * count / (count - 1))
        scaled = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + self.eps)
        return self.gamma.view(shape) * scaled + self.beta.view(shape)

    def _move(self, average: Tensor, seen: Tensor) -> None:
        average.mul_(self.momentum).add_((1 - self.momentum) * seen)


def convolution_cost(
    output: tuple[int, int],
    kernel: tuple[int, int],
    in_channels: int,
    out_channels: int,
    groups: int = 1,
    bias: bool = False,
) -> tuple[int, int, int]:
    """Multiplications, additions and parameters of a convolution for one image.

    `output` and `kernel` are heights and widths in pixels.
    c_o·H·W·c_i·k_h·k_w / g products, one addition less for each result, and k_h·k_w·c_i·c_o / g
    weights (and c_o biases). With as many groups as channels it is depthwise.
    """
    results = out_channels * output[0] * output[1]
    taps = in_channels // groups * kernel[0] * kernel[1]
    return results * taps, results * (taps - 1), out_channels * (taps + bias)
