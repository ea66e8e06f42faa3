"""Other libraries' weights for our networks, matched by what the networks do, not by names.

Both networks run once without arithmetic. A weight is known by its role, its shape, its depth (how
many weighted layers lie on the longest way from the picture to it) and by how many numbers it is
used to compute. Of those alike in all four, the first that runs in theirs is the first in ours.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from convworks.errors import InputError, unknown
from convworks.nets.blocks import on_meta
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

COUNT = "num_batches_tracked"
"""Batch norm's count of batches, which files of before 2018 lack and nothing needs."""

Key = tuple[str, tuple[int, ...], int, int]
"""A weight's role (`weight`, `bias`, `running_mean`, …), shape, depth, and the numbers computed."""


def match_weights(
    ours: nn.Module, theirs: nn.Module, input_shape: tuple[int, ...]
) -> dict[str, str]:
    """Our weights' names to theirs, for networks that compute the same.

    `input_shape` is channels, height and width of a picture that both take. Raises InputError when
    one of our weights finds no partner or one of theirs is left.
    """
    wanted, offered = (_weights_in_order(model, input_shape) for model in (ours, theirs))
    for key in wanted.keys() | offered.keys():
        mine, other = wanted.get(key, []), offered.get(key, [])
        if len(mine) != len(other):
            role, shape, depth, _ = key
            raise InputError(
                f"The networks differ: {len(mine)} and {len(other)} weights {depth} layers deep are"
                f" a {role} of shape {'×'.join(map(str, shape)) or '1'}, such as"
                f" {(mine or other)[0]}."
            )
    return {
        name: partner
        for key, names in wanted.items()
        for name, partner in zip(names, offered[key], strict=True)
    }


def copy_weights(ours: nn.Module, weights: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Puts their `weights` into our network, by the names that `match_weights` gave."""
    own = ours.state_dict()
    ours.load_state_dict({k: weights[theirs].view(own[k].shape) for k, theirs in names.items()})


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
    spec = spec_of(model)
    assert spec is not None
    peer = _peer(spec.name, library)
    row = find(spec.name)
    as_published = replace(
        spec, num_classes=1000, in_channels=3, image_size=row.input[1], stem="paper"
    )
    auxiliary = bool(spec.options.get("auxiliary"))
    with torch.device("meta"):
        ours = build(row, as_published)
    theirs, weights = READERS[library](peer, auxiliary)
    try:
        names = match_weights(ours, theirs, (3, row.input[1], row.input[1]))
    except InputError as error:
        raise InputError(
            f"{library}'s weights do not fit {spec.name} with {dict(spec.options)}: {error}"
        ) from error
    needed = {given for given in names.values() if not given.endswith(COUNT)}
    if lacking := needed - weights.keys():
        raise InputError(f"{library}'s published {peer} lacks {min(lacking)}.")
    shapes = {name: weight.shape for name, weight in ours.state_dict().items()}
    fresh = []
    with torch.no_grad():
        for name, own in model.state_dict().items():
            if name.endswith(COUNT):
                continue
            given = _fit(weights[names[name]], own, spec.in_channels) if name in names else None
            if given is not None:
                own.copy_(given)
            elif own.shape != (spec.num_classes, *shapes.get(name, ())[1:]):
                fresh.append(name)
    if fresh:
        warnings.warn(
            f"{spec.name} is only in part pretrained, because {library}'s is for"
            f" {row.input[1]}×{row.input[1]} images and the paper's stem. Fresh are:"
            f" {', '.join(fresh)}.",
            stacklevel=3,
        )


def _fit(given: Tensor, own: Tensor, channels: int) -> Tensor | None:
    """The published weight in the shape of ours; None where that makes no sense."""
    if given.numel() == own.numel():
        return given.view(own.shape)
    if own.ndim == 4 and own.shape == (len(given), channels, *given.shape[2:]):
        return given.mean(1, keepdim=True).expand_as(own) * (3 / channels)
    return None


def _peer(name: str, library: str) -> str:
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


def _from_torchvision(peer: str, auxiliary: bool) -> tuple[nn.Module, dict[str, Tensor]]:
    """torchvision's network without weights, and its newest published ones."""
    from torchvision.models import get_model, get_model_weights

    inception = {"aux_logits": auxiliary, "init_weights": False, "transform_input": False}
    with torch.device("meta"):
        theirs = get_model(peer, **(inception if peer == "inception_v3" else {}))
    weights = _download(get_model_weights(peer).DEFAULT.url)
    # DenseNet's were published when its layers were called norm.1, conv.1 and so on.
    return theirs, {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", k): v for k, v in weights.items()}


def _from_timm(peer: str, _auxiliary: bool) -> tuple[nn.Module, dict[str, Tensor]]:
    """timm's network and its published weights."""
    if find_spec("timm") is None:
        raise InputError("weights='timm' needs timm: pip install timm.")
    import timm
    from huggingface_hub import hf_hub_download

    with torch.device("meta"):
        theirs = timm.create_model(peer)
    config = timm.get_pretrained_cfg(peer)
    url, hub = (str(config.url or ""), config.hf_hub_id) if config else ("", None)
    if url:
        return theirs, _download(url)
    if not hub:
        raise InputError(f"timm has {peer} but publishes no weights for it.")
    try:
        path = hf_hub_download(hub, "model.safetensors")
    except Exception as error:  # the hub raises its own, its HTTP library's and the system's
        raise InputError(
            f"Cannot download {hub} from the Hugging Face hub ({type(error).__name__}): try again"
            " with a network."
        ) from error
    return theirs, load_file(path)


def _download(url: str) -> dict[str, Tensor]:
    """Weights from an address whose file name ends with their hash, or from torch's cache."""
    kept = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    try:
        weights: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        if kept.exists():
            raise InputError(f"{kept} is damaged: delete it and try again.") from error
        raise InputError(
            f"Cannot download {url} ({error}): try again with a network, or put the file at {kept}."
        ) from error
    return weights


READERS = {"torchvision": _from_torchvision, "timm": _from_timm}


class _Trace(TorchFunctionMode):
    """Notes each weight when something is computed with it, and how deep it lies."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        named = [*model.named_parameters(), *model.named_buffers()]
        self.names = {id(tensor): name for name, tensor in named}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in named}
        self.found: dict[Key, list[str]] = defaultdict(list)
        self.seen: set[str] = set()
        self.alive: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        weights = [x for x in given if id(x) in self.names]
        if weights and len(weights) == len(given):  # a view of a weight is that weight
            self.names |= {id(x): self.names[id(weights[0])] for x in made}
            self.alive += made
            return result
        depth = max((getattr(x, "depth", 0) for x in given), default=0) + bool(weights)
        for weight in weights:
            self._note(self.names[id(weight)], depth, sum(x.numel() for x in made))
        for x in made:
            x.depth = depth  # type: ignore[attr-defined]
        return result

    def _note(self, name: str, depth: int, numbers: int) -> None:
        if name in self.seen:
            return
        self.seen.add(name)
        prefix, _, role = name.rpartition(".")
        if role not in ("weight", "bias", "running_mean", "running_var", COUNT):
            role = "scale"
        shape = self.shapes[name]
        while shape and shape[-1] == 1:  # a 1×1 convolution of one pixel is a Linear layer
            shape = shape[:-1]
        self.found[role, shape, depth, numbers].append(name)
        count = f"{prefix}.{COUNT}"
        if role == "running_mean" and count in self.shapes:
            self._note(count, depth, numbers)


def _weights_in_order(model: nn.Module, input_shape: tuple[int, ...]) -> dict[Key, list[str]]:
    """The names of the weights that take part in training, in the order in which they run."""
    trace = _Trace(twin := on_meta(model).train())
    images = torch.empty(2, *input_shape, device="meta")
    with torch.no_grad(), trace:
        twin(images)
    return trace.found
