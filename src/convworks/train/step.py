"""One step of training: what the loop does and `bench` measures."""

import torch
import torch.nn.functional as F
from torch import Tensor

from convworks.train.processes import ALONE, Processes
from convworks.train.small_maps import Network


def train_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    images: Tensor,
    labels: Tensor,
    *,
    precision: torch.dtype,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    auxiliary_weight: float = 0.3,
    processes: Processes = ALONE,
    whole: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Forward, backward, update. Returns logits and their mean cross-entropy, detached.

    Of several `processes`, each has its share of `whole` pictures; the mean of their losses is that
    of the whole batch, as the mean of their gradients is.

    A network with auxiliary heads gives a tuple in training, the main logits first; the others'
    losses are added with `auxiliary_weight`. With `class_weights`, a number a class, the mean is
    the weighted one of the pictures.
    """
    with torch.autocast(images.device.type, precision, precision != torch.float32):
        output = network(images)
    logits, *early = output if isinstance(output, tuple) else (output,)
    loss, *others = (
        _cross_entropy(head.float(), labels, label_smoothing, class_weights, processes, whole)
        for head in (logits, *early)
    )
    scaler.scale(loss + auxiliary_weight * sum(others)).backward()  # type: ignore[no-untyped-call]
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return logits.detach(), loss.detach()


def _cross_entropy(
    logits: Tensor,
    labels: Tensor,
    smoothing: float,
    weights: Tensor | None,
    processes: Processes,
    whole: int | None,
) -> Tensor:
    """The pictures are weighted; PyTorch's own weights would also move the smoothed targets.

    Gradients are averaged over processes, so each divides by the mean of what theirs weigh.
    """
    if weights is None:
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        share = len(labels) if whole is None else whole / processes.share.of
        return loss if len(labels) == share else loss * (len(labels) / share)
    each = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    counted = weights[labels]
    weight = processes.sum(counted.sum()) / processes.share.of
    return (each * counted).sum() / weight
