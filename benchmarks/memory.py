"""Predicts and measures what the book's networks need, at the book's sizes and batches.

    python benchmarks/memory.py          # measure, about ten minutes on two cores, 12 GiB
    python benchmarks/memory.py --table  # only write docs/memory.md again

Each measurement is a process of its own: three steps, their peak of resident memory less that of
the same process after two steps on two images.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from convworks.bench.contest import Contestant
from convworks.bench.memory import measure_memory
from convworks.measure.memory import predict_memory
from convworks.measure.units import show_bytes
from convworks.train.device import environment, precision_name
from convworks.train.recipes import BOOK

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "memory.json"
PAGE = ROOT / "docs" / "memory.md"
NETWORKS = [name for name in BOOK if name != "vgg11"]
"""The book trains VGG-11 at a quarter of its width."""


def measure(name: str, training: bool) -> dict[str, object]:
    """One network's memory in training or in use."""
    row = BOOK[name]
    contestant = Contestant(
        name, image_size=row.image_size, batch_size=row.batch_size, device_name="cpu"
    )
    precision = contestant.precision()
    predicted = predict_memory(
        contestant.on_meta(),
        contestant.shape,
        contestant.batch_size,
        training=training,
        precision=precision,
    )
    return {
        "network": name,
        "image_size": row.image_size,
        "batch_size": row.batch_size,
        "precision": precision_name(precision),
        "training": training,
        "predicted": asdict(predicted),
        "predicted_total": predicted.total,
        "needed": measure_memory(contestant, training=training),
        "resident": measure_memory(contestant, training=training, returning=False),
    }


def page(results: dict[str, object]) -> str:
    """docs/memory.md."""
    place = results["environment"]
    lines = [
        "# Memory",
        "",
        "What a step needs at its peak: predicted by `predict_memory`, which runs it without",
        "memory; and measured in a process that gives freed pieces back at once. The last column",
        "is the same where freed pieces stay with the process for the next step, as they do while",
        "convworks trains and measures speed. Training is with AdamW, precisions are the",
        "trainer's.",
        "",
        f"Written by `python benchmarks/memory.py`, on {place['threads']} threads of an"
        f" {place['cpu']}, PyTorch {place['torch']}.",
        "",
        "| network | images | precision | | predicted | measured | error | freed pieces kept |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for one in results["networks"]:
        error = one["predicted_total"] / one["needed"] - 1
        cells = (
            one["network"],
            f"{one['batch_size']} × 1×{one['image_size']}×{one['image_size']}",
            one["precision"],
            "training" if one["training"] else "use",
            show_bytes(one["predicted_total"]),
            show_bytes(one["needed"]),
            f"{error:+.1%}",
            show_bytes(one["resident"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if "--table" not in sys.argv:
        import torch

        networks = []
        for name in NETWORKS:
            for training in (True, False):
                networks.append(measure(name, training))
                print(networks[-1], flush=True)
        results = {"environment": environment(torch.device("cpu")), "networks": networks}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
