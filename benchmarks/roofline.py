"""Measures which layers dominate computation, memory, bandwidth and time, in the book's networks.

python benchmarks/roofline.py          # measure, about two minutes on two cores, 12 GiB
python benchmarks/roofline.py --table  # only write docs/roofline.md again
"""

import json
import sys
from pathlib import Path

import torch

from convworks.bench.contest import Contestant
from convworks.bench.machine import know_machine
from convworks.bench.roofline import measure_roofline
from convworks.report.roofline import draw_roofline, in_words
from convworks.train.device import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "roofline.json"
PAGE = ROOT / "docs" / "roofline.md"
NETWORKS = {
    "alexnet": (224, 128),
    "vgg11": (224, 32),
    "nin": (224, 128),
    "densenet_book": (96, 128),
}
"""Image size and batch; VGG's is smaller for the sake of memory."""


def measure(name: str, device: torch.device) -> list[dict[str, object]]:
    """In training, then in use; draws the first."""
    size, batch = NETWORKS[name]
    contestant = Contestant(name, image_size=size, batch_size=batch, device_name=device.type)
    machine = know_machine(device)
    found = []
    for training in (True, False):
        one = measure_roofline(contestant, machine, training=training)
        if training:
            draw_roofline(one, PAGE.with_name(f"roofline-{name}.svg"))
        layers = [
            layer | {"seconds": round(layer["seconds"], 6)} for layer in one.to_dict()["layers"]
        ]
        found.append(
            {
                "network": name,
                "image_size": size,
                "batch_size": batch,
                "training": training,
                "precision": one.precision,
                "peak_share": one.peak_share,
                "attained": one.total.attained,
                "seconds": one.total.seconds,
                "words": in_words(one),
                "layers": layers,
            }
        )
    return found


def page(results: dict[str, object]) -> str:
    """docs/roofline.md."""
    place, machine = results["environment"], results["machine"]
    peaks = machine["flops_per_second"]
    lines = [
        "# Roofline",
        "",
        "Which layers dominate computation, memory and bandwidth, and how close each network",
        "comes to what this machine can do. Every operation of a step is timed, forward and",
        "backward; its roof is its products at the measured peak, or its operands and results,",
        "each read or written once, at the measured bandwidth, whichever takes longer.",
        "*Memory held* stays through the step: weights, gradients, the optimizer's averages, and",
        "what is kept for backward.",
        "`convworks bench MODEL --layers training --figure FILE` gives the same for any network.",
        "",
        f"Written by `python benchmarks/roofline.py`, on {place['threads']} threads of an"
        f" {place['cpu']}, PyTorch {place['torch']}: {peaks['bf16'] / 1e9:,.0f} GFLOP/s in bf16,"
        f" {peaks['fp32'] / 1e9:,.0f} in fp32, {machine['bytes_per_second'] / 1e9:,.0f} GB/s.",
    ]
    for one in results["networks"]:
        phase = "training" if one["training"] else "use"
        if one["training"]:
            lines += ["", f"## {one['network']}", "", f"![](roofline-{one['network']}.svg)"]
        lines += [
            "",
            f"In {phase}, {one['batch_size']} images of {one['image_size']} pixels,"
            f" {one['precision']}, {1e3 * one['seconds']:,.0f} ms, {one['attained']:.0%} of the"
            " roofs:",
            "",
            *(f"- {line}" for line in one["words"]),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    if "--table" not in sys.argv:
        device = torch.device("cpu")
        networks = []
        for name in NETWORKS:
            networks += measure(name, device)
            print(networks[-2]["words"], networks[-1]["words"], flush=True)
        results = {
            "environment": environment(device),
            "machine": know_machine(device).__dict__,
            "networks": networks,
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
