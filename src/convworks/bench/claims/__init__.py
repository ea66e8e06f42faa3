"""Every figure that the source documents print, as data with its source."""

from collections.abc import Sequence

from convworks.bench.claims import networks, norms, operators, shapes, training
from convworks.bench.claims.claim import Claim, TrainedClaim
from convworks.errors import unknown

CLAIMS: tuple[Claim, ...] = (
    *operators.CLAIMS,
    *shapes.CLAIMS,
    *networks.CLAIMS,
    *norms.CLAIMS,
    *training.SETTINGS,
)
TRAINED: tuple[TrainedClaim, ...] = training.CLAIMS
SECTIONS = (
    "operators",
    "lenet",
    "alexnet",
    "vgg",
    "nin",
    "googlenet",
    "batch-norm",
    "resnet",
    "resnext",
    "densenet",
    "cheaper-convolutions",
)


def choose_sections(asked: str | Sequence[str]) -> list[str]:
    """The sections of that name or those names, all when there are none; InputError for others."""
    names = [asked] if isinstance(asked, str) else list(asked or SECTIONS)
    for name in names:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS, f"There are {', '.join(SECTIONS)}.")
    return names
