"""Times steps of the book's networks with freed memory given back, as glibc does, and kept.

    python benchmarks/allocator.py

Every measurement is a process of its own, since what glibc does depends on what went before; the
two ways take turns. A ratio of medians for each network.
"""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from convworks.bench.contest import Contestant
from convworks.train.device import environment, memory_kept
from convworks.train.recipes import BOOK

RESULTS = Path(__file__).parent / "results" / "allocator.json"
NETWORKS = [name for name in BOOK if name != "vgg11"]
ROUNDS, WARM_UP, STEPS = 3, 3, 8
WAYS = ("given back", "kept")


def times(name: str, way: str) -> list[float]:
    """Milliseconds of each step, in this process."""
    contestant = Contestant(name, image_size=BOOK[name].image_size, device_name="cpu")
    step = contestant.training_step()
    found = []
    with memory_kept(contestant.device) if way == "kept" else nullcontext():
        for _ in range(WARM_UP + STEPS):
            started = perf_counter()
            step()
            found.append(1e3 * (perf_counter() - started))
    return found[WARM_UP:]


def measure(name: str) -> dict[str, object]:
    """Milliseconds of a step, median, both ways."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            words = [sys.executable, __file__, name, way]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found[way] += json.loads(done.stdout)
    medians = {way: median(each) for way, each in found.items()}
    ratio = medians["given back"] / medians["kept"]
    return {"network": name, "milliseconds": medians, "ratio": ratio}


def main() -> None:
    found = []
    for name in NETWORKS:
        found.append(measure(name))
        print(found[-1], flush=True)
    place = environment(torch.device("cpu"))
    results = {"environment": place, "batch_size": 128, "networks": found}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(times(*sys.argv[1:])))
    else:
        main()
