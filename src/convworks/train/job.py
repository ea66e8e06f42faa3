"""A run made ready: what the config leaves open decided, the folder opened, the position read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from convworks.data.augment import Preparation
from convworks.data.loader import Loader
from convworks.data.splits import Data
from convworks.errors import InputError, first_line
from convworks.nets.registry import published_of, spec_of
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.device import (
    environment,
    precision_name,
)
from convworks.train.initial import Initial, hash_of
from convworks.train.network import (
    count_parameters,
)
from convworks.train.observer import EpochRecord, History, Observer, Plan, RunSummary
from convworks.train.optimizer import Trunk
from convworks.train.pictures import Pictures
from convworks.train.processes import Processes, job_id
from convworks.train.recipes import Recipe
from convworks.train.records import record
from convworks.train.run import Metrics
from convworks.train.small_maps import Network
from convworks.train.weights import Weights, hash_of_weights

MAY_DIFFER = frozenset(
    [
        "out",
        "device",
        "workers",
        "compile",
        "fsdp",
        "init",
        "save_every",
        "strict",
        "max_unreadable",
    ]
)
"""Settings that a resumed run may have otherwise than when it was begun."""


@dataclass
class State:
    """Where a run stands: all that `last.pt` holds besides weights and optimizer."""

    tally: Tensor
    """Of the current epoch: the sum of losses over pictures, and the count of right answers."""
    epoch: int = 0
    """Epochs that are over."""
    batch: int = 0
    """Batches of the current epoch that are done."""
    seconds: float = 0.0
    """Spent in the current epoch's training."""
    history: tuple[EpochRecord, ...] = ()


@dataclass
class Job:
    """Everything a run works with."""

    path: Path
    title: str
    """The network's name."""
    config: TrainConfig
    recipe: Recipe
    data: Data
    model: nn.Module
    network: Network
    """`model`, or what `_network` put around it."""
    weights: Weights
    """Of the model: as a whole, or in parts."""
    macs: int
    device: torch.device
    precision: torch.dtype
    prepare: Preparation
    layout: torch.memory_format
    """Channels-last for our networks; others may count on the usual one, with `x.view(n, -1)`."""
    train: Loader
    val: Loader
    test: Loader
    pictures: Pictures
    class_weights: Tensor | None
    """What a picture of each class counts in the loss; None: all alike."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    state: State
    observers: Sequence[Observer]
    processes: Processes
    trunk: Trunk | None
    """What --freeze keeps as it is."""
    initial: Initial | None
    """None: fresh weights, or a resumed run."""

    def plan(self) -> Plan:
        """What is about to be trained, for observers."""
        return Plan(
            model=self.title,
            parameters=count_parameters(self.model),
            macs=self.macs,
            data=str(self.data),
            recipe=self.config.recipe,
            epochs=self.recipe.epochs,
            history=self.state.history,
            steps=self.state.batch,
            steps_per_epoch=len(self.train),
            batch_size=self.train.batch_size,
            device=str(self.device),
            precision=precision_name(self.precision),
            path=self.path,
            init=str(self.initial or ""),
        )

    @property
    def over(self) -> bool:
        """Whether the last epoch is over, or the patience."""
        return self.state.epoch >= self.recipe.epochs or self._is_stuck()

    def _is_stuck(self) -> bool:
        history, patience = self.state.history, self.config.patience
        if not history or patience is None:
            return False
        return len(history) - best_epoch(history).epoch >= patience

    def set_mode(self) -> None:
        """Training, the trunk kept as it is as long as it is frozen."""
        self.model.train()
        until = self.config.unfreeze_after
        if self.trunk and (until is None or self.state.epoch < until):
            self.trunk.freeze()
        elif self.trunk:
            self.trunk.thaw()

    def summarize(self, best: EpochRecord, test: Metrics) -> RunSummary:
        """The final figures."""
        history = self.state.history
        return RunSummary(
            model=self.title,
            data=self.data.title,
            recipe=self.config.recipe,
            parameters=count_parameters(self.model),
            macs=self.macs,
            epochs=len(history),
            best_epoch=best.epoch,
            val_accuracy=best.val_accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            test_images=test.images,
            images_per_second=median(record.images_per_second for record in history),
            seconds=sum(record.seconds for record in history),
            device=str(self.device),
            precision=precision_name(self.precision),
            stopped_early=len(history) < self.recipe.epochs,
        )

    def metadata(self, record: EpochRecord) -> dict[str, object]:
        """What using the weights needs, for the header of best.safetensors."""
        return {
            **self._identity(),
            "epoch": record.epoch,
            "val_accuracy": record.val_accuracy,
        }

    def settings(self) -> dict[str, Any]:
        """What config.json says."""
        return {
            "data": {**asdict(self.data.spec), "digest": self.data.digest},
            "train": self.config.to_dict(),
            "device": str(self.device),
            "class_weights": None if self.class_weights is None else self.class_weights.tolist(),
            **self._identity(),
            "init": self._source(),
            "environment": environment(self.device),
        }

    def _source(self) -> dict[str, object] | None:
        """Where weights came from that were not drawn afresh, as far as that is known."""
        if self.initial:
            return self.initial.to_dict()
        source = published_of(self.model)
        return {"source": source} if source else None

    def _identity(self) -> dict[str, Any]:
        spec = spec_of(self.model)
        return {
            "model": asdict(spec) if spec else None,
            "classes": list(self.data.classes),
            "preparation": asdict(self.prepare),
        }

    def begin(self, resume: bool) -> None:
        """Reads where the run stands, or writes the config and the weights of a new one."""
        if resume:
            self.restore()
            self.pictures.known(self.path)
            if checkpoint.read_summary(self.path) is None:
                self.pictures.look((self.train, self.val, self.test))
        else:
            weights = self.weights.complete(self.model.state_dict())
            if self.processes.first:
                checkpoint.check_free(self.path)  # it is claimed only now
                begun = {**self.settings(), "begun_with": hash_of_weights(weights)}
                if job := job_id():
                    begun["job"] = job
                checkpoint.write_json(self.path / checkpoint.CONFIG, begun)
            self.save()  # weights that --init or the caller gave cannot be drawn again
        if self.processes.first:
            self.pictures.write(self.path)
        self._check_place()

    def save(self) -> None:
        """Writes last.pt."""
        weights = self.weights.complete(self.model.state_dict())
        optimizer = self.weights.complete(self.optimizer.state_dict())
        if not self.processes.first:
            return
        state = {**vars(self.state), "history": [asdict(r) for r in self.state.history]}
        checkpoint.save_last(
            self.path,
            {
                "model": weights,
                "optimizer": optimizer,
                "scaler": self.scaler.state_dict(),
                "state": state,
            },
        )

    def restore(self) -> None:
        """Reads last.pt; InputError when the run was begun with other settings."""
        begun = checkpoint.read_settings(self.path)
        self._check_same(begun)
        saved = checkpoint.load_last(self.path)
        best = self.path / checkpoint.BEST
        if saved is None:
            if best.exists():
                raise InputError(
                    f"{self.path} has lost its {checkpoint.LAST}: begin a new run from its best"
                    f" weights with --init {self.path}."
                )
            if begun.get("init") is not None:
                raise InputError(
                    f"{self.path} was stopped before its first weights were kept: remove it, and"
                    " begin again."
                )
            self._check_fresh(begun.get("begun_with"))
            return
        try:
            self.state = self._position(saved["state"])
            self.weights.load(saved["model"])
            self.weights.load_optimizer(self.optimizer, saved["optimizer"])
            self.scaler.load_state_dict(_scale(self.scaler.state_dict(), saved["scaler"]))
        except (InputError, torch.OutOfMemoryError):
            raise
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.path / checkpoint.LAST} is not of this run's network: {first_line(error)}"
            ) from error
        history = self.state.history
        if history and best_epoch(history) is not history[-1] and not best.exists():
            raise InputError(
                f"{self.path} has lost its {checkpoint.BEST}: restore it from a copy, or begin a"
                " new run."
            )

    def _check_fresh(self, begun_with: object) -> None:
        """InputError unless the network's weights are those that the run began with."""
        weights = self.weights.complete(self.model.state_dict())
        if self.processes.first and begun_with not in (None, hash_of_weights(weights)):
            raise InputError(
                f"{self.path} was stopped before its first weights were kept, and these are"
                " others: give the weights that it began with, or remove it and begin again."
            )

    def _position(self, saved: Mapping[str, Any]) -> State:
        """Where the run stands; InputError for a place that no run of this config comes to."""
        file, fresh = self.path / checkpoint.LAST, self.state.tally
        history = tuple(record(EpochRecord, one, file) for one in saved["history"])
        state = record(State, {**saved, "history": history}, file)
        if (
            (state.tally.shape, state.tally.dtype) != (fresh.shape, fresh.dtype)
            or [one.epoch for one in history] != [*range(1, len(history) + 1)]
            or not len(history) == state.epoch <= self.recipe.epochs
            or not 0 <= state.batch <= len(self.train)
            or not 0 <= state.seconds < inf
            or (state.batch and not state.seconds)
        ):
            raise InputError(
                f"Cannot use {file}: {state.epoch} epochs and {state.batch} steps in"
                f" {state.seconds:g} s are no place in this run. Restore it from a copy."
            )
        state.tally = state.tally.to(self.device)
        return state

    def publish(self) -> None:
        """Writes what follows from the last saved epoch, also when a crash left it unwritten."""
        history = self.state.history
        if not history:
            return
        if self.state.batch == 0 and best_epoch(history) is history[-1]:
            weights = self.weights.complete(self.model.state_dict())
            if self.processes.first:
                checkpoint.save_best(self.path, weights, self.metadata(history[-1]))
        if self.processes.first:
            checkpoint.write_metrics(self.path, history)

    def _check_place(self) -> None:
        """InputError unless all processes see one run folder, and stand at the same step."""
        if self.processes.alone:
            return
        self.processes.wait()  # for what the first one writes
        config = self.path / checkpoint.CONFIG
        seen = f"hash {hash_of(config)[:12]}" if config.exists() else "none"
        self.processes.check_same(str(config), seen)
        step = f"epoch {self.state.epoch + 1}, step {self.state.batch + 1}"
        self.processes.check_same("place to go on from", step)

    def _check_same(self, begun: dict[str, Any]) -> None:
        """InputError unless everything that the result depends on is as it was."""
        now = json.loads(json.dumps(self.settings()))
        for section in ("model", "data", "preparation", "train"):
            theirs, ours = begun.get(section) or {}, now[section] or {}
            if section == "train":  # begun before there was an option: with its default
                theirs = TrainConfig().to_dict() | theirs
            if section == "data" and theirs.get("digest") == ours["digest"]:
                theirs = theirs | {"name": ours["name"]}  # the same pictures in another place
            for name in sorted((theirs.keys() | ours.keys()) - MAY_DIFFER):
                if theirs.get(name) != ours.get(name):
                    raise InputError(
                        f"{self.path} was begun with {section} {name}={theirs.get(name)}, not"
                        f" {ours.get(name)}: resume it as it was, or begin a new run from its"
                        f" weights with --init {self.path}."
                    )


def _scale(own: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """A scaler's state with the scale that a file says, none but that of fp16; or ValueError."""
    if not own:
        return {}
    scale, tracked = saved["scale"], saved["_growth_tracker"]
    if not 0 <= scale <= torch.finfo(torch.float32).max:
        raise ValueError(f"its scale is {scale!r:.40}")
    if tracked not in range(own["growth_interval"] + 1):
        raise ValueError(f"its scale grew {tracked!r:.40} steps ago")
    return {**own, "scale": float(scale), "_growth_tracker": int(tracked)}


def best_epoch(history: History) -> EpochRecord:
    """The epoch of the highest validation accuracy; of equals the one with the lowest loss."""
    return max(history, key=lambda record: (record.val_accuracy, -record.val_loss))
