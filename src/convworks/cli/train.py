"""`convworks train`."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from convworks.cli.command import Command, DataRoot, Flag, Options, make_out, parse_options
from convworks.errors import UsageError
from convworks.train.config import TrainConfig
from convworks.train.recipes import Recipe

if TYPE_CHECKING:
    from convworks.train.run import Run


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a network: convworks train resnet18 --data fashion_mnist --image-size 96."""

    model: Annotated[
        tyro.conf.Positional[str | None],
        tyro.conf.arg(metavar="MODEL", help_behavior_hint="(default: lenet)"),
    ] = None
    """A network of the zoo; `convworks models` lists them."""
    data: Annotated[
        str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="(default: digits)")
    ] = None
    """digits, mnist, fashion_mnist, kmnist, cifar10, cifar100, or an image folder.
    A folder has one sub-folder a class, or has those below train/ and test/ or val/.
    It may be packed in .tar files, or lie in a store, as s3://bucket/photos."""
    image_size: Annotated[
        int | None,
        tyro.conf.arg(metavar="PIXELS", help_behavior_hint="(default: the data's or recipe's)"),
    ] = None
    """Side to which the pictures are scaled."""
    options: Options = ()
    """Make the network otherwise, as by se=16: its file below convworks/nets says what there is."""
    data_root: DataRoot = None
    """Where downloaded data sets are kept."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    resume: Flag = False
    """Go on with the run in --out, exactly as if it had not been stopped."""
    like: Annotated[
        Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: a new training)")
    ] = None
    """Train once more what that run trained, by its config.json alone; what is given besides, such
    as another --seed, is changed."""
    find_lr: Flag = False
    """Do not train, but look in 100 steps which learning rate is good, and draw the picture."""
    tune: Annotated[
        int | None, tyro.conf.arg(metavar="TRIALS", help_behavior_hint="(default: train once)")
    ] = None
    """Train so many times in search of the best --lr, --weight-decay and --augment, as far as they
    are not given. The same command goes on where it was stopped."""
    json: Flag = False
    """Print the final figures as JSON."""

    def run(self, arguments: Sequence[str], /) -> None:
        """Trains and prints the final figures."""
        from convworks.train.processes import is_first

        others = (self.resume, self.find_lr, self.tune is not None, self.like is not None)
        if sum(others) > 1:
            raise UsageError(
                "--resume, --like, --find-lr and --tune each do another thing: give one."
            )
        if self.find_lr:
            self._find_lr()
            return
        if self.tune is not None:
            self._tune(arguments)
            return
        run = self._resume(arguments) if self.resume else self._begin(arguments)
        if not is_first():
            return  # one of several processes tells
        assert run.summary is not None
        figures = run.summary
        if self.json:
            print(json.dumps(asdict(figures) | {"path": str(run.path)}))
        else:
            print(
                f"test accuracy {figures.test_accuracy:.4f} on {figures.test_images:,} pictures"
                f" (validation {figures.val_accuracy:.4f} at epoch {figures.best_epoch} of"
                f" {figures.epochs}{', stopped early' if figures.stopped_early else ''}),"
                f" {figures.images_per_second:,.0f} images/s,"
                f" {figures.seconds:.1f} s\n"
                f"{run.path}: best.safetensors, last.pt, metrics.jsonl, summary.json,"
                " config.json, curves.svg"
            )

    def _named(self) -> tuple[str, str, dict[str, Any]]:
        """What `api.train` and its like take."""
        return (
            "lenet" if self.model is None else self.model,
            "digits" if self.data is None else self.data,
            {
                "image_size": self.image_size,
                "options": parse_options(self.options),
                "data_root": self.data_root,
            },
        )

    def _find_lr(self) -> None:
        """Prints the suggested rate, and draws why."""
        from convworks import api
        from convworks.report.picture import save_picture
        from convworks.report.rates import draw_rates

        folder = self.config.out or Path("runs")
        make_out(folder)
        model, data, named = self._named()
        make, loaded = api.prepare(model, data, self.config, **named)
        found = api.find_lr(make(), loaded, self.config)
        picture = folder / f"lr-{found.model}-{found.data}.svg"
        save_picture(draw_rates(found), picture)
        if self.json:
            print(json.dumps(asdict(found) | {"picture": str(picture)}))
        else:
            print(f"{found}\n{picture}")

    def _tune(self, arguments: Sequence[str]) -> None:
        """Prints the best trial, and the command that trains so."""
        from convworks import api
        from convworks.studies.tuning import as_options

        assert self.tune is not None
        model, data, named = self._named()
        found = api.tune(model, data, self.config, trials=self.tune, **named)
        figures = found.run.summary
        assert figures is not None
        states = [trial.state for trial in found.trials]
        if self.json:
            print(json.dumps(asdict(found.best) | asdict(figures) | {"path": str(found.run.path)}))
        else:
            again = _without_search(arguments) + as_options(found.best.settings)
            print(
                f"best of {len(states)} trials ({states.count('pruned')} pruned,"
                f" {states.count('diverged')} diverged): trial {found.best.number}, validation"
                f" {figures.val_accuracy:.4f}, test accuracy {figures.test_accuracy:.4f} on"
                f" {figures.test_images:,} pictures\n"
                f"{found.run.path}: its weights; {found.path / 'tune.json'}: all trials\n"
                f"to train so again: convworks train {again}"
            )

    def _begin(self, arguments: Sequence[str]) -> "Run":
        """Trains from the beginning, or goes on where torchrun has started its own job anew."""
        from convworks import api
        from convworks.train.processes import check_restarts, goes_on, together

        config = self.config if self.like is None else self._as_in(self.like, arguments)
        check_restarts(config.out)
        with together(config.device) as processes:
            if goes_on(config.out, processes):
                return self._resume(arguments)
            if self.like is not None:
                return api.repeat(self.like, config, data=self.data, data_root=self.data_root)
            model, data, named = self._named()
            return api.train(model, data, config, **named)

    def _resume(self, arguments: Sequence[str]) -> "Run":
        """Goes on with the run in --out, what is given besides checked against it."""
        from convworks import api
        from convworks.train.checkpoint import read_settings
        from convworks.train.run import read_config

        folder = self.config.out
        if folder is None:
            raise UsageError("--resume needs --out DIR, the run folder to go on with.")
        if self.resume and self.config.init is not None:
            raise UsageError("--init begins a new run, --resume goes on with one: give one.")
        if self.resume and self.options:
            raise UsageError("--set makes a new network, --resume goes on with one: give one.")
        return api.resume(
            folder,
            _over(read_config(read_settings(folder), folder), arguments),
            model=self.model,
            data=self.data,
            image_size=self.image_size,
            data_root=self.data_root,
        )

    def _as_in(self, folder: Path, arguments: Sequence[str]) -> TrainConfig:
        """The settings of the run in a folder, and over them what is given; into another."""
        from convworks.train.checkpoint import read_settings
        from convworks.train.run import read_config

        if self.model is not None or self.image_size is not None or self.options:
            raise UsageError("--like takes the network and its size from the run: leave them out.")
        begun = replace(read_config(read_settings(folder), folder), out=None)
        return _over(begun, arguments)


def _over(begun: TrainConfig, arguments: Sequence[str]) -> TrainConfig:
    """A run's own settings, and over them what is given, even a default."""

    def over(known: TrainConfig) -> TrainConfig:
        train = Train(config=known)
        return tyro.cli(Train, args=list(arguments), default=train).config

    given = over(begun)
    if given.recipe == begun.recipe:
        return given
    opened = {one.name: None for one in fields(Recipe)}  # what the other recipe had decided
    return over(replace(begun, recipe=given.recipe, **opened))  # type: ignore[arg-type]


def _without_search(arguments: Sequence[str]) -> str:
    """The command's words, those that only the search needs taken out."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("--tune", "--out"):
            next(words, None)
        elif not word.startswith(("--tune=", "--out=")):
            kept.append(word)
    return shlex.join(kept) + " " * bool(kept)
