"""How soon a network is good: whole processes, from the start of Python to the saved checkpoint.

    python benchmarks/time_to_accuracy.py              # an hour and a half on two cores
    python benchmarks/time_to_accuracy.py airbench94   # anew only what begins so
    python benchmarks/time_to_accuracy.py --table      # only write docs/time-to-accuracy.md again

Nothing else should run meanwhile. Settings were chosen by validation accuracy; the test part is
looked at once a run, and its accuracy is what counts here. For the book's networks the time is set
beside the ten epochs that d2l takes at the book's image size and batch 128, from its images/s in
results/peers.json (measured, not run to the end).
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from first_runs import ROOT, run

RESULTS = ROOT / "benchmarks" / "results" / "time_to_accuracy.json"
PEERS = ROOT / "benchmarks" / "results" / "peers.json"
PAGE = ROOT / "docs" / "time-to-accuracy.md"
SEEDS = 3
EPOCHS, PICTURES = 10, 60_000

GOALS: tuple[tuple[str, float, float], ...] = (
    ("airbench94 --set widths=[32,96,192]", 0.92, 60),
    ("airbench94 --set widths=[32,128,256] --epochs 13 --augment flip-crop", 0.94, 360),
)
"""Network and options, the test accuracy to reach, within so many seconds on two cores."""

BOOK: tuple[tuple[str, float], ...] = (
    ("alexnet --image-size 80", 0.891),
    ("vgg11_small --epochs 5", 0.925),
    ("nin --image-size 80 --epochs 4", 0.762),
    ("googlenet --image-size 72", 0.835),
    ("resnet18 --image-size 68 --epochs 1", 0.892),
    ("densenet_book --image-size 68", 0.896),
)
"""Network and options, the test accuracy that the documents print. They print none for LeNet."""


def command(options: str) -> str:
    network, _, rest = options.partition(" ")
    return f"train {network} --data fashion_mnist --recipe quick {rest}".strip()


def d2l_seconds(network: str) -> float | None:
    """What ten epochs take d2l; None: its images/s were not measured."""
    if not PEERS.exists():
        return None
    rates = json.loads(PEERS.read_text())["networks"].get(network, {}).get("d2l", [])
    numbers = [rate for rate in rates if isinstance(rate, float)]  # the others say why they failed
    return EPOCHS * PICTURES / median(numbers) if numbers else None


def rows(results: list[dict[str, Any]]) -> list[str]:
    def figures(options: str) -> tuple[list[float], float, float]:
        group = [one for one in results if one["command"] == f"convworks {command(options)}"]
        if not group:
            return [], 0, 0
        accuracies = [one["figures"]["test_accuracy"] for one in group]
        seconds = median(one["process_seconds"] for one in group)
        return accuracies, seconds, group[0]["figures"]["macs"] / 1e6

    def shown(accuracies: list[float]) -> str:
        spread = f" ± {stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
        return f"{mean(accuracies):.4f}{spread} (least {min(accuracies):.4f})"

    lines = [
        "| command | test accuracy, goal | seconds, goal |",
        "|---|---|---|",
    ]
    for options, goal, limit in GOALS:
        accuracies, seconds, _ = figures(options)
        if not accuracies:
            continue
        lines.append(
            f"| `convworks {command(options)}` | {shown(accuracies)}, {goal}"
            f" | {seconds:.0f}, {limit:.0f} |"
        )
    beside: list[str] = []
    for options, printed in BOOK:
        accuracies, seconds, macs = figures(options)
        if not accuracies:
            continue
        theirs = d2l_seconds(options.split()[0])
        d2l = "not measured | " if theirs is None else f"{theirs:,.0f} s | {theirs / seconds:.0f}"
        beside.append(
            f"| `convworks {command(options)}` | {macs:.0f} M | {shown(accuracies)}, {printed}"
            f" | {seconds:.0f} | {d2l} |"
        )
    if beside:
        lines += [
            "",
            "| command | MACs | test accuracy, printed | seconds | d2l's ten epochs"
            " | times sooner |",
            "|---|---|---|---|---|---|",
            *beside,
            "",
            "d2l's ten epochs are computed from its images/s at the book's image size and batch"
            " 128 ([peers.md](peers.md)). Ours see smaller pictures, VGG-11 28 pixels by its small"
            " stem, and take the fewer multiply-adds of the second column. The documents print no"
            " accuracy for LeNet.",
        ]
    return lines


def page(results: list[dict[str, Any]]) -> str:
    found = results[0]["environment"]
    return "\n".join(
        [
            "# Time to accuracy",
            "",
            "Fashion-MNIST, from the start of the process to the saved checkpoint and the look at"
            " the test set, which decides nothing. Means and standard deviations of"
            f" {SEEDS} seeds, medians of the seconds. Written by"
            " `python benchmarks/time_to_accuracy.py` on"
            f" {found['cores']} cores of an {found['cpu']}, Python {found['python']}, PyTorch"
            f" {found['torch']}; every run is in `benchmarks/results/time_to_accuracy.json`.",
            "",
            *rows(results),
            "",
        ]
    )


def main() -> None:
    wanted = [*sys.argv[1:]]
    if wanted != ["--table"]:
        chosen = [
            command(options)
            for options, *_ in (*GOALS, *BOOK)
            if not wanted or any(options.startswith(one) for one in wanted)
        ]
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        results = [one for one in known if one["command"].removeprefix("convworks ") not in chosen]
        with tempfile.TemporaryDirectory() as folder:
            for each in chosen:
                for seed in range(SEEDS):
                    results.append(run(each, seed, Path(folder)))
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
