"""What the tests of shipping share."""

import pytest
import torch

import convworks as cw
from convworks.data.splits import Data


@pytest.fixture(scope="session")
def digits() -> Data:
    return cw.load_data("digits", image_size=28)


@pytest.fixture(scope="session")
def run(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> cw.Run:
    """With batch norm, residual blocks and fewer channels than usual."""
    torch.manual_seed(0)
    model = cw.create_model("resnet20", num_classes=10, in_channels=1, image_size=28)
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = cw.TrainConfig(epochs=4, out=folder, device="cpu")
    return cw.fit(model, digits, config, progress=False)
