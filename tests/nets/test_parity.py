"""Where a peer has the same network, its weights in ours give its outputs and gradients."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from convworks.errors import InputError
from convworks.nets.matching import match_weights
from convworks.nets.registry import create_model
from convworks.nets.weights import TIMM, TORCHVISION, put_weights
from convworks.nets.zoo import ZOO

PEERS = [
    *(("torchvision", name) for name in TORCHVISION),
    *(("timm", name) for name in TIMM if name not in TORCHVISION),
]
"""Whose network, and its name here."""

LIGHT = 8_000_000
"""Parameters up to which a network is compared in the usual tests; the others take minutes."""


def peer(library: str, name: str) -> nn.Module:
    """The library's network with weights and batch norm statistics that are not trivial."""
    if library == "timm":
        model: nn.Module = timm.create_model(TIMM[name])
    else:
        options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
        model = torchvision.models.get_model(TORCHVISION[name], weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Conv2d) and "inception" in name:
            nn.init.kaiming_normal_(module.weight)
        for role, parameter in module.named_parameters(recurse=False):
            if role == "layer_scale":
                nn.init.normal_(parameter)  # at 1e-6 the blocks would not matter
    return without_chance(model)


def without_chance(model: nn.Module) -> nn.Module:
    """The same network without dropout of any kind, which would not be the same twice."""
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "DropPath", "StochasticDepth"):
            for rate in {"p", "drop_prob"} & vars(module).keys():
                setattr(module, rate, 0.0)
        if hasattr(module, "drop_rate"):  # timm's own head
            module.drop_rate = 0.0
    return model


@pytest.mark.parametrize(
    ("library", "name"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] if ZOO[pair[1]].parameters > LIGHT else [])
        for pair in PEERS
    ],
)
def test_outputs_and_gradients_are_the_peers(library: str, name: str) -> None:
    torch.manual_seed(0)
    # VGG's first Linear fixes the size; the others are compared on smaller pictures.
    size = 224 if name.startswith("vgg") else 128 if "inception" in name else 96
    theirs = peer(library, name)
    mine = without_chance(create_model(name, image_size=size, stem="paper"))
    names = match_weights(mine, theirs, (3, size, size))
    assert put_weights(mine, theirs.state_dict(), names) == []
    images = torch.randn(2, 3, size, size)
    theirs.eval()
    mine.eval()
    with torch.inference_mode():
        expected, found = theirs(images), mine(images)
    scale = expected.abs().max()
    assert scale > 0
    assert (found - expected).abs().max() / scale < 1e-4
    theirs.train()
    mine.train()
    for model in (theirs, mine):
        model(images).square().sum().backward()
    partners = dict(theirs.named_parameters())
    for own, parameter in mine.named_parameters():
        assert parameter.grad is not None
        wanted = partners[names[own]].grad
        assert wanted is not None
        wanted = wanted.view(parameter.shape)
        torch.testing.assert_close(
            parameter.grad, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item() + 1e-12
        )


def test_networks_that_differ_are_told_apart() -> None:
    mine = create_model("resnet18", image_size=96)
    theirs = torchvision.models.resnet34(weights=None)
    with pytest.raises(InputError, match="The networks differ: .* layers deep are a"):
        match_weights(mine, theirs, (3, 96, 96))
