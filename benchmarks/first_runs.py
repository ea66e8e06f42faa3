"""Trains what the README shows and writes the figures and the README's table.

    python benchmarks/first_runs.py          # run everything, about 20 minutes on two cores
    python benchmarks/first_runs.py --table  # only write the table again

Nothing else should run meanwhile. The validation part chooses the epoch, the test part is looked
at once a run; accuracies are means over the seeds with their standard deviation.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev

from readme import put_into_readme

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "first_runs.json"

RUNS: tuple[tuple[str, int], ...] = (
    ("train", 3),
    ("train lenet --data fashion_mnist --recipe book", 3),
    ("train lenet --data fashion_mnist --recipe modern", 3),
    ("train resnet20 --data fashion_mnist", 3),
    ("train resnet18 --data fashion_mnist --image-size 96 --recipe book --epochs 1", 1),
)
"""Commands and how many seeds each is run with."""


def run(command: str, seed: int, folder: Path) -> dict[str, object]:
    """One run's final figures, the whole process's seconds and the environment."""
    out = folder / f"{command.replace(' ', '_')}_{seed}"
    arguments = [*command.split(), "--seed", str(seed), "--out", str(out), "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "convworks", *arguments], stdout=subprocess.PIPE, check=True
    )
    seconds = time.perf_counter() - started
    figures = json.loads(done.stdout)
    del figures["path"]
    config = json.loads((out / "config.json").read_text())
    return {
        "command": f"convworks {command}",
        "seed": seed,
        "process_seconds": seconds,
        "figures": figures,
        "settings": {k: v for k, v in config["train"].items() if k not in ("out", "seed")},
        "environment": config["environment"],
    }


def table(results: list[dict[str, dict[str, float]]]) -> str:
    """A Markdown table, a row a command."""
    lines = [
        "| command | test accuracy | images/s | precision | process time |",
        "|---|---|---|---|---|",
    ]
    for command in dict.fromkeys(str(result["command"]) for result in results):
        group = [result for result in results if result["command"] == command]
        accuracies = [result["figures"]["test_accuracy"] for result in group]
        spread = f" ± {stdev(accuracies):.4f}" if len(group) > 1 else ""
        rate = median(result["figures"]["images_per_second"] for result in group)
        seconds = median(float(str(result["process_seconds"])) for result in group)
        precision = group[0]["figures"]["precision"]
        seeds = f" ({len(group)} seeds)" if len(group) > 1 else " (1 seed)"
        lines.append(
            f"| `{command}` | {mean(accuracies):.4f}{spread}{seeds} | {rate:,.0f} | {precision}"
            f" | {seconds:.0f} s |"
        )
    found = results[0]["environment"]
    lines.append("")
    lines.append(
        f"Medians over the seeds, on {found['cores']} cores of an {found['cpu']}, Python"
        f" {found['python']}, PyTorch {found['torch']}; process time runs from the start of Python"
        " to its end, the look at the test set included."
    )
    return "\n".join(lines)


def main() -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    if sys.argv[1:] != ["--table"]:
        results: list[dict[str, object]] = []
        with tempfile.TemporaryDirectory() as folder:
            for command, seeds in RUNS:
                for seed in range(seeds):
                    results.append(run(command, seed, Path(folder)))
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    put_into_readme("first_runs", table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
