"""Images/s and milliseconds in use, with convworks' exports and with what people use otherwise.

    pip install -e '.[bench,export]'
    python benchmarks/inference.py                       # half an hour on two cores
    python benchmarks/inference.py resnet50              # one network again
    python benchmarks/inference.py --table               # only write its tables again

Each contestant computes probabilities of the same uint8 pictures with the same weights,
normalisation included, in batches of 1 and of 32, in a process of its own; they take turns:

- eager: the module in fp32, `inference_mode`; eager-bf16: in bf16 autocast and channels-last.
- compile: `torch.compile` in bf16 and channels-last, weights frozen (`freezing`).
- onnxruntime: what `torch.onnx.export` writes, run with its defaults.
- openvino: the same file as OpenVINO reads it, its latency hint.
- convworks: `convworks export --format openvino`, opened as its card says; convworks-int8 the
  same in 8 bits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from readme import put_into_readme

from convworks.data.augment import Preparation
from convworks.deploy.export import WRITERS
from convworks.deploy.runtime import Pixels, Probabilities, open_deployed
from convworks.deploy.shipped import Shipped
from convworks.nets.registry import create_model
from convworks.nets.zoo import ZOO
from convworks.train.device import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "inference.json"
PAGE = ROOT / "docs" / "inference.md"
NETWORKS = {
    "lenet": 28,
    "alexnet": 224,
    "vgg11_small": 224,
    "nin": 224,
    "googlenet": 96,
    "resnet18": 96,
    "densenet_book": 96,
    "resnet50": 224,
}
BATCHES = (1, 32)
WARM_UP, SECONDS, LEAST = 3, 1.5, 5
CPU = torch.device("cpu")
Run = Callable[[Pixels], Probabilities]


def shipped(name: str) -> Shipped:
    """A network with the weights of chance and the averages of random pictures."""
    torch.manual_seed(0)
    channels = ZOO[name].input[0]
    model = create_model(
        name, num_classes=10, in_channels=channels, image_size=NETWORKS[name], stem="paper"
    )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(16, channels, NETWORKS[name], NETWORKS[name]))
    return Shipped(model, Preparation(NETWORKS[name], (0.5,) * channels, (0.25,) * channels)).eval()


def pictures(name: str, count: int) -> Pixels:
    shape = (count, ZOO[name].input[0], NETWORKS[name], NETWORKS[name])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def eager(name: str, _folder: Path, *, bf16: bool = False, compiled: bool = False) -> Run:
    network: Any = shipped(name)
    if bf16:
        network = network.to(memory_format=torch.channels_last)
    if compiled:
        torch._inductor.config.freezing = True
        network = torch.compile(network, dynamic=False)  # anew for each batch size

    def run(pixels: Pixels) -> Probabilities:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            images = torch.from_numpy(pixels)
            if bf16:
                images = images.contiguous(memory_format=torch.channels_last)
            return network(images).float().numpy()

    return run


def written(name: str, folder: Path, kind: str, *, int8: bool = False) -> Path:
    """What `convworks export` writes."""
    path = folder / f"{name}{'.int8' * int8}{'.xml' if kind == 'openvino' else '.onnx'}"
    channels, side = ZOO[name].input[0], NETWORKS[name]
    metadata = {"labels": list("0123456789"), "input": {"shape": [channels, side, side]}}
    ranges = iter([pictures(name, 32)]) if int8 else None
    WRITERS[kind](shipped(name), path, metadata, ranges)
    return path


def onnxruntime(name: str, folder: Path) -> Run:
    return open_deployed(written(name, folder, "onnx")).run


def openvino(name: str, folder: Path) -> Run:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(written(name, folder, "onnx"))
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return lambda pixels: compiled(pixels)[0]


def ours(name: str, folder: Path, *, int8: bool = False) -> Run:
    return open_deployed(written(name, folder, "openvino", int8=int8)).run


CONTESTANTS: dict[str, Callable[[str, Path], Run]] = {
    "eager": eager,
    "eager-bf16": lambda name, folder: eager(name, folder, bf16=True),
    "compile": lambda name, folder: eager(name, folder, bf16=True, compiled=True),
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "convworks": ours,
    "convworks-int8": lambda name, folder: ours(name, folder, int8=True),
}


def child(contestant: str, name: str) -> None:
    """Milliseconds a batch, and how far a probability is from eager fp32's at most."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = CONTESTANTS[contestant](name, Path(folder))
        for size in BATCHES:
            pixels = pictures(name, size)
            for _ in range(WARM_UP):
                run(pixels)
            times: list[float] = []
            while sum(times) < SECONDS or len(times) < LEAST:
                begun = perf_counter()
                run(pixels)
                times.append(perf_counter() - begun)
            found[str(size)] = 1e3 * median(times)
        pixels = pictures(name, BATCHES[-1])
        found["off"] = float(abs(run(pixels) - eager(name, Path(folder))(pixels)).max())
    print(json.dumps(found))


def measure(contestant: str, name: str) -> dict[str, float] | str:
    words = [sys.executable, __file__, "--child", contestant, name]
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    except (ValueError, IndexError):
        return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


def middle(rates: dict[str, list[Any]], contestant: str, figure: str) -> float | None:
    """The median of a contestant's rounds; None where it fails."""
    good = [one[figure] for one in rates[contestant] if isinstance(one, dict)]
    return median(good) if good else None


def page(results: dict[str, Any]) -> str:
    """docs/inference.md."""
    lines = [
        "# In use, beside its peers",
        "",
        "Milliseconds of a batch in use, medians of rounds in which the contestants take turns,",
        "how many times as fast as eager fp32 that is, and how far a probability is from eager",
        "fp32's at most. Networks with the weights of chance: their speed is that of trained ones.",
        "int8's ranges come from the same pictures. `benchmarks/inference.py` says what each",
        "contestant does.",
    ]
    for name, found in results.items():
        place, rates = found["environment"], found["rates"]
        lines += [
            "",
            f"## {name}, {NETWORKS[name]} pixels",
            "",
            f"`python benchmarks/inference.py {name}`, {found['rounds']} rounds on"
            f" {place['threads']} threads of an {place['cpu']}, PyTorch {place['torch']}, with"
            f" commit {place['commit'][:8]}.",
            "",
        ]
        lines += ["| | batch 1 | | batch 32 | | off by |", "|---|---:|---:|---:|---:|---:|"]
        for contestant in rates:
            off = middle(rates, contestant, "off")
            if off is None:
                lines.append(f"| {contestant} | fails | | | | |")
                continue
            cells = [contestant]
            for size in map(str, BATCHES):
                own, base = middle(rates, contestant, size), middle(rates, "eager", size)
                cells += [f"{own:,.2f} ms", f"{base / own:.1f}×"]
            lines.append("| " + " | ".join([*cells, f"{off:.4f}"]) + " |")
    return "\n".join(lines) + "\n"


def short(results: dict[str, Any]) -> str:
    """README's table: milliseconds of 32 pictures, and how many times as fast as eager fp32."""
    shown = ("compile", "onnxruntime", "convworks", "convworks-int8")
    lines = ["| network | pixels | eager | " + " | ".join(shown) + " |", "|---|---|" + "---:|" * 5]
    for name, found in results.items():
        rates = found["rates"]
        base = middle(rates, "eager", "32")
        cells = [f"`{name}`", str(NETWORKS[name]), f"{base:,.1f}"]
        for contestant in shown:
            own = middle(rates, contestant, "32")
            cells.append(f"{own:,.1f} ({base / own:.1f}×)" if own else "fails")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    if not given.table:
        found: dict[str, dict[str, list[Any]]] = {
            name: {contestant: [] for contestant in CONTESTANTS} for name in given.networks
        }
        for _ in range(given.rounds):
            for name in given.networks:
                for contestant in CONTESTANTS:
                    found[name][contestant].append(measure(contestant, name))
                    print(name, contestant, found[name][contestant][-1], flush=True)
        results = json.loads(RESULTS.read_text())
        for name, rates in found.items():
            results[name] = {
                "environment": environment(CPU),
                "rounds": given.rounds,
                "rates": rates,
            }
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    results = json.loads(RESULTS.read_text())
    PAGE.write_text(page(results))
    put_into_readme("inference", short(results))


if __name__ == "__main__":
    main()
