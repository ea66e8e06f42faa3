"""What several tests of training need."""

from dataclasses import replace

import pytest
import torch

from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages


@pytest.fixture(scope="module")
def digits() -> Data:
    """Few enough for many runs."""
    data = load_data("digits", image_size=16)
    assert isinstance(data.train, MemoryImages)
    return replace(data, train=data.train.take(torch.arange(300)))
