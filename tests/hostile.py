"""What makes a file hostile, and a small run to put it into."""

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import convworks as cw
from convworks.train.run import Run

MARK = Path("code-was-run")


class Hostile:
    """What makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {MARK}",)


def trained(folder: Path) -> Run:
    """A complete run: LeNet, one epoch of 60 digits of 12×12 pixels."""
    data = cw.load_data("digits", image_size=12, train_images=60)
    model = cw.create_model("lenet", num_classes=10, in_channels=1, image_size=12)
    return cw.fit(model, data, cw.TrainConfig(epochs=1, out=folder), progress=False)


def rewritten(
    path: Path,
    change: Callable[[str, bytes], bytes] = lambda name, content: content,
    more: Iterable[tuple[str, bytes]] = (),
) -> None:
    """Writes a zip file again: each entry as `change(name, content)`, then `more`."""
    with zipfile.ZipFile(path) as old:
        entries = [(name, change(name, old.read(name))) for name in old.namelist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, content in [*entries, *more]:
            new.writestr(name, content)
