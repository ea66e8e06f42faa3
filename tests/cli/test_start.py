"""The command as a shell starts it: what stands before anything is computed, and the whole once."""

import json
import os
import pty
import resource
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "convworks"]


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in the working folder, warnings as errors."""
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
    )


def test_train_without_arguments_is_accurate_and_leaves_its_files() -> None:
    begun = time.perf_counter()
    done = started("train", "--json")
    assert time.perf_counter() - begun < 60
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["test_accuracy"] > 0.97
    assert figures["path"] == "runs/lenet-digits"
    assert "epoch 1/" in done.stderr.replace("epoch  1/", "epoch 1/")
    assert (Path("runs/lenet-digits") / "curves.svg").stat().st_size > 5000


def test_a_terminal_gets_a_bar() -> None:
    """Run on a pseudo-terminal, as a person would."""
    shown = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 4096)
        shown.extend(data)
        return data

    status = pty.spawn([*COMMAND, "train", "--image-size", "16", "--epochs", "20"], read)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "━".encode() in shown
    assert b"images/s" in shown


def test_a_reader_that_has_had_enough_is_no_failure() -> None:
    shell = f"{sys.executable} -m convworks models | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""
    shell = f"{sys.executable} -m convworks models | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")  # nobody read what was left to flush


def test_a_mistyped_option_is_answered_with_those_of_the_command() -> None:
    done = started("train", "--dat", "photos")
    assert done.returncode == 2
    assert "--data DATA" in done.stderr
    assert "convworks train --help" in done.stderr
    for other in ("eval", "export", "demo"):
        assert f"convworks {other}" not in done.stderr


def test_help_says_what_is_needed() -> None:
    done = started("--help")
    assert done.returncode == 0
    for command in ("train", "models", "summary", "compare", "bench", "reproduce"):
        assert command in done.stdout
        text = started(command, "--help").stdout
        assert f"convworks {command}" in text.split("usage")[1]
        assert text.count("convworks " + command) >= 2  # the usage and an example
    text = " ".join(started("train", "--help").stdout.replace("│", " ").split())
    for option in [
        "--image-size",
        "--batch-size",
        "--epochs",
        "--lr",
        "--recipe",
        "--out",
        "--resume",
        "--seed",
        "--device",
        "--precision",
        "--compile",
        "--init",
        "--data",
        "--data-root",
        "--json",
        "--debug",
    ]:
        assert option in text
    for default in ("(default: lenet)", "(default: digits)", "(default: modern)", "(default: 0)"):
        assert default in text
    assert "(default: the recipe's)" in text


def computing(*words: str) -> float:
    """Seconds of computing of a Python that is started so, the least of three times."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_and_models_do_not_wait_for_torch() -> None:
    """PyTorch alone takes four times as long; both are stretched by others on the machine."""
    torch = computing("-c", "import torch")
    for words in (["--help"], ["train", "--help"], ["models"]):
        assert computing("-m", "convworks", *words) < torch / 2


def test_models_lists_the_zoo() -> None:
    listed = started("models", "--json")
    rows = json.loads(listed.stdout)
    assert len(rows) > 100
    assert [row["name"] for row in rows][:2] == ["lenet", "lenet_bn"]
    text = started("models", "*net18").stdout
    assert "resnet18" in text
    assert "11.69 M" in text
    assert "lenet" not in text
    assert "stride_on_1x1=true" in text


def test_version() -> None:
    assert started("--version").stdout == "convworks 0.1.0\n"
