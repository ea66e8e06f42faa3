"""What training needs to know of a network before it begins."""

import torch
from torch import nn

from convworks.data.splits import Data, MemoryImages
from convworks.errors import InputError
from convworks.measure.summary import Summary, summarize
from convworks.nets.registry import spec_of


def has_sigmoids_only(model: nn.Module) -> bool:
    """Whether sigmoids are the only activations, as in LeNet, and not the gates among others."""
    kinds = {type(module) for module in model.modules()}
    others = {nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish}
    return nn.Sigmoid in kinds and not kinds & others


def has_norms(model: nn.Module) -> bool:
    """Whether any layer normalises over the batch, or over groups of channels."""
    norms = nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm
    return any(isinstance(module, norms) for module in model.modules())


def check_fit(model: nn.Module, data: Data) -> Summary:
    """The layer table for one picture.

    InputError unless the model takes the data's pictures and gives a logit a class, every label
    is a class, and pixels in memory are bytes.
    """
    for part in ("train", "val", "test"):
        images = getattr(data, part)
        pixels = images.pixels.dtype if isinstance(images, MemoryImages) else torch.uint8
        if (pixels, images.labels.dtype) != (torch.uint8, torch.int64):
            raise InputError(
                f"The {part} part has pixels of {pixels} and labels of {images.labels.dtype}: give"
                " torch.uint8, black 0 and white 255, and torch.int64."
            )
        lowest, highest = (int(x) for x in images.labels.aminmax())
        if lowest < 0 or highest >= len(data.classes):
            raise InputError(
                f"The labels of the {part} part run from {lowest} to {highest}, and there are"
                f" {len(data.classes)} classes: number them from 0 to {len(data.classes) - 1}."
            )
    spec = spec_of(model)
    size = data.image_size
    if spec and (spec.in_channels, spec.image_size) != (data.channels, size):
        raise InputError(
            f"The network was made for {spec.in_channels}×{spec.image_size}×{spec.image_size}"
            f" images, the data are {data.channels}×{size}×{size}: give create_model and load_data"
            " the same image_size, and create_model in_channels=data.channels."
        )
    summary = summarize(model, (data.channels, size, size))
    totals = summary.totals
    if totals.output != (len(data.classes),):
        gives = "×".join(map(str, totals.output)) or "no tensor"
        raise InputError(
            f"The network gives {gives} for a picture, the data have {len(data.classes)} classes:"
            f" make it with num_classes={len(data.classes)}."
        )
    return summary


def title_of(model: nn.Module) -> str:
    """The network's name."""
    spec = spec_of(model)
    return spec.name if spec else type(model).__name__


def count_parameters(model: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(p.numel() for p in model.parameters())
