"""A user's own folder: what cannot be read, what is uneven, what is in two parts at once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from command import convworks
from conftest import write_digits
from convworks.data import kept
from convworks.data.sources import load_data
from convworks.data.splits import Data, FileImages
from convworks.errors import InputError
from convworks.nets.registry import create_model
from convworks.train import checkpoint, pictures
from convworks.train.config import TrainConfig
from convworks.train.loop import fit
from convworks.train.observer import EpochRecord, Observer
from convworks.train.pictures import balance
from convworks.train.run import Run, evaluate
from convworks.train.step import train_step
from photographs import photograph, write_photographs

CONFIG = TrainConfig(epochs=3, batch_size=8, lr=0.01, device="cpu", precision="fp32")


class Notes(Observer):
    """What is told; and a crash after an epoch."""

    def __init__(self, crash_after: int | None = None) -> None:
        self.notes: list[str] = []
        self.read_of: set[int] = set()
        self.crash_after = crash_after

    def read(self, done: int, count: int) -> None:
        self.read_of.add(done)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, history: tuple[EpochRecord, ...]) -> None:
        if len(history) == self.crash_after:
            raise RuntimeError("crash")


def net(data: Data) -> nn.Module:
    torch.manual_seed(0)
    return create_model("lenet_bn", num_classes=2, in_channels=data.channels, image_size=28)


def train(root: Path, out: str, *, resume: bool = False, crash_after: int | None = None) -> Run:
    data = load_data(root, image_size=28)
    config = replace(CONFIG, out=Path(out))
    return fit(net(data), data, config, observers=[Notes(crash_after)], resume=resume)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 plain photographs, of which four cannot be read, one of them a test picture."""
    root = write_photographs(tmp_path / "photos", good=False, plain=12)
    data = load_data(root, image_size=28)
    assert isinstance(data.train, FileImages)
    assert isinstance(data.test, FileImages)
    for path in (*data.train.paths[:2], data.train.paths[-1], data.test.paths[0]):
        path.write_bytes(path.read_bytes()[:200])
    return root


def same(run: Run, other: Run) -> None:
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    mine, theirs = (checkpoint.load_last(x.path) for x in (run, other))
    assert mine is not None
    assert theirs is not None
    torch.testing.assert_close(mine["model"], theirs["model"], rtol=0, atol=0)
    assert run.summary is not None
    assert other.summary is not None
    assert run.summary.test_loss == other.summary.test_loss


def listed(run: Run) -> dict[str, str]:
    found: dict[str, str] = json.loads((run.path / "pictures.json").read_text())["unreadable"]
    return found


def test_unreadable_pictures_are_told_listed_and_left_out(photos: Path) -> None:
    data = load_data(photos, image_size=28)
    notes = Notes()
    run = fit(net(data), data, replace(CONFIG, out=Path("run")), observers=[notes])
    assert run.summary is not None
    assert run.summary.test_images == len(data.test) - 1
    assert notes.read_of == set(range(1, 25))
    assert sum(text.startswith("left out: ") for text in notes.notes) == 4
    assert len(listed(run)) == 4
    assert all((photos / name).is_file() for name in listed(run))
    assert evaluate(run, data).images == len(data.test) - 1


def test_found_before_or_on_the_way_is_the_same_run(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(photos, "before")
    monkeypatch.setattr(kept, "free_memory", lambda: 0)
    data, notes = load_data(photos, image_size=28), Notes()
    late = fit(net(data), data, replace(CONFIG, out=Path("late")), observers=[notes])
    assert not notes.read_of
    assert len([x for x in notes.notes if x.startswith("left out")]) == 4
    assert listed(late) == listed(before)
    same(late, before)


@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize("memory", [True, False])
def test_a_run_is_resumed_without_them(
    photos: Path, memory: bool, repaired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they have been repaired since: the run goes on as it began."""
    whole = train(photos, "whole")
    if not memory:
        monkeypatch.setattr(kept, "free_memory", lambda: 0)
    with pytest.raises(RuntimeError, match="crash"):
        train(photos, "stopped", crash_after=1)
    if repaired:
        for name in listed(whole):
            if "test" not in name:
                photograph().save(photos / name, "JPEG")
    resumed = train(photos, "stopped", resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    if memory or not repaired:  # the test part is looked at only at the end
        same(resumed, whole)


def test_strict_refuses_and_leaves_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for memory in (2**40, 0):
        monkeypatch.setattr(kept, "free_memory", lambda memory=memory: memory)
        data, notes = load_data(photos, image_size=28), Notes()
        config = replace(CONFIG, out=Path("run"), strict=True)
        with pytest.raises(
            InputError, match=r"4 of 24 pictures cannot be read: .* Repair or remove them\.$"
        ):
            fit(net(data), data, config, observers=[notes])
        assert len(notes.notes) == 4
        assert not Path("run").exists()


@pytest.mark.parametrize("memory", [2**40, 0])
def test_too_many_are_refused(photos: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "free_memory", lambda: memory)
    for path in sorted(photos.rglob("*.jpg"))[:9]:
        path.write_text("no picture")
    with pytest.raises(InputError, match=r"of 24 pictures cannot be read.*--max-unreadable 0\.\d"):
        train(photos, "run")
    assert Path("run").exists() == (memory == 0)  # found on the way


def test_a_class_of_which_nothing_can_be_read_is_refused_before_a_run_is_made(
    tmp_path: Path,
) -> None:
    """Few enough to be left out, but nothing of the class remains."""
    photos = write_photographs(tmp_path / "photos", good=False, plain=12)
    (photos / "third").mkdir()
    for i in range(4):
        (photos / "third" / f"{i}.jpg").write_text("no picture")
    data = load_data(photos, image_size=28)
    network = create_model("lenet_bn", num_classes=3, in_channels=3, image_size=28)
    with pytest.raises(
        InputError, match=r"No training picture of its class .*third/\d\.jpg \(not a .*: repair"
    ):
        fit(network, data, replace(CONFIG, out=Path("run")))
    assert not Path("run").exists()


@pytest.mark.parametrize("gone", ["one", "all"])
def test_pictures_that_disappear_on_the_way(
    tmp_path: Path, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is left out; with all of them the run ends, and goes on once they are back."""
    photos = write_photographs(tmp_path / "photos", good=False, plain=12)
    whole = train(photos, "whole")
    monkeypatch.setattr(kept, "free_memory", lambda: 0)
    data = load_data(photos, image_size=28)
    assert isinstance(data.train, FileImages)
    place = photos if gone == "all" else data.train.paths[0]

    class Pull(Notes):
        def epoch(self, history: tuple[EpochRecord, ...]) -> None:
            if len(history) == 1:
                place.rename(tmp_path / "elsewhere")

    notes = Pull()
    if gone == "one":
        run = fit(net(data), data, replace(CONFIG, out=Path("run")), observers=[notes])
        assert len(run.history) == len(whole.history)
        assert list(listed(run)) == [str(place.relative_to(photos))]
        return
    with pytest.raises(
        InputError, match=r"photos/.* is gone: once it is back, go on with --resume\.$"
    ):
        fit(net(data), data, replace(CONFIG, out=Path("run")), observers=[notes])
    (tmp_path / "elsewhere").rename(place)
    same(train(photos, "run", resume=True), whole)


def test_a_good_folder_is_told_nothing_of(tmp_path: Path) -> None:
    root = write_photographs(tmp_path / "photos", good=False, plain=12)
    data, notes = load_data(root, image_size=28), Notes()
    run = fit(net(data), data, replace(CONFIG, epochs=1, out=Path("run")), observers=[notes])
    assert notes.notes == []
    assert not (run.path / "pictures.json").exists()


def test_what_is_passed_over_and_what_is_enlarged_is_told(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", classes=(1, 2), count=9)
    for path in (tmp_path / "digits").rglob("*.png"):
        Image.open(path).resize((14, 12)).save(path)
    for name in ("a.HEIC", "b.heic", "c.txt"):
        (tmp_path / "digits" / "digit1" / name).write_bytes(b"")
    data, notes = load_data(tmp_path / "digits", image_size=28), Notes()
    fit(net(data), data, replace(CONFIG, epochs=1, out=Path("run")), observers=[notes])
    told = "\n".join(notes.notes)
    assert "2 .heic files passed over, which cannot be decoded here: save as JPEG or PNG" in told
    assert (
        "pictures of 12 pixels are enlarged to 28: --image-size 12 would take about a 5th" in told
    )


def test_what_cannot_begin_is_refused_before_pictures_are_read(photos: Path) -> None:
    train(photos, "run")
    data = load_data(photos, image_size=28)
    Path("run/summary.json").unlink()  # not complete
    for config, resume in ((CONFIG, False), (replace(CONFIG, lr=0.5), True)):
        notes = Notes()
        with pytest.raises(InputError, match="already holds a run|was begun with train lr"):
            fit(net(data), data, replace(config, out=Path("run")), observers=[notes], resume=resume)
        assert not notes.read_of


def test_copies_in_the_test_part_are_warned_of(tmp_path: Path) -> None:
    root = write_photographs(tmp_path / "photos", good=False, plain=12)
    for part in ("china", "flower"):
        (root / "train" / part).parent.mkdir(exist_ok=True)
        shutil.move(root / part, root / "train" / part)
        (root / "test" / part).mkdir(parents=True)
        for i in range(6):
            photograph(0, i).save(root / "test" / part / f"copy{i}.jpg", quality=60)
    data, notes = load_data(root, image_size=28), Notes()
    run = fit(net(data), data, replace(CONFIG, epochs=1, out=Path("run")), observers=[notes])
    (note,) = [text for text in notes.notes if "test pictures" in text]
    pairs = json.loads((run.path / "pictures.json").read_text())["near_duplicates"]["test"]
    assert note.startswith(f"{len(pairs)} of 12 test pictures are nearly in the training part")
    assert f"{len(pairs) // 2} of them under another class" in note
    assert len(pairs) >= 8  # of 12, as some of the training part's are held out for validation
    assert all(a.startswith("test/") and b.startswith("train/china") for a, b, _ in pairs)
    fit(net(data), data, replace(CONFIG, epochs=1, out=Path("run")), resume=True)
    again = json.loads((run.path / "pictures.json").read_text())["near_duplicates"]["test"]
    assert again == pairs


def test_parts_too_large_to_be_compared_are_told_of(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "COMPARED", 10)
    data, notes = load_data(photos, image_size=28), Notes()
    fit(net(data), data, replace(CONFIG, epochs=1, out=Path("run")), observers=[notes])
    assert "too many pictures to search test for copies of training pictures" in notes.notes


@pytest.fixture
def uneven(tmp_path: Path) -> Data:
    root = write_photographs(tmp_path / "photos", good=False, plain=40)
    for path in sorted((root / "flower").rglob("*.jpg"))[8:]:
        path.unlink()
    return load_data(root, image_size=28)


def test_uneven_classes_are_told_of_and_evened_out(uneven: Data) -> None:
    notes = Notes()
    config = replace(CONFIG, epochs=1, out=Path("plain"))
    plain = fit(net(uneven), uneven, config, observers=[notes])
    counts = uneven.train.labels.bincount().tolist()
    (note,) = notes.notes
    assert f"{counts[1]} (flower) to {counts[0]} (china)" in note
    assert "--class-weights balanced" in note
    notes = Notes()
    config = replace(config, out=Path("balanced"), class_weights="balanced")
    balanced = fit(net(uneven), uneven, config, observers=[notes])
    assert "each class counts alike" in notes.notes[0]
    weights = checkpoint.read_settings(balanced.path)["class_weights"]
    total = sum(counts)
    assert weights == pytest.approx([total / (2 * n) for n in counts])
    assert sum(n * w for n, w in zip(counts, weights, strict=True)) == pytest.approx(total)
    assert checkpoint.read_settings(plain.path)["class_weights"] is None
    assert balanced.history[0].train_loss != plain.history[0].train_loss


def test_classes_that_the_test_part_has_not_are_told_of(tmp_path: Path) -> None:
    """A single picture is trained with; that nothing tests its class is said."""
    write_digits(tmp_path / "digits", classes=(1, 2), count=9)
    write_digits(tmp_path / "digits", classes=(3,), count=1)
    data, notes = load_data(tmp_path / "digits", image_size=28), Notes()
    model = create_model("lenet_bn", num_classes=3, in_channels=1, image_size=28)
    run = fit(model, data, replace(CONFIG, epochs=1, out=Path("run")), observers=[notes])
    assert "no test pictures of digit3: accuracy will say nothing of them" in notes.notes
    shown = convworks("eval", str(run.path)).stdout
    (row,) = [line for line in shown.splitlines() if line.startswith("│ digit3")]
    cells = [cell.strip() for cell in row.split("│")]
    assert (cells[3], cells[4], cells[6]) == ("–", "–", "0")  # recall, its interval, pictures


def test_the_weights_are_scikit_learns(uneven: Data) -> None:
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    labels = uneven.train.labels.numpy()
    expected = compute_class_weight("balanced", classes=np.arange(2), y=labels)
    assert balance(uneven, torch.device("cpu")).tolist() == pytest.approx(expected.tolist())


def test_a_weighted_step_is_that_of_pictures_seen_more_often() -> None:
    """Weights 1 and 3 are one picture of the first class and three copies of the second."""
    torch.manual_seed(0)
    images, labels = torch.randn(2, 4), torch.tensor([0, 1])
    seen = torch.tensor([0, 1, 1, 1])
    found = []
    for x, y, weights in ((images, labels, [1.0, 3.0]), (images[seen], labels[seen], None)):
        torch.manual_seed(1)
        model = nn.Linear(4, 2)
        _, loss = train_step(
            model,
            torch.optim.SGD(model.parameters(), 0.1),
            torch.amp.GradScaler("cpu", enabled=False),
            x,
            y,
            precision=torch.float32,
            label_smoothing=0.1,
            class_weights=None if weights is None else torch.tensor(weights),
        )
        found.append((loss, model.weight.detach()))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])


def test_the_command(tmp_path: Path) -> None:
    """Every kind of file, good and bad, in one line of the user's."""
    root = write_photographs(tmp_path / "my_photos", plain=20, bad=True)
    words = ["train", "lenet_bn", "--data", str(root), "--epochs", "1", "--device", "cpu"]
    refused = convworks(*words, "--strict")
    assert refused.returncode == 1
    assert "16 of" in refused.stderr
    assert "Repair or remove them." in refused.stderr
    assert not Path("runs").exists()
    done = convworks(*words, "--max-unreadable", "0.2")
    assert done.returncode == 0, done.stderr
    assert "6 more left out: runs/lenet_bn-my_photos/pictures.json lists them" in done.stderr
    for text in (refused, done):
        assert "Warning" not in text.stderr
        assert "Traceback" not in text.stderr
    again = convworks("train", "--resume", "--out", "runs/lenet_bn-my_photos")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


def test_loss_without_weights_is_pytorchs() -> None:
    torch.manual_seed(0)
    model, images, labels = nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    expected = F.cross_entropy(model(images), labels, label_smoothing=0.1)
    _, loss = train_step(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        torch.amp.GradScaler("cpu", enabled=False),
        images,
        labels,
        precision=torch.float32,
        label_smoothing=0.1,
    )
    assert torch.equal(loss, expected.detach())
