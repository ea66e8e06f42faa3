"""Processes and machines that die, and torchrun that starts the others anew."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from command import Command, convworks
from torchrun import (
    EXACT,
    HERE,
    TRAIN,
    assert_same_run,
    children,
    free_port,
    listens,
    records,
    started,
    until,
)


@pytest.mark.parametrize(
    ("victim", "standalone"), [(0, False), pytest.param(1, True, marks=pytest.mark.slow)]
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_ends_the_job_and_torchrun_goes_on_with_it(
    victim: int, standalone: bool
) -> None:
    """Also when torchrun gives the job no id of its own, as without --standalone."""
    where = HERE if standalone else [f"--master-port={free_port()}"]
    arguments = [*EXACT, "--epochs", "30", "--image-size", "16"]
    whole = convworks("train", *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = started(2, *TRAIN, *arguments, "--out", "killed", restarts=1, where=where)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("epoch  3/"):
            os.kill(children(process)[victim], signal.SIGKILL)
            break
    _, rest = process.communicate(timeout=200)
    assert process.returncode == 0, rest
    assert "resumed after epoch" in rest
    assert_same_run("whole", "killed")


@pytest.mark.slow
def test_without_restarts_a_killed_process_ends_the_job() -> None:
    process = started(2, *TRAIN, *EXACT, "--epochs", "500", "--image-size", "16", "--out", "killed")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   3/"):
            os.kill(children(process)[1], signal.SIGKILL)
            break
    begun = time.monotonic()
    _, rest = process.communicate(timeout=120)
    assert time.monotonic() - begun < 60
    assert process.returncode == 1
    assert "convworks/" not in rest  # no traceback of ours
    assert len(records("killed")) >= 3
    assert not Path("killed/summary.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_when_one_of_three_machines_dies_two_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With shares of 30 and 31 pictures, and end where one process alone does."""
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    arguments = [*EXACT, "--epochs", "30", "--image-size", "16", "--batch-size", "61"]
    one = convworks("train", *arguments, "--out", "one")
    assert one.returncode == 0, one.stderr
    port = free_port()
    where = ["--nnodes=1:3", "--rdzv-backend=c10d", "--rdzv-id=three"]
    where.append(f"--rdzv-endpoint=127.0.0.1:{port}")
    words = (*TRAIN, *arguments, "--save-every", "7", "--out", "left")
    machines = [started(1, *words, restarts=1, where=where)]
    until(lambda: listens(port))  # where the others meet, so not the one to die
    machines += [started(1, *words, restarts=1, where=where) for _ in range(2)]
    until(lambda: Path("left/metrics.jsonl").exists() and len(records("left")) >= 3)
    for pid in (*children(machines[2]), machines[2].pid):
        os.kill(pid, signal.SIGKILL)
    ended = [machine.communicate(timeout=200) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0, -signal.SIGKILL], ended
    told = ended[0][1] + ended[1][1]
    assert re.search(r"Process \d of 3 stops, since another one has ended", told), told
    assert "resumed after epoch" in told
    assert_same_run("one", "left")


def test_restarts_need_a_named_folder() -> None:
    done = Command("train", environment={"TORCHELASTIC_MAX_RESTARTS": "1"}).end()
    assert done.returncode == 2
    assert "needs --out DIR" in done.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("standalone", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_restarts_leave_the_run_of_another_job_alone(standalone: bool) -> None:
    """The second attempt finds a run as the first did, which was refused."""
    older = convworks("train", "--epochs", "1", "--out", "older")
    assert older.returncode == 0, older.stderr
    Path("older/summary.json").unlink()  # as if it had been stopped
    where = HERE if standalone else [f"--master-port={free_port()}"]
    process = started(
        2, *TRAIN, "--epochs", "1", "--out", "older", "--save-every", "1", restarts=1, where=where
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.count("older already holds a run: add --resume") == 2  # both attempts
    assert "resumed after" not in err
    assert out == ""


def test_a_job_goes_on_with_its_own_run_alone() -> None:
    """torchrun's count of restarts stays 0 when a machine joins or leaves."""
    words = ("train", "--epochs", "400", "--out", "run")
    first = Command(*words, environment={"TORCHELASTIC_RUN_ID": "a"})
    first.wait_for("epoch   2/")
    first.send_signal(signal.SIGKILL)
    first.end()
    other = Command(*words, environment={"TORCHELASTIC_RUN_ID": "b"}).end()
    assert other.returncode == 1
    assert "run already holds a run: add --resume" in other.stderr
    again = Command(*words, environment={"TORCHELASTIC_RUN_ID": "a"})
    again.wait_for("resumed after epoch")
    again.send_signal(signal.SIGINT)
    again.end()
    done = json.loads(Path("run/config.json").read_text())
    Path("run/summary.json").write_text("{}")  # a complete run, of whichever job
    complete = Command(*words, environment={"TORCHELASTIC_RUN_ID": done["job"]}).end()
    assert complete.returncode == 1
    assert "run already holds a run: add --resume" in complete.stderr
