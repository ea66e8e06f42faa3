"""What this machine can do at most: arithmetic in each precision, and moving numbers."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from convworks.errors import InputError
from convworks.files import write_file
from convworks.train.device import PRECISIONS, arithmetic, environment, wait

FILE = "machine.json"
SIZES = (1024, 2048, 4096, 8192)
"""Sides of the matrices; the larger are tried while they take less than a window."""
CHANNELS, SIDE = 256, 16
"""Of the convolution, in and out."""
WINDOW_SECONDS = 0.5
BYTES = 2**28
"""Of each of the three arrays that the bandwidth is measured with: more than caches hold."""


@dataclass(frozen=True)
class Machine:
    """The most that was measured here. FLOP/s count a multiply-add as two."""

    identity: dict[str, object]
    """What the figures depend on; other figures are kept beside."""
    flops_per_second: dict[str, float]
    """Of products of square matrices or a wide 3×3 convolution, the faster, for `fp32`, `bf16` and
    `fp16`."""
    bytes_per_second: float
    """Read and written by passes over large arrays."""


def know_machine(
    device: torch.device, *, remeasure: bool = False, root: Path | None = None
) -> Machine:
    """The machine's peaks: measured once in some ten seconds, then kept in `machine.json`.

    The file lies in `root`, else below $XDG_CACHE_HOME or ~/.cache; where that cannot be written,
    they are measured each time.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = (root or cache / "convworks") / FILE
    identity = _identity(device)
    kept = _read(path)
    if not remeasure:
        for one in kept:
            if one.identity == identity:
                return one
    measured = measure_machine(device)
    others = [asdict(one) for one in kept if one.identity != identity]
    text = json.dumps([*others, asdict(measured)], indent=2) + "\n"
    with suppress(OSError, InputError):  # then it is measured again the next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text)
    return measured


def measure_machine(device: torch.device) -> Machine:
    """The peaks, measured now."""
    with arithmetic():
        flops = {str(name): max(_products(device, one)) for name, one in PRECISIONS.items()}
    return Machine(_identity(device), flops, _bandwidth(device))


def _products(device: torch.device, precision: torch.dtype) -> list[float]:
    """FLOP/s for matrices of growing size, until one product fills a window; of a convolution."""
    rates = []
    for size in SIZES:
        left, right = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
        seconds = _fastest(lambda: left @ right, device)  # noqa: B023
        rates.append(2 * size**3 / seconds)
        if 8 * seconds > WINDOW_SECONDS:
            break
    images, kernels = (
        torch.randn(*shape, device=device).to(precision, memory_format=torch.channels_last)
        for shape in ((64, CHANNELS, SIDE, SIDE), (CHANNELS, CHANNELS, 3, 3))
    )
    seconds = _fastest(lambda: torch.conv2d(images, kernels, padding=1), device)
    rates.append(2 * 64 * SIDE**2 * 9 * CHANNELS**2 / seconds)
    return rates


def _bandwidth(device: torch.device) -> float:
    """Bytes a second of passes over large arrays, the most that one reaches.

    Two are added into a third; one is changed; one is read; AdamW reads four and writes three.
    """
    first, second, total = (torch.ones(BYTES // 4, device=device) for _ in range(3))
    weights = torch.nn.Parameter(total)
    weights.grad = second
    optimizer = torch.optim.AdamW([weights], fused=True)
    return max(
        3 * BYTES / _fastest(lambda: torch.add(first, second, out=total), device),
        2 * BYTES / _fastest(first.relu_, device),
        BYTES / _fastest(first.sum, device),
        7 * BYTES / _fastest(optimizer.step, device),
    )


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of the calls that fit a window."""
    times: list[float] = []
    if device.type != "cpu":  # whose first call loads libraries
        work()
        wait(device)
    while sum(times) < WINDOW_SECONDS or len(times) < 2:
        started = perf_counter()
        work()
        wait(device)
        times.append(perf_counter() - started)
        if times[0] > WINDOW_SECONDS:
            break
    return min(times)


def _identity(device: torch.device) -> dict[str, object]:
    known = environment(device)
    return {"device": device.type} | {k: known[k] for k in ("cpu", "gpu", "threads", "torch")}


def _read(path: Path) -> list[Machine]:
    """What is kept; nothing where the file is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        machines = [Machine(**one) for one in found]
    except (OSError, ValueError, TypeError):
        return []
    return [one for one in machines if _sound(asdict(one))]


def _sound(kept: dict[str, Any]) -> bool:
    """Whether it is what `know_machine` writes."""
    peaks = kept["flops_per_second"]
    if not isinstance(peaks, dict) or set(peaks) != set(PRECISIONS):
        return False
    numbers = [*peaks.values(), kept["bytes_per_second"]]
    return all(isinstance(number, float) and number > 0 for number in numbers)
