"""Pictures that are in two parts at once, or nearly: a test on them is no test."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convworks.data.loader import THUMBNAIL, FileLoader, open_loader
from convworks.data.splits import Data, Images, MemoryImages
from convworks.data.unreadable import LeftOut

ALIKE = 0.995
"""Correlation of two small grey pictures from which on they count as one. Of copies of 300 crops of
photographs that were compressed anew (JPEG 40), halved, or lost a fifth of their contrast, 99 % are
found; of copies of a third of the size at JPEG 60, 91 %; turned by one degree, 52 %; cut by 2 % at
each edge, 5 %. Of 44,850 pairs of crops that share less than half of what they show, the most alike
has 0.965."""
FLAT = 2.0
"""Grey levels of standard deviation below which a picture shows nothing to compare."""
BLOCK = 4096


@dataclass(frozen=True)
class Duplicate:
    """A picture of a part, and the one most like it in the other part, by their places there."""

    place: int
    other: int
    correlation: float


def near_duplicates(data: Data, part: str = "test", other: str = "train") -> list[Duplicate]:
    """The pictures of one part that are, or are nearly, in another, the surest first.

    All are decoded; those that cannot be read are passed over.
    """
    return find_alike(thumbnails(getattr(data, part)), thumbnails(getattr(data, other)))


def count_same(pictures: MemoryImages, others: MemoryImages) -> int:
    """How many of the pictures are among the others to the last bit, labels aside."""
    theirs = {hash(one.tobytes()) for one in others.pixels.numpy()}
    return sum(hash(one.tobytes()) in theirs for one in pictures.pixels.numpy())


def thumbnails(images: Images) -> Tensor:
    """uint8 N×THUMBNAIL×THUMBNAIL, grey: the central squares."""
    if isinstance(images, MemoryImages):
        size = (THUMBNAIL, THUMBNAIL)
        blocks = [
            F.adaptive_avg_pool2d(block.float().mean(1), size).round().to(torch.uint8)
            for block in torch.split(images.pixels, BLOCK)
        ]
        return torch.cat(blocks)
    loader = open_loader(
        images,
        batch_size=1,
        image_size=THUMBNAIL,
        device=torch.device("cpu"),
        left_out=LeftOut(),
    )
    assert isinstance(loader, FileLoader)
    return loader.read(lambda _: None)


def find_alike(pictures: Tensor, others: Tensor) -> list[Duplicate]:
    """Of thumbnails N×T×T those that are at least ALIKE to one of M×T×T, the surest first."""
    best = torch.full((len(pictures),), -1.0)
    nearest = torch.zeros(len(pictures), dtype=torch.long)
    for begin in range(0, len(others), BLOCK):
        columns = _normalised(others[begin : begin + BLOCK]).T
        for start in range(0, len(pictures), BLOCK):
            rows = slice(start, start + BLOCK)
            value, place = (_normalised(pictures[rows]) @ columns).max(1)
            nearest[rows] = torch.where(value > best[rows], place + begin, nearest[rows])
            best[rows] = torch.maximum(best[rows], value)
    alike = (best >= ALIKE).nonzero().squeeze(1)
    alike = alike[best[alike].argsort(descending=True, stable=True)]
    return [Duplicate(i, int(nearest[i]), min(1.0, float(best[i]))) for i in alike.tolist()]


def _normalised(pictures: Tensor) -> Tensor:
    """Rows of mean 0 and length 1, whose products are correlations; 0 where all is flat."""
    rows = pictures.flatten(1).float()
    rows = rows - rows.mean(1, keepdim=True)
    length = rows.norm(dim=1, keepdim=True)
    return torch.where(length < FLAT * rows.shape[1] ** 0.5, 0, rows / length.clamp(min=1))
