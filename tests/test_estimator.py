"""A network is a scikit-learn classifier: its own checks pass, and its tools take it."""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import convworks as cw
from convworks.errors import InputError, UsageError

ROWS, DIGITS = load_digits(return_X_y=True)
PICTURES = ROWS.reshape(-1, 8, 8)


def lenet(**options: object) -> "cw.Classifier":
    options = {"model": "lenet_bn", "epochs": 4, "augment": "none", "device": "cpu"} | options
    return cw.Classifier(**options)  # type: ignore[arg-type]


# Eight epochs, since the checks ask for an accuracy. Their rows make no square pictures.
@pytest.mark.filterwarnings("ignore:.*numbers a row make no square:UserWarning")
@parametrize_with_checks([lenet(epochs=8)])
def test_scikit_learns_checks(
    estimator: object, check: Callable[[object], None], request: pytest.FixtureRequest
) -> None:
    """All of them: there is no list of those that are let fail."""
    check(estimator)


def test_settings_from_numpy_and_what_does_not_go_together() -> None:
    options = {"epochs": np.int64(1), "batch_size": np.int32(64), "image_size": np.int64(16)}
    assert len(lenet(**options).fit(PICTURES[:200], DIGITS[:200]).history_) == 1
    with pytest.raises(UsageError, match="freeze keeps what init brings: give init too"):
        lenet(freeze=True).fit(PICTURES[:200], DIGITS[:200])


def test_fine_tuning_and_patience() -> None:
    """Of ten digits, then of two others' pictures the head alone; it stops when nothing comes."""
    lenet(epochs=4, out="begun").fit(PICTURES[:900], DIGITS[:900])
    few = np.flatnonzero(DIGITS[900:] < 2)[:60] + 900
    options = {
        "init": "begun",
        "freeze": True,
        "patience": 5,
        "epochs": 40,
        "lr": 1e-2,
        "batch_size": 8,
    }
    found = lenet(**options).fit(PICTURES[few], DIGITS[few])
    assert len(found.history_) < 40
    assert found.score(PICTURES[few], DIGITS[few]) > 0.9
    begun = cw.load("begun").model.get_parameter("features.conv1.weight")
    np.testing.assert_array_equal(
        found.model_.get_parameter("features.conv1.weight").detach(), begun.detach()
    )


def test_rare_classes_can_count_as_much() -> None:
    """A tenth as many sevens as ones; the settings arrive in the run."""
    ones, sevens = (np.flatnonzero(label == DIGITS) for label in (1, 7))
    few = np.concatenate([ones[:150], sevens[:15]])
    options = {"class_weights": "balanced", "weight_decay": np.float64(0.2), "layer_decay": 0.5}
    lenet(epochs=1, out="kept", **options).fit(PICTURES[few], DIGITS[few])
    run = cw.load("kept")
    assert run.config.class_weights == "balanced"
    assert (run.config.weight_decay, run.config.layer_decay) == (0.2, 0.5)
    with pytest.raises(UsageError, match="class-weights must be none or balanced, not 'even'"):
        lenet(class_weights="even").fit(PICTURES[few], DIGITS[few])


def test_a_kept_run_is_exported_with_pictures_to_test_it(tmp_path: Path) -> None:
    lenet(out="kept").fit(PICTURES[:900], DIGITS[:900])
    for data in (None, str(tmp_path)):
        with pytest.raises(InputError, match=r"kept was trained on arrays, which it does not keep"):
            cw.export("kept", data=data)
    found = cw.export("kept", data=cw.load_data("digits"))
    assert found.test_accuracy > 0.8
    card = Path(f"{found.path}.md").read_text()
    assert (
        "| data | trained on arrays without a test part, tested on 359 pictures of digits |" in card
    )
    assert "learned from arrays without a test part" in card
    assert "come from the same source" not in card


def test_cross_validation() -> None:
    scores = cross_val_score(lenet(), PICTURES, DIGITS, cv=3)
    assert scores.min() > 0.9


def test_a_grid_over_a_pipeline_with_words_as_labels() -> None:
    words = np.array(["even", "odd"])[DIGITS % 2]
    pipeline = make_pipeline(MinMaxScaler(), lenet())
    grid = GridSearchCV(pipeline, {"classifier__lr": [1e-5, 8e-3]}, cv=2)
    grid.fit(ROWS[:600], words[:600])
    assert grid.best_params_ == {"classifier__lr": 8e-3}
    assert grid.score(ROWS[600:], words[600:]) > 0.85
    assert set(grid.predict(ROWS[:50])) == {"even", "odd"}


def test_rows_pictures_and_other_scales_of_the_same_numbers_are_the_same() -> None:
    digits, expected = DIGITS[:200], None
    for given in (
        ROWS[:200],
        PICTURES[:200],
        PICTURES[:200, :, :, None],
        PICTURES[:200] / 16,
        PICTURES[:200].astype(np.int64),
        np.rint(PICTURES[:200] * 255 / 16).astype(np.uint8),
    ):
        probabilities = lenet(epochs=2).fit(given, digits).predict_proba(given)
        assert probabilities.shape == (200, 10)
        if given.dtype != np.int64:  # whole numbers up to 255 are not stretched
            expected = probabilities if expected is None else expected
            np.testing.assert_array_equal(probabilities, expected)
    found = lenet(epochs=1).fit(PICTURES[:200], digits)
    assert found.n_features_in_ == 64
    np.testing.assert_array_equal(found.predict(PICTURES[:9]), found.predict(ROWS[:9]))


def test_colour() -> None:
    """Red or green, equally bright in the mean of the channels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    pictures = rng.integers(0, 100, (120, 28, 28, 3), dtype=np.uint8)
    pictures[np.arange(120), :, :, labels] += 120
    found = lenet(epochs=20).fit(pictures[:80], labels[:80])
    assert found.model_.spec.in_channels == 3
    assert found.score(pictures[80:], labels[80:]) > 0.95


def test_files(digit_pictures: Path) -> None:
    files = sorted(digit_pictures.rglob("*.png"))
    labels = [file.parent.name for file in files]
    found = lenet(epochs=15, image_size=28).fit(files, labels)
    assert list(found.classes_) == ["digit0", "digit1", "digit2"]
    assert found.score(files, labels) > 0.9
    as_text = found.predict_proba(np.array([str(file) for file in files]))
    np.testing.assert_array_equal(as_text, found.predict_proba(files))
    assert not hasattr(found, "n_features_in_")
    scores = cross_val_score(lenet(epochs=15, image_size=28), files, labels, cv=2)
    assert scores.mean() > 0.6


def test_files_are_seen_at_their_own_size(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        Image.new("L", (80, 40 + i), 60 * i).save(file)
    found = cw.Classifier("resnet18", epochs=1, batch_size=2).fit(files, [0, 1, 0, 1])
    assert found.preparation_.image_size == found.side_ == 42


def test_what_is_pickled_answers_the_same_and_what_is_cloned_has_learned_nothing() -> None:
    found = lenet(epochs=1).fit(PICTURES[:200], DIGITS[:200])
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(
        again.predict_proba(PICTURES[:20]), found.predict_proba(PICTURES[:20])
    )
    copy = clone(found)
    assert copy.get_params() == found.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(PICTURES[:20])


def test_the_seed_decides() -> None:
    def probabilities(seed: object) -> np.ndarray:
        network = lenet(epochs=1, random_state=seed).fit(PICTURES[:200], DIGITS[:200])
        return network.predict_proba(PICTURES[:20])

    np.testing.assert_array_equal(probabilities(3), probabilities(3))
    assert (probabilities(3) != probabilities(4)).any()
    generator = np.random.RandomState(1)
    assert (probabilities(generator) != probabilities(generator)).any()


def test_the_run_is_kept_where_asked_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    found = lenet(epochs=2).fit(PICTURES[:200], DIGITS[:200])
    assert not list(temporary.iterdir())
    assert not Path("runs").exists()
    assert capfd.readouterr() == ("", "")
    kept = lenet(epochs=2, out=tmp_path / "kept").fit(PICTURES[:200], DIGITS[:200])
    np.testing.assert_array_equal(
        kept.predict_proba(PICTURES[:20]), found.predict_proba(PICTURES[:20])
    )
    run = cw.load(tmp_path / "kept")
    assert run.history == kept.history_
    assert run.summary is not None
    assert run.summary.data == "arrays without a test part"
    assert (tmp_path / "kept" / "curves.svg").exists()
    with pytest.raises(InputError, match="already holds a run"):
        kept.fit(PICTURES[:200], DIGITS[:200])


@pytest.mark.parametrize(
    ("options", "pictures", "labels", "message"),
    [
        ({}, np.zeros((4, 3, 32, 32)), [0, 1, 0, 1], "channels come last"),
        ({}, np.zeros((4, 8, 8)), [0, 0, 0, 0], "y has one class only"),
        ({}, np.zeros((4, 8, 8)), [0, 1, 0], "inconsistent numbers of samples"),
        ({}, np.full((4, 8, 8), np.nan), [0, 1, 0, 1], "NaN"),
        ({}, "cat.png", ["cat"], r"give \['cat.png'\]"),
        ({}, ["none.png", "no.png"], ["cat", "dog"], "Cannot read .*none.png"),
        ({}, np.array([["a.png"], ["b.png"]]), [0, 1], r"give the column, as X\[:, 0\]"),
        ({}, [np.zeros((8, 8)), np.zeros((9, 8))], [0, 1], "not all of one size: bring them to"),
        ({}, np.zeros((2, 1, 2, 8, 8)), [0, 1], "it has 5 axes"),
        ({"model": "lenett"}, np.zeros((4, 8, 8)), [0, 1, 0, 1], "lenet"),
        ({"epochs": 0}, np.zeros((4, 8, 8)), [0, 1, 0, 1], "--epochs must be at least 1"),
    ],
)
def test_what_cannot_be_learned(
    options: dict[str, object], pictures: object, labels: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lenet().set_params(**options).fit(pictures, labels)


def test_the_validation_part_is_a_part() -> None:
    with pytest.raises(UsageError, match="between 0 and 1, not 1"):
        lenet(validation_fraction=1).fit(PICTURES[:40], DIGITS[:40])


def test_pictures_unlike_those_that_were_learned_are_refused(digit_pictures: Path) -> None:
    learned = lenet(epochs=1).fit(PICTURES[:100] / 16, DIGITS[:100])
    with pytest.raises(InputError, match="up to 1, X has values up to 255"):
        learned.predict(np.full((1, 8, 8), 255, np.uint8))
    with pytest.raises(InputError, match="pictures of 1×8×8, X has 1×4×16"):
        learned.predict(PICTURES[:2].reshape(2, 4, 16))
    with pytest.raises(ValueError, match="expecting 64 features"):
        learned.predict(PICTURES[:2, :4])
    with pytest.raises(InputError, match="fit had an array, X is files"):
        learned.predict(sorted(digit_pictures.rglob("*.png")))
    learned = lenet(epochs=1).fit(np.uint8(PICTURES[:100] * 15), DIGITS[:100])
    with pytest.raises(InputError, match="multiply them by 255"):
        learned.predict(PICTURES[:2] / 17)
    assert len(learned.predict(np.zeros((1, 8, 8)))) == 1
    files = sorted(digit_pictures.rglob("*.png"))[6:18]  # six of either class
    learned = lenet(epochs=1, image_size=28).fit(files, [path.parent.name for path in files])
    with pytest.raises(InputError, match="X is empty: give the path of a picture at least"):
        learned.predict([])


def test_rows_that_make_no_square_are_told() -> None:
    with pytest.warns(UserWarning, match="3,072 numbers a row make no square"):
        lenet(epochs=1, image_size=28).fit(np.tile(ROWS[:20], 48), DIGITS[:20])


def test_scikit_learn_is_imported_only_with_the_classifier() -> None:
    program = (
        "import sys, convworks as cw; cw.fit; assert 'sklearn' not in sys.modules;"
        " cw.Classifier(); assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
