"""Decoded pictures kept in memory, so that each file is decoded once and not once an epoch."""

import os
from math import inf
from pathlib import Path, PurePosixPath

import numpy as np

LARGEST = 4 * 2**30
"""Bytes of a part of a data set that is kept. Larger ones are decoded anew in every epoch, on every
machine, so that the pixels that a network sees do not depend on the memory there is."""
SHARE = 0.25
"""Of the free memory, at most."""
MACHINE = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells what a container, or a job of a cluster, may take."""
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")

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
    """Bytes that can be taken without pushing others out; a guess where the system does not say."""
    try:
        lines = MACHINE.read_text().splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        try:  # not Linux
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, ValueError, OSError):
            return LARGEST
    return int(min(free, *map(_free_in, _groups())))


def _groups() -> list[tuple[Path, tuple[str, str, str]]]:
    """The folders of control groups that may limit this process, and what their figures are called.

    Of Linux' first and second kind; in a container its own is the root's.
    """
    found = [(GROUP, V2), (GROUP / "memory", V1)]
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    for _, kinds, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if kinds in ("", "memory"):
            root, names = (GROUP, V2) if not kinds else (GROUP / "memory", V1)
            inside = PurePosixPath(path.lstrip("/"))
            found += [(root / one, names) for one in (inside, *inside.parents)]
    return found


def _free_in(group: tuple[Path, tuple[str, str, str]]) -> float:
    """Bytes that are left in a control group; infinite where there is none, or no limit."""
    folder, (limit, taken, files) = group
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        left = int((folder / limit).read_text()) - int((folder / taken).read_text())
        return left + int(stat[files])  # files are given up for it
    except (OSError, ValueError, KeyError):  # no limit is written as "max"
        return inf
