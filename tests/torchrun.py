"""Real processes that train together, started by torchrun, and runs that must be alike."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
HERE = ("--standalone",)
TRAIN = ["-m", "convworks", "train"]

EXACT = ["--optimizer", "sgd", "--lr", "0.05", "--precision", "fp32", "--batch-size", "60"]
"""Plain SGD does not magnify the rounding of sums, as dividing by their size does."""


def started(
    processes: int, *arguments: str, restarts: int = 0, where: Sequence[str] = HERE
) -> "subprocess.Popen[str]":
    """torchrun, in a group of its own."""
    own = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    return subprocess.Popen(
        [*TORCHRUN, *where, *own, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def torchrun(processes: int, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, once it is over."""
    process = started(processes, *arguments)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def records(run: str) -> list[dict[str, float]]:
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_run(one: str, other: str) -> None:
    """Weights, losses and accuracies within the rounding of some hundred steps."""
    ours, theirs = (load_file(Path(run) / "best.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=5e-4, rtol=2e-3, msg=name)
    for a, b in zip(records(one), records(other), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-3)
        assert a["train_accuracy"] == pytest.approx(b["train_accuracy"], abs=0.002)


def children(process: "subprocess.Popen[str]") -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]
