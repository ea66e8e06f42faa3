"""Where to compute and in what precision, chosen by looking at the hardware; and what it is."""

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torch.backends import cudnn

from convworks.errors import InputError
from convworks.train.config import Precision
from convworks.version import __version__

BF16_MACS = 1_000_000
"""Networks above so many multiply-adds an image gain by bf16 on a CPU that computes in it.

From `benchmarks/precision.py`, 2 cores with AVX512-BF16, batch 128, training images/s of bf16
against fp32: LeNet at 64 pixels (2.9 M) 1.5×, ResNet-18 at 96 (319 M) 2.0×, DenseNet at 96 (129 M)
3.4×. LeNet at 28 (0.4 M) gains in bare steps and, loading and bookkeeping included, nothing.
"""

PRECISIONS: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


# cuBLAS is repeatable with a workspace of a fixed size only, asked for before its first product
# (docs.pytorch.org/docs/stable/notes/randomness.html); this is its own on recent cards.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def choose_device(asked: str) -> torch.device:
    """The device of that name; `auto`: CUDA, else Apple's GPU, else the CPU."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if asked == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[asked]:
        raise InputError(f"This machine has no usable {asked} device: give --device auto.")
    return torch.device(asked)


def usable_gpus() -> range:
    """Their numbers; none where there are some that PyTorch cannot use, as with an old driver."""
    return range(torch.cuda.device_count() if torch.cuda.is_available() else 0)


def place_of(model: nn.Module) -> torch.device:
    """Where its weights are."""
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))


def choose_precision(asked: str, device: torch.device, macs: int) -> torch.dtype:
    """What convolutions are computed in, for a network of `macs` multiply-adds an image."""
    if asked in PRECISIONS:
        return PRECISIONS[asked]
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16 if major >= 7 else torch.float32
    if device.type == "cpu" and macs >= BF16_MACS and cpu_computes_bf16():
        return torch.bfloat16
    return torch.float32


def cpu_computes_bf16() -> bool:
    """Whether this CPU has bf16 products (AMX or AVX512-BF16); without, bf16 is emulated."""
    features = torch.cpu.get_capabilities()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16"))


def environment(device: torch.device) -> dict[str, object]:
    """What the numbers of a run depend on: versions, machine, commit."""
    return {
        "convworks": __version__,
        "commit": _git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(terse=True),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from, None when installed."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def precision_name(precision: torch.dtype) -> Precision:
    """`fp32`, `bf16` or `fp16`."""
    return next(name for name, one in PRECISIONS.items() if one == precision)


@contextmanager
def arithmetic(deterministic: bool = False) -> Iterator[None]:
    """Inside it a GPU's convolutions are repeatable, and those in fp32 are not rounded to TF32.

    With `deterministic` so is everything else, or PyTorch refuses it.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    if deterministic:
        torch.use_deterministic_algorithms(True)
    try:
        with cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Of glibc's malloc.h."""
_KEEPING: list[bool] = []
"""Not empty inside `memory_kept`: the outermost decides."""


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """Inside it, on a CPU, freed memory stays with the process for the next step to use.

    glibc gives large pieces back to the system at once, and the system clears every page of the
    next one: a sixth of ResNet-18's step at 96 pixels, half of the narrow VGG-11's at 224
    (`benchmarks/allocator.py`). It concerns the main thread. At the end what is free is given back,
    and glibc's thresholds are those that it would have risen to by itself. Inside another it does
    nothing, and so on other devices and systems.
    """
    libc = ctypes.CDLL(None) if device.type == "cpu" and sys.platform == "linux" else None
    if _KEEPING or not all(hasattr(libc, name) for name in ("mallopt", "malloc_trim")):
        yield
        return
    assert libc is not None
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    _KEEPING.append(True)
    try:
        yield
    finally:
        _KEEPING.clear()
        libc.mallopt(M_MMAP_MAX, 65536)  # glibc's default; the others where its own rule ends
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
