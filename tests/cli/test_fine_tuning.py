"""Fine-tuning, the learning-rate finder and the search, as users start them."""

import json
import re
import shlex
from pathlib import Path

import pytest

from command import convworks

FAST = ["--image-size", "16", "--epochs", "1"]


def test_fine_tuning_a_run_on_pictures_of_other_classes(digit_pictures: Path) -> None:
    assert convworks("train", *FAST, "--out", "first").returncode == 0
    options = ["--data", str(digit_pictures), *FAST, "--init", "first", "--freeze", "--out", "b"]
    done = convworks("train", *options)
    assert done.returncode == 0, done.stderr
    said = r"8 of 10 tensors from first/best.safetensors; fresh: head.fc3.weight, head.fc3.bias"
    assert re.search(said, done.stderr), done.stderr
    settings = json.loads(Path("b/config.json").read_text())
    begun = json.loads(Path("first/config.json").read_text())
    assert settings["preparation"] == begun["preparation"]
    assert settings["train"]["freeze"] is True
    again = convworks("train", "--resume", "--out", "b")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


def test_patience_says_that_it_has_ended_the_run() -> None:
    options = ["--lr", "5", "--epochs", "30", "--patience", "1", "--image-size", "16"]
    done = convworks("train", *options, "--out", "a")
    assert done.returncode == 0, done.stderr
    assert re.search(r"at epoch \d+ of \d+, stopped early\)", done.stdout), done.stdout
    assert json.loads(Path("a/summary.json").read_text())["stopped_early"] is True


def test_finding_a_learning_rate() -> None:
    done = convworks("train", "lenet_bn", *FAST, "--find-lr")
    assert done.returncode == 0, done.stderr
    first, picture = done.stdout.splitlines()
    assert re.match(r"--lr 0\.\d+: a tenth of .*, where the loss is lowest", first)
    assert picture == "runs/lr-lenet_bn-digits.svg"
    assert "<svg" in Path(picture).read_text()
    assert [path.name for path in Path("runs").iterdir()] == ["lr-lenet_bn-digits.svg"]
    figures = json.loads(convworks("train", "lenet_bn", *FAST, "--find-lr", "--json").stdout)
    assert f"--lr {figures['suggestion']:g}:" in first


def test_a_search_prints_the_command_that_trains_as_its_best_trial() -> None:
    done = convworks("train", *FAST, "--tune=2", "--out", "search")
    assert done.returncode == 0, done.stderr
    assert "trial 2 of 2: --lr 0." in done.stderr
    found = json.loads(Path("search/tune.json").read_text())["best"]
    assert f"test accuracy {found['test_accuracy']:.4f}" in done.stdout
    assert convworks("train", *FAST, "--tune", "2", "--out", "search").stdout == done.stdout
    command = done.stdout.splitlines()[-1].partition("convworks ")[2]
    repeated = convworks(*shlex.split(command), "--json")
    assert repeated.returncode == 0, repeated.stderr
    figures = json.loads(repeated.stdout)
    assert figures["val_accuracy"] == found["val_accuracy"]
    assert figures["test_accuracy"] == found["test_accuracy"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--freeze"], 2, "--freeze keeps what --init brings: give --init too."),
        (["--find-lr", "--tune", "3"], 2, "--like, --find-lr and --tune each do another"),
        (["--tune", "0"], 2, "--tune must be at least 1, not 0."),
        (["--patience", "0"], 2, "--patience must be at least 1, not 0."),
        (["--layer-decay", "2"], 2, "--layer-decay must lie in 0…1"),
        (["--init", "nowhere"], 1, "Cannot read weights from nowhere (there is no such file)"),
        (["--init", "timm"], 1, "timm publishes no weights for lenet, nor does any other"),
        (
            ["--find-lr", "--out", "/proc/x"],
            1,
            "Cannot make the folder /proc/x (No such file or directory)",
        ),
        (["--normalize", "init"], 2, "as the weights of --init know it: give --init."),
    ],
)
def test_wrong_usage(options: list[str], code: int, message: str) -> None:
    done = convworks("train", *options)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("runs").exists()
