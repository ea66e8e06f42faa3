"""Answers for files, folders, patterns and standard input, in order, the unreadable ones named."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
import torch

import convworks as cw
from command import convworks
from conftest import write_digits
from convworks.deploy.predict import find_pictures, open_network, predict
from convworks.errors import InputError
from photographs import BAD, GOOD, photograph, turned, write_photographs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two digits, a run that tells them apart, and its export."""
    root = tmp_path_factory.mktemp("predict")
    write_digits(root / "pictures", (0, 1), count=40)
    data = cw.load_data(root / "pictures", image_size=28)
    torch.manual_seed(0)  # of some others it learns nothing in so few epochs
    model = cw.create_model("lenet_bn", num_classes=2, in_channels=1, image_size=28)
    config = cw.TrainConfig(epochs=12, out=root / "run", device="cpu", augment="none")
    run = cw.fit(model, data, config, progress=False)
    cw.export(run, "onnx")
    return root


def names(root: Path) -> list[str]:
    return sorted(str(p) for p in (root / "pictures").rglob("*.png"))


@pytest.mark.parametrize("file", ["run", "run/model.onnx"])
def test_labels_in_order(place: Path, file: str) -> None:
    files = names(place)
    found = list(predict(open_network(place / file), files, top=2))
    assert [one.path for one in found] == files
    right = [one.labels[0] == Path(one.path).parent.name for one in found]
    assert np.mean(right) > 0.9
    for one in found:
        assert sum(one.probabilities) == pytest.approx(1, abs=1e-5)
        assert one.probabilities[0] >= one.probabilities[1]
        assert not one.error


def test_a_run_and_its_export_say_the_same(place: Path) -> None:
    files = names(place)
    ours, exported = (
        list(predict(open_network(place / x), files, top=2)) for x in ("run", "run/model.onnx")
    )
    for one, other in zip(ours, exported, strict=True):
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


@pytest.mark.parametrize("mirror", [False, True])
def test_test_time_augmentation(place: Path, mirror: bool) -> None:
    """Three views, and their mirror images where the run was trained with such."""
    network, files = open_network(place / "run"), names(place)[:5]
    assert network.metadata["mirror"] is False  # augment="none"
    network = replace(network, metadata={**network.metadata, "mirror": mirror})
    pixels = np.stack([open_pixels(f) for f in files])
    down = np.concatenate([pixels[:, :, :1], pixels[:, :, :-1]], axis=2)
    down = np.concatenate([down[..., :1], down[..., :-1]], axis=3)
    up = np.concatenate([pixels[:, :, 1:], pixels[:, :, -1:]], axis=2)
    up = np.concatenate([up[..., 1:], up[..., -1:]], axis=3)
    views = [pixels, down, up]
    if mirror:
        views += [view[..., ::-1].copy() for view in views]
    expected = np.mean([network.run(view) for view in views], axis=0)
    found = list(predict(network, files, tta=True))
    assert [x.probabilities[0] for x in found] == pytest.approx(expected.max(1).tolist(), abs=1e-6)


def test_an_export_knows_how_it_was_trained(place: Path) -> None:
    files = names(place)[:9]
    ours, exported = (
        list(predict(open_network(place / x), files, tta=True)) for x in ("run", "run/model.onnx")
    )
    assert [x.labels for x in ours] == [x.labels for x in exported]
    assert [x.probabilities[0] for x in ours] == pytest.approx(
        [x.probabilities[0] for x in exported], abs=1e-4
    )


def open_pixels(path: str) -> np.ndarray:
    from convworks.data.folder import decode

    return decode(Path(path), 1, 28).numpy()


def test_what_is_named(place: Path, tmp_path: Path) -> None:
    files = names(place)
    assert find_pictures(str(place / "pictures")) == files
    assert find_pictures(str(place / "pictures" / "*" / "*.png")) == files
    assert find_pictures(str(place / "pictures" / "*")) == files  # as the shell would give it
    assert find_pictures("none.png") == ["none.png"]
    assert find_pictures("long" * 100) == ["long" * 100]
    odd = tmp_path / "a[1].png"
    odd.write_bytes(Path(files[0]).read_bytes())
    assert find_pictures(str(odd)) == [str(odd)]
    with pytest.raises(InputError, match="No file is like"):
        find_pictures(str(tmp_path / "*.jpg"))


def test_answers_come_before_all_is_read(place: Path) -> None:
    """Standard input may never end."""
    files = names(place)
    asked = 0

    def endless() -> "object":
        nonlocal asked
        while True:
            asked += 1
            yield files[asked % len(files)]

    answers = predict(open_network(place / "run"), endless())  # type: ignore[arg-type]
    for _ in range(40):
        next(answers)
    assert asked <= 5 * 32


def test_the_command(place: Path) -> None:
    files = names(place)
    shown = convworks("predict", "run", "pictures", cwd=place)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(Path(f).relative_to(place)) for f in files
    ]
    assert lines[0].endswith("%")
    text = "\n".join(files[:3]) + "\n"
    words = ("predict", "run/model.onnx", "-", "--top", "5", "--format")
    rows = list(csv.reader(io.StringIO(convworks(*words, "csv", text=text, cwd=place).stdout)))
    assert rows[0] == ["path", "label_1", "probability_1", "label_2", "probability_2"]
    assert [row[0] for row in rows[1:]] == files[:3]
    answers = convworks(*words, "jsonl", text=text, cwd=place).stdout.splitlines()
    assert [json.loads(line)["labels"][0] for line in answers] == [row[1] for row in rows[1:]]


def test_what_cannot_be_read_is_named_and_the_rest_answered(place: Path) -> None:
    good = names(place)[0]
    (place / "bad.png").write_text("no picture")
    words = ("predict", "run", good, "bad.png", "missing.png", good)
    found = convworks(*words, "--format", "jsonl", cwd=place)
    assert found.returncode == 1
    answers = [json.loads(line) for line in found.stdout.splitlines()]
    assert [bool(one["labels"]) for one in answers] == [True, False, False, True]
    assert "bad.png" in answers[1]["error"]
    assert "convworks: 2 of 4 files could not be read." in found.stderr
    assert "Traceback" not in found.stderr
    (place / "bad.png").unlink()
    listed = f"{good}\ngone[3].png\n{'long' * 100}\n{good}\n"
    found = convworks("predict", "run", "-", "--format", "jsonl", cwd=place, text=listed)
    assert [bool(json.loads(one)["labels"]) for one in found.stdout.splitlines()] == [1, 0, 0, 1]
    assert "convworks: 2 of 4 files could not be read." in found.stderr


def test_a_pattern_like_no_file_does_not_silence_the_others(place: Path) -> None:
    good = names(place)[0]
    found = convworks("predict", "run", good, "none*.png", good, "--format", "jsonl", cwd=place)
    assert found.returncode == 1
    answers = [json.loads(line) for line in found.stdout.splitlines()]
    assert [one["path"] for one in answers] == [good, "none*.png", good]
    assert answers[1]["error"] == "No file is like none*.png."
    assert "convworks: 1 of 3 files could not be read." in found.stderr


def test_patterns_leave_out_hidden_files_and_take_two_stars(place: Path, tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", "below/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(Path(names(place)[0]).read_bytes())
    assert find_pictures(f"{tmp_path}/*.png") == [f"{tmp_path}/a.png"]
    assert find_pictures(f"{tmp_path}/**.png") == [f"{tmp_path}/a.png"]
    everything = [f"{tmp_path}/a.png", f"{tmp_path}/below/b.png"]
    assert find_pictures(f"{tmp_path}/**/*.png") == everything


def test_photographs_of_a_telephone_are_told_of(place: Path, tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC"):
        (tmp_path / name).write_bytes(b"")
    found = convworks("predict", str(place / "run"), str(tmp_path))
    assert found.returncode == 1
    told, failed = found.stderr.splitlines()
    assert "2 .heic files passed over, which cannot be decoded here: save as" in told
    assert failed == f"convworks: No pictures in {tmp_path}."


def test_lists_from_windows(place: Path) -> None:
    good, other = names(place)[:2]
    text = f"\ufeff{good}\r\n\r\n{other}"
    found = convworks("predict", "run", "-", "--format", "jsonl", cwd=place, text=text)
    assert found.returncode == 0, found.stderr
    assert [json.loads(line)["path"] for line in found.stdout.splitlines()] == [good, other]


@pytest.mark.parametrize("form", ["text", "csv"])
def test_a_slow_list_is_answered_line_by_line(place: Path, form: str) -> None:
    """As from a program that watches a folder."""
    words = [sys.executable, "-m", "convworks", "predict", "run", "-", "--format", form]
    with subprocess.Popen(words, cwd=place, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in names(place)[:3]:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            answer = process.stdout.readline()  # else it waits for ever
            while answer.startswith("path,"):
                answer = process.stdout.readline()
            assert answer.startswith(name)
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_folder_of_every_kind_of_file(place: Path, tmp_path: Path) -> None:
    """A line for each picture, whatever its name; a line for each file that is none."""
    root = write_photographs(tmp_path / "photos", plain=2, bad=True)
    (root / "china" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(
        (root / "china" / "plain.jpg").read_bytes()
    )
    good, bad = 2 * (2 + len(GOOD)) + 1, 2 * len(BAD)
    words = ["predict", str(place / "run"), str(root)]
    done = convworks(*words)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == good
    assert all(line.endswith("%") for line in done.stdout.splitlines())
    told = done.stderr.splitlines()
    assert len(told) == bad + 1
    assert told[-1] == f"convworks: {bad} of {good + bad} files could not be read."
    answers = convworks(*words, "--json").stdout
    found = [json.loads(line) for line in answers.splitlines()]
    assert sum(bool(one["labels"]) for one in found) == good
    assert all(Path(one["path"]).exists() for one in found)
    rows = convworks(*words, "--format", "csv").stdout
    table = list(csv.reader(io.StringIO(rows, newline="")))
    assert [row[0] for row in table[1:]] == [one["path"] for one in found]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photographs_get_the_same_answer(
    place: Path, tmp_path: Path, orientation: int
) -> None:
    """From the run and from its exported file."""
    stored, exif = turned(photograph(), orientation)
    stored.save(tmp_path / "turned.png", exif=exif)
    photograph().save(tmp_path / "plain.png")
    for file in ("run", "run/model.onnx"):
        network = open_network(place / file)
        one, other = predict(network, [str(tmp_path / f"{x}.png") for x in ("plain", "turned")])
        assert one.probabilities == other.probabilities


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["predict", "nothing", "a.png"], 1, "There is no nothing: name a run's folder, or"),
        (["predict", "nothing.onnx", "a.png"], 1, "There is no nothing.onnx: name a run's folder"),
        (["predict", "a.png", "a.png"], 1, "a.png is no exported network: they end in .onnx"),
        (["predict", "pictures", "a.png"], 1, "is no run folder"),
        (["predict", "run", "none*.png"], 1, "No file is like"),
        (["predict", "run", "empty"], 1, "No pictures in empty"),
        (["predict", "run", "--top", "0", "pictures"], 2, "--top must be at least 1"),
        (["predict", "run"], 2, "Name pictures"),
    ],
)
def test_bad_input(place: Path, words: list[str], code: int, message: str) -> None:
    import re

    (place / "empty").mkdir(exist_ok=True)
    (place / "a.png").touch()
    found = convworks(*words, cwd=place)
    assert found.returncode == code
    assert re.search(message, found.stderr), found.stderr
    assert "Traceback" not in found.stderr
