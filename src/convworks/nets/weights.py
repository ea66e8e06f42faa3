"""Other libraries' weights for our networks, matched by what the networks do, not by names.

Both networks run once without arithmetic; their weights are listed in the order in which their
layers run. Of all weights of one role and shape, the first of theirs is the first of ours.
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.nets.blocks import on_meta

Key = tuple[str, tuple[int, ...]]
"""A weight's role (`weight`, `bias`, `running_mean`, …) and shape."""


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
            role, shape = key
            raise InputError(
                f"The networks differ: {len(mine)} and {len(other)} weights are a {role} of shape"
                f" {'×'.join(map(str, shape)) or 'one number'}, such as {(mine or other)[0]}."
            )
    return {
        name: partner
        for key, names in wanted.items()
        for name, partner in zip(names, offered[key], strict=True)
    }


def copy_weights(ours: nn.Module, weights: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Puts their `weights` into our network, by the names that `match_weights` gave."""
    ours.load_state_dict({mine: weights[theirs] for mine, theirs in names.items()})


def _weights_in_order(model: nn.Module, input_shape: tuple[int, ...]) -> dict[Key, list[str]]:
    """The names of the weights that take part in evaluation, by role and shape, as they run."""
    twin = on_meta(model).eval()
    found: dict[Key, list[str]] = defaultdict(list)
    seen: set[str] = set()

    def note(name: str, module: nn.Module) -> None:
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for role, tensor in own:
            full = f"{name}.{role}" if name else role
            if full not in seen:
                seen.add(full)
                found[role, tuple(tensor.shape)].append(full)

    for name, module in twin.named_modules():
        module.register_forward_pre_hook(lambda module, _args, name=name: note(name, module))
    twin(torch.empty(2, *input_shape, device="meta"))
    return found
