"""What the tests of shipping share."""

import pytest

import convworks as cw
from convworks.data.splits import Data


@pytest.fixture(scope="session")
def digits() -> Data:
    return cw.load_data("digits", image_size=28)
