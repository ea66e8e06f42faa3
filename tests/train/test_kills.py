"""Nothing is lost when a training is killed, whenever that is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kills.py"


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_runs_that_are_killed_at_random_end_as_if_they_were_not(kills: int) -> None:
    words = [sys.executable, str(SCRIPT), str(kills)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=290)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == kills
    assert found["runs_finished"] > 0
    assert found["runs_that_differ"] == 0
    assert found["bytes_lost"] == 0
    assert found["processes_that_failed"] == 0
