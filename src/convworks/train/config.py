"""What to train with: one dataclass is the Python argument, the command's options and the file.

The text under a field is its help. This module imports no PyTorch, so that help comes at once.
"""

import re
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from convworks.errors import UsageError

Augment = Literal["none", "flip", "crop", "flip-crop", "flip-crop-colour"]
Optimizer = Literal["sgd", "nesterov", "adamw"]
Switch = Literal["on", "off"]
Schedule = Literal["constant", "cosine"]
Normalize = Literal["on", "off", "init"]
RecipeName = Literal["book", "modern", "quick"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Compile = Literal["auto", "on", "off"]
ClassWeights = Literal["none", "balanced"]


def left_open(kind: object, default: str = "the recipe's") -> object:
    """How help shows an option that may be left out: the kind of its value, and who decides."""
    choices = ",".join(get_args(kind))
    metavar = f"{{{choices}}}" if choices else str(kind)
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What is None is decided by the recipe, the data or the machine."""

    recipe: RecipeName = "modern"
    """book: plain SGD with the book's rate, batch and image size for each network.
    modern: AdamW, warm-up and cosine decay, label smoothing, random shifts and flips.
    quick: the same in a fifth of the epochs, the pictures as they are."""
    epochs: Annotated[int | None, left_open("INT")] = None
    """Passes over the training part."""
    batch_size: Annotated[int | None, left_open("INT")] = None
    """Pictures in one step."""
    lr: Annotated[float | None, left_open("FLOAT")] = None
    """Learning rate, the highest of the schedule."""
    optimizer: Annotated[Optimizer | None, left_open(Optimizer)] = None
    """Plain SGD, SGD with Nesterov momentum 0.9, or AdamW."""
    schedule: Annotated[Schedule | None, left_open(Schedule)] = None
    """The learning rate over the steps: constant, or falling to 0 along a half cosine."""
    warmup: Annotated[float | None, left_open("FLOAT")] = None
    """Share of all steps over which the learning rate rises from 0."""
    weight_decay: Annotated[float | None, left_open("FLOAT")] = None
    """Pull of the weights to 0; biases and norms are left alone."""
    label_smoothing: Annotated[float | None, left_open("FLOAT")] = None
    """Share of the target spread evenly over all classes."""
    augment: Annotated[Augment | None, left_open(Augment)] = None
    """Random changes of the training pictures."""
    normalize: Annotated[Normalize | None, left_open(Normalize, "init's, else the recipe's")] = None
    """on: pictures are shifted and scaled to mean 0 and deviation 1. off: black is 0, white 1.
    init: as the pictures that the weights of --init were trained on."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each stage to the one before it, 1 the same for all.
    A stage is what gives maps of one size; the head has the full rate."""
    freeze: bool = False
    """Train the head only, and keep all else as in --init."""
    unfreeze_after: Annotated[int | None, left_open("EPOCHS", "never")] = None
    """With --freeze: from then on train the whole network."""
    patience: Annotated[int | None, left_open("EPOCHS", "train to the end")] = None
    """Stop when so many epochs brought no better validation accuracy, and no lower loss at the
    same. The cosine schedule is then cut short, its rate still above 0."""
    seed: int = 0
    """Same seed, same machine, same numbers. The data are split the same for every seed."""
    device: Device = "auto"
    """Where to compute; auto: a GPU when there is one."""
    precision: Precision = "auto"
    """Of the arithmetic; auto: bf16 or fp16 where this device and this network gain by it.
    Weights and their updates stay fp32."""
    compile: Compile = "auto"
    """Whether to run the network through torch.compile; auto: off."""
    deterministic: bool = False
    """On a GPU, the same numbers each time, at some cost of speed; on a CPU they always are."""
    class_weights: ClassWeights = "none"
    """balanced: a picture of a class with n of all N counts N/(classes·n) times in the loss."""
    strict: bool = False
    """Refuse a folder in which any picture cannot be read."""
    max_unreadable: float = 0.05
    """Share of a folder's pictures that may be unreadable; five may always. They are left out."""
    workers: Annotated[int | None, left_open("INT", "one a core, 8 at most")] = None
    """Threads that decode pictures from files."""
    sync_norms: Switch = "on"
    """Under torchrun, whether batch norm takes the statistics of all processes' pictures, so that
    their number changes nothing; off: each those of its own."""
    fsdp: Switch = "off"
    """Under torchrun, spread weights, gradients and the optimizer's state over the processes, for
    networks that do not fit one device."""
    save_every: Annotated[str | None, left_open("N|Nmin", "an epoch")] = None
    """Save inside epochs too: after so many steps (500) or minutes (10min)."""
    init: Annotated[Path | None, left_open("CHECKPOINT", "fresh weights")] = None
    """Weights to begin with, of the same network: a run folder; a .safetensors or .pth file of
    ours, torchvision's or timm's; or torchvision or timm for those that they publish. What does
    not fit, as a head for other classes, is drawn afresh."""
    out: Annotated[Path | None, left_open("DIR", "runs/MODEL-DATA")] = None
    """The run folder."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name in RECIPES_CHOICES):
                raise UsageError(f"{_flag(name)} must be {' or '.join(choices)}, not {value!r}.")
        for name in ("init", "out"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        for name in (*COUNTS, "seed"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise UsageError(f"{_flag(name)} must be a whole number, not {value!r}.")
        for name in COUNTS:
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
        if self.save_every is not None and not re.fullmatch(r"[1-9]\d*(min)?", self.save_every):
            raise UsageError(
                f"--save-every takes steps such as 500 or minutes such as 10min, not"
                f" {self.save_every!r}."
            )
        if not 0 <= self.max_unreadable <= 1:
            raise UsageError(f"--max-unreadable must lie in 0…1, not {self.max_unreadable}.")
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"--layer-decay must lie in 0…1, 0 excluded, not {self.layer_decay}.")
        if self.unfreeze_after is not None and not self.freeze:
            raise UsageError("--unfreeze-after ends what --freeze began: give --freeze too.")
        others = ("--compile on", "--freeze", "--sync-norms off")
        chosen = (self.compile == "on", self.freeze, self.sync_norms == "off")
        if self.fsdp == "on" and any(chosen):
            flag = others[chosen.index(True)]
            raise UsageError(f"--fsdp on does not go with {flag}: leave one of them out.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must lie in 0…2⁶³ − 1, not {self.seed}.")

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "TrainConfig":
        """The inverse of `to_dict`; values of unknown names are ignored."""
        known = {f.name for f in fields(cls)} & values.keys()
        kept = {name: values[name] for name in known}
        return cls(**kept)  # type: ignore[arg-type]


COUNTS = ("epochs", "batch_size", "workers", "unfreeze_after", "patience")
"""Whole numbers above 0, or None."""
RECIPES_CHOICES = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "augment": get_args(Augment),
    "normalize": get_args(Normalize),
}
CHOICES: dict[str, tuple[str, ...]] = RECIPES_CHOICES | {
    "recipe": get_args(RecipeName),
    "device": get_args(Device),
    "precision": get_args(Precision),
    "compile": get_args(Compile),
    "sync_norms": get_args(Switch),
    "fsdp": get_args(Switch),
    "class_weights": get_args(ClassWeights),
}
"""A type checker sees a wrong value; whoever uses none is told here."""


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
