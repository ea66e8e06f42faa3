"""Measures which layers dominate computation, memory, bandwidth and time, in the book's networks.

python benchmarks/roofline.py          # measure, about four minutes on two cores, 12 GiB
python benchmarks/roofline.py --table  # only write docs/roofline.md and its pictures again
"""

import json
import sys
from dataclasses import fields
from pathlib import Path

import torch

from convworks.bench.contest import Contestant
from convworks.bench.machine import Machine, know_machine
from convworks.bench.roofline import LayerTime, Roofline, measure_roofline
from convworks.report.roofline import draw_roofline, in_words
from convworks.train.device import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "roofline.json"
PAGE = ROOT / "docs" / "roofline.md"
NETWORKS = {
    "lenet": (28, 128),
    "alexnet": (224, 128),
    "vgg11": (224, 32),
    "vgg11_small": (224, 128),
    "nin": (224, 128),
    "googlenet": (96, 128),
    "resnet18": (96, 128),
    "densenet_book": (96, 128),
}
"""Image size and batch; VGG's is smaller for the sake of memory."""


def measure(name: str, device: torch.device) -> list[dict[str, object]]:
    """In training, then in use."""
    size, batch = NETWORKS[name]
    contestant = Contestant(name, image_size=size, batch_size=batch, device_name=device.type)
    machine = know_machine(device)
    found = []
    for training in (True, False):
        one = measure_roofline(contestant, machine, training=training)
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
                "compute_floor": one.total.compute_floor,
                "memory_floor": one.total.memory_floor,
                "floor": one.total.floor,
                "words": in_words(one),
                "layers": layers,
            }
        )
    return found


def draw(one: dict[str, object], machine: Machine) -> None:
    """The picture of what `measure` found."""
    names = [field.name for field in fields(LayerTime)]
    layers = tuple(LayerTime(**{name: layer[name] for name in names}) for layer in one["layers"])
    facts = (one[name] for name in ("network", "training", "batch_size", "precision"))
    draw_roofline(Roofline(*facts, machine, layers), PAGE.with_name(picture(one["network"])))


def picture(network: str) -> str:
    return f"roofline-{network}.svg"


def floors(steps: list[dict[str, object]]) -> list[str]:
    """A table of what the steps take and could take."""
    lines = [
        "A step of training, milliseconds: its products at the measured peak, its bytes at the",
        "measured bandwidth, both where each operation waits for its lower roof, and as measured.",
        "",
        "| | pixels | batch | products | bytes | roofs | measured | reached |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in steps:
        times = (one[name] for name in ("compute_floor", "memory_floor", "floor", "seconds"))
        cells = [one["network"], one["image_size"], one["batch_size"]]
        cells += [f"{1e3 * seconds:,.1f}" for seconds in times]
        lines.append("| " + " | ".join(map(str, [*cells, f"{one['attained']:.0%}"])) + " |")
    return lines


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
    lines += ["", *floors([one for one in results["networks"] if one["training"]])]
    for one in results["networks"]:
        phase = "training" if one["training"] else "use"
        if one["training"]:
            alt = f"Layers of {one['network']} in training, as points under this machine's roofs"
            lines += ["", f"## {one['network']}", "", f"![{alt}]({picture(one['network'])})"]
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
    results = json.loads(RESULTS.read_text())
    for one in results["networks"]:
        if one["training"]:
            draw(one, Machine(**results["machine"]))
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
