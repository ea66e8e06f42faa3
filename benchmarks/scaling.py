"""What several processes gain here, and what the exchange of gradients would cost on many GPUs.

    python benchmarks/scaling.py           # ten minutes on two cores
    python benchmarks/scaling.py --table   # only write docs/scaling.md again

Nothing else should run meanwhile. Measured: one process of one thread, two of one thread each with
the same number of pictures a process (weak scaling), with the statistics of batch norm exchanged
and without, and one of two threads with as many pictures as those two, taking turns. Predicted: an
all-reduce by trees beside the step's arithmetic, from the network's parameters and multiply-adds
and the figures in `MACHINE`.
"""

import json
import os
import subprocess
import sys
import tempfile
from math import log2
from pathlib import Path
from statistics import median

import torch

import convworks as cw
from convworks.nets.registry import find
from convworks.train.device import environment
from convworks.train.processes import is_first

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "scaling.json", ROOT / "docs" / "scaling.md"

MEASURED = ("lenet_bn", "resnet20", "vgg11_small")
SIZE, EACH, STEPS, ROUNDS = 28, 64, 12, 3
WAYS = {
    "1 process, 1 thread": (1, 1, "on"),
    "2 processes": (2, 1, "on"),
    "2 processes, --sync-norms off": (2, 1, "off"),
    "1 process, 2 threads": (1, 2, "on"),
}
"""Processes, threads of each, and whether the processes' batch norms are one."""

PREDICTED = ("alexnet", "vgg11", "nin", "googlenet", "resnet18", "densenet121", "resnet50")
GPUS = (8, 64, 1024)
PICTURES = 128
"""A step, for each GPU."""
MACHINE = {
    "FLOP/s of a GPU in bf16, NVIDIA's figure for the H100 SXM without sparsity": 989e12,
    "share of it that convolutions reach, assumed": 0.4,
    "bytes/s in and out of a GPU inside a machine of 8, NVLink 4, one way": 450e9,
    "bytes/s between machines for each GPU, InfiniBand NDR": 50e9,
    "share of these that an all-reduce reaches, assumed": 0.8,
    "seconds that a bucket takes besides for each hop from GPU to GPU, assumed": 10e-6,
}
BUCKET = 25 * 2**20
"""Bytes that DistributedDataParallel exchanges at once."""


def train_here(name: str) -> None:
    """One epoch in this process, one of several when torchrun started it; prints images/s."""
    count = int(os.environ.get("WORLD_SIZE", "1")) * EACH * int(os.environ["PICTURES"])
    data = cw.load_data("fashion_mnist", image_size=SIZE, train_images=10 * STEPS * count // 9)
    model = cw.create_model(name, num_classes=10, in_channels=1, image_size=SIZE)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run") if is_first() else Path(folder)
        config = cw.TrainConfig(
            epochs=3,
            batch_size=count,
            precision="fp32",
            sync_norms=os.environ["SYNC_NORMS"],  # type: ignore[arg-type]
            out=out,
        )
        run = cw.fit(model, data, config, progress=False)
        if is_first():
            print(json.dumps([record.images_per_second for record in run.history[1:]]))


def rates(name: str, processes: int, threads: int, norms: str) -> list[float]:
    """Images/s of all processes together, an epoch each but the first."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [sys.executable, *(launch if processes > 1 else []), __file__, name]
    settings = {"OMP_NUM_THREADS": str(threads), "PICTURES": str(threads), "SYNC_NORMS": norms}
    done = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | settings
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, how in WAYS.items():
            found[way] += rates(name, *how)
    print(name, {way: round(median(each)) for way, each in found.items()}, flush=True)
    return found


def step_seconds(macs: int) -> float:
    """Arithmetic of a step on one GPU: forward, and twice that backward."""
    peak, share = list(MACHINE.values())[:2]
    return 2 * 3 * macs * PICTURES / (peak * share)


def exchange_seconds(parameters: int, gpus: int) -> float:
    """An all-reduce of the gradients in fp32 by trees, the slowest link deciding.

    Sums go up and down, so each GPU sends every byte twice, and the last byte takes a hop for each
    doubling of the GPUs, up and down. Two trees that complement each other use all links both ways
    (Sanders, Speck and Träff 2009); NCCL takes them for many GPUs, since a ring has 2(n − 1) hops.
    """
    inside, between, share, latency = list(MACHINE.values())[2:]
    link = (inside if gpus <= 8 else between) * share
    buckets = -(-4 * parameters // BUCKET)
    return 2 * 4 * parameters / link + buckets * latency * 2 * log2(gpus)


def predict(name: str) -> dict[str, float]:
    """Bytes a step, seconds of arithmetic, and the share of the whole that stays on many GPUs."""
    row = find(name)
    step = step_seconds(row.macs)
    found = {"bytes": 4 * row.parameters, "step_seconds": step}
    for gpus in GPUS:
        # Exchanged while the backward pass, two thirds of the step, still computes.
        shown = max(0.0, exchange_seconds(row.parameters, gpus) - step * 2 / 3)
        found[f"efficiency_{gpus}"] = step / (step + shown)
    return found


def write_page(found: dict[str, object]) -> None:
    measured, predicted = found["measured"], found["predicted"]
    assert isinstance(measured, dict)
    assert isinstance(predicted, dict)
    place = found["environment"]
    assert isinstance(place, dict)
    last = f"efficiency_{GPUS[-1]}"
    lines = [
        "# Scaling",
        "",
        "Written by `python benchmarks/scaling.py`; every figure is in"
        " `benchmarks/results/scaling.json`.",
        "",
        "## Measured on two cores",
        "",
        f"Training images/s at {SIZE}×{SIZE} in fp32, {EACH} pictures a process and step, medians;"
        f" {place['cpu']}, PyTorch {place['torch']}. Two processes of one thread share the memory's"
        " bandwidth and exchange gradients and the statistics of batch norm. Ideal is 2.",
        "",
        f"| network | {' | '.join(WAYS)} | 2 / 1 | 2 / 1, --sync-norms off |",
        "|---|" + "---|" * (len(WAYS) + 2),
    ]
    for name, ways in measured.items():
        medians = [median(ways[way]) for way in WAYS]
        cells = " | ".join(f"{one:,.0f}" for one in medians)
        gains = " | ".join(f"{two / medians[0]:.2f}" for two in medians[1:3])
        lines.append(f"| {name} | {cells} | {gains} |")
    lines += [
        "",
        "## Predicted for many GPUs",
        "",
        f"{PICTURES} pictures a GPU and step at the size that `convworks models` lists, gradients"
        " in fp32, exchanged by trees (each byte once up and once down, 2·log₂ n hops for n GPUs)"
        " while the backward pass computes: the share of the arithmetic's speed that stays."
        " Nothing of this was measured on a GPU. It leaves out loading, batch norm's own exchange"
        " (`--sync-norms off` avoids it) and the wait for the slowest. It rests on:",
        "",
        *(f"- {name}: {value:g}" for name, value in MACHINE.items()),
        "",
        "| network | gradients, MB a step | arithmetic, ms a step |"
        + "".join(f" {gpus:,} GPUs |" for gpus in GPUS),
        "|---|---|---|" + "---|" * len(GPUS),
    ]
    for name, row in predicted.items():
        shares = "".join(f" {row[f'efficiency_{gpus}']:.0%} |" for gpus in GPUS)
        lines.append(
            f"| {name} | {row['bytes'] / 1e6:,.0f} | {1e3 * row['step_seconds']:.1f} |{shares}"
        )
    lines += [
        "",
        "Bytes a step do not grow with the number of GPUs, nor with the batch: what counts is the"
        " parameters beside the multiply-adds. Of these networks"
        f" {min(predicted, key=lambda name: predicted[name][last])} keeps the least of its speed"
        f" on {GPUS[-1]:,} GPUs. More pictures a GPU and step help all in proportion.",
    ]
    PAGE.write_text("\n".join(lines) + "\n")


def main() -> None:
    if "--table" in sys.argv:
        found = json.loads(RESULTS.read_text())
    else:
        found = {
            "environment": environment(torch.device("cpu")),
            "measured": {name: measure(name) for name in MEASURED},
        }
    found["predicted"] = {name: predict(name) for name in PREDICTED}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    write_page(found)


if __name__ == "__main__":
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        train_here(sys.argv[1])
    else:
        main()
