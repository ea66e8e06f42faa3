"""What to train with: one dataclass is the Python argument, the command's options and the file.

The text under a field is its help. This module imports no PyTorch, so that help comes at once.
"""

from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from convworks.errors import UsageError

T = TypeVar("T")

OrRecipes = Annotated[T | None, tyro.conf.arg(help_behavior_hint="(default: the recipe's)")]
"""A value that the recipe gives when it is left out."""

Augment = Literal["none", "crop", "flip-crop"]
Optimizer = Literal["sgd", "nesterov", "adamw"]
Schedule = Literal["constant", "cosine"]
RecipeName = Literal["book", "modern"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What is None is decided by the recipe, the data or the machine."""

    recipe: RecipeName = "modern"
    """book: the documents' plain SGD with their constants for each network; modern: AdamW,
    warm-up and cosine decay, label smoothing, random crops and, where it keeps the class, flips."""
    epochs: OrRecipes[int] = None
    """Passes over the training part."""
    batch_size: OrRecipes[int] = None
    """Pictures in one step."""
    lr: OrRecipes[float] = None
    """Learning rate, the highest of the schedule."""
    optimizer: OrRecipes[Optimizer] = None
    """Plain SGD, SGD with Nesterov momentum 0.9, or AdamW."""
    schedule: OrRecipes[Schedule] = None
    """Learning rate over the steps: constant, or falling to 0 along a half cosine."""
    warmup: OrRecipes[float] = None
    """Share of all steps over which the learning rate rises from 0."""
    weight_decay: OrRecipes[float] = None
    """Pull of the weights to 0; biases and norms are left alone."""
    label_smoothing: OrRecipes[float] = None
    """Share of the target spread evenly over all classes."""
    augment: OrRecipes[Augment] = None
    """Random changes of the training pictures."""
    normalize: OrRecipes[Literal["on", "off"]] = None
    """Whether pictures are shifted and scaled to mean 0 and deviation 1."""
    seed: int = 0
    """Same seed, same machine, same numbers. The split of the data does not depend on it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto: a GPU when there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the arithmetic; auto: the fastest that this device computes in and this network gains
    by. Weights and their updates stay fp32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch.compile builds the network; auto: off, since on the CPUs measured it gains
    nothing and costs half a minute."""
    workers: Annotated[
        int | None, tyro.conf.arg(help_behavior_hint="(default: one a core, 8 at most)")
    ] = None
    """Processes that decode pictures from files."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="CHECKPOINT")] = None
    """Weights to begin with: a run folder or a .safetensors file of the same network."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/MODEL-DATA)"),
    ] = None
    """The run folder."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{_flag(name)} must be at least 1, not {value}.")
        if self.lr is not None and not (isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"--lr must be above 0, not {self.lr}.")
        if self.weight_decay is not None and not (
            isfinite(self.weight_decay) and self.weight_decay >= 0
        ):
            raise UsageError(f"--weight-decay must be 0 or more, not {self.weight_decay}.")
        for name in ("warmup", "label_smoothing"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"{_flag(name)} must lie in 0…1, 1 excluded, not {value}.")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or more, not {self.seed}.")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers must be 0 or more, not {self.workers}.")

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "TrainConfig":
        """The inverse of `to_dict`; values of unknown names are ignored."""
        known = {f.name for f in fields(cls)} & values.keys()
        kept = {name: values[name] for name in known}
        for name in ("init", "out"):
            if kept.get(name) is not None:
                kept[name] = Path(str(kept[name]))
        return cls(**kept)  # type: ignore[arg-type]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
