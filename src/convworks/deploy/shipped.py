"""What a file for other programs holds: the network, what is told of it, the pictures it reads."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.data.augment import Preparation, scale
from convworks.data.loader import open_loader
from convworks.data.sources import SOURCES
from convworks.data.splits import Images
from convworks.data.unreadable import LeftOut
from convworks.deploy.runtime import INPUT, OUTPUT, Pixels
from convworks.nets.registry import spec_of
from convworks.train.checkpoint import BEST, read_settings
from convworks.train.run import Run
from convworks.version import __version__

BATCH = 64


class Shipped(nn.Module):
    """uint8 pictures of the trained size to probabilities: what a file holds."""

    def __init__(self, model: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.model = model
        mean, std = (torch.tensor(x) * 255 for x in (preparation.mean, preparation.std))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("std", std[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """N×C×S×S to N×classes."""
        logits = self.model((images.float() - self.mean) / self.std)
        return F.softmax(logits, dim=1)


def describe(run: Run, data: str) -> dict[str, Any]:
    """What travels in the file, for a run on the data of that title; plain values."""
    spec = spec_of(run.model)
    side, channels = run.preparation.image_size, len(run.preparation.mean)
    begun = _begun_with(run)
    return {
        "convworks": __version__,
        "network": spec.name if spec else type(run.model).__name__,
        "options": asdict(spec) if spec else {},
        "labels": list(run.classes),
        "input": {
            "name": INPUT,
            "shape": [channels, side, side],
            "type": "uint8",
            "colours": "RGB" if channels == 3 else "grey",
            "preparation": f"the central square, scaled bilinearly to {side} pixels;"
            " normalisation is in the network",
        },
        "output": {"name": OUTPUT, "shape": [len(run.classes)], "type": "float32"},
        "mirror": "flip" in (run.config.augment or ""),
        "normalisation": {"mean": run.preparation.mean, "std": run.preparation.std},
        "data": data,
        # A folder's place is nobody's business elsewhere; the digest tells whether it is that one.
        "source": {**run.data, "name": known if (known := run.data["name"]) in SOURCES else ""},
        "run_test_accuracy": run.summary.test_accuracy if run.summary else None,
        "began_with": begun,
        "licence": f"convworks is MIT-licensed. {_origin(begun, data)}",
    }


def _begun_with(run: Run) -> dict[str, str] | None:
    """The weights that a run did not draw afresh, without their place on this machine."""
    told = read_settings(run.path).get("init")
    if not isinstance(told, dict):
        return None
    place = Path(str(told.get("source")))
    run_name = place.parent.name if place.name == BEST else ""
    source = f"the run {run_name}" if run_name else place.name
    return {"source": source, "sha256": str(told.get("sha256", ""))}


def _origin(begun: Mapping[str, str] | None, data: str) -> str:
    """What the weights were learned from, and whose licences count."""
    if begun is None:
        return f"The weights were learned from {data}: its licence says what they may be used for."
    return (
        f"The weights began as {begun['source']} and learned further from {data}: the licences of"
        " both, and of what the former were learned from, say what they may be used for."
    )


def batches(
    images: Images, side: int, left_out: LeftOut | None = None
) -> Iterator[tuple[Pixels, np.ndarray]]:
    """Batches of pictures at the network's size, and their labels.

    Those that cannot be read are left out.
    """
    loader = open_loader(
        images,
        batch_size=BATCH,
        image_size=side,
        device=torch.device("cpu"),
        left_out=left_out or LeftOut(),
    )
    for pixels, labels in loader.epoch():
        at_size = scale(pixels.float(), side).round().clamp(0, 255).to(torch.uint8)
        yield at_size.numpy(), labels.numpy()
