"""The training loop.

Nothing random outlives a step: order depends on (seed, epoch), augmentation and dropout on
(seed, epoch, step). So a run stopped anywhere and resumed takes the very steps it would have
taken.
"""

import copy
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import cos, isfinite, pi
from time import perf_counter
from types import FrameType

import torch
from torch import Tensor, nn

from convworks.data.augment import Draws, random_colour, random_crop, random_flip
from convworks.data.loader import Batch, Loader
from convworks.data.splits import Data, MemoryImages
from convworks.errors import DivergedError
from convworks.train import checkpoint, doubts
from convworks.train.config import TrainConfig
from convworks.train.device import arithmetic, memory_kept, place_of, usable_gpus
from convworks.train.job import Job, State, best_epoch
from convworks.train.observer import EpochRecord, Observer, Progress
from convworks.train.opening import open_job
from convworks.train.processes import Processes, together
from convworks.train.run import Metrics, Run, load, measure
from convworks.train.step import train_step

REPORT_SECONDS = 0.1
"""So often the loop asks the device for numbers; asking makes a GPU wait."""


def fit(
    model: nn.Module,
    data: Data,
    config: TrainConfig | None = None,
    *,
    observers: Sequence[Observer] = (),
    resume: bool = False,
    test: bool = True,
) -> Run:
    """Trains `model` in place and returns the run, the best epoch's weights in the model.

    It ends on the device where it was given.

    See `convworks.api.fit`, which is this with the usual observers. Without `test` the run is left
    before its one look at the test part, which resuming it takes.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(usable_gpus()))
        config, home = config or TrainConfig(), place_of(model)
        stack.enter_context(arithmetic(config.deterministic))
        processes = stack.enter_context(together(config.device))
        claim = stack.enter_context(ExitStack())  # ends after the observers, which write too
        if not processes.first:
            observers = ()
        for observer in observers:
            stack.enter_context(observer)
        trained = copy.deepcopy(model) if config.fsdp == "on" else model
        job = open_job(trained, data, config, observers, resume, processes)
        if processes.first:
            claim.enter_context(checkpoint.claimed(job.path))
        job.begin(resume)
        if config.fsdp == "off":  # which gains speed by more memory
            stack.enter_context(memory_kept(job.device))
        if job.trunk:
            stack.callback(job.trunk.thaw)
        if processes.told(checkpoint.read_summary(job.path)) is None:
            stop = Stop(patient=config.fsdp == "on")
            _run(job, stack.enter_context(_stop_signals(stop, processes)), test)
        processes.wait()
        return load(job.path, model=model.to(home))


def _run(job: Job, stop: "Stop", test: bool) -> None:
    """The epochs that are left, one look at the test part with the best weights, the figures."""
    job.publish()
    for observer in job.observers:
        observer.begin(job.plan())
    together = job.config.sync_norms == "on"
    each = job.train.batch_size // (1 if together else job.processes.share.of)
    _tell(job, doubts.before(job.model, each))
    try:
        while not job.over:
            _train_epoch(job, stop)
            with stop.at_once():
                val = _measure(job, job.val)
            _close_epoch(job, val)
        if not test:
            return
        found = _test(job, stop)
        job.pictures.exchange(job.processes)
    except Stopped:
        job.save()
        raise KeyboardInterrupt(
            f"saved; go on with: convworks train --resume --out {job.path}"
        ) from None
    for observer in job.observers:
        observer.end()
    if job.processes.first:
        summary = job.summarize(best_epoch(job.state.history), found)
        checkpoint.write_json(job.path / checkpoint.SUMMARY, asdict(summary))


def _train_epoch(job: Job, stop: "Stop") -> None:
    """The rest of the current epoch, step by step. Raises Stopped between two steps."""
    state = job.state
    losses: list[Tensor] = []
    reported = saved = perf_counter()
    started = reported - state.seconds
    job.set_mode()
    share = job.train.batch_size / job.processes.share.of  # whose loss each process gives
    for pixels, labels in _batches(job, stop):
        logits, loss = take_step(job, pixels, labels, _lr(job))
        losses.append(loss)
        right = (logits.argmax(1) == labels).sum()
        state.tally += job.processes.sum(torch.stack([loss * share, right]))
        state.batch += 1
        state.seconds = perf_counter() - started
        last = state.batch == len(job.train)
        if last or stop.requested or perf_counter() - reported > REPORT_SECONDS:
            _check_finite(job, losses)  # which waits for a GPU
            losses.clear()
            reported = perf_counter()
            state.seconds = reported - started
            _report(job)
        if not last and _save_is_due(job, saved):  # all at once: others may not know of the stop
            _check_weights(job)
            job.save()
            saved = perf_counter()
    _check_weights(job)
    if job.processes.any(stop.requested):
        raise Stopped


def take_step(job: Job, pixels: Tensor, labels: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """One step with the batch that is next, at a learning rate; logits and loss."""
    place = (job.config.seed, job.state.epoch, job.state.batch)
    generator = _seed(job.device, mix(*place))
    pixels = _augment(job, pixels, Draws(generator, job.train.batch_size, job.processes.share))
    if not job.processes.first:  # whose dropout is not to be the others'
        _seed(job.device, mix(*place, job.processes.share.rank))
    for group in job.optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
    images = job.prepare(pixels)
    return train_step(
        job.network,
        job.optimizer,
        job.scaler,
        images.contiguous(memory_format=job.layout),
        labels,
        precision=job.precision,
        label_smoothing=job.recipe.label_smoothing,
        class_weights=job.class_weights,
        auxiliary_weight=getattr(job.model, "auxiliary_weight", 0.3),
        processes=job.processes,
        whole=job.train.batch_size,
    )


def _batches(job: Job, stop: "Stop") -> Iterator[Batch]:
    """The rest of the epoch's batches, or those until the stop."""
    state = job.state
    if state.batch == len(job.train):
        return  # stopped during validation
    for batch in job.train.epoch(mix(job.config.seed, state.epoch), start=state.batch):
        if job.processes.any(stop.requested):
            return
        yield batch


def _save_is_due(job: Job, saved: float) -> bool:
    """Whether `save_every` asks for a save inside the epoch; `saved`: when the last one was."""
    every = job.config.save_every
    if every is None:
        return False
    if every.endswith("min"):
        due = perf_counter() - saved > 60 * int(every.removesuffix("min"))
        return job.processes.any(due) if job.config.fsdp == "on" else due
    return (job.state.epoch * len(job.train) + job.state.batch) % int(every) == 0


def _close_epoch(job: Job, val: Metrics) -> None:
    """Notes the epoch's figures, saves, and keeps the weights when they are the best."""
    state = job.state
    if not isfinite(val.loss):
        raise _diverged(job, "the validation loss", len(job.train))
    images = len(job.train) * job.train.batch_size
    loss, right = state.tally.tolist()
    record = EpochRecord(
        epoch=state.epoch + 1,
        train_loss=loss / images,
        train_accuracy=right / images,
        val_loss=val.loss,
        val_accuracy=val.accuracy,
        lr=job.optimizer.param_groups[0]["lr"],
        images_per_second=images / state.seconds,
        seconds=state.seconds + val.seconds,
    )
    history = (*state.history, record)
    job.pictures.exchange(job.processes)
    job.state = State(torch.zeros_like(state.tally), epoch=state.epoch + 1, history=history)
    job.save()
    job.publish()
    for observer in job.observers:
        observer.epoch(history)
    _tell(job, doubts.after_epoch(history, job.recipe.epochs, job.data.train.labels, job.scaler))


def _tell(job: Job, notes: Iterable[str]) -> None:
    for text in notes:
        for observer in job.observers:
            observer.note(text)


def _test(job: Job, stop: "Stop") -> Metrics:
    """How the best weights do on the test part. Raises Stopped with the last ones back."""
    job.processes.wait()  # for the first to have written the best
    last = copy.deepcopy(job.model.state_dict())
    weights, _ = checkpoint.load_weights(job.path)
    checkpoint.check_weights(job.model, weights, job.path)
    try:
        job.weights.load(weights)
        with stop.at_once():
            return _measure(job, job.test)
    finally:
        job.model.load_state_dict(last)  # what last.pt must hold if this is stopped


def _measure(job: Job, loader: Loader) -> Metrics:
    with job.weights.together():
        if job.config.sync_norms == "off":  # each has its own averages; the first one's are kept
            job.processes.align(job.model.buffers())
        return measure(job.model, loader, job.prepare, job.device, job.precision, job.processes)


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


def _augment(job: Job, pixels: Tensor, draws: Draws) -> Tensor:
    """The recipe's random changes; pictures from files were cropped when they were decoded."""
    if "flip" in job.recipe.augment:
        pixels = random_flip(pixels, draws)
    if "crop" in job.recipe.augment and isinstance(job.data.train, MemoryImages):
        pixels = random_crop(pixels, draws)
    if "colour" in job.recipe.augment:
        pixels = random_colour(pixels, draws)
    return pixels


def _check_finite(job: Job, losses: Sequence[Tensor]) -> None:
    """DivergedError with the step when one of the last losses is infinite or not a number."""
    finite = torch.stack(list(losses)).isfinite()
    if not finite.all():
        first = int((~finite).nonzero()[0].item())
        raise _diverged(job, "the loss", job.state.batch - len(losses) + first + 1)


def _diverged(job: Job, what: str, batch: int) -> DivergedError:
    epoch = job.state.epoch
    kept = f"the best of {epoch} epochs stays in {job.path}" if epoch else "no epoch was complete"
    precision = "" if job.precision == torch.float32 else " or --precision fp32"
    return DivergedError(
        f"Stopped at step {epoch * len(job.train) + batch} (epoch {epoch + 1}): {what} is not"
        f" finite; {kept}. Try a smaller --lr (it was {job.recipe.lr:g}), a longer --warmup"
        f"{precision}."
    )


def _check_weights(job: Job) -> None:
    """DivergedError unless the weights are fit to be saved: a finite loss may ruin them.

    A batch norm's running averages too, with which validation may stay finite.
    """
    for name, tensor in (*job.model.named_parameters(), *job.model.named_buffers()):
        if not tensor.isfinite().all():
            raise _diverged(job, name, job.state.batch)


def _report(job: Job) -> None:
    """Tells the observers how far the epoch is."""
    images = job.state.batch * job.train.batch_size
    loss = job.state.tally[0].item() / images
    progress = Progress(job.state.epoch, job.state.batch, loss, images / job.state.seconds)
    for observer in job.observers:
        observer.step(progress)


def _seed(device: torch.device, seed: int) -> torch.Generator:
    """Seeds what dropout draws from on that device; returns the CPU's generator.

    `torch.manual_seed`, which seeds all that there is, takes 150 µs a step, this 1 µs.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    return torch.default_generator.manual_seed(seed)


def mix(*numbers: int) -> int:
    """A seed from these numbers; neighbours give unrelated seeds (SplitMix64's mixing)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1


class Stopped(Exception):  # noqa: N818 (no error)
    """Someone asked for the end, and the job stands between two steps."""


@dataclass
class Stop:
    """Whether someone asked for the end, and whether it can come at once."""

    requested: bool = False
    immediate: bool = False
    patient: bool = False
    """Never at once: of a network in parts all processes have to stop at the same place."""

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While nothing is changed: a signal raises Stopped, also one that came before."""
        if self.patient:
            yield
            return
        self.immediate = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self.immediate = False


@contextmanager
def _stop_signals(stop: Stop, processes: Processes) -> Iterator[Stop]:
    """Turns the first SIGINT or SIGTERM into `requested`; the second has its usual effect.

    torchrun hands on the Ctrl-C that its processes have had already: among several all count once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        if processes.alone:
            signal.signal(number, usual[signal.Signals(number)])
        if stop.immediate:
            stop.immediate = False  # once: what follows is saving
            raise Stopped

    for number in usual:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
