"""Networks in 8 bits: what they lose, and what is left in floats."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import convworks as cw
from convworks.data.splits import Data
from convworks.deploy import export as exporting
from convworks.deploy.export import ExportError, export


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_eight_bits(kind: str, run: cw.Run) -> None:
    whole = export(run, kind)  # type: ignore[arg-type]
    found = export(run, kind, int8=True)  # type: ignore[arg-type]
    assert found.path.name.startswith("model.int8.")
    assert found.bytes < 0.75 * whole.bytes  # a quarter of the weights, but more text
    assert found.run_accuracy - found.test_accuracy <= 2 / found.test_images + 0.005
    if kind == "onnx":
        kinds = {node.op_type for node in onnx.load(found.path).graph.node}
        assert "QuantizeLinear" in kinds


def test_int8_sees_all_classes_of_a_folder(tmp_path: Path) -> None:
    """A folder's pictures are in the order of its classes: dark ones only, were the first taken."""
    dice = np.random.default_rng(0)
    for name, least in (("dark", 0), ("light", 200)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(800):
            pixels = dice.integers(least, least + 40, (12, 12), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i:03}.png")
    data = cw.load_data(tmp_path / "set", image_size=12)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
    run = cw.fit(model, data, cw.TrainConfig(epochs=1, out=tmp_path / "run"), progress=False)
    found = export(run, "onnx", tmp_path / "prepared.onnx", int8=True)
    assert found.run_accuracy > 0.99
    assert found.test_accuracy > 0.99


class Joined(nn.Module):
    """Loud channels beside soft ones, which a norm brings to one level, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.loud = nn.Conv2d(1, 4, 3, stride=4)
        self.soft = nn.Conv2d(1, 4, 3, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 3 * 3, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([1000 * self.loud(images), self.soft(images)], dim=1)
        pooled = nn.functional.max_pool2d(joined, 2)
        return self.fc(self.norm(pooled).relu().flatten(1))


def test_what_a_norm_reads_is_not_joined_in_eight_bits(digits: Data, tmp_path: Path) -> None:
    """Rounded to the range of the loud channels, the soft ones would be gone."""
    torch.manual_seed(0)
    config = cw.TrainConfig(epochs=3, out=tmp_path / "run", device="cpu")
    run = cw.fit(Joined(), digits, config, progress=False)
    found = export(run, "onnx", int8=True, data=digits)
    assert found.farthest < 0.2
    nodes = onnx.load(found.path).graph.node
    makers = {output: node for node in nodes for output in node.output}
    (norm,) = [node for node in nodes if node.op_type == "BatchNormalization"]
    pool = makers[norm.input[0]]
    join = makers[pool.input[0]]
    assert (pool.op_type, join.op_type) == ("MaxPool", "Concat")
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    read = [makers[place].op_type for node in convolutions for place in node.input[:2]]
    assert read == ["DequantizeLinear"] * 4


def test_eight_bits_that_cost_too_much_are_not_kept(
    run: cw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges from black pictures cut everything off."""
    black = [np.zeros((64, 1, 28, 28), np.uint8)]
    monkeypatch.setattr(exporting, "_ranges", lambda *_: iter(black))
    with pytest.raises(ExportError, match="Export it without --int8"):
        export(run, "onnx", tmp_path / "model.onnx", int8=True)
    assert not list(tmp_path.iterdir())
