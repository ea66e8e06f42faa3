"""What a run tells those who watch it: plain records, so that showing needs no training code."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's figures, a line of `metrics.jsonl`. Accuracies lie in 0…1."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean over the epoch's steps of what is minimised, label smoothing included."""
    train_accuracy: float
    """Over the epoch's pictures as they were trained on, while the weights changed."""
    val_loss: float
    """Mean cross-entropy, in nats."""
    val_accuracy: float
    lr: float
    """Of the last step."""
    images_per_second: float
    """Training pictures by seconds of training, loading included, validation not."""
    seconds: float
    """Training and validation."""


History = tuple[EpochRecord, ...]


@dataclass(frozen=True)
class Plan:
    """What is about to be trained."""

    model: str
    parameters: int
    macs: int
    data: str
    recipe: str
    epochs: int
    history: History
    """Epochs that are over already, when a run is resumed."""
    steps_per_epoch: int
    batch_size: int
    device: str
    precision: str
    path: Path


@dataclass(frozen=True)
class Progress:
    """How far the epoch is."""

    epoch: int
    step: int
    """Steps done in this epoch."""
    loss: float
    """Mean over the epoch so far."""
    images_per_second: float


@dataclass(frozen=True)
class RunSummary:
    """The final figures of a run, the content of `summary.json`."""

    model: str
    data: str
    recipe: str
    parameters: int
    macs: int
    epochs: int
    best_epoch: int
    val_accuracy: float
    """Of the best epoch, whose weights are kept."""
    test_loss: float
    """Mean cross-entropy, in nats."""
    test_accuracy: float
    """Of those weights, on pictures used for nothing else."""
    test_images: int
    images_per_second: float
    """Median over the epochs."""
    seconds: float
    """All epochs together, as far as they were saved."""
    device: str
    """`cpu`, `cuda` or `mps`."""
    precision: str


class Observer(AbstractContextManager["Observer", None]):
    """Watches a run. Every method may be left as it is."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The run has ended, in whatever way."""

    def begin(self, plan: Plan) -> None:
        """The first step is about to start."""

    def step(self, progress: Progress) -> None:
        """Several times a second."""

    def epoch(self, history: History) -> None:
        """An epoch is over and saved."""

    def end(self) -> None:
        """All epochs are over; the final figures are about to be written."""
