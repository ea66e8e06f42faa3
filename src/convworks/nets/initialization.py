"""How weights begin."""

from collections.abc import Callable

import torch
from torch import nn

from convworks.errors import unknown


def init_xavier(model: nn.Module) -> None:
    """Xavier uniform weights and zero biases (Glorot and Bengio 2010, equation 16)."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_he(model: nn.Module) -> None:
    """He normal weights by fan-out, zero biases (He et al. 2015, arXiv:1502.01852, section 2.2).

    The last Linear of a head, which no ReLU follows, keeps PyTorch's default weights.
    """
    for parent in model.modules():
        linears = [layer for layer in parent.children() if isinstance(layer, nn.Linear)]
        layers: list[nn.Conv2d | nn.Linear] = [*linears[:-1]]
        if isinstance(parent, nn.Conv2d):
            layers.append(parent)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


METHODS: dict[str, Callable[[nn.Module], None]] = {"xavier": init_xavier, "he": init_he}


def initialize(model: nn.Module, method: str) -> None:
    """Draws the weights of convolutions and Linear layers anew. InputError: unknown method."""
    if method not in METHODS:
        raise unknown("initialization", method, ("paper", *METHODS))
    METHODS[method](model)


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` gives with torch's generator at `seed`; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
