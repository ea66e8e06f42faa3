"""What looks wrong while it need not be: said, and training goes on."""

from collections.abc import Callable, Iterator
from math import log, sqrt

import torch
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.train.observer import History

SHORTEST = 6
"""Of fewer epochs it is not said that they only guess: LeNet's sigmoids take some to begin."""
LONGEST = 10
"""So many epochs are waited for at most."""
LATELY = 3
"""So many epochs in a row must be no better, so that a network that dies later is seen too."""
FACTOR = 3.0
"""Times the loss of guessing, above which steps must be too long."""
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
    counts = labels.bincount()
    share = counts.max().item() / len(labels)
    guessing = share + LUCK * sqrt(share * (1 - share) / len(labels))
    if _first_time(lambda past: _guesses(past, epochs, guessing), history):
        most = max(one.train_accuracy for one in history[-LATELY:])
        yield (
            f"after {len(history)} epochs it does no better than guessing ({most:.1%} of the"
            f" training pictures; always saying the most frequent class gives {share:.1%}): try"
            " another --lr, which --find-lr looks for, or --recipe modern"
        )
    even = log(max(2, len(counts)))
    if _first_time(lambda past: _climbs(past, even), history):
        yield (
            f"the training loss of epoch {len(history)} is {history[-1].train_loss:.3g}, and"
            f" guessing gives {even:.3g}: the steps are too long. Try a smaller --lr, which"
            " --find-lr looks for, or a longer --warmup"
        )
    if scaler.is_enabled() and scaler.get_scale() < 1:
        yield "gradients overflow in fp16, so that steps are left out: give --precision fp32"


def _guesses(history: History, epochs: int, guessing: float) -> bool:
    """Whether it has not learned, or no longer knows what it had."""
    begin = min(epochs // 2, LONGEST)
    if epochs < SHORTEST or len(history) < begin:
        return False
    return max(one.train_accuracy for one in history[-LATELY:]) < guessing


def _climbs(history: History, even: float) -> bool:
    """Whether the loss is far above guessing, or was a tenth of what it is, which is above it."""
    loss = history[-1].train_loss
    return loss > FACTOR * even or loss > max(even, 10 * min(one.train_loss for one in history))


def _first_time(seen: Callable[[History], bool], history: History) -> bool:
    """Whether it is so now, and was not after any epoch before."""
    earlier = (history[:count] for count in range(1, len(history)))
    return seen(history) and not any(map(seen, earlier))


def _has(model: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in model.modules())
