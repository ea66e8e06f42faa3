"""Every figure of the documents that needs no training; how trained ones are judged."""

from dataclasses import replace
from pathlib import Path

import pytest

import convworks as cw
from convworks.bench.claims import CLAIMS, SECTIONS, TRAINED
from convworks.bench.claims.claim import (
    SOURCES,
    Claim,
    Span,
    TrainedClaim,
    judge,
    judge_trained,
    show,
)
from convworks.errors import InputError
from convworks.report.reproduce import as_page, tally
from convworks.train.config import TrainConfig


def name(claim: Claim) -> str:
    return f"{claim.section}: {claim.what}"


@pytest.mark.parametrize("claim", CLAIMS, ids=name)
def test_claims(claim: Claim) -> None:
    """What is printed is found again, or its error is shown."""
    judged = judge(claim)
    if claim.ours is None:
        assert judged.verdict == "not run"
        assert claim.reason
    elif claim.printed is None:
        assert judged.verdict == "answered"
    else:
        assert judged.verdict == ("document wrong" if claim.wrong else "equal"), judged
    assert claim.reason or not claim.wrong


def test_sections_and_sources() -> None:
    assert set(SECTIONS) == {one.section for one in (*CLAIMS, *TRAINED)}
    assert {one.source.split()[0] for one in (*CLAIMS, *TRAINED)} <= set(SOURCES)


def test_answers() -> None:
    """What the documents ask: the figures that other tests know."""
    found = {one.what: judge(one).ours for one in CLAIMS if one.printed is None and one.ours}
    assert found["parameters of VGG-11, ten classes, one channel"] == "128,806,154"
    assert found["convolution as a product of matrices and by Fourier transform"] == "within 1e-05"
    assert found["stride ½, by zeros between the pixels"] == "within 1e-05"
    assert found["a tone of an eighth of the rate, in the spectrogram's windows of 64"] == (
        "frequency 8"
    )


@pytest.mark.parametrize(
    ("printed", "ours", "wrong", "verdict"),
    [
        (1.0, 1.0, False, "equal"),
        (1.0, 1.009, False, "equal"),
        (1.0, 1.02, False, "differs"),
        (1.0, 1.02, True, "document wrong"),
        (1.0, 1.0, True, "equal"),
        (None, 3, False, "answered"),
        (2.0, Span(1, 3), False, "equal"),
        (4.0, Span(1, 3), False, "differs"),
        ("a", "b", False, "differs"),
    ],
)
def test_verdicts(printed: object, ours: object, wrong: bool, verdict: str) -> None:
    claim = Claim("lenet", "S0", "toy", printed, lambda: ours, 0.01, "why", wrong)  # type: ignore[arg-type,return-value]
    assert judge(claim).verdict == verdict


def test_how_values_are_shown() -> None:
    shown = [show(x) for x in (28, 1234567, 0.16372, 4206.31, [1, [2.5]], Span(0.5, 2))]
    assert shown == ["28", "1,234,567", "0.1637", "4,206.3", "[1, [2.5]]", "0.5 … 2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cw.Run:
    """A short training, of anything."""
    model = cw.create_model("lenet_bn", num_classes=10, in_channels=1, image_size=28)
    config = TrainConfig(
        epochs=1, out=tmp_path_factory.mktemp("run") / "run", device="cpu", batch_size=256
    )
    return cw.fit(model, cw.load_data("digits", image_size=28), config, progress=False)


@pytest.mark.parametrize(
    ("figure", "printed", "found", "verdict"),
    [
        ("test_accuracy", 0.9, 0.905, "equal"),
        ("test_accuracy", 0.9, 0.92, "better"),
        ("test_accuracy", 0.9, 0.88, "worse"),
        ("train_loss", 0.5, 0.52, "equal"),
        ("train_loss", 0.5, 0.3, "better"),
        ("train_loss", 0.5, 0.7, "worse"),
        ("images_per_second", 4206.3, 4500.0, "equal"),
        ("images_per_second", 4206.3, 100.0, "worse"),
        ("images_per_second", None, 100.0, "answered"),
    ],
)
def test_trained_figures(
    run: cw.Run, figure: str, printed: float | None, found: float, verdict: str
) -> None:
    claim = TrainedClaim("batch-norm", "S0 7.5", "lenet_bn", figure, printed)  # type: ignore[arg-type]
    assert run.summary is not None
    summary = replace(run.summary, epochs=10, test_accuracy=found, images_per_second=found)
    made = replace(run, summary=summary, history=(replace(run.history[-1], train_loss=found),))
    judged = judge_trained(claim, made)
    assert (judged.verdict, judged.ours) == (verdict, show(found))


def test_a_short_training_is_not_judged(run: cw.Run) -> None:
    claim = TrainedClaim("batch-norm", "S0 7.5", "lenet_bn", "test_accuracy", 0.0)
    assert judge_trained(claim, run).verdict == "unfinished"
    assert judge_trained(claim, run).reason == "1 of 10 epochs"
    assert judge_trained(claim, None).verdict == "not run"


def test_the_learned_norm(run: cw.Run) -> None:
    claim = TrainedClaim("batch-norm", "S0 7.5", "lenet_bn", "first_norm", None)
    gammas, betas = (part.split(", ") for part in judge_trained(claim, run).ours.split("; "))
    assert len(gammas) == len(betas) == 6
    assert [float(x) for x in gammas] == pytest.approx(
        run.model.get_parameter("features.norm1.weight").tolist(), abs=0.006
    )


def test_trainings_are_kept_and_go_on(fashion_root: Path, tmp_path: Path) -> None:
    given = {"runs": tmp_path / "runs", "data_root": fashion_root, "progress": False}
    before = {one.what: one for one in cw.reproduce(["lenet"], quick=True, **given)}  # type: ignore[arg-type]
    assert before["lenet: test accuracy"].verdict == "not run"
    first = cw.reproduce(["lenet"], epochs=1, **given)  # type: ignore[arg-type]
    judged = {one.what: one for one in first}
    assert judged["lenet: test accuracy"].verdict == "unfinished"
    assert judged["lenet: images/s in training"].verdict == "unfinished"
    made = (tmp_path / "runs" / "lenet" / "summary.json").stat().st_mtime_ns
    assert cw.reproduce(["lenet"], quick=True, **given) == first  # type: ignore[arg-type]
    assert (tmp_path / "runs" / "lenet" / "summary.json").stat().st_mtime_ns == made
    page = as_page(first, {"threads": 2, "cpu": "X", "gpu": None, "torch": "2"})
    assert f"{len(first)} figures: {tally(first)}." in page
    assert "| S3 7.6 | lenet: test accuracy | asked |" in page


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(InputError, match="no section 'resnt'; did you mean 'resnet'"):
        cw.reproduce(["resnt"], quick=True)
    assert {one.section for one in cw.reproduce("resnext")} == {"resnext"}
