"""Kills trainings at random moments and resumes them, until so many kills are survived.

    python tests/kills.py 100

Prints as JSON how many processes were killed, where each was, how many of the finished runs differ
in a single bit from the one that nobody killed, and in how many bytes: 0 is promised. Processes
are forks of one that has imported PyTorch, which saves two seconds a kill.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import chdir
from itertools import zip_longest
from pathlib import Path

import torch
from safetensors.torch import load_file

from convworks.cli import run
from convworks.train.checkpoint import BEST, CONFIG, LAST, METRICS, SUMMARY

ARGUMENTS = ["lenet_bn", "--epochs", "6", "--image-size", "16", "--batch-size", "16"]
OFTEN = ["--save-every", "7"]
"""Saves so often that many kills hit the middle of one."""
CLOCK = ("seconds", "images_per_second")
"""What two equal runs differ in."""


def start(arguments: list[str]) -> int:
    """A process that trains; its number."""
    process = os.fork()
    if process == 0:
        with Path(os.devnull).open("w") as silent:
            os.dup2(silent.fileno(), 1)
            os.dup2(silent.fileno(), 2)
            code = 1
            try:
                code = run(["train", *arguments])
            finally:
                os._exit(code)
    return process


def found(folder: Path) -> bytes:
    """The weights, last and best, and all figures that do not depend on the clock."""
    parts = []
    saved = torch.load(folder / LAST, weights_only=True)
    for tensors in (saved["model"], load_file(folder / BEST)):
        parts += [
            name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(tensors.items())
        ]
    records = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    for record in [*records, json.loads((folder / SUMMARY).read_text())]:
        kept = {name: value for name, value in record.items() if name not in CLOCK}
        parts.append(json.dumps(kept).encode())
    return b"".join(parts)


def where(folder: Path) -> str:
    """How far the run was, for the record."""
    if not (folder / CONFIG).exists():
        return "before the first file"
    if (folder / SUMMARY).exists():
        return "complete"
    if not (folder / LAST).exists():
        return "before the first save"
    if any(folder.glob(".*.tmp")):
        return "while a file was written"
    return "between two saves"


def survive(kills: int, seed: int = 0) -> dict[str, object]:
    """Kills so many processes, and compares every run that gets to its end."""
    luck = random.Random(seed)
    torch.set_num_threads(1)
    begun = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(start([*ARGUMENTS, "--out", "whole"]), 0)[1])
    assert code == 0, "the run that nobody kills failed"
    whole, longest = found(Path("whole")), time.perf_counter() - begun
    places: Counter[str] = Counter()
    killed = complete = different = failed = lost = 0
    while killed < kills or not complete:
        folder = Path(f"run{complete}")
        resumed = ["--resume"] if (folder / CONFIG).exists() else ARGUMENTS
        process = start([*resumed, *OFTEN, "--out", str(folder)])
        if killed < kills:
            time.sleep(luck.uniform(0, longest))
            os.kill(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if code == -signal.SIGKILL:
            killed += 1
            places[where(folder)] += 1
        elif code != 0:
            failed += 1
        if (folder / SUMMARY).exists() and code == 0:
            own = found(folder)
            different += own != whole
            lost += sum(a != b for a, b in zip_longest(own, whole)) if own != whole else 0
            complete += 1
    return {
        "kills": killed,
        "where": dict(places),
        "runs_finished": complete,
        "runs_that_differ": different,
        "bytes_lost": lost,
        "processes_that_failed": failed,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, chdir(place):
        sys.stdout.write(json.dumps(survive(int(sys.argv[1]))) + "\n")
