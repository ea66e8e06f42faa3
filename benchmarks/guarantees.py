"""What convworks promises of safety, tried: kills, malformed input, hostile files.

    python benchmarks/guarantees.py           # twenty minutes
    python benchmarks/guarantees.py guided    # one part anew: kills, malformed, guided or hostile
    python benchmarks/guarantees.py --table   # only write docs/guarantees.md again

The tests do the same with fewer of each; `python -m pytest -m slow` with as many.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from convworks.train.device import environment

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "guarantees.json", ROOT / "docs" / "guarantees.md"
KILLS, MALFORMED, GUIDED = 100, 2000, 10_000
OPENED = ("is_not_read", "is_what_is", "reaches_nothing", "through_links", "does_not_change")
"""Words in the names of tests whose files are opened, and then do nothing that they should not."""
KINDS = ("idx", "picture", "config", "weights", "study", "words")


def script(name: str, count: int) -> dict[str, Any]:
    """What a script below tests/ prints."""
    words = [sys.executable, str(ROOT / "tests" / name), str(count)]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=settings)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def guided() -> dict[str, dict[str, int]]:
    """Inputs that tests/fuzz_guided.py tried of each kind, and whether one ended it."""
    found: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        words = [sys.executable, str(ROOT / "tests" / "fuzz_guided.py"), kind, f"-runs={GUIDED}"]
        with tempfile.TemporaryDirectory() as folder:  # where an input that ends it is left
            done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
        counts = re.findall(r"(?:^#|^Done )(\d+)", done.stderr, re.MULTILINE)
        found[kind] = {"tried": max(map(int, counts)), "findings": int(done.returncode != 0)}
        print(kind, found[kind], file=sys.stderr, flush=True)
    return found


def hostile() -> dict[str, int]:
    """Files that tests/test_hostile_*.py make: refused, opened without harm, and neither."""
    opened = " or ".join(OPENED)
    taken, wrong = tests_passed(opened)
    refused, failed = tests_passed(f"not ({opened} or marks_of_code)")  # those need no file
    return {"refused": refused, "opened": taken, "failed": wrong + failed}


def tests_passed(which: str) -> tuple[int, int]:
    """Passed and failed tests with hostile files, of those whose names have these words."""
    files = map(str, sorted(ROOT.glob("tests/test_hostile_*.py")))
    words = [sys.executable, "-m", "pytest", "-n0", "-q", *files, "-k", which]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout)}
    return counts.get("passed", 0), counts.get("failed", 0)


def measured_on(environments: dict[str, dict[str, Any]]) -> list[str]:
    """Lines that tell where each part was measured, and with which commit."""
    places: dict[str, list[str]] = {}
    for part, place in environments.items():
        where = f"{place['cores']} cores of an {place['cpu']}, PyTorch {place['torch']}"
        places.setdefault(f"{where}, commit {str(place['commit'])[:8]}", []).append(part)
    return [f"- {', '.join(parts)}: {place}" for place, parts in places.items()]


def write_page(found: dict[str, Any]) -> None:
    killed, fuzzed, files = found["kills"], found["malformed"], found["hostile"]
    kinds = {name: each for name, each in fuzzed.items() if name != "findings"}
    tried = sum(sum(each.values()) for each in kinds.values())
    led = found.get("guided", {}).values()  # not measured yet where there is none
    lines = [
        "# Guarantees",
        "",
        "What was tried, and what came of it. Written by `python benchmarks/guarantees.py`; the"
        " figures are in `benchmarks/results/guarantees.json`.",
        "",
        "| promise | tried | broken |",
        "|---|---|---|",
        f"| a training that is killed ends, resumed, with the very weights and figures of one that"
        f" is not | {killed['kills']} kills (SIGKILL) at random moments, in"
        f" {killed['runs_finished']} runs | {killed['bytes_lost']:,} bytes lost,"
        f" {killed['runs_that_differ']} runs differ, {killed['processes_that_failed']} could not be"
        " resumed |",
        f"| malformed input is taken, or refused in one line | {tried:,} inputs |"
        f" {len(fuzzed['findings'])} |",
        *[
            "| the same, inputs made to reach new branches of the program (atheris) |"
            f" {sum(each['tried'] for each in led):,} inputs |"
            f" {sum(each['findings'] for each in led)} |"
        ]
        * bool(led),
        "| no file runs code or takes memory for what it only claims, when it is loaded |"
        f" {files['refused']} tests whose hostile files are refused, {files['opened']} where they"
        " are opened without harm |"
        f" {files['failed']} |",
        "",
        "## Kills",
        "",
        "A small network that saves every seven steps. Where the kills hit:",
        "",
        "| moment | kills |",
        "|---|---|",
        *(f"| {moment} | {count} |" for moment, count in sorted(killed["where"].items())),
        "",
        "Every file is written under another name, flushed to the disk and renamed, so the last"
        " good one stays until the new one is whole. Compared are weights, losses and accuracies,"
        " byte for byte, with those of a run that nobody killed.",
        "",
        "## Malformed input",
        "",
        "Good files and commands, changed at random; the seed of each is its number.",
        "",
        "| input | taken | refused | neither |",
        "|---|---|---|---|",
    ]
    for kind, each in kinds.items():
        neither = sum(one.startswith(f"{kind} ") for one in fuzzed["findings"])
        taken, refused = each.get("taken", 0), each.get("refused", 0)
        lines.append(f"| {kind} | {taken:,} | {refused:,} | {neither} |")
    lines += [
        "",
        "## Hostile files",
        "",
        "Checkpoints load with PyTorch's `weights_only`, once it is seen that they name nothing"
        " but tensors (`nets/pickled.py`), weights as safetensors, everything else is JSON or TOML"
        " whose values are checked before they are used. Nothing is written through links in a run"
        " folder. Of a `.pt2` file PyTorch opens a copy of"
        " what was checked (`deploy/archive.py`), since `torch.export.load` unpickles, evaluates,"
        " writes into code and calls what such a file says. Programs of your own that open one, as"
        " in the model card, have no such guard: let them open only files that you trust."
        " torchvision unpickles CIFAR's files, once it has compared their MD5 sums with the"
        " published ones.",
        "",
        "## Measured on",
        "",
        *measured_on(found["environments"]),
    ]
    PAGE.write_text("\n".join(lines) + "\n")


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "kills": lambda: script("kills.py", KILLS),
    "malformed": lambda: script("fuzz.py", MALFORMED),
    "guided": guided,
    "hostile": hostile,
}


def main() -> None:
    parts = sys.argv[1:] or list(PARTS)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if parts != ["--table"]:
        place = environment(torch.device("cpu"))
        found |= {part: PARTS[part]() for part in parts}
        found["environments"] = found.get("environments", {}) | dict.fromkeys(parts, place)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    write_page(found)


if __name__ == "__main__":
    main()
