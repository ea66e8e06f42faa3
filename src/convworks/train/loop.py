"""The training loop.

Nothing random outlives a step: order depends on (seed, epoch), augmentation and dropout on
(seed, epoch, step). So a run stopped anywhere and resumed takes the very steps it would have
taken.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import cos, isfinite, pi
from time import perf_counter
from types import FrameType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.data.augment import random_crop, random_flip
from convworks.data.splits import Data, MemoryImages
from convworks.errors import TrainingError
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.job import Job, State, open_job, part_loader
from convworks.train.observer import EpochRecord, Observer, Progress
from convworks.train.run import Run, load, measure

REPORT_SECONDS = 0.1
"""So often the loop asks the device for numbers; asking makes a GPU wait."""


def fit(
    model: nn.Module,
    data: Data,
    config: TrainConfig | None = None,
    *,
    observers: Sequence[Observer] = (),
    resume: bool = False,
) -> Run:
    """Trains `model` in place and returns the run, the best epoch's weights in the model.

    See `convworks.api.fit`, which is this with the usual observers.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(range(torch.cuda.device_count())))
        job = open_job(model, data, config or TrainConfig(), observers, resume)
        for observer in observers:
            stack.enter_context(observer)
        if checkpoint.read_summary(job.path) is None:
            stop = stack.enter_context(_stop_signals())
            for observer in observers:
                observer.begin(job.plan())
            while job.state.epoch < job.recipe.epochs:
                _train_epoch(job, stop)
                _close_epoch(job)
            _finish(job)
    return load(job.path, model=model)


def _train_epoch(job: Job, stop: "Stop") -> None:
    """The rest of the current epoch, step by step."""
    seed, state, recipe = job.config.seed, job.state, job.recipe
    losses: list[Tensor] = []
    reported = perf_counter()
    started = reported - state.seconds
    job.model.train()
    for pixels, labels in job.train.epoch(mix(seed, state.epoch), start=state.batch):
        if stop.requested:
            state.seconds = perf_counter() - started
            job.save()
            raise KeyboardInterrupt(_how_to_go_on(job))
        generator = torch.manual_seed(mix(seed, state.epoch, state.batch))
        for group in job.optimizer.param_groups:
            group["lr"] = _lr(job)
        images = job.prepare(_augment(job, pixels, generator))
        with job.autocast():
            logits = job.network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        job.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        job.scaler.step(job.optimizer)
        job.scaler.update()
        job.optimizer.zero_grad()
        losses.append(loss.detach())
        right = (logits.detach().argmax(1) == labels).sum()
        state.tally += torch.stack([losses[-1] * len(labels), right])
        state.batch += 1
        if state.batch == len(job.train) or perf_counter() - reported > REPORT_SECONDS:
            _check_finite(job, losses)
            losses.clear()
            reported = perf_counter()
            _report(job, reported - started)
    state.seconds = perf_counter() - started


def _close_epoch(job: Job) -> None:
    """Validates, notes the epoch's figures, keeps the weights when they are the best, saves."""
    state, started = job.state, perf_counter()
    metrics = measure(job.model, job.val, job.prepare, job.device, job.precision)
    if not isfinite(metrics.loss):
        raise _diverged(job, "the validation loss", len(job.train))
    images = len(job.train) * job.train.batch_size
    loss, right = state.tally.tolist()
    record = EpochRecord(
        epoch=state.epoch + 1,
        train_loss=loss / images,
        train_accuracy=right / images,
        val_loss=metrics.loss,
        val_accuracy=metrics.accuracy,
        lr=job.optimizer.param_groups[0]["lr"],
        images_per_second=images / state.seconds,
        seconds=state.seconds + perf_counter() - started,
    )
    history = (*state.history, record)
    if best_epoch(history) is record:
        checkpoint.save_best(job.path, job.model, job.metadata(record))
    job.state = State(torch.zeros_like(state.tally), epoch=state.epoch + 1, history=history)
    job.save()
    checkpoint.write_metrics(job.path, history)
    for observer in job.observers:
        observer.epoch(history)


def _finish(job: Job) -> None:
    """One look at the test part with the best weights, and the final figures."""
    weights, _ = checkpoint.load_weights(job.path)
    checkpoint.apply_weights(job.model, weights, job.path)
    loader = part_loader(job.data.test, job.data, job.config, job.recipe, job.device)
    test = measure(job.model, loader, job.prepare, job.device, job.precision)
    summary = job.summarize(best_epoch(job.state.history), test)
    checkpoint.write_json(job.path / checkpoint.SUMMARY, asdict(summary))


def best_epoch(history: Sequence[EpochRecord]) -> EpochRecord:
    """The epoch of the highest validation accuracy; of equals the one with the lowest loss."""
    return max(history, key=lambda record: (record.val_accuracy, -record.val_loss))


def _lr(job: Job) -> float:
    """The learning rate of the current step: a rise over the warm-up, then the schedule."""
    steps = job.recipe.epochs * len(job.train)
    step = job.state.epoch * len(job.train) + job.state.batch
    rise = round(job.recipe.warmup * steps)
    if step < rise:
        return job.recipe.lr * (step + 1) / rise
    if job.recipe.schedule == "constant":
        return job.recipe.lr
    return job.recipe.lr * 0.5 * (1 + cos(pi * (step - rise) / (steps - rise)))


def _augment(job: Job, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """The recipe's random changes; pictures from files were cropped when they were decoded."""
    augment = job.recipe.augment
    if augment == "flip-crop":
        pixels = random_flip(pixels, generator)
    if augment != "none" and isinstance(job.data.train, MemoryImages):
        pixels = random_crop(pixels, generator)
    return pixels


def _check_finite(job: Job, losses: Sequence[Tensor]) -> None:
    """TrainingError with the step when one of the last losses is infinite or not a number."""
    finite = torch.stack(list(losses)).isfinite()
    if not finite.all():
        first = int((~finite).nonzero()[0].item())
        raise _diverged(job, "the loss", job.state.batch - len(losses) + first + 1)


def _diverged(job: Job, what: str, batch: int) -> TrainingError:
    epoch = job.state.epoch
    kept = f"the best of {epoch} epochs stays in {job.path}" if epoch else "no epoch was complete"
    precision = "" if job.precision == torch.float32 else " or --precision fp32"
    return TrainingError(
        f"Stopped at step {epoch * len(job.train) + batch} (epoch {epoch + 1}): {what} is not"
        f" finite; {kept}. Try a smaller --lr (it was {job.recipe.lr:g}), a longer --warmup"
        f"{precision}."
    )


def _report(job: Job, seconds: float) -> None:
    """Tells the observers how far the epoch is."""
    images = job.state.batch * job.train.batch_size
    loss = job.state.tally[0].item() / images
    progress = Progress(job.state.epoch, job.state.batch, loss, images / seconds)
    for observer in job.observers:
        observer.step(progress)


def _how_to_go_on(job: Job) -> str:
    return f"saved; go on with: convworks train --resume --out {job.path}"


def mix(*numbers: int) -> int:
    """A seed from these numbers; neighbours give unrelated seeds (SplitMix64's mixing)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1


@dataclass
class Stop:
    """Whether someone asked for the end."""

    requested: bool = False


@contextmanager
def _stop_signals() -> Iterator[Stop]:
    """Turns the first SIGINT or SIGTERM into `requested`; the second has its usual effect."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(number, usual[signal.Signals(number)])

    for number in usual:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
