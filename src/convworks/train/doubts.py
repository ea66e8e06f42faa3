"""What looks wrong while it need not be: said, and training goes on."""

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.train.observer import History

SHORTEST = 6
"""Of fewer epochs nothing is said: LeNet's sigmoids take some to begin."""
LUCK = 4.0
"""Standard deviations of guessing above the share of the most frequent class."""


def check_norms(model: nn.Module, pictures: int) -> None:
    """InputError for one picture a step where a norm has one number a channel of it."""
    if pictures == 1 and _has(model, nn.BatchNorm1d):
        raise InputError(
            "Batch norm needs more than one picture a step: give a larger --batch-size."
        )


def before(model: nn.Module, pictures: int) -> Iterator[str]:
    """Of the settings; `pictures`: those of a step over which batch norm takes its statistics."""
    if pictures == 1 and _has(model, nn.BatchNorm2d):
        yield (
            "batch norm sees one picture a step, whose own mean and variance it takes: give"
            " --batch-size 8 or more"
        )


def after_epoch(
    history: History, epochs: int, labels: Tensor, scaler: torch.amp.GradScaler
) -> Iterator[str]:
    """Of the epochs so far, of so many; `labels` are those of the training part."""
    share = labels.bincount().max().item() / len(labels)
    guessing = share + LUCK * sqrt(share * (1 - share) / len(labels))
    most = max(one.train_accuracy for one in history)
    if epochs >= SHORTEST and len(history) == epochs // 2 and most < guessing:
        yield (
            f"after {len(history)} epochs it does no better than guessing ({most:.1%} of the"
            f" training pictures; always saying the most frequent class gives {share:.1%}): try"
            " another --lr, which --find-lr looks for, or --recipe modern"
        )
    if scaler.is_enabled() and scaler.get_scale() < 1:
        yield "gradients overflow in fp16, so that steps are left out: give --precision fp32"


def _has(model: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in model.modules())
