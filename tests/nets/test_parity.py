"""Where torchvision has the same network, its weights in ours give its outputs and gradients."""

import pytest
import torch
import torchvision
from torch import nn

from convworks.errors import InputError
from convworks.nets.registry import create_model
from convworks.nets.weights import copy_weights, match_weights
from convworks.nets.zoo import ZOO

PEERS = {
    **{f"vgg{d}{n}": f"vgg{d}{n}" for d in (11, 13, 16, 19) for n in ("", "_bn")},
    **{f"resnet{d}": f"resnet{d}" for d in (18, 34, 50, 101, 152)},
    **{name: name for name in ("resnext50_32x4d", "resnext101_64x4d")},
    **{f"densenet{d}": f"densenet{d}" for d in (121, 161, 169, 201)},
    **{f"shufflenet_v2_{x}": f"shufflenet_v2_{x}" for x in ("x0_5", "x1_0", "x1_5", "x2_0")},
    **{name: name for name in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")},
    **{name: name for name in ("squeezenet1_1", "inception_v3")},
    **{
        f"regnet{k}_{size}": f"regnet_{k}_{size}"
        for k in "xy"
        for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")
    },
    **{f"efficientnet_b{i}": f"efficientnet_b{i}" for i in range(8)},
    **{f"convnext_{size}": f"convnext_{size}" for size in ("tiny", "small", "base")},
}
LIGHT = 8_000_000
"""Parameters up to which a network is compared in the usual tests; the others take minutes."""


def peer(name: str) -> nn.Module:
    """torchvision's network with weights and batch norm statistics that are not trivial."""
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    model: nn.Module = torchvision.models.get_model(PEERS[name], weights=None, **options)
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
    for module in model.modules():  # chance would not be the same
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    return model


def ours(name: str, size: int) -> nn.Module:
    """Our network without chance in training."""
    model = create_model(name, image_size=size, stem="paper")
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "DropPath"):
            module.p = 0.0  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if ZOO[name].parameters > LIGHT else [])
        for name in PEERS
    ],
)
def test_outputs_and_gradients_are_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    # VGG's first Linear fixes the size; the others are compared on smaller pictures.
    size = 224 if name.startswith("vgg") else 128 if "inception" in name else 96
    theirs, mine = peer(name), ours(name, size)
    names = match_weights(mine, theirs, (3, size, size))
    copy_weights(mine, theirs.state_dict(), names)
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
        torch.testing.assert_close(
            parameter.grad, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item() + 1e-12
        )


def test_networks_that_differ_are_told_apart() -> None:
    mine = create_model("resnet18", image_size=96)
    theirs = torchvision.models.resnet34(weights=None)
    with pytest.raises(InputError, match="The networks differ: .* weights are a"):
        match_weights(mine, theirs, (3, 96, 96))
