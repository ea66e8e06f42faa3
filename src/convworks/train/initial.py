"""Weights to begin a training with: of a run, of a file, or published."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor, nn

from convworks.data.augment import Preparation
from convworks.errors import InputError
from convworks.files import hash_of_file
from convworks.nets.matching import COUNT
from convworks.nets.registry import spec_of
from convworks.nets.weights import Peer, download, find_peer, put_weights, read_file
from convworks.train.checkpoint import BEST, load_weights
from convworks.train.records import record

LIBRARIES = ("torchvision", "timm")
LEAST_SHARE = 0.5
"""With less of its weights from the file, a network is another one."""

Colours = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Initial:
    """What a network began with, for config.json."""

    source: str
    sha256: str
    """Of the file."""
    loaded: int
    tensors: int
    """Of the network; those that were not loaded are as freshly drawn."""
    fresh: tuple[str, ...]
    colours: Colours | None
    """Mean and deviation with which the weights were trained; None: the file does not say."""

    def __str__(self) -> str:
        rest = f"; fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.loaded} of {self.tensors} tensors from {self.source}{rest}"

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)

    def preparation(self, image_size: int, channels: int) -> Preparation:
        """Pictures as the weights know them; for other channels the mean over theirs."""
        if self.colours is None:
            raise InputError(f"{self.source} does not say how its pictures were normalised.")
        mean, std = (
            given if len(given) == channels else (fmean(given),) * channels
            for given in self.colours
        )
        return Preparation(image_size, mean, std)


def load_initial(model: nn.Module, init: Path) -> Initial:
    """Puts into `model` what fits of a run's best weights, of a file's, or of the published.

    A tensor fits that has the same place and shape, and the first convolution also for other
    channels. A head for other classes stays fresh. Raises InputError, the model unchanged, for
    weights of another network.
    """
    if str(init) in LIBRARIES and not init.exists():
        if spec_of(model) is None:
            raise InputError(f"--init {init} is for networks of create_model, not for your own.")
        peer, file, weights = download(model, str(init))
        return _put(model, weights, peer.names, peer.title, file, _of(peer))
    file = init / BEST if init.is_dir() else init
    if file.suffix == ".safetensors" or not file.exists():
        weights, metadata = load_weights(file)
    else:
        weights, metadata = read_file(file), {}
    names, colours = _match(model, weights, metadata, file)
    return _put(model, weights, names, str(file), file, colours)


def _said(metadata: Mapping[str, Any], name: str, file: Path) -> Mapping[str, Any]:
    """A part of what a file says of its weights; InputError for another kind of value."""
    found = metadata.get(name) or {}
    if not isinstance(found, dict):
        raise InputError(f"Cannot use {file}: its {name} is {found!r:.40}.")
    return found


def _match(
    model: nn.Module, weights: Mapping[str, Tensor], metadata: Mapping[str, Any], file: Path
) -> tuple[Mapping[str, str], Colours | None]:
    """Our names to the file's, in our naming or that of a library; InputError for neither."""
    own, spec = model.state_dict().keys(), spec_of(model)
    theirs = _said(metadata, "model", file).get("name")
    if spec and theirs not in (None, spec.name):
        raise InputError(f"{file} is of {theirs}, not of {spec.name}: train {theirs} from it.")
    if len(own & weights.keys()) >= LEAST_SHARE * len(own):
        _refuse_others(weights.keys(), own, file)
        prepared = _said(metadata, "preparation", file)
        known = record(Preparation, prepared, file) if prepared else None
        colours = (tuple(known.mean), tuple(known.std)) if known else None
        return {name: name for name in own}, colours
    reasons = []
    for library in LIBRARIES if spec else ():
        try:
            peer = find_peer(model, library)
            if len(peer.known & weights.keys()) < LEAST_SHARE * len(peer.known):
                continue
            _refuse_others(weights.keys(), peer.known, file)
        except InputError as error:
            reasons.append(str(error))
        else:
            return peer.names, _of(peer)
    title = spec.name if spec else type(model).__name__
    raise InputError(
        " ".join(
            [
                f"{file} is of another network than {title}, or of another library's form: it has"
                f" {next(iter(weights), 'nothing')}, not {next(iter(own))}.",
                *reasons,
            ]
        )
    )


def _refuse_others(given: Any, known: Any, file: Path) -> None:
    """InputError when the file goes on where the network has ended.

    A branch that the network lacks as a whole, such as an auxiliary head, is left out.
    """
    branches = {name.partition(".")[0] for name in known}
    for name in sorted(given - known):
        if name.partition(".")[0] in branches and not name.endswith(COUNT):
            raise InputError(f"{file} is of another network: it has {name} besides.")


def _put(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    names: Mapping[str, str],
    source: str,
    file: Path,
    colours: Colours | None,
) -> Initial:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fresh = put_weights(model, weights, names)
    count = sum(not name.endswith(COUNT) for name in before)
    if count - len(fresh) < LEAST_SHARE * count:
        model.load_state_dict(before)
        raise InputError(
            f"{source} is of another network: only {count - len(fresh)} of {count} tensors fit,"
            f" not {fresh[0]}."
        )
    return Initial(source, hash_of(file), count - len(fresh), count, tuple(fresh), colours)


def hash_of(init: Path) -> str:
    """SHA-256 of a file, or of a run's best weights."""
    return hash_of_file(init / BEST if init.is_dir() else init)


def _of(peer: Peer) -> Colours:
    return peer.mean, peer.std
