"""Times steps of training with and without `train.small_maps`, the two taking turns.

    python benchmarks/small_maps.py

96-pixel pictures, whose last maps have 3×3 pixels; ratios of medians, in one process.
"""

import json
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from convworks.bench import contest
from convworks.bench.contest import Contestant
from convworks.train.device import environment, memory_kept
from convworks.train.small_maps import with_small_maps

RESULTS = Path(__file__).parent / "results" / "small_maps.json"
NETWORKS = ("resnet18", "resnet34")
ROUNDS = 30
WAYS = {"usual": lambda model, *_: model, "products": with_small_maps}


def measure(name: str) -> dict[str, object]:
    """Milliseconds of a step, median, both ways."""
    contestant = Contestant(name, image_size=96, device_name="cpu")
    steps = {}
    for way, make in WAYS.items():
        contest.with_small_maps = make
        steps[way] = contestant.training_step()
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with memory_kept(contestant.device):
        for each in range(ROUNDS + 2):
            for way, step in steps.items():
                started = perf_counter()
                step()
                if each >= 2:
                    times[way].append(1e3 * (perf_counter() - started))
    medians = {way: median(each) for way, each in times.items()}
    ratio = medians["usual"] / medians["products"]
    return {"network": name, "milliseconds": medians, "ratio": ratio}


def main() -> None:
    found = []
    for name in NETWORKS:
        found.append(measure(name))
        print(found[-1], flush=True)
    results = {
        "environment": environment(torch.device("cpu")),
        "batch_size": 128,
        "networks": found,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
