"""The model card: a page about a shipped network, and how to run it without convworks.

After Mitchell et al., "Model cards for model reporting", 2019.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convworks.data.splits import Data
from convworks.train.checkpoint import read_settings
from convworks.train.run import Run

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
    settings = read_settings(run.path)
    trained, place, summary = settings["train"], settings["environment"], run.summary
    channels, side, _ = metadata["input"]["shape"]
    counts = f"{len(data.train):,} pictures to train with, {len(data.val):,} to choose the epoch"
    rows = {
        "network": f"{metadata['network']}, {exported.precision}, {exported.bytes / 1e6:,.1f} MB",
        "input": f"uint8, N×{channels}×{side}×{side}, {metadata['input']['colours']}:"
        f" {metadata['input']['preparation']}",
        "output": f"probabilities, N×{len(run.classes)}",
        "classes": ", ".join(run.classes),
        "data": f"{data.title}: {counts}, {exported.test_images:,} to test",
        "test accuracy": f"{exported.test_accuracy:.4f} of this file,"
        f" {exported.run_accuracy:.4f} of the network it was made of, in fp32",
        "recipe": f"{trained['recipe']}: {trained['epochs']} epochs, batch"
        f" {trained['batch_size']}, {trained['optimizer']}, learning rate {trained['lr']:g},"
        f" seed {trained['seed']}",
        "trained on": f"{place['gpu'] or place['cpu']}, PyTorch {place['torch']},"
        f" convworks {place['convworks']}" + (f", {summary.seconds:,.0f} s" if summary else ""),
    }
    limits = (
        "It was tested on pictures that come from the same source as those it was trained with;"
        " how it does on others is not known. It gives each picture one of its classes, also a"
        " picture that shows none of them. Its probabilities were not calibrated."
    )
    lines = [
        f"# {exported.path.name}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in rows.items()),
        "",
        "## Limits",
        "",
        limits,
        "",
        "## Licence",
        "",
        _cell(str(metadata["licence"])),
        "",
        "## To use it",
        "",
        "```python",
        example(exported.format, exported.path.name, (channels, side, side)).rstrip(),
        "```",
        "",
        "Started beside the file, with the name of an array of pictures. With Pillow, a picture",
        "file becomes `images` by the following, but for 16-bit grey, whose pixels are first",
        "divided by 256:",
        "",
        "```python",
        reading((channels, side, side)).rstrip(),
        "```",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
