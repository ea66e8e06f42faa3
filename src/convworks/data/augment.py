"""From uint8 pictures to what a network sees: pure functions of a whole batch.

Random choices are drawn on the CPU from the generator given, one for each picture of the whole
batch, so that a batch is the same on every device and for every number of processes.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from convworks.data.share import WHOLE, Share

CROP_SHARE = 8
"""A random crop shifts a picture by up to 1/8 of its side (4 of CIFAR's 32: He et al. 2015)."""


@dataclass(frozen=True)
class Draws:
    """Random numbers for a batch of `count` pictures, of which a share's pictures get theirs."""

    generator: Generator
    count: int
    """Pictures of the whole batch."""
    share: Share = WHOLE

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1, of that shape for each picture."""
        return self.share.cut(torch.rand(self.count, *shape, generator=self.generator))

    def integers(self, end: int) -> Tensor:
        """One from 0 to below `end` for each picture."""
        return self.share.cut(torch.randint(0, end, (self.count,), generator=self.generator))


def random_crop(pixels: Tensor, draws: Draws) -> Tensor:
    """N×C×H×W shifted by up to 1/8 of each side; what comes in is black."""

    def shifted(side: int) -> tuple[Tensor, int]:
        pad = max(1, side // CROP_SHARE) if side > 1 else 0
        offsets = draws.integers(2 * pad + 1)[:, None]
        return (offsets + torch.arange(side)).to(pixels.device), pad

    (rows, above), (columns, beside) = shifted(pixels.shape[2]), shifted(pixels.shape[3])
    padded = F.pad(pixels, (beside, beside, above, above))
    picture = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    cropped = padded.movedim(1, 3)[picture, rows[:, :, None], columns[:, None, :]]
    # `contiguous` would keep one channel's strides, which make convolutions choose channels-last.
    return cropped.movedim(3, 1).clone(memory_format=torch.contiguous_format)


def random_flip(pixels: Tensor, draws: Draws) -> Tensor:
    """N×C×H×W, each picture mirrored left to right with probability ½."""
    mirrored = draws.uniform() < 0.5
    return torch.where(mirrored.to(pixels.device)[:, None, None, None], pixels.flip(3), pixels)


def random_colour(pixels: Tensor, draws: Draws) -> Tensor:
    """uint8 N×C×H×W, each picture in another light (Howard 2013, arXiv:1312.5402).

    Brightness, contrast and, of three channels, saturation are each multiplied by ½ to 1½.
    """
    factors = 0.5 + draws.uniform(3)
    bright, contrast, saturation = factors.to(pixels.device).T[:, :, None, None, None]
    images: Tensor = bright * pixels
    grey = _grey(images)
    middle = grey.mean((2, 3), keepdim=True)
    images, grey = middle + contrast * (images - middle), middle + contrast * (grey - middle)
    images = grey + saturation * (images - grey)
    return images.clamp(0, 255).round().to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """N×1×H×W: of three channels how light they look (ITU-R BT.601), of others the mean."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


@lru_cache
def _columns(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number a channel, for pixels from 0 to 255; kept, since copying to a GPU makes it wait."""
    return torch.tensor(values, device=device)[:, None, None] * 255


def scale(images: Tensor, side: int) -> Tensor:
    """Float N×C×H×W to N×C×side×side, bilinearly.

    Antialiased when made smaller, as torchvision's Resize does.
    """
    if images.shape[2:] == (side, side):
        return images
    smaller = max(images.shape[2:]) > side
    return F.interpolate(images, (side, side), mode="bilinear", antialias=smaller)


@dataclass(frozen=True)
class Preparation:
    """What is done to every picture, in training and in use: it is saved with the weights."""

    image_size: int
    """S, the side in pixels."""
    mean: tuple[float, ...]
    """Of each channel, black 0 and white 1."""
    std: tuple[float, ...]
    """The same for the deviation."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 N×C×H×W to float N×C×S×S: (pixels / 255 − mean) / std, scaled bilinearly."""
        mean, std = _columns(self.mean, pixels.device), _columns(self.std, pixels.device)
        images = (pixels.float() - mean) / std
        return scale(images, self.image_size)
