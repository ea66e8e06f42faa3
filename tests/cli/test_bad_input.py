"""What the commands say to bad input: one line that tells what to do."""

import re
from pathlib import Path

import pytest

from command import convworks
from conftest import write_digits
from convworks.cli import run

BAD: dict[str, tuple[list[str], int, str]] = {
    "unknown network": (["train", "resnet-18"], 1, "did you mean 'resnet18'"),
    "empty data": (["train", "--data", ""], 1, "no data set or folder ''"),
    "seed too large": (["train", "--seed", "9" * 30], 2, "--seed must lie in"),
    "out holds something": (["train", "--out", "stray"], 1, "stray already holds a run"),
    "unknown data": (["train", "--data", "fashonmnist"], 1, "did you mean 'fashion_mnist'"),
    "no such folder": (["train", "--data", "no/folder"], 1, "a folder with one sub-folder a class"),
    "image too small": (["train", "--image-size", "8"], 1, "lenet cannot take 8×8.*is 12"),
    "empty folder": (["train", "--data", "empty"], 1, "No pictures in"),
    "one class": (["train", "--data", "one"], 1, "one class only"),
    "unreadable picture": (["train", "--data", "broken", "--strict"], 1, "bad.png"),
    "out is a file": (["train", "--out", "file"], 1, "Cannot make the run folder file"),
    "out below a file": (["train", "--out", "file/run"], 1, "Cannot make the run folder"),
    "another program's folder": (["train", "--resume", "--out", "other"], 1, "has no data"),
    "resume and init": (["train", "--resume", "--out", "a", "--init", "b"], 2, "give one"),
    "no run to resume": (["train", "--resume", "--out", "empty"], 1, "empty is no run folder"),
    "like and resume": (["train", "--like", "a", "--resume", "--out", "a"], 2, "give one"),
    "like with a network": (["train", "lenet", "--like", "a"], 2, "leave them out"),
    "like nothing": (["train", "--like", "empty"], 1, "empty is no run folder"),
    "resume without folder": (["train", "--resume"], 2, "--resume needs --out DIR"),
    "no such device": (["train", "--device", "mps"], 1, "no usable mps device"),
    "no such weights": (["train", "--init", "nowhere"], 1, "Cannot read weights from nowhere"),
    "data root not writable": (
        ["train", "--data", "kmnist", "--data-root", "file/below"],
        1,
        "--data-root",
    ),
    "epochs out of range": (["train", "--epochs", "0"], 2, "--epochs must be at least 1, not 0"),
    "save every bit": (["train", "--save-every", "0"], 2, "such as 500 or minutes such as 10min"),
    "no number": (["train", "--lr", "fast"], 2, "--lr"),
    "unknown option": (["train", "--batchsize", "4"], 2, "--batch-size"),
    "unknown command": (["trian"], 2, "trian"),
    "no command": ([], 2, "train"),
    "summary of nothing": (["summary", "lenot"], 1, "did you mean 'lenet'"),
    "summary input": (["summary", "lenet", "--input", "28"], 2, "such as 3x224x224, not 28"),
    "summary too small": (["summary", "vgg11", "--input", "3x8x8"], 1, "vgg11 cannot take 8×8"),
    "no such network option": (["summary", "lenet", "--set", "se=4"], 1, "no option of lenet 'se'"),
    "option of another kind": (["train", "resnet20", "--set", "se=yes"], 1, "takes an int, not"),
    "option without value": (["train", "resnet20", "--set", "se"], 2, "such as se=16, not 'se'"),
    "resume otherwise": (["train", "--resume", "--out", "a", "--set", "se=4"], 2, "give one"),
    "auxiliary too small": (
        ["summary", "inception_v3", "--input", "3x96x96", "--set", "auxiliary=true"],
        1,
        "needs 17×17 pixels in stage 4, not 4×4",
    ),
    "memory without a unit": (["summary", "lenet", "--memory", "8"], 2, "A size such as 8GiB"),
    "nothing to compare": (["compare"], 2, "give networks or --runs"),
    "unknown to compare": (["compare", "lenet", "resnet-18"], 1, "did you mean 'resnet18'"),
    "no run to compare": (["compare", "--runs", "empty"], 1, "empty is no run folder"),
    "figure without runs": (["compare", "lenet", "--figure", "a.svg"], 2, "give --runs"),
    "cost without figure": (["compare", "lenet", "--cost", "macs"], 2, "give --figure FILE"),
    "latency unmeasured": (
        ["compare", "--cost", "latency_ms", "--figure", "a.svg", "--runs", "empty"],
        2,
        "give --bench",
    ),
    "compare no classes": (["compare", "lenet", "--classes", "0"], 1, "num_classes must be at"),
    "precision of nothing": (
        ["summary", "lenet", "--precision", "bf16"],
        2,
        "--precision is for --memory",
    ),
    "bench of nothing": (
        ["bench", "lenet", "--batch-size", "0"],
        2,
        "--batch-size must be at least",
    ),
    "reproduce section": (["reproduce", "resnt"], 1, "did you mean 'resnet'"),
    "reproduce list": (["reproduce", "resnt", "--list"], 1, "did you mean 'resnet'"),
    "reproduce epochs": (["reproduce", "--epochs", "0"], 2, "--epochs must be at least 1"),
    "reproduce page": (["reproduce", "--quick", "--out", "no/a.md"], 1, "There is no folder no"),
    "bench oblong": (["bench", "lenet", "--input", "1x28x56"], 2, "bench takes square images"),
    "bench picture": (
        ["bench", "lenet", "--figure", "no/such/folder/a.svg"],
        1,
        "There is no folder no/such/folder",
    ),
    "bench too small": (["bench", "vgg11", "--input", "3x8x8"], 1, "vgg11 cannot take 8×8"),
    "no such models": (["models", "xyz*"], 1, "no network like 'xyz"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_without_a_traceback(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which saves the three seconds that PyTorch's import takes."""
    arguments, code, message = BAD[case]
    Path("empty").mkdir()
    Path("file").write_text("a file")
    Path("stray").mkdir()
    Path("stray/summary.json").write_text("{}")
    Path("other").mkdir()
    Path("other/config.json").write_text('{"architectures": ["ResNet"]}')
    write_digits(Path("one"), classes=(4,), count=5)
    write_digits(Path("broken"), classes=(4, 5), count=9)
    for folder in Path("broken").iterdir():
        (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    try:
        ended: object = run(arguments)
    except SystemExit as usage:
        ended = usage.code
    told = capsys.readouterr().err
    assert ended == code, told
    assert "Traceback" not in told
    plain = " ".join(told.replace("│", " ").split())
    assert re.search(message, plain), plain
    if code == 1:
        last = told.strip().splitlines()[-1]
        assert last.startswith("convworks: ")
        assert plain.endswith(" ".join(last.split()))
    assert not list(Path().glob("runs/*/last.pt"))


def test_debug_shows_the_traceback() -> None:
    done = convworks("train", "resnet-18", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("convworks: There is no network")
    assert "Traceback" in convworks("train", "--epochs", "0", "--debug").stderr
