"""A small network, few digits, and what it means that two runs are the same."""

from collections import OrderedDict
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from convworks.train import checkpoint
from convworks.train.observer import EpochRecord, Observer
from convworks.train.run import Run


class SmallNet(nn.Sequential):
    """Has all that a resumed run can get wrong: batch norm, dropout, weights with and without
    decay."""

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(1, 8, 3, stride=2),
                norm=nn.BatchNorm2d(8),
                relu=nn.ReLU(),
                drop=nn.Dropout(0.3),
                pool=nn.AdaptiveAvgPool2d(4),
                flatten=nn.Flatten(),
                fc=nn.Linear(128, 10),
            )
        )


def small_net(seed: int = 0) -> SmallNet:
    torch.manual_seed(seed)
    return SmallNet()


def without_times(run: Run) -> list[dict[str, Any]]:
    """The run's history, the clock's figures taken out."""
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in asdict(r).items() if k not in times} for r in run.history]


def assert_same(run: Run, other: Run) -> None:
    """Equal to the last bit: history, best weights, last weights, optimizer, final figures."""
    assert without_times(run) == without_times(other)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    mine, theirs = (checkpoint.load_last(r.path) for r in (run, other))
    assert mine is not None
    assert theirs is not None
    for part in ("model", "optimizer"):
        torch.testing.assert_close(mine[part], theirs[part], rtol=0, atol=0)
    assert run.summary is not None
    assert other.summary is not None
    assert run.summary.test_loss == other.summary.test_loss
    assert run.summary.test_accuracy == other.summary.test_accuracy


class StopAfterEpoch(Observer):
    """Ends the process's part of a run as a crash would: by an exception from nowhere."""

    def __init__(self, epoch: int) -> None:
        self.stop_after = epoch

    def epoch(self, history: tuple[EpochRecord, ...]) -> None:
        if len(history) == self.stop_after:
            raise RuntimeError("crash")
