"""The training loop.

Nothing random outlives a step: order depends on (seed, epoch), augmentation and dropout on
(seed, step). So a run stopped anywhere and resumed takes the very steps it would have taken.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from math import cos, isfinite, pi
from pathlib import Path
from statistics import median
from time import perf_counter
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.data.augment import Preparation, random_crop, random_flip
from convworks.data.loader import Loader, open_loader
from convworks.data.splits import Data, Images, MemoryImages
from convworks.errors import InputError, TrainingError, UsageError
from convworks.measure.summary import count_macs
from convworks.nets.blocks import output_shape
from convworks.nets.registry import spec_of
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.device import choose_device, choose_precision, environment
from convworks.train.observer import EpochRecord, Observer, Plan, Progress, RunSummary
from convworks.train.recipes import Recipe, resolve
from convworks.train.run import Run, load, measure

REPORT_SECONDS = 0.1
"""So often the loop asks the device for numbers; asking makes a GPU wait."""

MOMENTUM = 0.9


@dataclass
class State:
    """Where a run stands: all that `last.pt` holds besides weights and optimizer."""

    epoch: int = 0
    """Epochs that are over."""
    batch: int = 0
    """Batches of the current epoch that are done."""
    tally: Tensor = field(default_factory=lambda: torch.zeros(2))
    """Of the current epoch: the sum of losses over pictures, and of right answers."""
    seconds: float = 0.0
    """Spent in the current epoch's training."""
    history: tuple[EpochRecord, ...] = ()


@dataclass
class Job:
    """Everything a run works with."""

    path: Path
    config: TrainConfig
    recipe: Recipe
    data: Data
    model: nn.Module
    network: nn.Module
    """`model`, or what torch.compile made of it."""
    macs: int
    device: torch.device
    precision: torch.dtype
    prepare: Preparation
    train: Loader
    val: Loader
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    state: State
    observers: Sequence[Observer]

    @property
    def title(self) -> str:
        """The network's name."""
        spec = spec_of(self.model)
        return spec.name if spec else type(self.model).__name__


def fit(
    model: nn.Module,
    data: Data,
    config: TrainConfig | None = None,
    *,
    observers: Sequence[Observer] = (),
    resume: bool = False,
) -> Run:
    """Trains `model` on `data` and returns the run, its model carrying the best epoch's weights.

    `model` maps N×C×S×S floats to N×classes logits and is trained in place. With `resume`, the
    run in `config.out` goes on where it was saved; a complete one is returned as it is.

    Ctrl-C or SIGTERM ends the step, saves and raises KeyboardInterrupt; a second one does not
    wait. Raises InputError for what cannot be trained, TrainingError when the loss is not finite.
    """
    config = config or TrainConfig()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(_seeded_devices()))
        job = _open_job(model, data, config, observers, resume)
        for observer in observers:
            stack.enter_context(observer)
        if checkpoint.read_summary(job.path) is None:
            stop = stack.enter_context(_stop_signals())
            _announce(job)
            while job.state.epoch < job.recipe.epochs:
                _train_epoch(job, stop)
                _close_epoch(job)
            _finish(job)
    return load(job.path, model=model)


def _open_job(
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    observers: Sequence[Observer],
    resume: bool,
) -> Job:
    """Decides all that the config leaves open, makes or opens the run folder."""
    spec = spec_of(model)
    network = spec.name if spec else ""
    recipe = resolve(config, network, len(data.train), data.mirror)
    device = choose_device(config.device)
    shape = (data.channels, data.image_size, data.image_size)
    _check_fit(model, data)
    macs = count_macs(model, shape)
    precision = choose_precision(config.precision, device, macs)
    if config.init is not None and not resume:
        checkpoint.apply_weights(model, checkpoint.load_weights(config.init)[0], config.init)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = _open_folder(config, f"{network or type(model).__name__}-{data.title}", resume)
    loaders = {
        part: open_loader(
            images,
            batch_size=recipe.batch_size,
            image_size=data.image_size,
            device=device,
            workers=_workers(config, images),
            shuffle=part == "train",
            crop=part == "train" and recipe.augment != "none",
        )
        for part, images in (("train", data.train), ("val", data.val))
    }
    normal = recipe.normalize == "on"
    mean = data.mean if normal else (0.0,) * data.channels
    std = data.std if normal else (1.0,) * data.channels
    job = Job(
        path=path,
        config=replace(config, out=path, **asdict(recipe)),
        recipe=recipe,
        data=data,
        model=model,
        network=torch.compile(model) if config.compile == "on" else model,  # type: ignore[arg-type]
        macs=macs,
        device=device,
        precision=precision,
        prepare=Preparation(data.image_size, mean, std),
        train=loaders["train"],
        val=loaders["val"],
        optimizer=_make_optimizer(model, recipe),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        state=State(tally=torch.zeros(2, device=device)),
        observers=observers,
    )
    if resume:
        _restore(job)
    else:
        checkpoint.write_json(path / checkpoint.CONFIG, _settings(job))
    return job


def _open_folder(config: TrainConfig, title: str, resume: bool) -> Path:
    """A new run folder, or the one to resume."""
    if not resume:
        return checkpoint.create_run_folder(config.out, title)
    if config.out is None:
        raise UsageError("--resume needs --out DIR, the run folder to go on with.")
    return config.out


def _train_epoch(job: Job, stop: "Stop") -> None:
    """The rest of the current epoch, step by step."""
    state, recipe = job.state, job.recipe
    autocast = torch.autocast(job.device.type, job.precision, job.precision != torch.float32)
    losses: list[Tensor] = []
    reported = perf_counter()
    started = reported - state.seconds
    job.model.train()
    for pixels, labels in job.train.epoch(_mix(job.config.seed, state.epoch), start=state.batch):
        if stop.requested:
            state.seconds = perf_counter() - started
            _save(job)
            raise KeyboardInterrupt(f"saved in {job.path}")
        generator = torch.manual_seed(_mix(job.config.seed, state.epoch, state.batch))
        for group in job.optimizer.param_groups:
            group["lr"] = _lr(job)
        images = job.prepare(_augment(pixels, recipe.augment, generator))
        with autocast:
            logits = job.network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        job.scaler.scale(loss).backward()
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
    if record.val_accuracy > max((r.val_accuracy for r in state.history), default=-1.0):
        checkpoint.save_best(job.path, job.model, _metadata(job, record))
    job.state = State(state.epoch + 1, tally=torch.zeros_like(state.tally))
    job.state.history = (*state.history, record)
    _save(job)
    checkpoint.write_metrics(job.path, job.state.history)
    for observer in job.observers:
        observer.epoch(job.path, job.state.history)


def _finish(job: Job) -> None:
    """One look at the test part with the best weights, and the final figures."""
    weights, _ = checkpoint.load_weights(job.path)
    checkpoint.apply_weights(job.model, weights, job.path)
    loader = open_loader(
        job.data.test,
        batch_size=job.recipe.batch_size,
        image_size=job.data.image_size,
        device=job.device,
        workers=_workers(job.config, job.data.test),
    )
    metrics = measure(job.model, loader, job.prepare, job.device, job.precision)
    history = job.state.history
    best = max(history, key=lambda record: record.val_accuracy)
    summary = RunSummary(
        model=job.title,
        data=job.data.title,
        recipe=job.config.recipe,
        parameters=_count_parameters(job.model),
        macs=job.macs,
        epochs=len(history),
        best_epoch=best.epoch,
        val_accuracy=best.val_accuracy,
        test_loss=metrics.loss,
        test_accuracy=metrics.accuracy,
        test_images=metrics.images,
        images_per_second=median(record.images_per_second for record in history),
        seconds=sum(record.seconds for record in history),
        device=str(job.device),
        precision=_name(job.precision),
    )
    for observer in job.observers:
        observer.end(job.path, history, summary)
    checkpoint.write_json(job.path / checkpoint.SUMMARY, asdict(summary))


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


def _augment(pixels: Tensor, augment: str, generator: torch.Generator) -> Tensor:
    if augment == "flip-crop":
        pixels = random_flip(pixels, generator)
    return pixels if augment == "none" else random_crop(pixels, generator)


def _make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """One pass over all weights a step (`fused`), weight decay on matrices and kernels only."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    nesterov = recipe.optimizer == "nesterov"
    momentum = MOMENTUM if nesterov else 0.0
    return torch.optim.SGD(groups, recipe.lr, momentum=momentum, nesterov=nesterov, fused=True)


def _check_fit(model: nn.Module, data: Data) -> None:
    """InputError unless the model takes the data's pictures and gives a logit a class."""
    spec = spec_of(model)
    size = data.image_size
    if spec and (spec.in_channels, spec.image_size) != (data.channels, size):
        raise InputError(
            f"The network was made for {spec.in_channels}×{spec.image_size}×{spec.image_size}"
            f" images, the data are {data.channels}×{size}×{size}: give create_model and load_data"
            " the same image_size, and in_channels=data.channels."
        )
    logits = output_shape(model, data.channels, size)[1:].numel()
    if logits != len(data.classes):
        raise InputError(
            f"The network tells {logits} classes apart, the data have {len(data.classes)}: make it"
            f" with num_classes={len(data.classes)}."
        )


def _check_finite(job: Job, losses: Sequence[Tensor]) -> None:
    """TrainingError with the step when one of the last losses is infinite or not a number."""
    finite = torch.stack(list(losses)).isfinite()
    if not finite.all():
        first = int((~finite).nonzero()[0].item())
        raise _diverged(job, "the loss", job.state.batch - len(losses) + first + 1)


def _diverged(job: Job, what: str, batch: int) -> TrainingError:
    step = job.state.epoch * len(job.train) + batch
    kept = f"{job.path} holds epoch {job.state.epoch}" if job.state.epoch else "nothing was saved"
    precision = "" if job.precision == torch.float32 else " or --precision fp32"
    return TrainingError(
        f"Stopped at step {step} (epoch {job.state.epoch + 1}): {what} is not finite; {kept}. Try a"
        f" smaller --lr (it was {job.recipe.lr:g}), a longer --warmup{precision}."
    )


def _report(job: Job, seconds: float) -> None:
    """Tells the observers how far the epoch is."""
    images = job.state.batch * job.train.batch_size
    loss = job.state.tally[0].item() / images
    progress = Progress(job.state.epoch, job.state.batch, loss, images / seconds)
    for observer in job.observers:
        observer.step(progress)


def _announce(job: Job) -> None:
    """Tells the observers what is about to be trained."""
    plan = Plan(
        model=job.title,
        parameters=_count_parameters(job.model),
        macs=job.macs,
        data=str(job.data),
        recipe=job.config.recipe,
        epochs=job.recipe.epochs,
        first_epoch=job.state.epoch,
        steps_per_epoch=len(job.train),
        batch_size=job.train.batch_size,
        device=str(job.device),
        precision=_name(job.precision),
        path=job.path,
    )
    for observer in job.observers:
        observer.begin(plan)


def _save(job: Job) -> None:
    """Writes last.pt."""
    state = {**vars(job.state), "history": [asdict(record) for record in job.state.history]}
    weights, optimizer = job.model.state_dict(), job.optimizer.state_dict()
    scaler = job.scaler.state_dict()
    checkpoint.save_last(
        job.path, {"model": weights, "optimizer": optimizer, "scaler": scaler, "state": state}
    )


def _restore(job: Job) -> None:
    """Reads last.pt; InputError when the run was begun with other settings."""
    begun, now = checkpoint.read_json(job.path / checkpoint.CONFIG), _settings(job)
    for section in ("model", "data", "train"):
        theirs, ours = begun.get(section) or {}, now[section] or {}
        for name in sorted((theirs.keys() | ours.keys()) - MAY_DIFFER):
            if theirs.get(name) != ours.get(name):
                raise InputError(
                    f"{job.path} was begun with {name} {theirs.get(name)}, not {ours.get(name)}:"
                    " resume it without that option, or begin a new run from its weights with"
                    f" --init {job.path}."
                )
    saved = checkpoint.load_last(job.path, job.device)
    if saved is None:
        return
    job.model.load_state_dict(saved["model"])
    job.optimizer.load_state_dict(saved["optimizer"])
    job.scaler.load_state_dict(saved["scaler"])
    history = tuple(EpochRecord(**record) for record in saved["state"].pop("history"))
    job.state = State(**saved["state"], history=history)


MAY_DIFFER = frozenset(("out", "device", "workers", "compile", "init"))
"""Settings that a resumed run may have otherwise than when it was begun."""


def _settings(job: Job) -> dict[str, Any]:
    """What config.json says, as JSON gives it back."""
    spec = spec_of(job.model)
    return {
        "model": asdict(spec) if spec else None,
        "data": asdict(job.data.spec),
        "train": job.config.to_dict(),
        "chosen": {
            "device": str(job.device),
            "precision": _name(job.precision),
            "classes": list(job.data.classes),
            "preparation": asdict(job.prepare),
        },
        "environment": environment(job.device),
    }


def _metadata(job: Job, record: EpochRecord) -> dict[str, object]:
    """What using the weights needs, for the header of best.safetensors."""
    spec = spec_of(job.model)
    return {
        "model": asdict(spec) if spec else None,
        "classes": list(job.data.classes),
        "preparation": asdict(job.prepare),
        "epoch": record.epoch,
        "val_accuracy": record.val_accuracy,
    }


def _workers(config: TrainConfig, images: Images) -> int:
    """Processes that decode files: as asked, or one a core, 8 at most; none for memory."""
    if isinstance(images, MemoryImages):
        return 0
    return min(8, os.cpu_count() or 1) if config.workers is None else config.workers


def _count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _name(precision: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[precision]


def _mix(*numbers: int) -> int:
    """A seed for these numbers; neighbours give seeds without relation (SplitMix64's mixing)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1


def _seeded_devices() -> list[int]:
    """The GPUs whose random state `fit` changes."""
    return list(range(torch.cuda.device_count()))


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
