"""Training images/s of the book's networks, with convworks and with what people use otherwise.

    pip install -e '.[bench]' && pip install --no-deps d2l==1.0.3
    python benchmarks/peers.py                       # about 40 minutes on two cores
    python benchmarks/peers.py resnet18 --rounds 1   # one network, once
    python benchmarks/peers.py --table               # only write docs/peers.md again

Every contestant trains the same network on Fashion-MNIST at the book's image size in batches of
128, loading included, in a process of its own; they take turns, several rounds. Seconds are counted
after a warm-up, between batches. contestants.py says what each of them does.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from contestants import BATCH, DEVICE, PEERS
from readme import put_into_readme

from convworks.train.device import environment
from convworks.train.recipes import BOOK

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
ROOFLINE = RESULTS.with_name("roofline.json")
PAGE = ROOT / "docs" / "peers.md"
NETWORKS = ("lenet", "alexnet", "vgg11_small", "nin", "googlenet", "resnet18", "densenet_book")
TUNED = ("lightning", "timm", "timm-compile")
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
"""For glibc, when a process begins."""


def measure(peer: str, name: str) -> float | str:
    """Images a second, or why there are none."""
    words = [sys.executable, str(ROOT / "benchmarks" / "contestants.py"), peer, name]
    surroundings = os.environ | (KEEPING if peer == "timm-malloc" else {})
    done = subprocess.run(words, capture_output=True, text=True, env=surroundings)
    try:
        return float(json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


def contest(names: list[str], peers: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """What is known after each round of all networks."""
    found: dict[str, dict[str, list[float | str]]] = {n: {p: [] for p in peers} for n in names}
    for each in range(rounds):
        for name in names:
            for peer in peers:
                if peer == "timm-compile" and each > 0 and _compile_lost(found[name]):
                    continue
                found[name][peer].append(measure(peer, name))
                print(each + 1, name, peer, found[name][peer][-1], flush=True)
        yield {
            "environment": environment(DEVICE),
            "versions": versions(),
            "rounds": each + 1,
            "batch_size": BATCH,
            "networks": found,
        }


def _compile_lost(rates: dict[str, list[float | str]]) -> bool:
    """Whether compiling was slower in the first round: an expert would leave it off."""
    plain, compiled = rates.get("timm", []), rates["timm-compile"]
    return bool(plain and compiled) and (
        isinstance(compiled[0], str) or (isinstance(plain[0], float) and compiled[0] < plain[0])
    )


def versions() -> dict[str, str]:
    found = {}
    for name in ("d2l", "torchvision", "lightning", "timm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def rate(values: list[float | str]) -> float | None:
    """The median of what was measured."""
    numbers = [x for x in values if isinstance(x, float)]
    return median(numbers) if numbers else None


def ratios(rates: dict[str, list[float | str]], peers: tuple[str, ...]) -> list[float]:
    """Round by round, convworks over the fastest of some peers, in ascending order."""
    found = []
    for each, ours in enumerate(rates["convworks"]):
        others = [
            rates[p][each]
            for p in peers
            if p in rates and len(rates[p]) > each and isinstance(rates[p][each], float)
        ]
        if isinstance(ours, float) and others:
            found.append(ours / max(others))  # type: ignore[type-var,arg-type]
    return sorted(found)


def page(results: dict[str, Any]) -> str:
    """docs/peers.md."""
    place = results["environment"]
    found = results["networks"]
    roofs = {
        one["network"]: one["batch_size"] / one["floor"]
        for one in json.loads(ROOFLINE.read_text())["networks"]
        if one["training"]
    }
    peers = list(next(iter(found.values())))
    machine = f"{place['threads']} threads of an {place['cpu']}"
    if place["gpu"]:
        machine += f" and an {place['gpu']}"
    used = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        "# Beside its peers",
        "",
        "Images a second in training the book's networks on Fashion-MNIST at the book's image",
        "sizes, batch 128, loading included: medians of rounds in which the contestants take",
        "turns. The ratios are medians of the rounds' own, with the least and the greatest. The",
        "tuned peers are Lightning and timm in bf16 and channels-last; `timm-compile` is left out",
        "of later rounds where it lost the first, and `timm-malloc`, which keeps freed memory as",
        "convworks does, is not counted. `benchmarks/contestants.py` says what each does. *At the",
        "roofs*: what the measured arithmetic and bandwidth of the machine would allow a step",
        "([roofline.md](roofline.md)).",
        "",
        f"Written by `python benchmarks/peers.py`, {results['rounds']} rounds on {machine},"
        f" PyTorch {place['torch']}, {used}.",
        "",
        "| network | size | "
        + " | ".join(peers)
        + " | at the roofs | over d2l | over the best tuned |",
        "|---|---|" + "---:|" * (len(peers) + 3),
    ]
    for name, rates in found.items():
        cells = [f"{r:,.0f}" if (r := rate(rates[p])) else "fails" for p in peers]
        cells.append(f"{roofs[name]:,.0f}")
        for group in (("d2l",), TUNED):
            each = ratios(rates, group)
            cells.append(
                f"{median(each):.2f}× ({each[0]:.2f} … {each[-1]:.2f})" if each else "unknown"
            )
        lines.append(f"| {name} | {BOOK[name].image_size} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def short(results: dict[str, Any]) -> str:
    """README's table: d2l, the best tuned peer, convworks."""
    place = results["environment"]
    lines = [
        "| network | pixels | d2l | best tuned peer | convworks | over d2l | over that peer |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, rates in results["networks"].items():
        d2l, ours = rate(rates["d2l"]), rate(rates["convworks"])
        best = max((rate(rates[peer]) or 0.0, peer) for peer in TUNED)
        over = [median(ratios(rates, group)) for group in (("d2l",), TUNED)]
        lines.append(
            f"| `{name}` | {BOOK[name].image_size} | {d2l:,.0f} | {best[0]:,.0f} ({best[1]}) |"
            f" {ours:,.0f} | {over[0]:.2f}× | {over[1]:.2f}× |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"On {place['threads']} threads of an {place['cpu']}, PyTorch {place['torch']}; medians"
            f" of {results['rounds']} rounds.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        whole = given.networks == list(NETWORKS) and given.peers == list(PEERS)
        for results in contest(given.networks, given.peers, given.rounds):
            if whole:  # a round that is cut off leaves those before it
                RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        if not whole:
            print(json.dumps(results, indent=2))
            return
    results = json.loads(RESULTS.read_text())
    PAGE.write_text(page(results))
    put_into_readme("peers", short(results))


if __name__ == "__main__":
    main()
