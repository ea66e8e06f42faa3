"""Batches of pixels: shifts, flips, scaling, each against torchvision or by hand."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from convworks.data.augment import Draws, Preparation, random_colour, random_crop, random_flip
from convworks.data.loader import MemoryLoader
from convworks.data.share import WHOLE, Share
from convworks.data.splits import MemoryImages

CPU = torch.device("cpu")


def draws(pixels: torch.Tensor, share: Share = WHOLE, seed: int = 0) -> Draws:
    """For a batch, of which one process has a share."""
    return Draws(torch.Generator().manual_seed(seed), len(pixels), share)


def test_each_side_is_shifted_by_its_own_eighth() -> None:
    """A row of numbers stays in the picture."""
    row = torch.randint(1, 256, (200, 1, 1, 40), dtype=torch.uint8)
    assert random_crop(row, draws(row)).flatten(1).any(1).all()
    wide = torch.ones(200, 1, 16, 80, dtype=torch.uint8)
    seen = random_crop(wide, draws(wide))[:, 0]
    assert seen.amax(2).sum(1).min() == 14
    assert seen.amax(1).sum(1).min() == 70


@pytest.mark.parametrize("size", [8, 28, 32])
def test_a_crop_is_a_shift(size: int) -> None:
    pixels = torch.randint(1, 256, (64, 3, size, size), dtype=torch.uint8)
    cropped = random_crop(pixels, draws(pixels))
    assert cropped.shape == pixels.shape
    assert cropped.dtype == torch.uint8
    pad = size // 8
    padded = torch.nn.functional.pad(pixels, (pad,) * 4)
    shifts = set()
    for before, after in zip(padded, cropped, strict=True):
        matches = [
            (row, column)
            for row in range(2 * pad + 1)
            for column in range(2 * pad + 1)
            if torch.equal(before[:, row : row + size, column : column + size], after)
        ]
        assert len(matches) == 1
        shifts.update(matches)
    assert len(shifts) > 5  # each picture has its own


def test_a_flip_concerns_about_half() -> None:
    pixels = torch.randint(0, 256, (1000, 1, 4, 4), dtype=torch.uint8)
    flipped = random_flip(pixels, draws(pixels))
    mirrored = (flipped == pixels.flip(3)).flatten(1).all(1)
    same = (flipped == pixels).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 400 < mirrored.sum() < 600


@pytest.mark.parametrize("channels", [1, 3])
def test_another_light_is_torchvisions(channels: int) -> None:
    """One after the other, each picture with its own factors, none too bright or dark."""
    pixels = torch.randint(100, 150, (8, channels, 12, 12), dtype=torch.uint8)
    found = random_colour(pixels, draws(pixels, seed=3))
    assert found.dtype == torch.uint8
    factors = 0.5 + torch.rand(8, 3, generator=torch.Generator().manual_seed(3))
    for before, after, (bright, contrast, saturation) in zip(
        pixels.float() / 255, found, factors.tolist(), strict=True
    ):
        expected = v2.functional.adjust_brightness(before, bright)
        expected = v2.functional.adjust_contrast(expected, contrast)
        if channels == 3:
            expected = v2.functional.adjust_saturation(expected, saturation)
        torch.testing.assert_close(after.float(), 255 * expected, atol=1.0, rtol=0)
    assert len({round(one.float().mean().item()) for one in found}) > 4


@pytest.mark.parametrize("change", [random_crop, random_flip, random_colour])
@pytest.mark.parametrize("processes", [2, 3, 7])
def test_what_a_share_is_changed_by_is_what_the_whole_is(
    change: Callable[[torch.Tensor, Draws], torch.Tensor], processes: int
) -> None:
    """Also where seven pictures are shared by two, who have three and four."""
    pixels = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    whole = change(pixels, draws(pixels))
    assert not torch.equal(whole, pixels)
    shares = [Share(rank, processes) for rank in range(processes)]
    parts = [change(share.cut(pixels), draws(pixels, share)) for share in shares]
    assert torch.equal(torch.cat(parts), whole)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40), st.integers(1, 60), st.integers(1, 3))
def test_preparation_is_torchvisions_resize_and_normalize(
    before: int, after: int, channels: int
) -> None:
    pixels = torch.randint(0, 256, (3, channels, before, before), dtype=torch.uint8)
    mean, std = (0.3, 0.4, 0.5)[:channels], (0.2, 0.3, 0.25)[:channels]
    expected = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize((after, after), antialias=True),
            v2.Normalize(mean, std),
        ]
    )(pixels)
    torch.testing.assert_close(
        Preparation(after, mean, std)(pixels), expected, rtol=1e-4, atol=1e-4
    )


def test_training_batches_are_shuffled_whole_and_repeatable() -> None:
    images = MemoryImages(torch.zeros(103, 1, 2, 2, dtype=torch.uint8), torch.arange(103))
    loader = MemoryLoader(images, batch_size=10, shuffle=True, device=CPU)

    def labels(seed: int, start: int = 0) -> list[int]:
        return torch.cat([labels for _, labels in loader.epoch(seed, start)]).tolist()

    assert len(loader) == 10
    assert len(set(labels(1))) == 100
    assert labels(1) == labels(1) != labels(2)
    assert labels(1, start=4) == labels(1)[40:]


def test_other_batches_leave_nothing_out() -> None:
    images = MemoryImages(torch.zeros(103, 1, 2, 2, dtype=torch.uint8), torch.arange(103))
    loader = MemoryLoader(images, batch_size=10, shuffle=False, device=CPU)
    assert len(loader) == 11
    assert torch.cat([labels for _, labels in loader.epoch()]).tolist() == list(range(103))


def test_fewer_pictures_than_a_batch() -> None:
    images = MemoryImages(torch.zeros(7, 1, 2, 2, dtype=torch.uint8), torch.arange(7))
    loader = MemoryLoader(images, batch_size=10, shuffle=True, device=CPU)
    assert [len(labels) for _, labels in loader.epoch()] == [7]
