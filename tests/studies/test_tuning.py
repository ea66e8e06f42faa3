"""--tune: it finds better settings, is the same search when stopped, and tests only the best."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages
from convworks.errors import DivergedError, InputError, UsageError
from convworks.nets.initialization import seeded
from convworks.studies import tuning
from convworks.studies.tuning import Tuned, as_options, tune
from convworks.train import loop
from convworks.train.config import TrainConfig
from convworks.train.run import Run, load


@pytest.fixture(scope="module")
def digits() -> Data:
    data = load_data("digits", image_size=16)
    assert isinstance(data.train, MemoryImages)
    return replace(data, train=data.train.take(torch.arange(200)))


def network() -> nn.Module:
    def make() -> nn.Module:
        layers = (nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))

    return seeded(0, make)


CONFIG = TrainConfig(epochs=3, batch_size=50, lr=None, seed=3)


def search(data: Data, trials: int, out: str, config: TrainConfig = CONFIG) -> Tuned:
    return tune(network, data, replace(config, out=Path(out)), trials=trials, progress=False)


def test_a_search_finds_better_settings_and_tests_only_the_best(digits: Data) -> None:
    found = search(digits, 8, "whole")
    first, best = found.trials[0], found.best
    assert first.settings == {"lr": 1e-3, "weight_decay": 0.05, "augment": "crop"}  # the recipe's
    assert first.val_accuracy is not None
    assert best.val_accuracy is not None
    assert best.val_loss is not None
    assert first.val_loss is not None
    assert (best.val_accuracy, -best.val_loss) > (first.val_accuracy, -first.val_loss)
    assert best.val_accuracy == max(t.val_accuracy or 0.0 for t in found.trials)
    assert {t.settings["augment"] for t in found.trials} <= {"none", "crop"}  # no digit is mirrored
    assert "pruned" in {t.state for t in found.trials}
    for trial in found.trials:
        folder = Path("whole", f"trial{trial.number:03}")
        run = load(folder, model=network())
        accuracies = tuple(record.val_accuracy for record in run.history)
        assert accuracies == trial.accuracies
        assert (len(accuracies) < 3) == (trial.state == "pruned")
        assert (run.summary is not None) == (trial.number == best.number)
        assert {k: getattr(run.config, k) for k in trial.settings} == trial.settings
    saved = json.loads(Path("whole/tune.json").read_text())
    assert saved["best"]["settings"] == best.settings
    assert found.run.summary is not None
    assert saved["best"]["test_accuracy"] == found.run.summary.test_accuracy
    again = tune(network, digits, replace(CONFIG, out=Path("whole")), trials=8, progress=False)
    assert again.trials == found.trials


def test_stopped_inside_a_trial_it_is_the_same_search(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(digits, 7, "whole")
    steps = 0
    take_step = loop.take_step

    def interrupt(*given: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps in (6, 30, 50):  # inside an epoch of some trial
            os.kill(os.getpid(), signal.SIGINT)
        return take_step(*given)

    monkeypatch.setattr(loop, "take_step", interrupt)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt, match="saved; the same command goes on from there"):
            search(digits, 7, "stopped")
    stopped = search(digits, 7, "stopped")
    assert stopped.trials == whole.trials
    for name, tensor in stopped.run.model.state_dict().items():
        assert torch.equal(tensor, whole.run.model.state_dict()[name]), name


def test_a_search_can_be_taken_further_and_keeps_what_is_given(digits: Data) -> None:
    config = replace(CONFIG, augment="none", weight_decay=0.0)
    short = search(digits, 2, "run", config)
    further = search(digits, 4, "run", config)
    assert further.trials[:2] == short.trials
    assert [set(t.settings) for t in further.trials] == [{"lr"}] * 4
    assert search(digits, 4, "fresh", config).trials == further.trials
    other = search(digits, 2, "other", replace(config, seed=4))
    assert other.trials[1].settings != further.trials[1].settings


def test_what_is_refused(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--tune must be at least 1, not 0"):
        search(digits, 0, "run")
    given = replace(CONFIG, lr=0.1, weight_decay=0.0, augment="none")
    with pytest.raises(UsageError, match="all given: nothing to search"):
        search(digits, 2, "run", given)
    assert not Path("run").exists()
    search(digits, 1, "run")
    with pytest.raises(InputError, match=r"another search|other settings \(train\)"):
        search(digits, 1, "run", replace(CONFIG, epochs=4))
    with pytest.raises(InputError, match="run/trial001 holds a run: choose another --out"):
        search(digits, 1, "run/trial001")
    saved = json.loads(Path("run/tune.json").read_text())
    (first,) = saved["trials"]
    for other in (
        {"number": 1}, first | {"number": 2}, first | {"state": "x"}, first | {"accuracies": ["x"]},
        first | {"settings": first["settings"] | {"lr": 1e9}}, first | {"settings": {"lr": 1e-3}},
        first | {"settings": first["settings"] | {"augment": 3}}, first | {"val_accuracy": None},
    ):  # fmt: skip
        Path("run/tune.json").write_text(json.dumps(saved | {"trials": [other]}))
        with pytest.raises(InputError, match="Cannot use run/tune.json"):
            search(digits, 1, "run")
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"needs optuna, .*\[tune\] extra"):
        search(digits, 1, "fresh")


def test_trials_that_diverge_are_written_down(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(tuning, "fit", diverge)
    with pytest.raises(DivergedError, match="All 2 trials diverged"):
        search(digits, 2, "run")
    saved = json.loads(Path("run/tune.json").read_text())
    assert [trial["state"] for trial in saved["trials"]] == ["diverged"] * 2


def test_a_trial_that_diverged_late_is_not_the_best(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be tested: its training would go on, and diverge again."""
    fit, over = tuning.fit, []

    def late(*given: Any, **named: Any) -> Run:
        over.append(fit(*given, **named))
        if len(over) == 1:
            raise DivergedError("the loss is not finite")
        return over[-1]

    monkeypatch.setattr(tuning, "fit", late)
    found = search(digits, 2, "run")
    assert [one.state for one in found.trials] == ["diverged", "complete"]
    assert found.trials[0].val_accuracy is not None
    assert found.best.number == 2


def test_several_processes_do_not_search(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="A search is one process's work"):
        search(digits, 2, "run")


def test_settings_as_options() -> None:
    settings = {"lr": 0.000123, "weight_decay": 0.5, "augment": "flip-crop"}
    assert as_options(settings) == "--lr 0.000123 --weight-decay 0.5 --augment flip-crop"
