"""The model card: a page about a shipped network, and how to run it without convworks.

After Mitchell et al., "Model cards for model reporting", 2019.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from convworks.data.splits import Data
from convworks.deploy.interval import wilson
from convworks.extras import need
from convworks.train.checkpoint import PICTURES, read_json, read_settings
from convworks.train.observer import RunSummary
from convworks.train.run import Run
from convworks.version import __version__

if TYPE_CHECKING:
    from convworks.deploy.export import Exported

START = """import json
import sys

import numpy as np
"""
OPEN = {
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession({file})
labels = json.loads(session.get_modelmeta().custom_metadata_map["convworks"])["labels"]
""",
    "openvino": """import openvino

core = openvino.Core()
network = core.read_model({file})
labels = json.loads(network.get_rt_info(["convworks"]).astype(str))["labels"]
model = core.compile_model(network, "CPU")
""",
    "pt2": """import torch

extra = {{"convworks": ""}}
model = torch.export.load({file}, extra_files=extra).module()
labels = json.loads(extra["convworks"])["labels"]
""",
}
RUN = {
    "onnx": 'session.run(None, {"images": images})[0]',
    "openvino": "model(images)[0]",
    "pt2": "model(torch.from_numpy(images)).numpy(force=True)",
}
SHOW = """for row in probabilities:
    print(labels[row.argmax()], f"{row.max():.1%}")
"""
READ = """from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("photo.jpg"))
if picture.has_transparency_data:  # what is transparent shows white
    picture = picture.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
picture = picture.convert("{mode}")
side = min(picture.size)
left, top = (picture.width - side) / 2, (picture.height - side) / 2
box = (left, top, left + side, top + side)
pixels = np.array(picture.resize(({side}, {side}), Image.Resampling.BILINEAR, box))
images = {order}[None]
"""


SAME_SOURCE = (
    "It was tested on pictures that come from the same source as those it was trained with; how it"
    " does on others is not known. "
)
LIMITS = (
    "It gives each picture one of its classes, also a picture that shows none of them. Its"
    " probabilities were not calibrated."
)


def example(kind: str, file: str, shape: tuple[int, int, int]) -> str:
    """A program that tells what pictures show, with numpy and the format's runtime alone."""
    size = "×".join(map(str, shape))
    load = f"images = np.load(sys.argv[1])  # uint8, N×{size}\n"
    run = f"probabilities = {RUN[kind]}\n"
    return START + OPEN[kind].format(file=json.dumps(file, ensure_ascii=False)) + load + run + SHOW


def reading(shape: tuple[int, int, int]) -> str:
    """How a picture file becomes what the network takes, as in training, with Pillow."""
    channels, side, _ = shape
    order = "np.moveaxis(pixels, 2, 0)" if channels == 3 else "pixels[None]"
    return READ.format(mode="RGB" if channels == 3 else "L", side=side, order=order)


def _cell(text: str) -> str:
    """A name as it is, in a line of Markdown: neither HTML nor a heading of its own."""
    return re.sub(r"([\\`\[\]<|])", r"\\\1", " ".join(text.split()))


def write_card(
    path: Path, run: Run, data: Data, exported: "Exported", metadata: Mapping[str, Any]
) -> None:
    """Writes the card of an exported network."""
    channels, side, _ = metadata["input"]["shape"]
    shape = channels, side, side
    lines = [
        f"# {exported.path.name}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(x)} |" for name, x in _rows(run, data, exported, metadata).items()),
        "",
        "## Limits",
        "",
        SAME_SOURCE * is_own(run, data) + LIMITS,
        "",
        "## Licence",
        "",
        _cell(str(metadata["licence"])),
        "",
        "## To use it",
        "",
        "```python",
        example(exported.format, exported.path.name, shape).rstrip(),
        "```",
        "",
        "Started beside the file, with the name of an array of pictures. With Pillow, a picture",
        "file becomes `images` by the following, but for 16-bit grey, whose pixels are first",
        "divided by 256:",
        "",
        "```python",
        reading(shape).rstrip(),
        "```",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows(
    run: Run, data: Data, exported: "Exported", metadata: Mapping[str, Any]
) -> dict[str, str]:
    """What there is to know, by its name."""
    place, summary = read_settings(run.path)["environment"], run.summary
    assert summary is not None  # only complete runs are exported
    channels, side, _ = metadata["input"]["shape"]
    mean, deviation = (
        ", ".join(f"{x:.4g}" for x in metadata["normalisation"][name]) for name in ("mean", "std")
    )
    low, high = wilson(exported.test_accuracy, exported.test_images)
    rows = {
        "network": f"{metadata['network']}, {exported.precision}, {exported.bytes / 1e6:,.1f} MB",
        "input": f"uint8, N×{channels}×{side}×{side}, {metadata['input']['colours']}:"
        f" {metadata['input']['preparation']}",
        "normalisation": f"in the network: mean {mean}, deviation {deviation} of pixels in 0…1",
        "output": f"probabilities, N×{len(run.classes)}",
        **_pictures(run, data, exported.test_images),
        "left out, or in two parts": _doubts(run.path),
        "test accuracy": f"{exported.test_accuracy:.4f} of this file (95 % interval {low:.4f} to"
        f" {high:.4f}), {exported.run_accuracy:.4f} of the network it was made of, in fp32",
        "began with": _beginning(metadata["began_with"]),
        "recipe": _recipe(asdict(run.config), summary),
        "trained on": f"{place['gpu'] or place['cpu']}, PyTorch {place['torch']},"
        f" convworks {place['convworks']}, in {summary.precision}, {summary.seconds:,.0f} s",
        "written by": ", ".join(
            f"{name} {version}" for name, version in _versions(exported.format).items()
        ),
    }
    return {name: text for name, text in rows.items() if text}


def is_own(run: Run, data: Data) -> bool:
    """Whether these are the data that a run was trained on, and not others to test it with."""
    return data.digest == run.data.get("digest")


def _pictures(run: Run, data: Data, tested: int) -> dict[str, str]:
    """The classes, and the data that it was trained and tested on."""
    if not is_own(run, data):
        assert run.summary is not None
        trained = f"trained on {run.summary.data}, tested on {tested:,} pictures of {data.title}"
        return {"classes": ", ".join(run.classes), "data": trained}
    counts = torch.bincount(data.train.labels, minlength=len(run.classes)).tolist()
    each = (f"{name} ({count:,})" for name, count in zip(run.classes, counts, strict=True))
    return {
        "classes, with their pictures to train with": ", ".join(each),
        "data": f"{data.title}: {len(data.train):,} pictures to train with, {len(data.val):,} to"
        f" choose the epoch, {tested:,} to test",
    }


def _doubts(folder: Path) -> str:
    """What training found wrong with the pictures, counted; empty where there was nothing."""
    file = folder / PICTURES
    if not file.exists():
        return ""
    said = read_json(file)
    alike = said.get("near_duplicates", {})
    counts = {
        "cannot be read": len(said.get("unreadable", ())),
        "to choose the epoch are nearly training pictures": len(alike.get("val", ())),
        "to test are nearly training pictures": len(alike.get("test", ())),
    }
    return "; ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _beginning(begun: Mapping[str, str] | None) -> str:
    """The first weights, and how to know them again."""
    if begun is None:
        return "weights drawn at random"
    return begun["source"] + (f", SHA-256 {begun['sha256']}" if begun["sha256"] else "")


def _recipe(trained: Mapping[str, Any], summary: RunSummary) -> str:
    """How it was trained, as it came to be."""
    planned = f" of {trained['epochs']} (--patience)" if summary.stopped_early else ""
    told = [
        f"{trained['recipe']}: {summary.epochs} epochs{planned}, the weights of epoch"
        f" {summary.best_epoch}",
        f"batch {trained['batch_size']}",
        f"{trained['optimizer']}, learning rate {trained['lr']:g}",
        f"weight decay {trained['weight_decay']:g}",
        f"augmentation {trained['augment']}",
        f"seed {trained['seed']}",
    ]
    if trained["layer_decay"] < 1:
        told.append(f"{trained['layer_decay']:g} of the rate in each stage before")
    if trained["freeze"]:
        until = trained["unfreeze_after"]
        told.append("all but the head frozen" + (f" for {until} epochs" if until else ""))
    if trained["class_weights"] != "none":
        told.append(f"class weights {trained['class_weights']}")
    return ", ".join(told)


def _versions(kind: str) -> dict[str, str]:
    """Of what wrote the file and tried it."""
    packages = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "pt2": ()}
    others = {name: str(need(name).__version__) for name in packages[kind]}
    return {"convworks": __version__, "PyTorch": torch.__version__, **others}
