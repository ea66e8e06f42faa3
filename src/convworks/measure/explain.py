"""What a network sees: where it looked for a class, and what its layers give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.errors import InputError, unknown


def activation_map(
    model: nn.Module, images: Tensor, classes: Sequence[int] | Tensor | None = None
) -> Tensor:
    """Where the network looked for each picture's class: N×H×W floats in 0…1, 1 the most.

    `images` are N×C×H×W floats as the model takes them, `classes` a class for each; None: the one
    that the model says. The channels of the last map of more than one pixel a side that a module
    gives are weighted by the mean gradient of the class's logit, added, cut at 0 and brought to
    the pictures' size (Grad-CAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391, section 3). Behind
    a global average and one linear layer these weights are the linear layer's (CAM: Zhou et al.,
    CVPR 2016, arXiv:1512.04150). A picture in which nothing speaks for the class gets zeros.

    Runs in evaluation mode and leaves mode, gradients and hooks as they were. Raises InputError
    when no module gives such a map, and for a class that the model does not know.
    """
    maps: list[Tensor] = []

    def keep(_name: str, output: Tensor) -> None:
        if _is_map(output) and output.requires_grad:
            maps[:] = [output]

    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model):
        with _watching(model, keep):
            # Added to nothing, so that a first layer that works in place meets no leaf.
            logits = _logits(model, images.detach().clone().requires_grad_() + 0)
        chosen = _check_classes(logits, classes)
        shape = "×".join(map(str, images.shape[1:]))
        if not maps:
            raise InputError(
                f"No layer gives a map of more than one pixel a side for {shape} images: there is"
                " no place to look at. Take larger images, or a network with convolutions."
            )
        speaking = logits.gather(1, chosen[:, None]).sum()
        (gradient,) = torch.autograd.grad(speaking, maps, allow_unused=True)
    if gradient is None:
        raise InputError("The network's logits do not depend on the last map that its layers give.")
    weights = gradient.mean((2, 3), keepdim=True)
    found = (weights * maps[0].detach()).sum(1, keepdim=True).relu().float()
    found = F.interpolate(found, images.shape[2:], mode="bilinear")[:, 0]
    most = found.amax((1, 2), keepdim=True)
    return torch.where(most > 0, found / most, 0)


def feature_maps(
    model: nn.Module, images: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """What layers give for N×C×H×W images: name to N×channels×height×width, in their order.

    `layers` are names as in `model.named_modules()`; None: for each size of map the last layer
    that gives it. Runs in evaluation mode, without gradients, and leaves the model as it was.
    Raises InputError for a layer that there is not, that did not run, or that gives no maps.
    """
    names = {name for name, _ in model.named_modules() if name}
    for name in layers or ():
        if name not in names:
            raise unknown("layer", name, names, "`convworks summary` lists them.")
    found: dict[str, Tensor] = {}
    last: dict[torch.Size, str] = {}

    def keep(name: str, output: Tensor) -> None:
        if layers is not None and name not in layers:
            return
        if layers is None:
            if not (name and _is_map(output) and _as_wide(output, images)):
                return
            found.pop(last.get(output.shape[2:], ""), None)
            last[output.shape[2:]] = name
        found.pop(name, None)  # a layer that runs twice stands where it ran last
        found[name] = output.detach().clone()  # the next layer may work in place

    with torch.no_grad(), _evaluating(model), _watching(model, keep):
        model(images)
    for name in layers or ():
        if name not in found:
            raise InputError(f"The layer {name} did not run, or gives no tensor.")
        if found[name].ndim != 4:
            raise InputError(f"The layer {name} gives no maps but {list(found[name].shape[1:])}.")
    return found


def _is_map(output: Tensor) -> bool:
    return output.ndim == 4 and min(output.shape[2:]) > 1


def _as_wide(output: Tensor, images: Tensor) -> bool:
    """Whether height and width are as the pictures', not pixels and channels, up to a pixel."""
    height, width = images.shape[2:]
    return abs(output.shape[2] * width - output.shape[3] * height) <= max(height, width)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    output = model(images)
    logits = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InputError("The network gives no N×classes logits: it is no classifier.")
    return logits


def _check_classes(logits: Tensor, classes: Sequence[int] | Tensor | None) -> Tensor:
    if classes is None:
        return logits.argmax(1)
    chosen = torch.as_tensor(classes, dtype=torch.int64, device=logits.device)
    count, known = logits.shape
    if chosen.shape != (count,):
        raise InputError(f"Give a class for each of the {count} pictures, not {chosen.numel()}.")
    if count and (int(chosen.min()) < 0 or int(chosen.max()) >= known):
        raise InputError(f"The network's classes are 0 to {known - 1}, not {chosen.tolist()}.")
    return chosen


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards every module is in the mode that it was in."""
    modes: Mapping[nn.Module, bool] = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _watching(model: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Calls `see` with each module's name and what it gives, in the order in which they end."""

    def hook(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            see(name, output)

    handles = [
        module.register_forward_hook(lambda _m, _g, output, name=name: hook(name, output))
        for name, module in model.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
