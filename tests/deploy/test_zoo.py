"""Every network of the zoo can be shipped, in every format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convworks.data.augment import Preparation
from convworks.deploy.export import WRITERS
from convworks.deploy.runtime import ENTRY, open_deployed
from convworks.deploy.shipped import Shipped
from convworks.nets.registry import create_model
from convworks.nets.zoo import ZOO

USUAL = ("lenet_bn", "resnet20", "densenet_book", "shufflenet_v2_x0_5")
"""The others take half an hour: `pytest -m slow tests/deploy`."""
networks = pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[] if x in USUAL else [pytest.mark.slow]) for x in ZOO]
)


def tamed(name: str, images: torch.Tensor) -> nn.Module:
    """A network whose signals neither vanish nor explode, as those of chance's do in deep ones.

    Averages are those of these pictures, without dropout: with others, EfficientNet-B7's signals
    grow so that a millionth of a picture changes the logits by as much as they are. Logits are one
    at most, since a softmax of large ones tells no difference.
    """
    model = create_model(name, num_classes=5, in_channels=3, image_size=64).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        model(images)
        largest = model.eval()(images).abs().max()
        *_, last = (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        for parameter in last.parameters():
            parameter /= largest.clamp_min(1)
    return model


@networks
def test_files_compute_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 64, 64), np.uint8)
    prepare = Preparation(64, (0.5,) * 3, (0.25,) * 3)
    shipped = Shipped(tamed(name, prepare(torch.from_numpy(images))), prepare).eval()
    metadata = {"labels": list("abcde"), "input": {"shape": [3, 64, 64]}}
    with torch.inference_mode():
        expected = shipped(torch.from_numpy(images)).numpy()
    spread = float(np.ptp(expected, axis=0).max())  # between pictures: sigmoids leave little
    assert spread > 2e-5
    for kind, file in (("onnx", "a.onnx"), ("openvino", "b.xml"), ("pt2", "c.pt2")):
        WRITERS[kind](shipped, tmp_path / file, metadata, None)  # type: ignore[index]
        deployed = open_deployed(tmp_path / file, exact=True)
        assert ENTRY not in deployed.metadata
        assert deployed.labels == list("abcde")
        for count in (1, 7):
            found = deployed.run(images[:count])
            np.testing.assert_allclose(found, expected[:count], atol=0.01 * spread, err_msg=kind)
