"""A long training takes no more than a short one: memory, open files, threads."""

import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

import pytest

import long_runs
from command import FORKS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MOST_GROWTH = 8 * 2**20
"""Bytes in forty epochs; keeping ten batches' pictures an epoch is more."""


def train(source: Literal["memory", "files", "leak"]) -> long_runs.Found:
    """In a process of its own: what other tests leave behind is freed and made at any time."""
    with ProcessPoolExecutor(1, mp_context=FORKS) as process:
        return process.submit(long_runs.train, source).result()


@pytest.mark.parametrize("source", ["memory", "files"])
def test_fifty_epochs_and_two_thousand_steps(source: Literal["memory", "files"]) -> None:
    found = train(source)
    assert found.steps >= 2000
    assert found.growth < MOST_GROWTH
    assert len(found.files) == 1
    assert found.left == (0, 0)


def test_a_leak_would_be_seen() -> None:
    assert train("leak").growth > MOST_GROWTH
