"""Where a network's weights are in training."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from convworks.train.optimizer import begin_momentum, names_kept


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
        """Puts whole tensors into the model's optimizer. Of its settings only rates are taken.

        ValueError for what is not its own: the fused optimizers trust the shapes that they find.
        """
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        own, saved = optimizer.state_dict()["param_groups"], state["param_groups"]
        if [group["params"] for group in saved] != [group["params"] for group in own]:
            raise ValueError("its optimizer is of other weights")
        rates = [group["lr"] for group in saved]
        if not all(type(rate) in (int, float) and 0 <= rate < inf for rate in rates):
            raise ValueError(f"a learning rate in it is {rates!r:.40}")
        groups = [{**group, "lr": rate} for group, rate in zip(own, rates, strict=True)]
        names = names_kept(optimizer)
        fitted = {}
        for number, kept in state["state"].items():
            if number not in range(len(weights)) or kept.keys() not in (set(), names):
                raise ValueError("its optimizer is another one")
            fitted[number] = {
                name: self._checked(name, value, weights[number]) for name, value in kept.items()
            }
        optimizer.load_state_dict({"state": fitted, "param_groups": groups})
        begin_momentum(optimizer)  # what was frozen may have none yet

    def _checked(self, name: str, value: object, weight: Tensor) -> Tensor:
        """What the optimizer kept for a weight, in its shape and place; `step` is one number."""
        shape = () if name == "step" else weight.shape
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != shape:
            raise ValueError(f"{name} in its optimizer does not fit")
        return value if name == "step" else self.fit(value, weight)

    def fit(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """A whole tensor as what is kept for that weight: it must lie in memory as the weight does.

        The fused optimizers go through both in the order of memory, without a look at strides.
        """
        return torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)

    def together(self) -> AbstractContextManager[None]:
        """While it lasts each process has all weights, and may compute as often as it likes."""
        return nullcontext()
