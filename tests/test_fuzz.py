"""Malformed input ends in one clear line, or is taken."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "fuzz.py"
GUIDED = Path(__file__).parent / "fuzz_guided.py"


@pytest.mark.skipif(sys.platform != "linux", reason="bounds memory by /proc")
@pytest.mark.parametrize("count", [80, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_malformed_input(count: int) -> None:
    words = [sys.executable, str(SCRIPT), str(count)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("findings") == []
    assert len(found) >= 5
    for kind, outcomes in found.items():
        assert sum(outcomes.values()) == count
        assert outcomes["refused"] > count // 10, kind  # the changes do change something


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has packages for Linux on x86")
@pytest.mark.parametrize("kind", ["idx", "picture", "config", "weights", "study", "words"])
@pytest.mark.timeout(600)
def test_input_that_looks_for_new_branches(kind: str) -> None:
    """The fuzzer ends with the exception and the input that it has found."""
    words = [sys.executable, str(GUIDED), kind, "-runs=1000", "-seed=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Done 1000 runs" in done.stderr
