"""Decoded pictures kept in memory, so that each file is decoded once and not once an epoch."""

import os
from pathlib import Path

import numpy as np

LARGEST = 4 * 2**30
"""Bytes of a part of a data set that is kept. Larger ones are decoded anew in every epoch, on every
machine, so that the pixels that a network sees do not depend on the memory there is."""
SHARE = 0.25
"""Of the free memory, at most."""
GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells what a container may take."""


Pixels = tuple[np.ndarray, tuple[int, int]]
"""uint8 H×W×C, and the width and height of the picture that they were squeezed from."""


class Kept:
    """Squares of pixels, side×side×channels, taken from the system as they are filled."""

    def __init__(self, count: int, channels: int, side: int) -> None:
        self.pixels = np.zeros((count, side, side, channels), np.uint8)
        self.sizes = np.zeros((count, 2), np.int32)
        """Width and height of the whole picture; 0 as long as it is not there."""

    def get(self, index: int) -> Pixels | None:
        """A picture's pixels, not to be changed, and its size; None: it is not there."""
        width, height = self.sizes[index].tolist()
        return (self.pixels[index], (width, height)) if width else None

    def put(self, index: int, pixels: np.ndarray, size: tuple[int, int]) -> None:
        """Keeps a picture."""
        self.pixels[index] = pixels
        self.sizes[index] = size


def keep(count: int, channels: int, side: int) -> Kept | None:
    """Room for so many pictures; None when they are too many for this machine."""
    size = count * channels * side**2
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun, on this machine
    if not keepable(count, channels, side) or size * processes > SHARE * free_memory():
        return None
    try:
        return Kept(count, channels, side)
    except MemoryError:  # the process may have less than the machine
        return None


def keepable(count: int, channels: int, side: int) -> bool:
    """Whether so many pictures are few enough to be kept where there is memory."""
    return count * channels * side**2 <= LARGEST


def free_memory() -> int:
    """Bytes that can be taken without pushing others out; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0
    try:
        limit = int((GROUP / "memory.max").read_text())
        taken = int((GROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        free = min(free, limit - taken + int(stat["inactive_file"]))  # files are given up for it
    except (OSError, ValueError, KeyError):  # no limit is written as "max"
        pass
    return free
