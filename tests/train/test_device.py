"""What the hardware is told."""

import platform
import subprocess
import sys

import pytest
import torch

from convworks.train.device import memory_kept

PROBE = """
import resource, sys, torch
from contextlib import nullcontext
from convworks.train.device import memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

begun = resident()
with memory_kept(torch.device("cpu")) if sys.argv[1] == "kept" else nullcontext():
    faults()
    with memory_kept(torch.device("cpu")) if sys.argv[1] == "kept" else nullcontext():
        pass  # inside another it changes nothing
    print(faults())
print(resident() - begun)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc")
def test_freed_memory_is_used_again_and_given_back_at_the_end() -> None:
    """Without, the system hands out ten times 64 MiB, page by page; with, none of it."""
    found = {}
    for way in ("kept", "given back"):
        words = [sys.executable, "-c", PROBE, way]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found[way] = [int(line) for line in done.stdout.split()]
    assert found["given back"][0] > 10 * 2**24 * 4 / 2**21  # pages of 2 MiB at the most
    assert found["kept"][0] < found["given back"][0] / 10
    assert found["kept"][1] < 2**26


def test_other_devices_are_left_alone() -> None:
    with memory_kept(torch.device("meta")):
        assert torch.ones(3).sum() == 3
