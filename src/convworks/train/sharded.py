"""One network in parts, a part a process: for what is too large for one device.

Weights, gradients and the optimizer's state are spread over the processes, and a block's weights
are together only while it computes (Rajbhandari et al. 2020, ZeRO, stage 3; Zhao et al. 2023,
FSDP). In bf16, autocast's copies of the weights stay from forward to backward, two bytes each. This
module takes a second to import; nobody else needs it.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from convworks.train.weights import Weights

LARGEST = 10_000_000
"""A block of at most so many numbers is brought together at once, a larger layer too."""


class Sharded(Weights):
    """Each process has a part of every weight; all of them call every method together."""

    def __init__(self, model: nn.Module, called: Collection[str]) -> None:
        """Spreads the weights of the first process, in place.

        `called`: names of the modules that run by themselves, as blocks must. The weights become
        DTensors, contiguous ones as FSDP wants them.
        """
        super().__init__(model)
        model.to(memory_format=torch.contiguous_format)
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, 0)
        device = next(model.parameters()).device
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        for block in list(_blocks(model, "", called)):
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh, reshard_after_forward=False)

    def complete(self, state: Any) -> Any:
        """Brings tensors together one by one, on the CPU of the first process."""
        keep = dist.get_rank() == 0

        def complete(part: DTensor) -> Tensor | None:
            tensor = part.full_tensor()
            return tensor.cpu() if keep else None

        return tree_map_only(DTensor, complete, state)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes this process's part of each."""
        own = self.model.state_dict()
        super().load({name: self.fit(tensor, own[name]) for name, tensor in state.items()})

    def fit(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """This process's part of a whole tensor."""
        if not isinstance(weight, DTensor):
            return tensor
        own = tensor.to(weight.device).contiguous()
        return distribute_tensor(own, weight.device_mesh, weight.placements, src_data_rank=None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Blocks stay as they are brought together; processes may compute unlike often."""
        blocks = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        for block in blocks:
            block.set_reshard_after_forward(False, recurse=False)
            block.unshard()
        try:
            yield
        finally:
            for block in blocks:
                block.reshard()
                block.set_reshard_after_forward(block is not self.model, recurse=False)
            if hasattr(FSDPModule, "reset_iter_state"):  # not in all versions of PyTorch
                # The next backward would bring blocks together in the order of this run, which
                # may have taken place in some processes only.
                blocks[0].reset_iter_state()  # the network itself


def _blocks(module: nn.Module, name: str, called: Collection[str]) -> Iterator[nn.Module]:
    """The largest modules that are called and small enough; what is left is the network's own."""
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}".lstrip(".")
        count = sum(p.numel() for p in child.parameters())
        is_layer = any(True for _ in child.parameters(recurse=False))
        if path in called and count and (count <= LARGEST or is_layer):
            yield child
        else:
            yield from _blocks(child, path, called)
