"""What the documents' trainings end with, and on what settings: those of the `book` recipe."""

from convworks.bench.claims.claim import TrainedClaim


def _section(
    section: str,
    source: str,
    network: str,
    loss: float | None,
    train: float | None,
    test: float | None,
    rate: float | None,
) -> tuple[TrainedClaim, ...]:
    return (
        TrainedClaim(section, source, network, "train_loss", loss),
        TrainedClaim(section, source, network, "train_accuracy", train),
        TrainedClaim(section, source, network, "test_accuracy", test),
        TrainedClaim(section, source, network, "images_per_second", rate),
    )


CLAIMS = (
    *_section("lenet", "S3 7.6", "lenet", None, None, None, None),
    *_section("batch-norm", "S0 7.5", "lenet_bn", None, None, None, None),
    TrainedClaim("batch-norm", "S0 7.5", "lenet_bn", "first_norm", None),
    *_section("alexnet", "S0 7.1", "alexnet", 0.333, 0.879, 0.891, 4206.3),
    *_section("vgg", "S0 7.2", "vgg11_small", 0.186, 0.931, 0.925, 1815.7),
    *_section("nin", "S0 7.3", "nin", 0.657, 0.744, 0.762, 3024.6),
    *_section("googlenet", "S0 7.4", "googlenet", 0.648, 0.770, 0.835, 2525.2),
    *_section("resnet", "S0 7.6", "resnet18", 0.013, 0.997, 0.892, 4931.7),
    *_section("densenet", "S0 7.7", "densenet_book", 0.144, 0.947, 0.896, 5628.8),
)
