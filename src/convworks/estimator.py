"""A network of the zoo as a scikit-learn classifier, for its cross-validation, pipelines and grids.

It adapts what is there: `create_model`, the training loop and the loaders.
"""

import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import isqrt
from os.path import commonpath
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from torch import Tensor

from convworks.data.folder import look_at
from convworks.data.loader import open_loader
from convworks.data.sources import LEAST_SIDE, make_data, side_seen
from convworks.data.splits import (
    ARRAYS,
    Data,
    DataSpec,
    FileImages,
    Images,
    MemoryImages,
    Parts,
    hold_out,
)
from convworks.errors import InputError, UsageError
from convworks.nets.registry import create_model, find
from convworks.report.console import ConsoleProgress
from convworks.report.curves import CurvesFile
from convworks.train import loop
from convworks.train.config import Augment, ClassWeights, Device, RecipeName, TrainConfig
from convworks.train.device import arithmetic, choose_device, memory_kept
from convworks.train.observer import Observer

BATCH = 256


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network that trains in `fit`: cw.Classifier("resnet18", epochs=5).fit(X, y).predict(X).

    X holds pictures: an array N×H×W or N×H×W×C, or N paths of files. Rows N×features, the usual
    form in scikit-learn, are grey pictures line by line: square ones, or else, with a warning, one
    pixel high.
    Values within 0…1 are taken as 0 black to 1 white, other whole numbers within 0…255 as 0 to 255;
    of any others the smallest that `fit` sees is black and the largest white. All become uint8,
    as pictures of files are. y holds any labels.

    `model` is a name of `list_models`; `image_size` the side in pixels that the network sees, None:
    an array's larger side and at least 28, for files what `train` takes of a folder of them.
    `validation_fraction` of each class is held out of X and chooses the epoch whose weights are
    kept; a class of one picture is not split. `augment` None mirrors pictures of files, not of
    arrays, which may be digits. `random_state` is TrainConfig's `seed`: the same number, the same
    result; None or a generator draws one. The others are as in `TrainConfig`.

    The run folder is a temporary one, unless `out` names one to keep. As `fit` is given no test
    part, its summary tests on the validation part, and its data are called so. X is not kept: to
    export that run, give `export` pictures of the same classes to test the file with, as
    `data=load_data(FOLDER)`. `verbose` shows the progress.

    After `fit`: `classes_`; `model_`, the `nn.Module` on the CPU; `preparation_`, what it sees of
    pictures; `history_`, a record an epoch; `channels_`; for files `side_`, their usual
    smaller side; for arrays `n_features_in_`, `picture_shape_` (C, H, W) and `range_`, their black
    and white.

    Raises InputError and TrainingError (the first a ValueError) as `fit` and `create_model` do.
    """

    channels_: int
    side_: int
    picture_shape_: tuple[int, ...]
    range_: tuple[float, float] | None

    def __init__(
        self,
        model: str = "lenet",
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        recipe: RecipeName = "modern",
        augment: Augment | None = None,
        init: str | Path | None = None,
        freeze: bool = False,
        layer_decay: float = 1.0,
        class_weights: ClassWeights = "none",
        patience: int | None = None,
        image_size: int | None = None,
        validation_fraction: float = 0.1,
        device: Device = "auto",
        random_state: int | np.random.RandomState | None = 0,
        out: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.recipe = recipe
        self.augment = augment
        self.init = init
        self.freeze = freeze
        self.layer_decay = layer_decay
        self.class_weights = class_weights
        self.patience = patience
        self.image_size = image_size
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.out = out
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 (scikit-learn's name)
        """Trains on pictures and their labels; what was learned before is forgotten."""
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"validation_fraction must lie between 0 and 1, not {self.validation_fraction}."
            )
        images = self._images(X, fitting=True)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y)
        check_consistent_length(images, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"y has one class only ({self.classes_[0]}): there is nothing to learn."
            )
        if self.freeze and self.init is None:
            raise UsageError("freeze keeps what init brings: give init too.")
        seed = _seed(self.random_state)
        data = self._data(images, torch.from_numpy(labels).long(), seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = create_model(
                self.model,
                num_classes=len(data.classes),
                in_channels=data.channels,
                image_size=data.image_size,
            )
        observers: list[Observer] = [CurvesFile()] if self.out is not None else []
        if self.verbose:
            observers.append(ConsoleProgress())
        with ExitStack() as stack:
            folder = self.out or stack.enter_context(
                tempfile.TemporaryDirectory(prefix="convworks-")
            )
            config = TrainConfig(
                recipe=self.recipe,
                epochs=_plain(self.epochs),
                batch_size=_plain(self.batch_size),
                lr=_plain(self.lr),
                weight_decay=_plain(self.weight_decay),
                augment=self.augment,
                init=None if self.init is None else Path(self.init),
                freeze=_plain(self.freeze),
                layer_decay=_plain(self.layer_decay),
                class_weights=self.class_weights,
                patience=_plain(self.patience),
                seed=seed,
                device=self.device,
                strict=True,
                out=Path(folder),
            )
            try:
                run = loop.fit(network, data, config, observers=observers)
            except KeyboardInterrupt:  # the loop's text tells how to go on, which arrays cannot
                raise KeyboardInterrupt from None
        self.model_, self.preparation_, self.history_ = (
            run.model.cpu(),
            run.preparation,
            run.history,
        )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Probabilities N×classes in fp32, in the order of `classes_`."""
        check_is_fitted(self, "model_")
        images = self._images(X, fitting=False)
        place = choose_device(self.device)
        loader = open_loader(
            images, batch_size=BATCH, image_size=self.preparation_.image_size, device=place
        )
        try:
            # Moved outside of inference_mode, which would mark the weights for good.
            network = self.model_.to(place).eval()
            with arithmetic(), memory_kept(place), torch.inference_mode():
                rows = [
                    F.softmax(network(self.preparation_(x)), 1).cpu() for x, _ in loader.epoch()
                ]
        finally:
            self.model_.cpu()  # so that it can be unpickled anywhere
        found: np.ndarray = torch.cat(rows).numpy()
        return found

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The likeliest class of each picture."""
        probabilities = self.predict_proba(X)
        found: np.ndarray = self.classes_[probabilities.argmax(1)]
        return found

    def _images(self, X: Any, *, fitting: bool) -> Images:  # noqa: N803
        """The pictures, all labelled 0; ValueError for what are none, or others than `fit` had."""
        paths = _paths(X)
        if not fitting and self.range_ is None and len(X) == 0:
            raise InputError("X is empty: give the path of a picture at least.")
        if not fitting and (paths is None) != (self.range_ is not None):
            had, has = ("files", "an array") if paths is None else ("an array", "files")
            raise InputError(f"fit had {had}, X is {has}: give both the same.")
        if paths is not None:
            if fitting:
                self.channels_, self.side_ = look_at(paths)
                self.picture_shape_, self.range_ = (), None
                self.__dict__.pop("n_features_in_", None)
            return FileImages(paths, torch.zeros(len(paths), dtype=torch.long), self.channels_)
        values = _arrange(self._numbers(X, fitting))
        shape = values.shape[1:]
        if fitting or self.range_ is None:
            self.channels_, self.picture_shape_, self.range_ = shape[0], shape, _range(values)
        elif shape != self.picture_shape_:
            had, has = ("×".join(map(str, x)) for x in (self.picture_shape_, shape))
            raise InputError(f"fit had pictures of {had}, X has {has}: bring them to one size.")
        pixels = torch.from_numpy(_to_bytes(values, *self.range_))
        return MemoryImages(pixels, torch.zeros(len(pixels), dtype=torch.long))

    def _numbers(self, X: Any, fitting: bool) -> np.ndarray:  # noqa: N803
        """X as finite real numbers, and `n_features_in_` set or compared."""
        found: np.ndarray
        try:
            axes = np.asarray(X).ndim
        except ValueError as error:
            raise InputError(
                "The pictures in X are not all of one size: bring them to one, or give paths of"
                " files."
            ) from error
        if axes <= 2:
            found = validate_data(self, X, reset=fitting)
            return found
        found = check_array(X, allow_nd=True)
        validate_data(self, found.reshape(len(found), -1), reset=fitting)
        return found

    def _data(self, images: Images, labels: Tensor, seed: int) -> Data:
        """The data set to train on, its validation part also for the test, as its title says."""
        kept, held = hold_out(labels, self.validation_fraction, seed)
        if not len(held):
            held = kept  # a picture a class
        images = replace(images, labels=labels)
        train, held_out = images.take(kept), images.take(held)
        if isinstance(images, FileImages):
            name = commonpath(p.parent for p in images.paths)
            size = find(self.model).input[1]  # which weights that are brought have seen
            if not self.init:
                size = side_seen(self.side_, size)
        else:
            name, size = ARRAYS, max(LEAST_SIDE, *images.pixels.shape[2:])
        return make_data(
            Parts(tuple(map(str, self.classes_)), train, test=held_out, val=held_out),
            DataSpec(name, _plain(self.image_size) or size, self.validation_fraction, seed),
            title=f"{Path(name).name} without a test part",
            mirror=isinstance(images, FileImages),
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True  # paths
        tags.input_tags.three_d_array = True
        return tags


def _paths(X: Any) -> tuple[Path, ...] | None:  # noqa: N803
    """The files that are named; None when X holds numbers."""
    if isinstance(X, str | Path):
        raise InputError(f"X must be a sequence of paths, not one: give [{str(X)!r}].")
    table = getattr(X, "ndim", None) == 2 and X.shape[0] > 0 and X.shape[1] == 1
    if table and isinstance(np.asarray(X).flat[0], str | Path):
        raise InputError("X is a table of one column of paths: give the column, as X[:, 0].")
    if not isinstance(X, Sequence) and getattr(X, "ndim", None) != 1:
        return None
    items = list(X)
    if not items or not all(isinstance(x, str | Path) for x in items):
        return None
    return tuple(Path(x).expanduser().absolute() for x in items)


def _arrange(values: np.ndarray) -> np.ndarray:
    """Rows, N×H×W or N×H×W×C as N×C×H×W."""
    shape = values.shape
    if values.ndim == 4 and shape[1] <= 4 < shape[3]:
        raise InputError(
            f"X is {'×'.join(map(str, shape))}, which looks like N×C×H×W: channels come last"
            " here, as np.moveaxis(X, 1, 3) puts them."
        )
    if values.ndim == 4:
        return np.moveaxis(values, 3, 1)
    if values.ndim == 3:
        return values[:, None]
    if values.ndim > 4:
        raise InputError(f"X must be N×features, N×H×W or N×H×W×C; it has {values.ndim} axes.")
    side = isqrt(shape[1])
    if side**2 == shape[1]:
        return values.reshape(-1, 1, side, side)
    warnings.warn(
        f"{shape[1]:,} numbers a row make no square: each is taken as a picture one pixel high. If"
        " they are pictures, give N×H×W or N×H×W×C.",
        stacklevel=5,
    )
    return values[:, None, None]


def _range(values: np.ndarray) -> tuple[float, float]:
    """Black and white of these values; see Classifier."""
    low, high = values.min().item(), values.max().item()
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high <= 255 and values.dtype.kind in "iu":
        return 0.0, 255.0
    return float(low), float(high if high > low else low + 1)


def _to_bytes(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """uint8, black at 0 and white at 255; InputError for values on the other usual scale."""
    if values.dtype == np.uint8 and (black, white) == (0, 255):
        return values.copy()
    whole = values.dtype.kind in "iu" or bool((values == np.floor(values)).all())
    top = values.max()
    if (black, white) == (0, 255) and not whole and top <= 1:
        raise InputError("fit had values up to 255, X has values up to 1: multiply them by 255.")
    if (black, white) == (0, 1) and whole and top > 1:
        raise InputError(f"fit had values up to 1, X has values up to {top}: divide them by 255.")
    scaled = (values - np.float64(black)) * (255 / (white - black))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _plain(value: Any) -> Any:
    """NumPy's numbers, which grids of settings are made of, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _seed(state: int | np.random.RandomState | None) -> int:
    """The seed that `random_state` gives."""
    if isinstance(state, int | np.integer):
        return int(state)
    return int(check_random_state(state).randint(2**31))
