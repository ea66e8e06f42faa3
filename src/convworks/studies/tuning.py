"""A search over learning rate, weight decay and augmentation, with optuna (Akiba et al. 2019).

Each trial is a run folder below the search's, and `tune.json` says how those that are over ended.
From it optuna's study is built anew, and what a trial tries is drawn from (seed, trial, trials
before), so that a search stopped anywhere goes on as if it had not been.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn

from convworks.data.splits import Data
from convworks.errors import DivergedError, InputError, UsageError
from convworks.extras import need
from convworks.files import check_inside
from convworks.nets.registry import spec_of
from convworks.report.console import ConsoleProgress
from convworks.report.curves import CurvesFile
from convworks.train.checkpoint import CONFIG, create_run_folder, read_json, write_json
from convworks.train.config import Augment, TrainConfig
from convworks.train.job import MAY_DIFFER, best_epoch
from convworks.train.loop import fit, mix
from convworks.train.network import title_of
from convworks.train.observer import History, Observer, Plan
from convworks.train.opening import recipe_of
from convworks.train.processes import check_alone
from convworks.train.records import record
from convworks.train.run import Run

if TYPE_CHECKING:
    import optuna

TUNE = "tune.json"
TUNED = ("lr", "weight_decay", "augment")
"""What is searched, as far as it is not given."""
AROUND = 30.0
"""Learning rates are tried from so much below the recipe's to so much above."""
DECAYS = {"adamw": (1e-4, 0.5), "sgd": (1e-6, 1e-2), "nesterov": (1e-6, 1e-2)}
"""AdamW's decay is multiplied by the rate, so that it is some hundred times that of SGD."""
FIRST = 5
"""So many trials run to their end before any is compared with their median."""


@dataclass(frozen=True)
class Trial:
    """One try."""

    number: int
    """From 1, which is the recipe's own settings."""
    settings: Mapping[str, float | str]
    state: Literal["complete", "pruned", "diverged"]
    """complete, pruned (worse than the median of the others at the same epoch) or diverged."""
    accuracies: tuple[float, ...]
    """Of validation, an epoch each."""
    val_accuracy: float | None
    """Of its best epoch."""
    val_loss: float | None
    """Of that epoch."""


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    path: Path
    trials: tuple[Trial, ...]
    best: Trial
    run: Run
    """The best trial's; the only one whose network saw the test part."""


class _Pruned(Exception):  # noqa: N818 (no error)
    """The trial is not worth going on with."""


class _Report(Observer):
    """Tells optuna of each epoch, those before a resumption included."""

    def __init__(self, trial: "optuna.Trial") -> None:
        self.trial = trial
        self.history: History = ()

    def begin(self, plan: Plan) -> None:
        if plan.history:
            self.epoch(plan.history)

    def epoch(self, history: History) -> None:
        for one in history[len(self.history) :]:
            self.trial.report(one.val_accuracy, one.epoch)
        self.history = history
        if self.trial.should_prune():
            raise _Pruned


class _Search:
    """The trials that are over, and what the next one needs."""

    def __init__(
        self, model: Callable[[], nn.Module], data: Data, config: TrainConfig, progress: bool
    ) -> None:
        with torch.device("meta"):
            network = model()
        spec = spec_of(network)
        self.model, self.data, self.config, self.progress = model, data, config, progress
        self.recipe = recipe_of(network, data, config)
        self.open = [name for name in TUNED if getattr(config, name) is None]
        if not self.open:
            raise UsageError("--lr, --weight-decay and --augment are all given: nothing to search.")
        title = f"tune-{title_of(network)}-{data.title}"
        self.path = config.out or Path("runs", title)
        train = {k: v for k, v in config.to_dict().items() if k not in MAY_DIFFER - {"init"}}
        self.begun = {
            "model": asdict(spec) if spec else title_of(network),
            "data": {**asdict(data.spec), "digest": data.digest},
            "train": train,
        }
        self.trials = self._read()
        if not self.trials:
            create_run_folder(self.path, title)
            self.write()

    def _read(self) -> list[Trial]:
        """The trials of a search that was begun; InputError when it is another one."""
        if (self.path / CONFIG).exists():
            raise InputError(f"{self.path} holds a run: choose another --out for the search.")
        if not (self.path / TUNE).exists():
            return []
        saved = read_json(self.path / TUNE)
        for section, now in json.loads(json.dumps(self.begun)).items():
            if saved.get(section) != now:
                raise InputError(
                    f"{self.path} holds a search with other settings ({section}): give the same"
                    " as then to go on with it, or another --out."
                )
        try:
            return [self._known(i, one) for i, one in enumerate(saved["trials"], start=1)]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{self.path / TUNE} is of another version ({error}): choose another --out."
            ) from error

    def _known(self, number: int, saved: object) -> Trial:
        """The trial of that number; InputError for what is none of this search."""
        one = record(Trial, saved, self.path / TUNE)
        if (
            one.number != number
            or one.settings.keys() != set(self.open)
            or not all(self._may_be(name, value) for name, value in one.settings.items())
            or (one.state == "complete" and one.val_accuracy is None)
        ):
            raise InputError(
                f"Cannot use {self.path / TUNE}: trial {number} is none of this search."
            )
        return one

    def write(self, best: Trial | None = None, run: Run | None = None) -> None:
        """Writes tune.json, at the end with the best."""
        found = None
        if best and run and run.summary:
            found = {
                "trial": best.number,
                "settings": dict(best.settings),
                "val_accuracy": best.val_accuracy,
                "test_accuracy": run.summary.test_accuracy,
                "path": str(run.path),
            }
        trials = [asdict(one) for one in self.trials]
        write_json(self.path / TUNE, {**self.begun, "trials": trials, "best": found})

    def try_next(self, optuna: Any, trials: int) -> None:
        """Trains the next trial to its end, or until it is pruned, and writes it down."""
        number = len(self.trials) + 1
        asked = self._study(optuna).ask()
        settings = {name: self._suggest(asked, name) for name in self.open}
        report = _Report(asked)
        title = f"trial {number} of {trials}: {as_options(settings)}"
        state: Literal["complete", "pruned", "diverged"] = "complete"
        try:
            self.train(number, settings, report, title=title)
        except _Pruned:
            state = "pruned"
        except DivergedError:
            state = "diverged"
        best = best_epoch(report.history) if report.history else None
        self.trials.append(
            Trial(
                number,
                settings,
                state,
                tuple(record.val_accuracy for record in report.history),
                best.val_accuracy if best else None,
                best.val_loss if best else None,
            )
        )
        self.write()

    def train(
        self, number: int, settings: Mapping[str, Any], report: Observer, *, title: str = ""
    ) -> Run:
        """A trial's run, taken up where it stands; with no title it also takes the test."""
        folder = self.path / f"trial{number:03}"
        check_inside(folder, self.path)
        config = replace(self.config, **settings, out=folder)
        observers: list[Observer] = [CurvesFile(), report]
        if self.progress and title:
            observers.append(ConsoleProgress(title=title))
        begun = (folder / CONFIG).exists()
        try:
            return fit(
                self.model(),
                self.data,
                config,
                observers=observers,
                resume=begun,
                test=not title,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("saved; the same command goes on from there") from None

    def _study(self, optuna: Any) -> Any:
        """optuna's view of the trials that are over."""
        states = optuna.trial.TrialState
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(
                seed=mix(self.config.seed, len(self.trials)) % 2**32
            ),
            pruner=optuna.pruners.MedianPruner(FIRST, n_warmup_steps=self.recipe.epochs // 4 + 1),
        )
        for one in self.trials:
            complete = one.state == "complete"
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.COMPLETE if complete else states.PRUNED,
                    value=one.val_accuracy if complete else None,
                    params=dict(one.settings),
                    distributions={name: self._distribution(optuna, name) for name in self.open},
                    intermediate_values=dict(enumerate(one.accuracies, start=1)),
                )
            )
        if not self.trials:
            study.enqueue_trial({name: self._first(name) for name in self.open})
        return study

    def _distribution(self, optuna: Any, name: str) -> Any:
        if name == "augment":
            return optuna.distributions.CategoricalDistribution(self._choices())
        return optuna.distributions.FloatDistribution(*self._bounds(name), log=True)

    def _suggest(self, asked: Any, name: str) -> Any:
        if name == "augment":
            return asked.suggest_categorical(name, self._choices())
        low, high = self._bounds(name)
        value = float(f"{asked.suggest_float(name, low, high, log=True):.3g}")
        return min(max(value, low), high)

    def _may_be(self, name: str, value: float | str) -> bool:
        """Whether a search tries that value."""
        if name == "augment" or isinstance(value, str):
            return name == "augment" and value in self._choices()
        low, high = self._bounds(name)
        return low <= value <= high

    def _choices(self) -> tuple[str, ...]:
        """The augmentations that keep a picture's class."""
        return get_args(Augment) if self.data.mirror else ("none", "crop")

    def _bounds(self, name: str) -> tuple[float, float]:
        if name == "lr":
            return self.recipe.lr / AROUND, self.recipe.lr * AROUND
        return DECAYS[self.recipe.optimizer]

    def _first(self, name: str) -> Any:
        """The recipe's own value, or the nearest that is tried."""
        value = getattr(self.recipe, name)
        if name == "augment":
            return value
        low, high = self._bounds(name)
        return min(max(value, low), high)


def as_options(settings: Mapping[str, Any]) -> str:
    """The settings as the command line takes them."""
    return " ".join(
        f"--{name.replace('_', '-')} {value if name == 'augment' else format(value, 'g')}"
        for name, value in settings.items()
    )


def tune(
    model: Callable[[], nn.Module],
    data: Data,
    config: TrainConfig | None = None,
    *,
    trials: int = 20,
    progress: bool = True,
) -> Tuned:
    """Searches for the settings of the best validation accuracy, in `config.out`.

    `model` makes the network, the same each time. Learning rate and weight decay (on logarithmic
    scales around the recipe's) and augmentation are tried as far as `config` leaves them open, by
    optuna's TPE; a trial worse than the median of the others at the same epoch is given up. The
    folder `config.out`, runs/tune-MODEL-DATA when it is None, has a run folder a trial; the same
    call goes on where it was stopped, and with more `trials` goes further.

    The best trial's weights then look at the test part, once. Raises InputError when the folder
    has another search, UsageError when nothing is left to search, TrainingError when all diverge.
    """
    if trials < 1:
        raise UsageError(f"--tune must be at least 1, not {trials}.")
    check_alone("A search")
    optuna = need("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = _Search(model, data, config or TrainConfig(), progress)
    while len(search.trials) < trials:
        search.try_next(optuna, trials)
    best = max(
        (one for one in search.trials if one.state == "complete"),
        key=lambda one: (one.val_accuracy, -(one.val_loss or 0.0), -one.number),
        default=None,
    )
    if best is None:
        raise DivergedError(
            f"All {len(search.trials)} trials diverged: try --precision fp32, and a smaller --lr."
        )
    run = search.train(best.number, best.settings, Observer())
    search.write(best, run)
    return Tuned(search.path, tuple(search.trials), best, run)
