"""The documents' figures of batch norm."""

import torch
from torch import nn

from convworks import ops
from convworks.bench.claims.claim import Claim

BATCHES = "advice, not a measurement; `convworks study batch-size` asks it here"


def _batch_norms_apart() -> str:
    """Training on three batches, then use; by features and by channels."""
    torch.manual_seed(0)
    farthest = 0.0
    for shape, theirs in (((8, 4), nn.BatchNorm1d(4)), ((8, 4, 5, 6), nn.BatchNorm2d(4))):
        ours = ops.BatchNorm(4)
        for step in range(4):
            ours.train(step < 3)
            theirs.train(step < 3)
            images = 3 + 2 * torch.randn(shape)
            farthest = max(farthest, (ours(images) - theirs(images)).abs().max().item())
    return "within 1e-05" if farthest <= 1e-5 else f"{farthest:g} apart"


def _beginning() -> str:
    norm = nn.BatchNorm2d(6)
    gammas, betas = set(norm.weight.tolist()), set(norm.bias.tolist())
    return f"γ {', '.join(map('{:g}'.format, gammas))}, β {', '.join(map('{:g}'.format, betas))}"


def _moving_average() -> str:
    """The weight of the old value, from one step on a batch whose mean is 1."""
    norm = nn.BatchNorm1d(1)
    norm(torch.tensor([[0.0], [2.0]]))
    assert norm.running_mean is not None
    return f"ε {norm.eps:g}, {1 - norm.running_mean.item():.1f} of the old value"


CLAIMS = (
    Claim(
        "batch-norm",
        "S0 7.5",
        "the written-out layer and PyTorch's",
        "within 1e-05",
        _batch_norms_apart,
        derived=True,
    ),
    Claim(
        "batch-norm",
        "S0 7.5",
        "ε and the moving averages' momentum",
        "ε 1e-05, 0.9 of the old value",
        _moving_average,
    ),
    Claim(
        "batch-norm",
        "S0 7.5",
        "what γ and β begin with, by the comment",
        "γ 0, β 1",
        _beginning,
        reason="a comment swaps them",
        truth="γ 1, β 0",
    ),
    Claim("batch-norm", "S0 7.5", "best batch sizes", "50 … 100", None, reason=BATCHES),
    Claim("batch-norm", "S4", "best batch sizes", "64 … 256, about 128", None, reason=BATCHES),
)
