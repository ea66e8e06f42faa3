"""`convworks train`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro

from convworks.cli.command import PARSING, Command, DataRoot, Options, parse_options
from convworks.errors import UsageError
from convworks.train.config import TrainConfig

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
    A folder has one sub-folder a class, or has those below train/ and test/ or val/."""
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
    resume: bool = False
    """Go on with the run in --out, exactly as if it had not been stopped."""
    json: bool = False
    """Print the final figures as JSON."""

    def run(self, arguments: Sequence[str], /) -> None:
        """Trains and prints the final figures."""
        from convworks import api
        from convworks.train.processes import is_first, restarted

        if self.resume or restarted(self.config.out):
            run = self._resume(arguments)
        else:
            run = api.train(
                "lenet" if self.model is None else self.model,
                "digits" if self.data is None else self.data,
                self.config,
                image_size=self.image_size,
                options=parse_options(self.options),
                data_root=self.data_root,
            )
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
                f" {figures.epochs}), {figures.images_per_second:,.0f} images/s,"
                f" {figures.seconds:.1f} s\n"
                f"{run.path}: best.safetensors, last.pt, metrics.jsonl, summary.json,"
                " config.json, curves.svg"
            )

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
        begun = read_config(read_settings(folder), folder)
        # Read again over the run's own settings: what is given, even a default, then counts.
        given = tyro.cli(Train, args=list(arguments), default=Train(config=begun), config=PARSING)
        return api.resume(
            folder,
            given.config,
            model=self.model,
            data=self.data,
            image_size=self.image_size,
            data_root=self.data_root,
        )
