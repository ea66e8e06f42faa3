"""What the commands do: each is a process, with its output and its exit code."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from rich.table import Table
from safetensors.torch import load_file

from command import Command, convworks
from conftest import write_digits
from convworks import api, cli
from convworks.bench import speed
from convworks.cli import run
from convworks.cli.command import show
from convworks.train.checkpoint import read_settings

FAST = ["--epochs", "2", "--image-size", "16"]
"""LeNet on digits in about a second."""


def metrics(run: Path) -> list[dict[str, float]]:
    """A run's records without what depends on the clock."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        del record["seconds"], record["images_per_second"]
    return records


def test_results_go_to_standard_output_progress_does_not() -> None:
    done = convworks("train", *FAST, "--out", "a")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test accuracy 0.")
    assert "a: best.safetensors" in done.stdout
    assert "epoch 2/2" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_an_image_folder() -> None:
    write_digits(Path("pictures"), classes=(0, 1, 7), count=40)
    done = convworks("train", "--data", "pictures", *FAST, "--epochs", "40", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test_accuracy"] > 0.6
    config = json.loads(Path("runs/lenet-pictures/config.json").read_text())
    assert config["classes"] == ["digit0", "digit1", "digit7"]
    assert config["model"]["num_classes"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resume_ends_in_the_same_place(number: signal.Signals) -> None:
    arguments = ["--epochs", "40", "--image-size", "16"]
    whole = convworks("train", *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = Command("train", *arguments, "--out", "stopped")
    process.wait_for("epoch  3/")
    process.send_signal(number)
    stopped = process.end()
    assert stopped.returncode == 130
    assert "go on with: convworks train --resume --out stopped" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not Path("stopped/summary.json").exists()
    resumed = convworks("train", "--resume", "--out", "stopped")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch" in resumed.stderr
    assert metrics(Path("stopped")) == metrics(Path("whole"))
    again = convworks("train", "--resume", "--out", "stopped", "--json")
    assert json.loads(again.stdout)["epochs"] == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_pictures_are_decoded(number: signal.Signals) -> None:
    """A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes of a run's group."""
    write_digits(Path("pictures"), classes=(0, 1), count=60)
    arguments = ["--data", "pictures", "--epochs", "30", "--image-size", "16", "--workers", "2"]
    process = Command("train", *arguments, "--out", "stopped", own_group=True)
    process.wait_for("epoch  2/")
    os.killpg(process.pid, number)
    stopped = process.end()
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    resumed = convworks("train", "--resume", "--out", "stopped")
    assert resumed.returncode == 0, resumed.stderr
    assert len(metrics(Path("stopped"))) == 30


def test_a_killed_run_resumes() -> None:
    whole = convworks("train", *FAST, "--epochs", "12", "--out", "whole")
    assert whole.returncode == 0
    process = Command("train", *FAST, "--epochs", "12", "--out", "killed")
    process.wait_for("epoch  4/")
    process.send_signal(signal.SIGKILL)
    assert process.end().returncode == -signal.SIGKILL
    assert convworks("train", "--resume", "--out", "killed").returncode == 0
    assert metrics(Path("killed")) == metrics(Path("whole"))


def test_a_run_killed_inside_an_epoch_goes_on_inside_it() -> None:
    arguments = ["--epochs", "2", "--image-size", "16", "--batch-size", "8", "--save-every", "20"]
    whole = convworks("train", *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = Command("train", *arguments, "--out", "killed")
    last, seen = Path("killed/last.pt"), set[int]()
    while len(seen) < 2:  # the first is written when the run begins
        seen |= {last.stat().st_ino} if last.exists() else set()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.end().returncode == -signal.SIGKILL
    assert not Path("killed/metrics.jsonl").exists()  # the first epoch was not over
    resumed = convworks("train", "--resume", "--out", "killed", "--save-every", "7min")
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resumed after epoch 0 and \d*[02468]0 steps", resumed.stderr)
    assert metrics(Path("killed")) == metrics(Path("whole"))
    for name in ("best.safetensors", "last.pt"):
        assert weights(Path("killed") / name) == weights(Path("whole") / name)


def test_a_run_is_repeated_from_its_config_alone() -> None:
    first = convworks("train", "lenet_bn", *FAST, "--lr", "0.003", "--out", "first")
    assert first.returncode == 0, first.stderr
    for name in ("last.pt", "best.safetensors", "metrics.jsonl", "summary.json", "curves.svg"):
        Path("first", name).rename(Path(name))
    again = convworks("train", "--like", "first", "--out", "again")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0].split(",")[0] == first.stdout.splitlines()[0].split(",")[0]
    assert weights(Path("again/best.safetensors")) == weights(Path("best.safetensors"))
    other = convworks("train", "--like", "first", "--seed", "1", "--json")
    assert other.returncode == 0, other.stderr
    config = json.loads((Path(json.loads(other.stdout)["path"]) / "config.json").read_text())
    assert (config["train"]["seed"], config["train"]["lr"]) == (1, 0.003)
    assert config["model"]["name"] == "lenet_bn"
    book = convworks("train", "--like", "first", "--recipe", "book", "--epochs", "1", "--json")
    assert book.returncode == 0, book.stderr
    config = json.loads((Path(json.loads(book.stdout)["path"]) / "config.json").read_text())
    decided = (config["train"][name] for name in ("optimizer", "lr", "normalize", "epochs"))
    assert tuple(decided) == ("sgd", 1.0, "off", 1)


def test_flags_of_a_run_can_be_given_again_and_taken_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As torchrun repeats the command of a job whose worker died."""
    assert run(["train", *FAST, "--strict", "--out", "first"]) == 0
    assert run(["train", "--strict", "--resume", "--out", "first"]) == 0
    assert run(["train", "--like", "first", "--no-strict", "--out", "again"]) == 0
    strict = [read_settings(Path(name))["train"]["strict"] for name in ("first", "again")]
    assert strict == [True, False]
    assert run(["train", "--like", "first", "--freeze", "--out", "frozen"]) == 2
    assert "--freeze keeps what --init brings: give --init too." in capsys.readouterr().err
    assert not Path("frozen").exists()


def test_a_run_whose_pictures_are_others_now_is_not_repeated() -> None:
    write_digits(Path("pictures"), classes=(0, 1), count=20)
    first = convworks("train", "--data", "pictures", *FAST, "--out", "first")
    assert first.returncode == 0, first.stderr
    Path("pictures/digit0/000.png").rename("pictures/digit0/moved.png")
    again = convworks("train", "--like", "first", "--out", "again")
    assert again.returncode == 1
    assert "no longer the pictures that first was trained on" in again.stderr
    assert not Path("again").exists()


def weights(path: Path) -> list[tuple[str, bytes]]:
    """Names and bytes of the network's tensors in a file of a run."""
    if path.suffix == ".pt":
        tensors = torch.load(path, weights_only=True)["model"]
    else:
        tensors = load_file(path)
    return sorted((name, tensor.numpy().tobytes()) for name, tensor in tensors.items())


def test_a_run_folder_is_one_process_s_at_a_time() -> None:
    first = Command("train", *FAST, "--epochs", "2000", "--out", "taken")
    first.wait_for("epoch    2/")
    second = convworks("train", "--resume", "--out", "taken")
    assert second.returncode == 1
    assert "Another process is training in taken: wait for it" in second.stderr
    first.send_signal(signal.SIGKILL)  # which lets go of it
    first.end()
    third = Command("train", "--resume", "--out", "taken")
    third.wait_for("resumed after epoch")
    third.send_signal(signal.SIGKILL)
    third.end()


def test_an_existing_run_is_not_overwritten() -> None:
    assert convworks("train", *FAST, "--out", "a").returncode == 0
    before = Path("a/best.safetensors").read_bytes()
    again = convworks("train", *FAST, "--out", "a")
    assert again.returncode == 1
    assert "a already holds a run: add --resume" in again.stderr
    assert Path("a/best.safetensors").read_bytes() == before


def test_resume_names_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", *FAST, "--seed", "1", "--out", "a"]) == 0
    Path("a/summary.json").unlink()
    for option, text in (
        (["lenet_bn"], "begun with lenet, not lenet_bn"),
        (["--lr", "0.5"], "train lr="),
        (["--seed", "0"], "seed=1, not 0"),  # although 0 is the default
        (["--data", "mnist"], "begun with the data digits, not mnist"),
        (["--image-size", "20"], "begun with 16, not 20"),
    ):
        assert run(["train", *option, "--resume", "--out", "a"]) == 1
        assert text in capsys.readouterr().err
    assert run(["train", "--resume", "--out", "a"]) == 0


def test_no_space_loses_nothing() -> None:
    """The system refuses to write files above 100 kB, as a full disk would."""
    arguments = ["train", *FAST, "--epochs", "12"]
    assert convworks(*arguments, "--out", "whole").returncode == 0
    process = Command(*arguments, "--out", "run")
    process.wait_for("epoch  3/")
    process.send_signal(signal.SIGINT)
    assert process.end().returncode == 130
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    assert before["last.pt"]
    done = Command("train", "--resume", "--out", "run", largest_file=100_000).end()
    assert done.returncode == 1
    assert "Cannot write run/" in done.stderr
    assert "File too large" in done.stderr
    assert "train --resume --out run" in done.stderr
    assert "Traceback" not in done.stderr
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before
    recovered = convworks("train", "--resume", "--out", "run")
    assert recovered.returncode == 0, recovered.stderr
    assert metrics(Path("run")) == metrics(Path("whole"))


def test_a_network_made_otherwise_is_trained_and_resumed() -> None:
    options = ["--set", "se=4", "--set", "order=preact"]
    begun = convworks(
        "train", "resnet20", "--image-size", "8", *options, *FAST, "--out", "otherwise"
    )
    assert begun.returncode == 0, begun.stderr
    config = json.loads(Path("otherwise/config.json").read_text())
    assert config["model"]["options"] == {"se": 4, "order": "preact"}
    Path("otherwise/summary.json").unlink()
    again = convworks("train", "--resume", "--out", "otherwise")
    assert again.returncode == 0, again.stderr
    assert again.stdout.split(" on ")[0] == begun.stdout.split(" on ")[0]


def test_summary_shows_shapes_and_totals() -> None:
    text = convworks("summary", "resnet18", "--input", "1x96x96", "--depth", "1").stdout
    for words in ("64×24×24", "512×3×3", "stage4", "total"):
        assert words in text
    figures = json.loads(convworks("summary", "vgg11", "--json").stdout)
    assert figures["totals"]["parameters"] == 132_863_336


def test_summary_tells_the_largest_batch() -> None:
    text = convworks("summary", "lenet", "--memory", "1GiB", "--precision", "bf16").stdout
    assert re.search(r"1GiB hold a batch of [\d,]+ in training .* and of [\d,]+ in use", text)
    figures = json.loads(convworks("summary", "lenet", "--memory", "1GiB", "--json").stdout)
    assert 10_000 < figures["largest_batch"]["training"] < figures["largest_batch"]["inference"]
    normed = json.loads(convworks("summary", "lenet_bn", "--memory", "1GiB", "--json").stdout)
    assert normed["largest_batch"]["training"] > 1000


def test_compare_and_bench_print_what_they_find() -> None:
    shown = convworks("compare", "lenet*", "resnet20", "--format", "csv").stdout.splitlines()
    assert [line.split(",")[0] for line in shown] == ["model", "lenet", "lenet_bn", "resnet20"]
    assert "61706" in shown[1]
    options = ["--batch-size", "16", "--repeats", "1", "--json"]
    figures = json.loads(convworks("bench", "lenet", *options).stdout)
    assert figures["training"]["median"] > 0
    assert figures["training_memory"]["predicted"] > 0
    assert 0 < figures["training_roofline"]["peak_share"] < 1


def test_speed_is_measured_and_drawn_against_accuracy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "WINDOW_SECONDS", 0.02)  # that it is measured, not how fast it is
    for name in ("lenet", "lenet_bn"):
        assert run(["train", name, *FAST, "--out", name]) == 0
    capsys.readouterr()
    words = ["compare", "--runs", "lenet", "lenet_bn", "--batch-size", "8", "--bench"]
    assert run([*words, "--figure", "a.svg", "--cost", "latency_ms", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["model"] for one in found] == ["lenet", "lenet_bn"]
    for one in found:
        assert min(one["training_rate"], one["inference_rate"], one["latency_ms"]) > 0
    text = Path("a.svg").read_text()
    assert "<!-- lenet_bn -->" in text
    assert "milliseconds" in text


def test_reproduce_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shown = convworks("reproduce", "alexnet", "resnext", "--quick", "--out", str(page)).stdout
    assert "172 MB" in shown
    assert "document wrong" in shown
    assert "printed nearly 1 GB; found 172 MB" in page.read_text()
    assert json.loads(convworks("reproduce", "nin", "--quick", "--json").stdout)["figures"]
    assert "alexnet: 8 figures, 4 trained" in convworks("reproduce", "--list").stdout
    (one,) = json.loads(convworks("reproduce", "alexnet", "--list", "--json").stdout)
    assert one == {"section": "alexnet", "figures": 8, "trained": 4}


def test_ctrl_c_that_a_library_made_another_error_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*_arguments: object, **_options: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            raise RuntimeError("Failed to export the model") from stop

    monkeypatch.setattr(api, "train", train)
    assert cli.run(["train"]) == 130
    assert capsys.readouterr().err == "convworks: Stopped.\n"


def test_names_in_tables_are_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("class")
    names = ("[old] cars", "a[/b]", ":smile:")
    for name in names:
        table.add_row(name)
    show(table)
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


def test_no_figure_is_cut_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    table, long = Table("class"), "0.9231 ± 0.0007 (3 runs) " * 4
    for name in ("a", "b"):
        table.add_column(name, no_wrap=True)
    table.add_row("x " * 300, long, long)
    show(table)
    shown = capsys.readouterr().out
    assert shown.count(long.strip()) == 2
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) < 230  # what may be wrapped still is
