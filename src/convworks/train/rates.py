"""Which learning rate: a range test (Smith 2017, arXiv:1506.01186, section 3.3).

A few steps are taken while the rate grows from far too small to far too large, and the loss tells
where it learns and where it breaks.
"""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import torch
from torch import nn

from convworks.data.loader import Batch
from convworks.data.splits import Data
from convworks.errors import TrainingError
from convworks.train.config import TrainConfig
from convworks.train.device import arithmetic, memory_kept, place_of, usable_gpus
from convworks.train.job import Job
from convworks.train.loop import mix, take_step
from convworks.train.opening import open_job
from convworks.train.processes import ALONE, check_alone

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
DIVERGED = 4.0
"""A loss so many times the lowest ends the test (as in fastai's finder)."""
SMOOTHING = 2.0
"""Standard deviation in steps of the Gaussian that smooths the losses: a seventh of a decade."""
BELOW_LOWEST = 10.0
"""The suggestion is so many times smaller than the rate of the lowest loss: there the loss has
already stopped falling, since the rate is almost too high (Howard and Gugger 2020)."""
NO_BETTER = 0.98
"""Of the loss of guessing: above it nothing is known of the pictures yet."""
LEAST_FALL = 0.02
"""By less than this share of the first losses is no learning."""


@dataclass(frozen=True)
class RateTest:
    """The loss at growing learning rates."""

    model: str
    data: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of one batch each, before the step."""
    smoothed: tuple[float, ...]
    lowest: float
    """The rate at the lowest smoothed loss."""
    suggestion: float
    """A tenth of that, to one digit: as large as is safe for the whole training."""
    guessing: float
    """The loss of who knows how frequent each class is, and no picture."""

    def __str__(self) -> str:
        text = (
            f"--lr {self.suggestion:g}: a tenth of {self.lowest:.1e}, where the loss is lowest"
            f" ({min(self.smoothed):.2f}, at first {self.smoothed[0]:.2f})"
        )
        if min(self.smoothed) > NO_BETTER * self.guessing:
            text += (
                f". But guessing gives {self.guessing:.2f}: in {len(self.rates)} steps this network"
                " hardly begins to learn, so that the recipe's rate may be the better one"
            )
        return text


def find_lr(model: nn.Module, data: Data, config: TrainConfig | None = None) -> RateTest:
    """Takes at most 100 steps of training at rates from 1e-6 to 10, as `config` says otherwise.

    The model, the weights of `config.init` and torch's generators are afterwards as they were; no
    run folder is made. Raises TrainingError when the loss falls at no rate.
    """
    from scipy.ndimage import gaussian_filter1d  # a fifth of a second that training need not wait

    check_alone("The range test")
    before, home = copy.deepcopy(model.state_dict()), place_of(model)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(usable_gpus()))
            stack.enter_context(arithmetic())
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="convworks-"))
            config = replace(config or TrainConfig(), out=Path(folder, "run"))
            job = open_job(model, data, config, (), False, ALONE)
            stack.enter_context(memory_kept(job.device))
            if job.trunk:
                stack.callback(job.trunk.thaw)
            rates, losses = _sweep(job)
    finally:
        model.to(home).load_state_dict(before)
    smoothed = [float(x) for x in gaussian_filter1d(losses, SMOOTHING, mode="nearest")]
    low = min(range(len(smoothed)), key=smoothed.__getitem__)
    if not smoothed[low] < (1 - LEAST_FALL) * smoothed[0]:
        raise TrainingError(
            f"The loss fell at no learning rate from {rates[0]:g} to {rates[-1]:.2g} (it was"
            f" {smoothed[0]:.3f} at first and {smoothed[low]:.3f} at best): in"
            f" {len(rates)} steps this network does not begin to learn, so that the recipe's rate"
            " stands. A larger --batch-size may tell more."
        )
    return RateTest(
        job.title,
        data.title,
        tuple(rates),
        tuple(losses),
        tuple(smoothed),
        rates[low],
        float(f"{rates[low] / BELOW_LOWEST:.0e}"),
        _entropy(data),
    )


def _entropy(data: Data) -> float:
    """Of the classes in the training part, in nats."""
    shares = data.train.labels.bincount().double() / len(data.train)
    return -torch.xlogy(shares, shares).sum().item()


def _sweep(job: Job) -> tuple[list[float], list[float]]:
    """Rates and losses, as far as they are not worse than `DIVERGED`."""
    rates: list[float] = []
    losses: list[float] = []
    job.set_mode()
    for pixels, labels in _batches(job):
        rate = LOWEST * (HIGHEST / LOWEST) ** (len(rates) / (STEPS - 1))
        _, loss = take_step(job, pixels, labels, rate)
        found = loss.item()
        if not isfinite(found) or (losses and found > DIVERGED * min(losses)):
            break
        rates.append(rate)
        losses.append(found)
    if not losses:
        raise TrainingError("The loss of the first step is not finite: try --precision fp32.")
    return rates, losses


def _batches(job: Job) -> Iterator[Batch]:
    """As many as there are steps, epoch after epoch."""
    for _ in range(STEPS):
        if job.state.batch == len(job.train):
            job.state.epoch, job.state.batch = job.state.epoch + 1, 0
        if job.state.batch == 0:
            epoch = iter(job.train.epoch(mix(job.config.seed, job.state.epoch)))
        yield next(epoch)
        job.state.batch += 1
