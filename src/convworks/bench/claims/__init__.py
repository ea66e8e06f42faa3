"""Every figure that the source documents print, as data with its source."""

from convworks.bench.claims import networks, operators, training
from convworks.bench.claims.claim import Claim, TrainedClaim

CLAIMS: tuple[Claim, ...] = (*operators.CLAIMS, *networks.CLAIMS)
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
