"""Other libraries' weights for our networks: published ones, and what stands in their files."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from convworks.errors import InputError, unknown
from convworks.files import hash_of_file
from convworks.nets.matching import COUNT, match_weights
from convworks.nets.pickled import load_pickled
from convworks.nets.registry import build, find, spec_of
from convworks.nets.zoo import ZOO

TORCHVISION = {
    name: re.sub("^regnet", "regnet_", name)
    for name in ZOO
    if re.fullmatch(
        r"vgg1[1369](_bn)?|resnet(18|34|50|101|152)|resnext(50_32x4d|101_64x4d)|squeezenet1_1"
        r"|densenet(121|161|169|201)|shufflenet_v2_.*|mobilenet_v[23].*|efficientnet_.*|convnext_.*"
        r"|inception_v3|regnetx_(800mf|[138].*gf|16gf)|regnety_(400mf|[13].*gf|16gf)",
        name,
    )
    and not name.endswith("_12gf")
}
"""Our names to torchvision's, where it has the same network.

Its GoogLeNet has a 3×3 path for the 5×5, some of its RegNets are wider than the paper's.
"""

_REGNETS = {
    "200mf": "002",
    "400mf": "004",
    "600mf": "006",
    "800mf": "008",
    "1_6gf": "016",
    "3_2gf": "032",
    "4_0gf": "040",
    "6_4gf": "064",
    "8gf": "080",
    "12gf": "120",
    "16gf": "160",
    "32gf": "320",
}

TIMM = {
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"preact_resnet{depth}": f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"se_resnet{depth}": f"seresnet{depth}" for depth in (50, 101)},
    "se_resnext50_32x4d": "seresnext50_32x4d",
    "resnext50_32x4d": "resnext50_32x4d",
    "resnext101_32x4d": "resnext101_32x4d",
    "resnext101_64x4d": "resnext101_64x4d",
    "senet154": "legacy_senet154",
    **{f"densenet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)},
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "inception_resnet_v2": "inception_resnet_v2",
    "xception": "legacy_xception",
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    **{f"efficientnet_b{i}": f"efficientnet_b{i}" for i in range(5)},
    **{f"convnext_{size}": f"convnext_{size}" for size in ("tiny", "small", "base")},
    **{
        f"regnet{kind}_{ours}": f"regnet{kind}_{theirs}"
        for kind in "xy"
        for ours, theirs in _REGNETS.items()
    },
}
"""Our names to timm's, where it has the same network: its EfficientNets from b5 have another ε."""


@dataclass(frozen=True)
class Peer:
    """Another library's network that computes the same as one of ours."""

    library: str
    name: str
    names: Mapping[str, str]
    """Our weights' names to theirs."""
    known: frozenset[str]
    """All of its weights' names."""
    mean: tuple[float, ...]
    """Of the colours that its published weights were trained on, black 0 and white 1."""
    std: tuple[float, ...]

    @property
    def title(self) -> str:
        """What its weights are called."""
        return f"{self.library}'s {self.name}"


def find_peer(model: nn.Module, library: str) -> Peer:
    """torchvision's or timm's form of a network of `create_model`; InputError: it has none."""
    spec = spec_of(model)
    assert spec is not None
    name = _peer_name(spec.name, library)
    row = find(spec.name)
    as_published = replace(
        spec, num_classes=1000, in_channels=3, image_size=row.input[1], stem="paper"
    )
    with torch.device("meta"):
        ours = build(row, as_published)
        theirs, (mean, std) = BUILDERS[library](name, bool(spec.options.get("auxiliary")))
    try:
        names = match_weights(ours, theirs, (3, row.input[1], row.input[1]))
    except InputError as error:
        raise InputError(
            f"{library}'s weights do not fit {spec.name} with {dict(spec.options)}: {error}"
        ) from error
    return Peer(library, name, names, frozenset(theirs.state_dict()), tuple(mean), tuple(std))


def load_published(model: nn.Module, library: str) -> None:
    """Puts weights into a network of `create_model` that torchvision or timm publishes for it.

    The newest that torchvision has, or timm's default. They stay in the caches of torch and of the
    Hugging Face hub; a file whose name holds a hash is checked against it. All were trained on
    ImageNet's 1000 classes, most on colours with mean (0.485, 0.456, 0.406) and deviation (0.229,
    0.224, 0.225), Inception and Xception with 0.5 for both.

    With other classes the last Linear stays fresh. With other channels C each channel of the first
    convolution gets the mean of the published three times 3/C: a grey picture then gives what the
    same picture in three equal channels gives. A warning names all else that stays fresh because
    the shapes differ: the small stem, or VGG's first Linear at another size.

    Raises InputError when the library has not that network, and when a download fails.
    """
    peer, _, weights = download(model, library)
    model.published = peer.title  # type: ignore[assignment]
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    spec = spec_of(model)
    assert spec is not None
    fresh = [
        name
        for name in put_weights(model, weights, peer.names)
        if shapes[name] != (spec.num_classes, *weights[peer.names[name]].shape[1:])
    ]
    if fresh:
        size = find(spec.name).input[1]
        warnings.warn(
            f"{spec.name} is only in part pretrained, because {library}'s is for"
            f" {size}×{size} images and the paper's stem. Fresh are:"
            f" {', '.join(fresh)}.",
            stacklevel=3,
        )


def put_weights(
    model: nn.Module, weights: Mapping[str, Tensor], names: Mapping[str, str]
) -> list[str]:
    """Puts what fits of `weights` into a model, by our names to theirs; the names left fresh."""
    spec = spec_of(model)
    fresh = []
    with torch.no_grad():
        for name, own in model.state_dict().items():
            given = weights.get(names.get(name, ""))
            fitting = None if given is None else _fit(given, own, spec.in_channels if spec else 0)
            if fitting is not None:
                own.copy_(fitting)
            elif not name.endswith(COUNT):
                fresh.append(name)
    return fresh


def _fit(given: Tensor, own: Tensor, channels: int) -> Tensor | None:
    """The weight in the shape of ours; None where that makes no sense."""
    if [n for n in given.shape if n > 1] == [n for n in own.shape if n > 1]:
        return given.reshape(own.shape)  # a 1×1 convolution of one pixel is a Linear layer
    if own.ndim == given.ndim == 4 and own.shape == (len(given), channels, *given.shape[2:]):
        return given.mean(1, keepdim=True).expand_as(own) * (given.shape[1] / channels)
    return None


def _peer_name(name: str, library: str) -> str:
    """The library's name for the network of that name."""
    peers = {"torchvision": TORCHVISION, "timm": TIMM}
    if library not in peers:
        raise unknown("source of weights", library, peers)
    if name in peers[library]:
        return peers[library][name]
    others = [other for other, known in peers.items() if name in known]
    raise InputError(
        f"{library} publishes no weights for {name}"
        + (f": use weights={others[0]!r}." if others else ", nor does any other source here.")
    )


Colours = tuple[tuple[float, ...], tuple[float, ...]]


def _build_torchvisions(name: str, auxiliary: bool) -> tuple[nn.Module, Colours]:
    """torchvision's network without weights."""
    from torchvision.models import get_model, get_model_weights

    if name == "inception_v3":  # its own forward would bring ImageNet's colours to these
        arguments = {"aux_logits": auxiliary, "init_weights": False, "transform_input": False}
        return get_model(name, **arguments), ((0.5,) * 3, (0.5,) * 3)
    published = get_model_weights(name).DEFAULT.transforms()
    return get_model(name), (published.mean, published.std)


def _build_timms(name: str, _auxiliary: bool) -> tuple[nn.Module, Colours]:
    """timm's network without weights."""
    if find_spec("timm") is None:
        raise InputError("timm's weights need timm: pip install timm.")
    import timm

    theirs: Any = timm.create_model(name)
    return theirs, (theirs.default_cfg["mean"], theirs.default_cfg["std"])


BUILDERS = {"torchvision": _build_torchvisions, "timm": _build_timms}


def download(model: nn.Module, library: str) -> tuple[Peer, Path, dict[str, Tensor]]:
    """The published weights, complete, and their file in torch's or the hub's cache."""
    peer = find_peer(model, library)
    if library == "torchvision":
        from torchvision.models import get_model_weights

        file = _download(get_model_weights(peer.name).DEFAULT.url)
    else:
        file = _download_timms(peer.name)
    needed = {given for given in peer.names.values() if not given.endswith(COUNT)}
    weights = read_file(file)
    if lacking := needed - weights.keys():
        raise InputError(f"{library}'s published {peer.name} lacks {min(lacking)}.")
    return peer, file, weights


def _download_timms(name: str) -> Path:
    import timm
    from huggingface_hub import hf_hub_download

    config = timm.get_pretrained_cfg(name)
    url, hub = (str(config.url or ""), config.hf_hub_id) if config else ("", None)
    if url:
        return _download(url)
    if not hub:
        raise InputError(f"timm has {name} but publishes no weights for it.")
    try:
        return Path(hf_hub_download(hub, "model.safetensors"))
    except Exception as error:  # the hub raises its own, its HTTP library's and the system's
        raise InputError(
            f"Cannot download {hub} from the Hugging Face hub ({type(error).__name__}): try again"
            " with a network."
        ) from error


def _download(url: str) -> Path:
    """The file at an address whose name ends with its hash, from torch's cache if it is whole."""
    kept = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    named = re.search(r"-([a-f0-9]{8,})\.", kept.name)  # not timm's oldest
    digest = named[1] if named else ""
    try:
        if not _is_whole(kept, digest):
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(kept), digest)
    except (OSError, RuntimeError) as error:
        if kept.exists():
            raise InputError(
                f"{kept} is damaged, and {url} cannot be downloaded ({error}): try again with a"
                " network."
            ) from error
        raise InputError(
            f"Cannot download {url} ({error}): try again with a network, or put the file at {kept}."
        ) from error
    return kept


def _is_whole(file: Path, digest: str) -> bool:
    """Whether it is there, and its SHA-256 begins so."""
    return file.exists() and hash_of_file(file).startswith(digest)


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors file or in what `torch.save` wrote; no code of it runs.

    Of a training's checkpoint the weights are taken, from `state_dict` or `model`. Raises
    InputError for what is neither.
    """
    try:
        found: Any = load_file(file) if file.suffix == ".safetensors" else load_pickled(file)
    except OSError as error:
        raise InputError(f"Cannot read {file} ({error.strerror}).") from error
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        raise InputError(
            f"Cannot read {file}: it is damaged, or holds more than weights, which could run code."
            " Save weights alone, with torch.save(model.state_dict(), file)."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise InputError(f"{file} holds no weights by their names, as model.state_dict() does.")
    # What DistributedDataParallel saves; and DenseNet's layers were norm.1, conv.1 once.
    plain = {str(name).removeprefix("module."): tensor for name, tensor in found.items()}
    return {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", k): v for k, v in plain.items()}
