"""Which weight of another library's network is which of ours, by what they do, not by names.

Both networks run once without arithmetic. A weight is known by its role, its shape, its depth (how
many weighted layers lie on the longest way from the picture to it) and by how many numbers it is
used to compute. Of those alike in all four, the first that runs in theirs is the first in ours.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from convworks.errors import InputError
from convworks.nets.meta import on_meta

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
