"""How a run is made ready: what the config leaves open decided, and the folder made."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from convworks.data.augment import Preparation
from convworks.data.splits import Data
from convworks.errors import InputError, UsageError
from convworks.measure.summary import Summary
from convworks.nets.registry import spec_of
from convworks.nets.whitening import Whitening
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.device import (
    choose_device,
    choose_precision,
    precision_name,
)
from convworks.train.doubts import check_norms
from convworks.train.initial import Initial, load_initial
from convworks.train.job import Job, State
from convworks.train.network import (
    check_fit,
    has_norms,
    has_sigmoids_only,
    title_of,
)
from convworks.train.observer import Observer
from convworks.train.optimizer import Trunk, make_optimizer, stages_of
from convworks.train.pictures import Pictures, balance, open_parts
from convworks.train.processes import Processes
from convworks.train.recipes import Recipe, resolve
from convworks.train.small_maps import Network, with_small_maps
from convworks.train.synced_norms import with_synced_norms
from convworks.train.weights import Weights


def open_job(
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    observers: Sequence[Observer],
    resume: bool,
    processes: Processes,
) -> Job:
    """Decides all that the config leaves open and makes the run folder, if it is not there.

    Raises InputError for what cannot be trained; nothing is written then.
    """
    summary = check_fit(model, data)
    by_stage = config.freeze or config.layer_decay < 1
    stages = stages_of(model, summary, len(data.classes)) if by_stage else {}
    config, initial = _initialise(model, config, resume)
    recipe = recipe_of(model, data, config)
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device, summary.totals.macs)
    layout = torch.channels_last if spec_of(model) else torch.contiguous_format
    model.to(device, memory_format=layout)  # type: ignore[call-overload]
    prepare = _preparation(data, recipe, initial, config.out if resume else None)
    pictures_a_step = min(recipe.batch_size, len(data.train))
    _check_shares(pictures_a_step, processes)
    if not processes.alone:  # a hash of all pictures takes time
        processes.check_same("data set", f"hash {data.digest[:12]}")
        processes.check_same("precision", precision_name(precision))
    if config.fsdp == "on":
        _check_parts(model, processes, precision)
    parts = 1 if config.sync_norms == "on" else processes.share.of
    check_norms(model, pictures_a_step // parts)
    pictures = Pictures(data, config, observers)
    train, val, test = open_parts(data, config, recipe, device, pictures.left_out, processes.share)
    if not resume:
        if processes.first:
            checkpoint.check_free(config.out)  # before what takes long
        pictures.look((train, val, test))
    title = title_of(model)
    path = _open_folder(config, f"{title}-{data.title}", resume, processes)
    weights = _weights(model, summary, config)
    return Job(
        path=path,
        title=title,
        config=replace(config, out=path, precision=precision_name(precision), **asdict(recipe)),
        recipe=recipe,
        data=data,
        model=model,
        network=_network(model, summary, config, device, processes),
        weights=weights,
        macs=summary.totals.macs,
        device=device,
        precision=precision,
        prepare=prepare,
        layout=layout,
        train=train,
        val=val,
        test=test,
        pictures=pictures,
        class_weights=balance(data, device) if config.class_weights == "balanced" else None,
        optimizer=make_optimizer(model, recipe, stages, config.layer_decay, config.fsdp == "on"),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        state=State(torch.zeros(2, device=device)),
        observers=observers,
        processes=processes,
        trunk=Trunk(model, stages) if config.freeze else None,
        initial=initial,
    )


def recipe_of(model: nn.Module, data: Data, config: TrainConfig) -> Recipe:
    """What the config leaves open, decided for that network and those pictures."""
    spec = spec_of(model)
    return resolve(
        config,
        spec.name if spec else "",
        len(data.train),
        mirror=data.mirror,
        sigmoids=has_sigmoids_only(model),
        norms=has_norms(model),
    )


def _initialise(
    model: nn.Module, config: TrainConfig, resume: bool
) -> tuple[TrainConfig, Initial | None]:
    """Puts in the weights of --init, and sees pictures as they do unless told otherwise.

    A run that is resumed has them in its own files.
    """
    if config.init is None:
        return config, None
    if resume and config.normalize is None and config.out is not None:
        begun = checkpoint.read_settings(config.out)["train"]
        return replace(config, normalize=begun.get("normalize")), None
    if resume:
        return config, None
    initial = load_initial(model, config.init)
    if initial.colours and config.normalize is None:
        config = replace(config, normalize="init")
    return config, initial


def _check_shares(batch_size: int, processes: Processes) -> None:
    """InputError unless every process gets a picture of each batch."""
    count = processes.share.of
    if batch_size < count:
        raise InputError(
            f"A batch of {batch_size} pictures leaves none for some of {count} processes: start at"
            f" most {batch_size} of them with torchrun --nproc-per-node."
        )


def _check_parts(model: nn.Module, processes: Processes, precision: torch.dtype) -> None:
    """InputError where weights cannot be spread over processes."""
    if processes.alone:
        raise UsageError(
            "--fsdp on spreads a network over processes: start them with"
            " torchrun --nproc-per-node N -m convworks train …, or add --fsdp off."
        )
    if precision == torch.float16:
        raise InputError("--fsdp on works in bf16 and fp32: add --precision fp32.")
    seen: set[nn.Parameter] = set()
    for name, weight in model.named_parameters(remove_duplicate=False):
        if weight in seen or weight.ndim == 0:
            kind = "used twice" if weight.ndim else "a single number"
            raise InputError(f"{name} is {kind}, which cannot be spread: leave --fsdp out.")
        seen.add(weight)


def _weights(model: nn.Module, summary: Summary, config: TrainConfig) -> Weights:
    """The model's, spread over the processes where that is asked for."""
    if config.fsdp == "off":
        return Weights(model)
    from convworks.train.sharded import Sharded  # takes a second, and few need it

    return Sharded(model, {row.name for row in summary.rows})


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _network(
    model: nn.Module,
    summary: Summary,
    config: TrainConfig,
    device: torch.device,
    processes: Processes,
) -> Network:
    """What is run in training: the model, with what this machine and other processes need."""
    network: Network = model
    if not processes.alone and config.fsdp == "off":
        network = DistributedDataParallel(
            model, find_unused_parameters=config.freeze, gradient_as_bucket_view=True
        )
    if config.compile == "on":
        network = torch.compile(network)
    elif config.fsdp == "off":
        network = with_small_maps(model, summary, device, network)
    if not processes.alone and config.sync_norms == "on":
        if any(getattr(part, "recompute", False) for part in model.modules()):
            raise InputError("recompute does not go with synchronised norms: add --sync-norms off.")
        if any(isinstance(part, Whitening) for part in model.modules()):
            raise InputError("whitening has no synchronised statistics: add --sync-norms off.")
        if config.compile == "on" and any(isinstance(x, BATCH_NORMS) for x in model.modules()):
            raise InputError("torch.compile leaves synchronised norms out: add --sync-norms off.")
        network = with_synced_norms(network)
    return network


def _preparation(
    data: Data, recipe: Recipe, initial: Initial | None, begun: Path | None
) -> Preparation:
    """What pictures go through; `begun`: the folder of a run to resume, which keeps its own.

    The mean of a folder's pictures may be another by now, when one has been repaired.
    """
    if begun is not None:
        saved = checkpoint.read_settings(begun)["preparation"]
        return Preparation(saved["image_size"], tuple(saved["mean"]), tuple(saved["std"]))
    if recipe.normalize == "on":
        return Preparation(data.image_size, data.mean, data.std)
    if recipe.normalize == "off":
        return Preparation(data.image_size, (0.0,) * data.channels, (1.0,) * data.channels)
    if initial:
        return initial.preparation(data.image_size, data.channels)
    raise UsageError("--normalize init is as the weights of --init know it: give --init.")


def _open_folder(config: TrainConfig, title: str, resume: bool, processes: Processes) -> Path:
    """A new run folder, or the one to resume."""
    if not resume:
        made = checkpoint.create_run_folder(config.out, title) if processes.first else None
        path = processes.told(made)
        assert path is not None
        return path
    if config.out is None:
        raise UsageError("--resume needs --out DIR, the run folder to go on with.")
    return config.out
