"""Images/s of `predict` on a folder of JPEGs, and the share it reaches of the network alone.

    pip install -e '.[export]'
    python benchmarks/predict.py                    # ten minutes; writes docs/predict.md
    python benchmarks/predict.py --table            # only write docs/predict.md again
    python benchmarks/predict.py --pictures 200 --rounds 1   # a trial, writes nothing

1,000 JPEG files of 500×375 pixels are cut out of sample photographs. Networks with the weights of
chance are exported; raw is the exported file, opened as `predict` opens it, on the same pictures
ready in memory, in batches of the same size; end to end is `predict` from the folder's name to the
last answer. They take turns in one process; figures are medians of the rounds.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from convworks.data.augment import Preparation
from convworks.data.folder import decode, find_files
from convworks.deploy.export import WRITERS
from convworks.deploy.predict import BATCH, find_pictures, predict
from convworks.deploy.runtime import SUFFIXES, open_deployed
from convworks.deploy.shipped import Shipped
from convworks.nets.registry import create_model
from convworks.train.device import environment

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "predict.json", ROOT / "docs" / "predict.md"
NETWORKS, FORMATS = (("resnet18", 96), ("resnet18", 224), ("resnet50", 224)), ("onnx", "openvino")
PICTURES, WIDTH, HEIGHT, QUALITY = 1000, 500, 375, 90


def write_pictures(folder: Path, count: int) -> None:
    dice = np.random.default_rng(0)
    photos = load_sample_images().images
    for i in range(count):
        photo = photos[i % len(photos)]
        top = dice.integers(0, photo.shape[0] - HEIGHT)
        left = dice.integers(0, photo.shape[1] - WIDTH)
        part = photo[top : top + HEIGHT, left : left + WIDTH]
        Image.fromarray(part).save(folder / f"{i:04}.jpg", quality=QUALITY)


def export(folder: Path, name: str, side: int, kind: str) -> Path:
    """A file as `convworks export` writes it."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=10, in_channels=3, image_size=side, stem="paper")
    shipped = Shipped(model, Preparation(side, (0.5,) * 3, (0.25,) * 3)).eval()
    path = folder / f"{name}{side}{SUFFIXES[kind]}"
    metadata = {"labels": list("0123456789"), "input": {"shape": [3, side, side]}}
    WRITERS[kind](shipped, path, metadata, None)  # type: ignore[index]
    return path


def seconds(work: Callable[[], object]) -> float:
    begun = perf_counter()
    work()
    return perf_counter() - begun


def contest(path: Path, folder: Path, side: int, rounds: int) -> dict[str, Any]:
    """Images/s of each round."""
    network = open_deployed(path)
    ready = np.stack([decode(file, 3, side).numpy() for file in find_files(folder)])

    def raw() -> None:
        for start in range(0, len(ready), BATCH):
            network.run(ready[start : start + BATCH])

    def end_to_end() -> None:
        found = predict(network, find_pictures(str(folder)))
        assert sum(not one.error for one in found) == len(ready)

    network.run(ready[:BATCH])
    times: dict[str, list[float]] = {"raw": [], "end to end": []}
    for _ in range(rounds):
        times["raw"].append(seconds(raw))
        times["end to end"].append(seconds(end_to_end))
    share = median(times["raw"]) / median(times["end to end"])
    rates = {name: [len(ready) / one for one in each] for name, each in times.items()}
    return {"images/s": rates, "share": share}


def page(results: dict[str, Any]) -> str:
    """docs/predict.md."""
    place = results["environment"]
    lines = [
        "# Predict, end to end",
        "",
        f"Images a second of `convworks predict` on a folder of {PICTURES:,} JPEG files of"
        f" {WIDTH}×{HEIGHT} pixels, from the folder's name to the last answer, beside the exported"
        " network alone, which finds the same pictures ready in memory. Reading a JPEG costs the"
        " same for every network, so the share that is left grows with the network's own work.",
        "",
        f"Written by `python benchmarks/predict.py` on {place['cores']} cores of an {place['cpu']},"
        f" PyTorch {place['torch']}; medians of rounds that take turns, {results['batch']} pictures"
        " at once.",
        "",
        "| network and pixels, format | network alone | end to end | share |",
        "|---|---:|---:|---:|",
    ]
    for name, one in results["networks"].items():
        raw, whole = (median(each) for each in one["images/s"].values())
        lines.append(f"| {name} | {raw:,.0f} | {whole:,.0f} | {one['share']:.0%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        PAGE.write_text(page(json.loads(RESULTS.read_text())))
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        write_pictures(folder, given.pictures)
        for kind in FORMATS:
            for name, side in NETWORKS:
                path = export(Path(place), name, side, kind)
                one = found[f"{name}@{side}, {kind}"] = contest(path, folder, side, given.rounds)
                rates = {name: median(each) for name, each in one["images/s"].items()}
                print(
                    f"{name}@{side} {kind:9}  raw {rates['raw']:7,.0f} images/s  end to end"
                    f" {rates['end to end']:7,.0f} images/s  {one['share']:.1%}",
                    flush=True,
                )
    if given.pictures != PICTURES:
        return
    results = {"environment": environment(torch.device("cpu")), "batch": BATCH, "networks": found}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
