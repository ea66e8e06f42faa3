"""Which weights are trained, and how fast: decay, a rate for each stage, a frozen trunk.

A stage is what gives maps of one size, so that it means the same in every network, a user's own
included: ResNets have the stages of their paper, VGG one a block, LeNet three.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from convworks.errors import InputError
from convworks.measure.summary import Summary, SummaryRow
from convworks.nets.blocks import SqueezeExcite
from convworks.train.recipes import Recipe

MOMENTUM = 0.9


def make_optimizer(
    model: nn.Module,
    recipe: Recipe,
    stages: Mapping[str, int] = MappingProxyType({}),
    layer_decay: float = 1.0,
    in_parts: bool = False,
) -> torch.optim.Optimizer:
    """One pass over all weights a step (`fused`), weight decay on matrices and kernels only.

    PyTorch has no such pass of SGD for weights that are spread over processes, `in_parts`.

    Each group's `lr_scale` is `layer_decay` to the power of its stage, which `stages` gives for
    each parameter; none are all 0 (Howard and Ruder 2018, section 3.2; timm's --layer-decay).
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            stage = stages.get(name, 0) if layer_decay < 1 else 0
            # ConvNeXt's factors are C×1×1; a kernel has four sides, even a gate's C×1×1×1.
            scales = weight.ndim <= 1 or weight.shape[1:] == (1, 1)
            groups.setdefault((stage, scales), []).append(weight)
    trained: list[dict[str, Any]] = [
        {
            "params": weights,
            "weight_decay": 0.0 if scales else recipe.weight_decay,
            "lr_scale": layer_decay**stage,
        }
        for (stage, scales), weights in sorted(groups.items(), key=lambda item: item[0])
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=recipe.lr, fused=True)
    nesterov = recipe.optimizer == "nesterov"
    momentum = MOMENTUM if nesterov else 0.0
    fused = not in_parts
    made = torch.optim.SGD(trained, recipe.lr, momentum=momentum, nesterov=nesterov, fused=fused)
    begin_momentum(made)
    return made


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Gives each weight of a fused SGD its momentum, 0, unless it has one.

    PyTorch's fused step would take memory as it is for it where fp16's first step overflows, and
    fails where only some weights have one, as when a trunk is thawed. 0.9·0 + g is the g that it
    begins with otherwise.
    """
    for group in optimizer.param_groups:
        if group.get("momentum") and group["fused"]:
            for weight in group["params"]:
                state = optimizer.state[weight]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(weight)


def names_kept(optimizer: torch.optim.Optimizer) -> set[str]:
    """What one of `make_optimizer` keeps for each weight that it has changed."""
    if isinstance(optimizer, torch.optim.AdamW):
        return {"step", "exp_avg", "exp_avg_sq"}
    return {"momentum_buffer"} if optimizer.defaults["momentum"] else set()


def stages_of(model: nn.Module, summary: Summary, classes: int) -> dict[str, int]:
    """The stage of each parameter, counted from the end of the network, 0 for the head.

    The head is the last layers whose result has a number or a map for each class, and auxiliary
    heads, which the `summary` of evaluation does not run. A stage ends where the maps become
    smaller for good: the 1×1 maps inside a squeeze-and-excitation block end none, and are, as norms
    are, of the stage of the layer before them.
    """
    ran = [row for row in summary.rows if row.macs + row.normalised + row.elementwise]
    rows = [row for row in ran if row.parameters]
    gates = [name for name, part in model.named_modules() if isinstance(part, SqueezeExcite)]
    layers: dict[str, int] = {}
    stage, largest, in_head = 0, -1, True
    for row in reversed(rows):
        inside = any(row.name.startswith(f"{gate}.") for gate in gates)
        pixels = None if inside else _pixels(row, model.get_submodule(row.name))
        in_head &= pixels is not None and row.output[0] == classes
        if in_head:
            layers[row.name] = 0
        elif pixels is not None:
            if pixels > largest:
                stage, largest = stage + 1, pixels
            layers[row.name] = stage
    if 0 not in layers.values():
        raise InputError(f"No layer at the end of {summary.title} gives {classes} classes.")
    before = stage
    for row in rows:
        before = layers.setdefault(row.name, before)
    return {name: _stage(name.rpartition(".")[0], layers) for name, _ in model.named_parameters()}


def _pixels(row: SummaryRow, layer: nn.Module) -> int | None:
    """Of a convolution's map; 0 for a Linear layer behind all maps; None: of another layer."""
    if isinstance(layer, nn.Conv2d):
        return row.output[1] * row.output[2]
    return 0 if isinstance(layer, nn.Linear) and len(row.output) == 1 else None


def _stage(owner: str, layers: Mapping[str, int]) -> int:
    """Of a layer, or of a block by what is inside."""
    if owner in layers:
        return layers[owner]
    return max((at for name, at in layers.items() if name.startswith(f"{owner}.")), default=0)


class Trunk:
    """All of a network but its head, which can be kept as it is."""

    def __init__(self, model: nn.Module, stages: Mapping[str, int]) -> None:
        head = {name.rpartition(".")[0] for name, stage in stages.items() if stage == 0}
        self.weights = [
            weight
            for name, weight in model.named_parameters()
            if weight.requires_grad and name.rpartition(".")[0] not in head
        ]
        self.layers = [
            layer
            for name, layer in model.named_modules()
            if name not in head and (layer._parameters or layer._buffers)
        ]

    def freeze(self) -> None:
        """No gradient is computed, and batch norm uses its running statistics, unchanged.

        Dropout, which holds no weights, goes on.
        """
        for weight in self.weights:
            weight.requires_grad_(False)
        for layer in self.layers:
            layer.training = False

    def thaw(self) -> None:
        """Gradients are computed again; `train` sets the mode."""
        for weight in self.weights:
            weight.requires_grad_(True)
