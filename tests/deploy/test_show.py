"""The pictures of a trained network: each kind, legible, from a real run."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import convworks as cw
from conftest import write_digits
from convworks import api
from convworks.deploy.show import KINDS, show_data, show_run
from convworks.errors import InputError
from convworks.report import figures
from legible import illegible, labels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "lenet"
    api.train("lenet", "digits", cw.TrainConfig(epochs=2, out=out), progress=False)
    return out


def test_a_run_is_drawn_in_every_way(run: Path) -> None:
    shown = show_run(run)
    assert shown.missing == {}
    assert list(shown.figures) == list(KINDS)
    for kind, figure in shown.figures.items():
        assert list(illegible(figure)) == [], kind
    texts = {kind: [text for text, _ in labels(f)] for kind, f in shown.figures.items()}
    assert "5×5 conv, 16" in texts["architecture"]
    assert "features.conv1: 6 filters 1×5×5" in texts["filters"]
    assert "features.pool2  16×5×5" in texts["features"]
    assert sum(text.endswith("%") for text in texts["predictions"]) == 12 * 3
    tested = cw.load_data("digits", image_size=28).test
    counted = [int(text) for text in texts["confusion"] if text.isdigit()]
    assert sum(counted) == len(tested) + 2 * sum(range(10)), "the cells and the classes' names"


def test_the_mistakes_are_those_of_eval(run: Path) -> None:
    from convworks.deploy.evaluation import evaluate_network

    worst = evaluate_network(run).worst
    assert worst
    shown = show_run(run, ["mistakes"]).figures["mistakes"]
    texts = [text for text, _ in labels(shown)]
    assert [t for t in texts if t.endswith("%")][::3] == [f"{w.probability:.0%}" for w in worst]
    pixels = cw.load_data("digits", image_size=28).test.pixels  # type: ignore[union-attr]
    assert len(shown.axes) == 2 * len(worst)
    drawn = torch.tensor(shown.axes[0].images[0].get_array().tolist())  # type: ignore[union-attr]
    original = pixels[int(worst[0].picture), 0].float()
    resized = torch.nn.functional.interpolate(original[None, None], (28, 28), mode="bilinear")
    assert torch.corrcoef(torch.stack([drawn.flatten(), resized.flatten()]))[0, 1] > 0.98


def test_it_looks_at_a_picture_of_the_user(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    Image.new("RGB", (50, 40), "white").save(path)
    shown = show_run(run, picture=path)
    assert list(shown.figures) == ["features", "cam", "predictions"]
    assert shown.figures["features"].axes[0].images[0].get_array().min() == 255  # type: ignore[union-attr]
    assert not any("✓" in text for text, _ in labels(shown.figures["predictions"]))
    with pytest.raises(InputError, match="confusion is not drawn of a picture of your own"):
        show_run(run, ["confusion"], picture=path)
    with pytest.raises(InputError, match=r"missing\.png"):
        show_run(run, picture=tmp_path / "missing.png")


def test_without_its_pictures_a_run_still_shows_what_it_can(tmp_path: Path) -> None:
    folder, out = tmp_path / "digits", tmp_path / "run"
    write_digits(folder, classes=(0, 1, 2), count=12)
    config = cw.TrainConfig(epochs=1, out=out)
    api.train("lenet", folder, config, image_size=20, progress=False)
    assert list(illegible(show_run(out, ["samples"]).figures["samples"])) == []
    folder.rename(tmp_path / "moved")
    shown = show_run(out)
    assert list(shown.figures) == ["architecture", "curves", "filters"]
    assert set(shown.missing) == set(KINDS) - set(shown.figures)
    assert str(folder) in shown.missing["cam"]
    with pytest.raises(InputError, match="say with --data where they lie now"):
        show_run(out, ["cam"])
    assert show_run(out, data=tmp_path / "moved").missing == {}
    write_digits(tmp_path / "others", classes=(3, 4, 5), count=12)
    with pytest.raises(InputError, match=r"others does not hold the pictures that the run was"):
        show_run(out, ["cam"], data=tmp_path / "others")


def test_data_are_shown_class_by_class(digits: api.Data) -> None:
    figure = show_data(digits)
    assert list(illegible(figure)) == []
    texts = [text for text, _ in labels(figure)]
    assert texts == sorted(texts)
    assert set(texts) == set(digits.classes)


def test_what_cannot_be_shown_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no kind of picture 'confusing'; did you mean 'confusion'"
    ):
        show_run(run, ["confusing"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="config.json"):
        show_run(tmp_path)


def test_the_door_is_an_attribute() -> None:
    assert cw.figures is figures
    assert all(callable(getattr(cw.figures, name)) for name in figures.__all__)
