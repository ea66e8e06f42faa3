"""A figure that a document prints, and how to get it again."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from convworks.train.checkpoint import read_settings
from convworks.train.run import Run

SOURCES = {
    "S0": 'book chapter "Modern Convolutional Neural Networks" (MXNet Gluon, 2019–20)',
    "S1": "lecture slides EE 628, lecture 7",
    "S2": "study notes on the book chapter",
    "S3": "homework notebook (PyTorch, d2l 1.0.3)",
    "S4": "lecture slides STAT 157, lecture 13",
}

EPOCHS = 10
"""Of the documents' trainings."""
FIGURES = {
    "train_loss": ("training loss", 0.1, True, -1),
    "train_accuracy": ("training accuracy", 0.01, False, 1),
    "test_accuracy": ("test accuracy", 0.01, False, 1),
    "images_per_second": ("images/s of the fastest epoch", 0.1, True, 1),
    "first_norm": ("γ; β of the first batch norm, as learned", 0.0, False, 1),
}
"""What a figure is called, how far from the printed one is equal, whether that is a share of it,
and whether more is better (1) or less (−1)."""


@dataclass(frozen=True)
class Span:
    """The least and the greatest of what chance gives."""

    low: float
    high: float


Value = str | float | list[object] | Span
Verdict = Literal[
    "equal", "better", "worse", "document wrong", "differs", "answered", "unfinished", "not run"
]
"""`differs`: neither equal nor explained; `answered`: what the document asks and does not print;
`unfinished`: a training of fewer epochs than the document's."""


@dataclass(frozen=True)
class Claim:
    """One figure of one document."""

    section: str
    source: str
    """The document and its section, as in `S0 7.1`."""
    what: str
    printed: Value | None
    """None: the document asks."""
    ours: Callable[[], Value] | None
    """Computes it in seconds; None: it cannot be had here, and `reason` says why."""
    tolerance: float = 0.0
    """As a share of the printed number."""
    reason: str = ""
    derived: bool = False
    """Whether `printed` is not written in the document but follows from its formula or text."""
    truth: Value | None = None
    """What is right where the document errs; `reason` then says how, and `ours` must find it."""


@dataclass(frozen=True)
class TrainedClaim:
    """One figure that training a network at the document's settings gives."""

    section: str
    source: str
    network: str
    figure: Literal[
        "train_loss", "train_accuracy", "test_accuracy", "images_per_second", "first_norm"
    ]
    printed: float | None


@dataclass(frozen=True)
class Judged:
    """A claim beside what was found; plain values, for JSON."""

    section: str
    source: str
    what: str
    printed: str
    ours: str
    verdict: Verdict
    reason: str = ""


def judge(claim: Claim) -> Judged:
    """Computes a claim's figure and compares."""
    with torch.random.fork_rng(devices=[]):
        found = None if claim.ours is None else claim.ours()
    verdict: Verdict
    if found is None:
        verdict = "not run"
    elif claim.printed is None:
        verdict = "answered"
    elif _same(claim.printed, found, claim.tolerance):
        verdict = "equal"
    elif claim.truth is not None and _same(claim.truth, found, claim.tolerance):
        verdict = "document wrong"
    else:
        verdict = "differs"
    printed = "asked" if claim.printed is None else show(claim.printed)
    return Judged(
        claim.section,
        claim.source,
        claim.what,
        f"{printed} (follows)" if claim.derived else printed,
        "" if found is None else show(found),
        verdict,
        claim.reason,
    )


def judge_trained(claim: TrainedClaim, run: Run | str) -> Judged:
    """Compares a figure of a run at the document's settings; a text says why there is none."""
    name, tolerance, relative, sign = FIGURES[claim.figure]
    judged = partial(
        Judged,
        claim.section,
        claim.source,
        f"{claim.network}: {name}",
        "asked" if claim.printed is None else show(claim.printed),
    )
    if isinstance(run, str) or run.summary is None:
        return judged("", "not run", run if isinstance(run, str) else "it was stopped")
    summary, last = run.summary, run.history[-1]
    if claim.figure == "first_norm":
        return judged(_first_norm(run.model), "answered", f"after {summary.epochs} epochs")
    found: float = getattr(summary if hasattr(summary, claim.figure) else last, claim.figure)
    reason = ""
    if claim.figure == "images_per_second":
        # The median of a training of hours is that of the machine with all it does meanwhile.
        found = max(epoch.images_per_second for epoch in run.history)
        place = read_settings(run.path)["environment"]
        reason = f"{place['gpu'] or place['cpu']}, {place['threads']} threads, {summary.precision}"
        reason += "; the document's ran on a GPU" if claim.printed is not None else ""
    if summary.epochs != EPOCHS:
        return judged(show(found), "unfinished", f"{summary.epochs} of {EPOCHS} epochs")
    if claim.printed is None:
        return judged(show(found), "answered", reason)
    margin = tolerance * claim.printed if relative else tolerance
    gain = sign * (found - claim.printed)
    verdict: Verdict = "equal" if abs(gain) <= margin else "better" if gain > 0 else "worse"
    return judged(show(found), verdict, reason)


def _first_norm(model: nn.Module) -> str:
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    return "; ".join(
        ", ".join(f"{x:.2f}" for x in values.tolist()) for values in (norm.weight, norm.bias)
    )


def _same(printed: Value, found: Value, tolerance: float) -> bool:
    if isinstance(found, Span) and isinstance(printed, int | float):
        return found.low <= printed <= found.high
    if isinstance(printed, int | float) and isinstance(found, int | float):
        return abs(found - printed) <= tolerance * abs(printed)
    return printed == found


def show(value: Value) -> str:
    """For people: whole numbers with commas, others to four digits."""
    if isinstance(value, Span):
        return f"{show(value.low)} … {show(value.high)}"
    if isinstance(value, list):
        return "[" + ", ".join(show(one) for one in value) + "]"  # type: ignore[arg-type]
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.1f}"
