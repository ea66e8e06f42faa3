"""One kind of layer in place of another, in any network of the zoo.

What the exercises on norms and on cheaper convolutions ask for. The networks' own files stay as
their papers draw them; here the modules of a fresh network are exchanged.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from math import gcd
from typing import Literal

from torch import nn

from convworks.errors import InputError
from convworks.nets.blocks import ShuffleChannels, named
from convworks.nets.initialization import init_he
from convworks.nets.integral import ProbabilityIntegral
from convworks.nets.whitening import Whitening

NormKind = Literal["batch", "group", "layer", "instance", "whitening", "integral", "none"]
"""Over the batch (Ioffe and Szegedy 2015); over groups of a picture's channels (Wu and He 2018);
over all of them (Ba et al. 2016); over each of them (Ulyanov et al. 2016); over the batch, with
channels decorrelated (Huang et al. 2018); over the batch, each number as its place among all
(the probability-integral transform)."""
ConvKind = Literal["dense", "sliced", "grouped", "depthwise"]
"""k×k; k×1, then 1×k; k×k in groups, then channels shuffled; depthwise k×k, then 1×1."""

MOST_GROUPS = 32
"""Of a group norm, as Wu and He chose; each has at least two channels here."""
CONV_GROUPS = 4

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def exchange(
    model: nn.Module,
    norm_kind: NormKind = "batch",
    norm_layers: Sequence[str] = (),
    norm_affine: bool = True,
    norm_bias: bool = True,
    conv_kind: ConvKind = "dense",
) -> None:
    """Exchanges the batch norms and the dense k×k convolutions of a fresh network, in place.

    `norm_kind` takes the place of batch norm. `norm_layers` are patterns of the norms' names, such
    as `features.*`: those that match none are taken out; no patterns keep all. Without
    `norm_affine`, γ = 1 and β = 0 for ever. Without `norm_bias`, layers before a norm lose their
    bias, which β makes superfluous; a layer whose norm is taken out has one. `conv_kind` takes the
    place of convolutions wider than 1×1 in one group; they are drawn as He et al. 2015. Those that
    see one channel, or whose channels are in groups already, stay.

    Raises InputError for a pattern that matches no norm, and for instance norm behind a Linear.
    """
    norms = {name: one for name, one in model.named_modules() if isinstance(one, BatchNorm)}
    if not norms and (norm_kind, norm_affine, norm_bias) != ("batch", True, True):
        raise InputError("The network has no batch norm that another could take the place of.")
    for pattern in norm_layers:
        if not any(fnmatchcase(name, pattern) for name in norms):
            listed = ", ".join(norms) or "none"
            raise InputError(f"No batch norm is called {pattern!r}; there are: {listed}.")
    changed: dict[nn.Module, nn.Module] = {}
    for name, norm in norms.items():
        kept = not norm_layers or any(fnmatchcase(name, pattern) for pattern in norm_layers)
        if not kept or norm_kind != "batch" or not norm_affine:
            changed[norm] = _make_norm(norm_kind if kept else "none", norm, norm_affine)
    _settle_biases(model, changed, norm_bias)
    if conv_kind != "dense":
        for conv in model.modules():
            if isinstance(conv, nn.Conv2d) and _is_dense(conv):
                changed[conv] = _make_conv(conv_kind, conv)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in changed:
                setattr(parent, name, changed[child])


def _make_norm(kind: NormKind, old: BatchNorm, affine: bool) -> nn.Module:
    """A norm for the same channels, γ and β as they began."""
    channels, eps = old.num_features, old.eps
    new: nn.Module
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        new = type(old)(channels, eps, affine=affine)
    elif kind == "whitening":
        new = Whitening(channels, eps, affine=affine)
    elif kind == "integral":
        new = ProbabilityIntegral(type(old)(channels, eps, affine=False), affine=affine)
    elif kind == "instance" and isinstance(old, nn.BatchNorm1d):
        raise InputError(
            "Instance norm needs pixels: a Linear gives a single number a channel; name the norms"
            " behind convolutions with norm_layers."
        )
    else:
        most = {"layer": 1, "instance": channels, "group": min(MOST_GROUPS, channels // 2)}[kind]
        groups = max(count for count in range(1, most + 1) if channels % count == 0)
        new = nn.GroupNorm(groups, channels, eps, affine=affine)
    if affine and old.affine:
        new.load_state_dict({"weight": old.weight, "bias": old.bias}, strict=False)
    return new


def _settle_biases(model: nn.Module, changed: dict[nn.Module, nn.Module], norm_bias: bool) -> None:
    """Of the layers right before a norm."""
    for parent in model.modules():
        layers = list(parent.children()) if isinstance(parent, nn.Sequential) else []
        for layer, norm in pairwise(layers):
            if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(norm, BatchNorm):
                if isinstance(changed.get(norm), nn.Identity):
                    if layer.bias is None:
                        layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
                elif not norm_bias:
                    layer.bias = None


def _is_dense(conv: nn.Conv2d) -> bool:
    return max(conv.kernel_size) > 1 and conv.groups == 1 and conv.in_channels > 1


def _make_conv(kind: ConvKind, old: nn.Conv2d) -> nn.Module:
    """Layers that do what the convolution did, for less; the last has its bias, if it has one."""
    c_in, c_out, bias = old.in_channels, old.out_channels, old.bias is not None
    (k_h, k_w), (s_h, s_w) = old.kernel_size, old.stride
    assert isinstance(old.padding, tuple)
    p_h, p_w = old.padding
    size = ((k_h, k_w), (s_h, s_w), (p_h, p_w))
    if kind == "sliced":
        new = named(
            tall=nn.Conv2d(c_in, c_out, (k_h, 1), (s_h, 1), (p_h, 0), bias=False),
            wide=nn.Conv2d(c_out, c_out, (1, k_w), (1, s_w), (0, p_w), bias=bias),
        )
    elif kind == "grouped":
        groups = gcd(c_in, c_out, CONV_GROUPS)
        new = named(
            conv=nn.Conv2d(c_in, c_out, *size, groups=groups, bias=bias),
            shuffle=ShuffleChannels(groups),
        )
    else:
        new = named(
            depthwise=nn.Conv2d(c_in, c_in, *size, groups=c_in, bias=False),
            pointwise=nn.Conv2d(c_in, c_out, 1, bias=bias),
        )
    init_he(new)
    for layer in new.children():  # whose outputs are sums of a group's inputs only
        if isinstance(layer, nn.Conv2d):
            layer.weight.data *= layer.groups**0.5
    return new
