"""Figures against scikit-learn, hand-computed ones and the trainer's own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

import convworks as cw
from command import convworks
from conftest import write_digits
from convworks.cli import run as command_line
from convworks.cli.evaluate import Evaluate
from convworks.data.splits import Data
from convworks.deploy.evaluation import Evaluation, evaluate_network, figures
from convworks.deploy.interval import wilson
from convworks.deploy.predict import open_network
from convworks.errors import InputError


@pytest.fixture(scope="module")
def run(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> cw.Run:
    torch.manual_seed(0)
    model = cw.create_model("lenet_bn", num_classes=10, in_channels=1, image_size=28)
    config = cw.TrainConfig(epochs=3, out=tmp_path_factory.mktemp("runs") / "run", device="cpu")
    run = cw.fit(model, digits, config, progress=False)
    cw.export(run, "onnx")
    return run


def of_chance(digits: Data, count: int = 500) -> tuple[np.ndarray, np.ndarray, Evaluation]:
    dice = np.random.default_rng(0)
    logits = dice.normal(size=(count, 10)) * 2
    labels = dice.integers(0, 10, count)
    logits[np.arange(count), labels] += 2
    rows = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return rows, labels, figures(rows, labels, digits, "test")


def test_figures_are_scikit_learns(digits: Data) -> None:
    rows, labels, found = of_chance(digits)
    said = rows.argmax(1)
    assert found.accuracy == pytest.approx(accuracy_score(labels, said))
    assert found.macro_f1 == pytest.approx(f1_score(labels, said, average="macro"))
    assert found.top5 == pytest.approx(top_k_accuracy_score(labels, rows, k=5))
    assert found.loss == pytest.approx(log_loss(labels, rows, labels=range(10)), rel=1e-6)
    assert np.sum(found.confusion) == len(labels)
    assert np.trace(found.confusion) == (labels == said).sum()
    assert [one.images for one in found.classes] == np.bincount(labels, minlength=10).tolist()


def test_balanced_accuracy_is_scikit_learns(digits: Data) -> None:
    """Of uneven classes, one of which is not there."""
    rows, labels, _ = of_chance(digits)
    few = (labels != 3) & ((labels != 5) | (np.arange(len(labels)) % 7 == 0))
    found = figures(rows[few], labels[few], digits, "test")
    with pytest.warns(UserWarning, match="classes not in y_true"):
        expected = balanced_accuracy_score(labels[few], rows[few].argmax(1))
    assert found.balanced_accuracy == pytest.approx(expected)
    assert found.balanced_accuracy != pytest.approx(found.accuracy)
    known = (labels < 2) & (rows.argmax(1) < 2)  # others are neither there nor said to be
    found, said = figures(rows[known], labels[known], digits, "test"), rows[known].argmax(1)
    assert found.macro_f1 == pytest.approx(f1_score(labels[known], said, average="macro"))


def test_the_interval_is_wilsons(digits: Data) -> None:
    """For 81 of 263, from Wilson's formula in Newcombe 1998, table I: 0.2553 to 0.3662."""
    rows = np.full((263, 10), 0.05)
    labels = np.zeros(263, int)
    rows[:81, 0] = rows[81:, 1] = 0.55
    found = figures(rows, labels, digits, "test")
    assert (found.low, found.high) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )


def test_every_share_has_its_interval(digits: Data) -> None:
    """A class's recall is of its pictures, its precision of those that it was said of."""
    rows = np.full((263, 10), 0.01)
    labels = np.zeros(263, int)
    rows[:81, 0] = rows[81:, 1] = 0.91
    labels[258:] = 1
    found = figures(rows, labels, digits, "test")
    assert found.classes[0].recall_interval == pytest.approx(wilson(81 / 258, 258))
    assert found.classes[0].precision_interval == pytest.approx(wilson(1, 81))
    assert found.classes[1].recall_interval == pytest.approx(wilson(1, 5))
    assert found.classes[1].precision_interval == pytest.approx(wilson(5 / 182, 182))
    assert found.classes[2].recall_interval == found.classes[2].precision_interval == (0, 1)
    assert found.top5_interval == pytest.approx(wilson(1, 263))
    rows[:, 3:8] = 0.02
    few = figures(rows[81:258], labels[81:258], digits, "test")
    assert few.top5 == 0
    assert few.top5_interval == pytest.approx(wilson(0, 177))


def test_calibration_by_hand(digits: Data) -> None:
    """Four pictures at 0.7, one right; four at 0.9, all right."""
    rows = np.zeros((8, 10))
    rows[:4, 0], rows[:4, 1] = 0.7, 0.3
    rows[4:, 0], rows[4:, 1] = 0.9, 0.1
    found = figures(rows, np.array([0, 1, 1, 1, 0, 0, 0, 0]), digits, "test")
    assert found.calibration_error == pytest.approx((0.45 + 0.1) / 2)
    assert [one.picture for one in found.worst] == ["1", "2", "3"]
    assert (found.worst[0].said, found.worst[0].label) == ("0", "1")


def test_a_run_and_its_export(run: cw.Run, digits: Data) -> None:
    assert run.summary is not None
    found = evaluate_network(run.path)
    assert found.images == run.summary.test_images
    assert found.accuracy == pytest.approx(run.summary.test_accuracy, abs=0.01)  # scaled to uint8
    exported = evaluate_network(run.path / "model.onnx")
    assert exported.accuracy == pytest.approx(found.accuracy, abs=0.003)
    val = evaluate_network(run.path, digits, part="val")
    assert (val.part, val.images) == ("val", len(digits.val))


def test_pictures_of_a_folder_are_named(run: cw.Run, tmp_path: Path) -> None:
    for part, skip in (("train", 0), ("test", 20)):
        write_digits(tmp_path / "own" / part, tuple(range(10)), count=20, skip=skip)
    data = cw.load_data(tmp_path / "own", image_size=28)
    with pytest.raises(InputError, match="knows other classes"):
        evaluate_network(run.path, data)
    renamed = replace(data, classes=run.classes)
    found = evaluate_network(run.path / "model.onnx", renamed)
    assert found.images == 200
    assert all(Path(one.picture).is_file() for one in found.worst)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of pictures, and its export, beside that folder."""
    root = tmp_path_factory.mktemp("photos")
    write_digits(root / "mine", (0, 1, 7), count=30)
    data = cw.load_data(root / "mine", image_size=20)
    model = cw.create_model("lenet", num_classes=3, in_channels=1, image_size=20)
    config = cw.TrainConfig(epochs=1, out=root / "run", device="cpu")
    cw.export(cw.fit(model, data, config, progress=False), "onnx")
    return root


@pytest.mark.parametrize("file", ["run", "run/model.onnx"])
def test_of_new_pictures_all_are_tested(photos: Path, tmp_path: Path, file: str) -> None:
    """Whichever classes they are of; of those set apart only the test part, in any colours."""
    write_digits(tmp_path / "new", (0, 7), count=12, skip=40)
    assert evaluate_network(photos / file, tmp_path / "new").images == 24
    for path in (tmp_path / "new" / "digit0").iterdir():
        Image.open(path).convert("RGB").save(path)
    found = evaluate_network(photos / file, tmp_path / "new")
    assert found.images == 24
    assert [one.images for one in found.classes] == [12, 0, 12]
    with pytest.raises(InputError, match="new has no pictures in the train part: leave out --part"):
        evaluate_network(photos / file, tmp_path / "new", part="train")
    (tmp_path / "new" / "digit7" / "a.heic").touch()
    for form in ((), ("--json",)):
        told = convworks("eval", str(photos / file), "--data", str(tmp_path / "new"), *form)
        assert "1 .heic file passed over, which cannot be decoded here" in told.stderr
    (tmp_path / "apart").mkdir()
    (tmp_path / "new").rename(tmp_path / "apart" / "test")
    assert evaluate_network(photos / file, tmp_path / "apart").images == 24
    write_digits(tmp_path / "other", (0, 3), count=2)
    with pytest.raises(InputError, match=r"does not know \(digit3\), which knows digit0, digit1"):
        evaluate_network(photos / file, tmp_path / "other")


def test_its_own_pictures_are_split_as_then(photos: Path, tmp_path: Path) -> None:
    """Wherever they lie now; with others among them some would be tested that it learned."""
    expected = evaluate_network(photos / "run")
    file = photos / "run" / "model.onnx"
    with pytest.raises(InputError, match="was trained on mine: say where that is with --data"):
        evaluate_network(file)
    assert evaluate_network(file, photos / "mine").confusion == expected.confusion
    moved = tmp_path / "mine"
    shutil.copytree(photos / "mine", moved)
    for network in (photos / "run", file):
        found = evaluate_network(network, moved)
        assert (found.images, found.confusion) == (expected.images, expected.confusion)
    shutil.copy(moved / "digit0" / "000.png", moved / "digit1" / "more.png")
    with pytest.raises(InputError, match="no longer filled, as it was"):
        evaluate_network(file, moved)
    assert evaluate_network(photos / "run", moved).confusion == expected.confusion  # has the list
    assert cw.export(photos / "run", data=moved).test_images == expected.images
    assert evaluate_network(photos / "run", moved).namesakes == 0
    moved.rename(tmp_path / "yours")  # and other than it was: now all are tested
    told = convworks("eval", str(photos / "run"), "--data", str(tmp_path / "yours"), "--json")
    found = json.loads(told.stdout)
    assert found["images"] == 91
    assert found["namesakes"] == len(cw.load_data(photos / "mine", image_size=20).train)
    assert f"{found['namesakes']} of the 91 pictures have names of pictures that" in told.stderr
    said = open_network(file).metadata["source"]
    assert said["name"] == ""  # nor is the folder's place told to others
    assert said["digest"] == cw.load_data(photos / "mine", image_size=20).digest
    shutil.copytree(photos / "run", tmp_path / "run")
    settings = json.loads((tmp_path / "run/config.json").read_text())
    settings["data"]["name"] = "/nowhere/mine"
    (tmp_path / "run/config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"are no longer at /nowhere/mine: put them back, or say"):
        evaluate_network(tmp_path / "run")
    otherwise = cw.load_data(photos / "mine", image_size=20, seed=5)
    for network in (photos / "run", file):
        with pytest.raises(InputError, match="mine is not split, or no longer filled, as it was"):
            evaluate_network(network, otherwise)


def test_unreadable_pictures_are_left_out_and_named(run: cw.Run, tmp_path: Path) -> None:
    for part, skip in (("train", 0), ("test", 20)):
        write_digits(tmp_path / "own" / part, tuple(range(10)), count=20, skip=skip)
    bad = sorted((tmp_path / "own" / "test").rglob("*.png"))[::40]
    for path in bad:
        path.write_text("no picture")
    data = replace(cw.load_data(tmp_path / "own", image_size=28), classes=run.classes)
    found = evaluate_network(run.path / "model.onnx", data)
    assert found.images == 195
    assert [text.split(" (")[0] for text in found.left_out] == [str(path) for path in bad]
    for one in found.worst:  # names still belong to their pictures
        label = int(Path(one.picture).parent.name.removeprefix("digit"))
        assert one.label == run.classes[label]


def test_with_several_views(run: cw.Run, digits: Data) -> None:
    plain, views = (evaluate_network(run.path, digits, tta=tta) for tta in (False, True))
    assert views.images == plain.images
    assert views.loss != plain.loss
    assert views.accuracy > 0.8


def test_bad_input(run: cw.Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no part 'tests'; did you mean 'test'"):
        evaluate_network(run.path, part="tests")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is no run folder"):
        evaluate_network(tmp_path)
    colours = replace(cw.load_data("digits", image_size=28), mean=(0.5,) * 3)
    with pytest.raises(InputError, match="takes 1 channels"):
        evaluate_network(run.path, replace(colours, channels=3))


def test_the_command(run: cw.Run) -> None:
    shown = convworks("eval", str(run.path))
    assert shown.returncode == 0, shown.stderr
    assert "95 % interval" in shown.stdout
    assert "mistaken for" in shown.stdout
    lines = shown.stdout.splitlines()
    plain = convworks("eval", str(run.path / "model.onnx"), "--json")
    found = json.loads(plain.stdout)
    assert len(found["confusion"]) == 10
    accuracy = float(shown.stdout.split("accuracy ")[1].split()[0])
    assert found["accuracy"] == pytest.approx(accuracy, abs=0.003)
    begin = next(i for i, line in enumerate(lines) if line == "what was said of each class:")
    square = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in lines[begin:]
        if line.startswith("│")
    ]
    told = evaluate_network(run.path)
    assert [row[0] for row in square] == [f"{'ABCDEFGHIJ'[i]}: {i}" for i in range(10)]
    assert [[int(n) for n in row[1:]] for row in square] == [list(row) for row in told.confusion]
    recall, (low, high) = told.classes[8].recall, told.classes[8].recall_interval
    (of_8,) = [line for line in lines if line.startswith("│ 8 ")]
    assert f"{recall:.4f} │ {low:.4f} to {high:.4f}" in of_8
    assert f"top five {told.top5:.4f} ({told.top5_interval[0]:.4f} to " in shown.stdout
    assert found["classes"][8]["recall_interval"] == pytest.approx([low, high], abs=0.1)


def test_where_it_computes(run: cw.Run, tmp_path: Path) -> None:
    """As `train` has it, for runs; a file's runtime decides itself."""
    file = str(run.path / "model.onnx")
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    for command, more in (("eval", []), ("predict", [str(tmp_path / "a.png")])):
        said = convworks(command, str(run.path), *more)
        assert said.returncode == 0, said.stderr
        assert convworks(command, str(run.path), *more, "--device", "cpu").stdout == said.stdout
        gone = convworks(command, str(run.path), *more, "--device", "cuda")
        assert gone.returncode == 1
        told = "convworks: This machine has no usable cuda device: give --device auto.\n"
        assert gone.stderr == told
        other = convworks(command, file, *more, "--device", "cpu")
        assert other.returncode == 2
        assert other.stderr.startswith("convworks: --device is for run folders: ")
        assert other.stderr.count("\n") == 1


def test_memory_that_is_short_is_told_with_what_helps_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("convworks.deploy.evaluation.evaluate_network", full)
    assert command_line(["eval", "run"]) == 1
    told = capsys.readouterr().err
    assert "Out of memory: " in told
    assert "as by --device cpu." in told
    assert "--batch-size" not in told


def test_of_many_classes_there_is_no_square(digits: Data, capsys: pytest.CaptureFixture) -> None:
    """Thirteen columns of counts would be wider than a terminal."""
    many = replace(digits, classes=tuple(f"class{i}" for i in range(13)))
    labels = np.arange(13)
    found = figures(np.eye(13), labels, many, "test")
    assert len(found.confusion) == 13
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convworks.deploy.evaluation.evaluate_network", lambda *_, **__: found)
        Evaluate(network=Path("run")).run(())
    said = capsys.readouterr().out
    assert "class12" in said
    assert "what was said of each class" not in said
