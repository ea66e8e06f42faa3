"""Every figure of the documents that needs no training; how trained ones are judged."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import convworks as cw
from command import Command, convworks
from convworks import reproduction
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
from convworks.bench.claims.training import unlike_printed
from convworks.errors import InputError, TrainingError
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
        assert judged.verdict == ("document wrong" if claim.truth else "equal"), judged
    assert claim.reason or not claim.truth


def test_sections_and_sources() -> None:
    assert set(SECTIONS) == {one.section for one in (*CLAIMS, *TRAINED)}
    assert {one.source.split()[0] for one in (*CLAIMS, *TRAINED)} <= set(SOURCES)


def convolutions(*layers: tuple[int, int, int, int]) -> tuple[int, int]:
    """Weights and biases, and multiply-adds, of k×k from c to o channels on maps of side n."""
    weights = sum(k * k * c * o + o for k, c, o, _ in layers)
    return weights, sum(k * k * c * o * n * n for k, c, o, n in layers)


ALEXNET = convolutions(
    (11, 1, 96, 54),
    (5, 96, 256, 26),
    (3, 256, 384, 12),
    (3, 384, 384, 12),
    (3, 384, 256, 12),
    *((1, i, o, 1) for i, o in ((6400, 4096), (4096, 4096), (4096, 10))),
)
NIN = convolutions(
    (11, 1, 96, 54),
    *2 * [(1, 96, 96, 54)],
    (5, 96, 256, 26),
    *2 * [(1, 256, 256, 26)],
    (3, 256, 384, 12),
    *2 * [(1, 384, 384, 12)],
    (3, 384, 10, 5),
    *2 * [(1, 10, 10, 5)],
)


def vgg11(side: int) -> tuple[int, int]:
    wide = [(1, 64, 1), (64, 128, 2), (128, 256, 4), (256, 256, 4), (256, 512, 8), (512, 512, 8)]
    wide += 2 * [(512, 512, 16)]
    linear = ((512 * (side // 32) ** 2, 4096), (4096, 4096), (4096, 10))
    return convolutions(
        *((3, i, o, side // down) for i, o, down in wide), *((1, i, o, 1) for i, o in linear)
    )


GOOGLENET = 5_977_530
"""Parameters for one channel and ten classes; tests/nets compares the thousand-class network."""


def test_answers() -> None:
    """What the documents ask, worked out by hand."""
    found = {one.what: judge(one).ours for one in CLAIMS if one.printed is None and one.ours}
    known = {
        "convolution as a product of matrices and by Fourier transform": "within 1e-05",
        "stride ½, by zeros between the pixels": "within 1e-05",
        "Sobel's filter on the stripes": "[-4, -4, 0, 0, 4, 4]",
        "FAST's corners of a square": "[[7, 7], [7, 8], [7, 9], [8, 7], [8, 8], [9, 7]]",
        "L2 pooling of 2×2 windows": show(
            [[round(n**0.5, 3) for n in line] for line in ((26, 46), (110, 154))]
        ),
        "a tone of an eighth of the rate, in the spectrogram's windows of 64": "frequency 8",
        "parameters of VGG-11, ten classes, one channel": show(vgg11(224)[0]),
        "its multiply-adds over AlexNet's": show(vgg11(224)[1] / ALEXNET[1]),
        "multiply-adds at 224 over those at 96": show(vgg11(224)[1] / vgg11(96)[1]),
        "parameters of NiN over AlexNet's": show(NIN[0] / ALEXNET[0]),
        "multiply-adds of NiN over AlexNet's": show(NIN[1] / ALEXNET[1]),
        "GoogLeNet's parameters over AlexNet's": show(GOOGLENET / ALEXNET[0]),
        "GoogLeNet's parameters over VGG-11's": show(GOOGLENET / vgg11(224)[0]),
        "GoogLeNet's parameters over NiN's": show(GOOGLENET / NIN[0]),
    }
    for what, value in known.items():
        assert found.pop(what) == value, what
    for what in found:  # other tests look for the smallest image and measure the memory
        assert what.startswith(("smallest image", "memory of a training step", "the same, norms"))


@pytest.mark.parametrize(
    ("printed", "ours", "truth", "verdict"),
    [
        (1.0, 1.0, None, "equal"),
        (1.0, 1.009, None, "equal"),
        (1.0, 1.02, None, "differs"),
        (1.0, 2.01, 2.0, "document wrong"),
        (1.0, 3.0, 2.0, "differs"),
        (1.0, 1.0, 2.0, "equal"),
        (None, 3, None, "answered"),
        (2.0, Span(1, 3), None, "equal"),
        (4.0, Span(1, 3), None, "differs"),
        ("a", "b", None, "differs"),
    ],
)
def test_verdicts(printed: object, ours: object, truth: object, verdict: str) -> None:
    claim = Claim("lenet", "S0", "toy", printed, lambda: ours, 0.01, "why", truth=truth)  # type: ignore[arg-type,return-value]
    assert judge(claim).verdict == verdict


def test_what_follows_is_marked() -> None:
    claim = Claim("lenet", "S0", "toy", 3, lambda: 3, derived=True)
    assert (judge(claim).printed, judge(claim).verdict) == ("3 (follows)", "equal")


def test_judging_leaves_the_callers_chance_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    cw.reproduce(["operators", "batch-norm"], quick=True)
    assert torch.equal(torch.rand(3), expected)


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
    summary = replace(run.summary, epochs=10, test_accuracy=found)
    fast = replace(run.history[-1], train_loss=found, images_per_second=found)
    made = replace(run, summary=summary, history=(replace(fast, images_per_second=1.0), fast))
    judged = judge_trained(claim, made)
    assert (judged.verdict, judged.ours) == (verdict, show(found))


def test_a_short_training_is_not_judged(run: cw.Run) -> None:
    claim = TrainedClaim("batch-norm", "S0 7.5", "lenet_bn", "test_accuracy", 0.0)
    assert judge_trained(claim, run).verdict == "unfinished"
    assert judge_trained(claim, run).reason == "1 of 10 epochs"
    stopped = judge_trained(claim, replace(run, summary=None))
    assert (stopped.verdict, stopped.reason) == ("not run", "it was stopped")
    missing = judge_trained(claim, "left out by --quick")
    assert (missing.verdict, missing.reason) == ("not run", "left out by --quick")


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
    assert judged["lenet: images/s of the fastest epoch"].verdict == "unfinished"
    made = (tmp_path / "runs" / "lenet" / "summary.json").stat().st_mtime_ns
    assert cw.reproduce(["lenet"], quick=True, **given) == first  # type: ignore[arg-type]
    assert (tmp_path / "runs" / "lenet" / "summary.json").stat().st_mtime_ns == made
    place: dict[str, object] = {"threads": 2, "cpu": "X", "gpu": None, "torch": "2"}
    page = as_page(first, place, "convworks reproduce lenet")
    assert "Written by `convworks reproduce lenet`" in page
    assert f"{len(first)} figures: {tally(first)}." in page
    assert "| S3 7.6 | lenet: test accuracy | asked |" in page


def test_a_stopped_training_goes_on(fashion_root: Path, tmp_path: Path) -> None:
    """SIGTERM inside the second of two epochs; then the figures are those of an undisturbed."""
    folder = tmp_path / "runs" / "lenet"
    words = ["reproduce", "lenet", "--epochs", "2", "--data-root", str(fashion_root)]
    words += ["--runs", str(folder.parent), "--json"]
    process = Command(*words)
    process.wait_for("epoch 1/")
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 130
    assert not (folder / "summary.json").exists()
    assert convworks(*words).returncode == 0
    whole = tmp_path / "whole"
    cw.reproduce("lenet", epochs=2, runs=whole, data_root=fashion_root, progress=False)
    stopped, straight = (cw.load(one) for one in (folder, whole / "lenet"))
    assert len(stopped.history) == 2
    assert [x.train_loss for x in stopped.history] == [x.train_loss for x in straight.history]
    assert unlike_printed(folder, "lenet") == ""


def test_a_run_of_other_settings_is_not_the_documents(tmp_path: Path, run: cw.Run) -> None:
    shutil.copytree(run.path, tmp_path / "runs" / "lenet_bn")
    judged = cw.reproduce("batch-norm", runs=tmp_path / "runs", progress=False)
    (accuracy,) = (one for one in judged if one.what == "lenet_bn: test accuracy")
    assert accuracy.verdict == "not run"
    assert "initialization paper, not xavier; data digits, not fashion_mnist" in accuracy.reason
    assert "optimizer adamw, not sgd" in accuracy.reason
    shutil.copytree(run.path, tmp_path / "stopped" / "lenet_bn")
    (tmp_path / "stopped" / "lenet_bn" / "summary.json").unlink()
    before = {file.name: file.read_bytes() for file in (tmp_path / "stopped/lenet_bn").iterdir()}
    again = cw.reproduce("batch-norm", runs=tmp_path / "stopped", progress=False)
    assert [one.reason.replace("stopped", "runs") for one in again] == [x.reason for x in judged]
    after = {file.name: file.read_bytes() for file in (tmp_path / "stopped/lenet_bn").iterdir()}
    assert after == before  # not gone on with


def test_a_training_that_fails_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> cw.Run:
        raise TrainingError("The loss is not finite in step 3.")

    monkeypatch.setattr(reproduction, "_begin_as_printed", fail)
    judged = {one.what: one for one in cw.reproduce("alexnet", runs=tmp_path)}
    assert judged["alexnet: test accuracy"].verdict == "not run"
    assert judged["alexnet: test accuracy"].reason == "The loss is not finite in step 3."
    assert judged["dropout of alexnet"].verdict == "equal"


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(InputError, match="no section 'resnt'; did you mean 'resnet'"):
        cw.reproduce(["resnt"], quick=True)
    assert {one.section for one in cw.reproduce("resnext")} == {"resnext"}
