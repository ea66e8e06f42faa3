"""How much memory steps really take: in a process of their own, whose peak the system notes."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from convworks.bench.contest import Contestant
from convworks.errors import ConvworksError
from convworks.train.device import memory_kept

STEPS = 3
RETURNING = {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
"""Fixed, so that it does not rise: larger pieces go back to the system when they are freed."""
PROCESS = Path("/proc/self")


def measure_memory(contestant: Contestant, *, training: bool, returning: bool = True) -> int | None:
    """Bytes that the network, its optimizer and a few steps add to a process's peak.

    On a GPU what PyTorch's allocator handed out. On a CPU, with `returning`, freed memory goes back
    to the system at once, so that the peak is what the steps need; without, freed pieces stay with
    the process, as in training, and the peak is what the system sees. None where the system does
    not tell. Raises ConvworksError when the process dies, as for lack of memory.
    """
    if contestant.device.type == "cuda":
        torch.cuda.empty_cache()  # of this process: the other one needs as much
    words = json.dumps([asdict(contestant), training, returning])
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "convworks.bench.memory", words],
        capture_output=True,
        text=True,
        env=os.environ | (RETURNING if returning else {}),
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise ConvworksError(f"Memory could not be measured: {reason}")
    return int(done.stdout) or None


def _child(words: str) -> int:
    """The measured process."""
    given, training, returning = json.loads(words)
    contestant = Contestant(**given)
    device = contestant.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _steps(contestant, training)
        return torch.cuda.max_memory_allocated(device)
    # Loads the kernels, of the network itself where what it frees does not stay in the process.
    first = given if returning else {"name": "lenet"}
    _steps(Contestant(**first | {"batch_size": 2}), training)
    try:
        (PROCESS / "clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return 0
    before = _status("VmRSS")
    with nullcontext() if returning else memory_kept(contestant.device):
        _steps(contestant, training)
    return _status("VmHWM") - before


def _steps(contestant: Contestant, training: bool) -> None:
    step = contestant.training_step() if training else contestant.inference_step()
    for _ in range(STEPS):
        step()


def _status(name: str) -> int:
    """A figure of this process in bytes."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell {name}")


if __name__ == "__main__":
    print(_child(sys.argv[1]))  # noqa: T201
