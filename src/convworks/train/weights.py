"""Where a network's weights are in training."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from convworks.train.optimizer import begin_momentum


def hash_of_weights(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the numbers, in the order of their names."""
    found = sha256()
    for name, tensor in sorted(state.items()):
        found.update(name.encode())
        found.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()


class Weights:
    """In every process as a whole; `sharded.Sharded` has them in parts."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def complete(self, state: Any) -> Any:
        """A state with tensors as a whole, for the first process; the others may get None."""
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Puts whole tensors into the model."""
        self.model.load_state_dict(dict(state))

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Puts whole tensors into the model's optimizer."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        fitted = {
            number: {
                name: self.fit(value, weights[number])
                if isinstance(value, Tensor) and value.shape == weights[number].shape
                else value
                for name, value in kept.items()
            }
            for number, kept in state["state"].items()
        }
        groups = [dict(group) for group in state["param_groups"]]
        for saved, group in zip(groups, optimizer.param_groups, strict=False):
            saved["fused"] = group["fused"]  # is for the device and the weights that there are now
        optimizer.load_state_dict({**state, "state": fitted, "param_groups": groups})
        begin_momentum(optimizer)  # what was frozen may have none yet

    def fit(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """A whole tensor as what is kept for that weight: it must lie in memory as the weight does.

        The fused optimizers go through both in the order of memory, without a look at strides.
        """
        return torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)

    def together(self) -> AbstractContextManager[None]:
        """While it lasts each process has all weights, and may compute as often as it likes."""
        return nullcontext()
