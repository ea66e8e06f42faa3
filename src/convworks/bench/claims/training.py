"""What the documents' trainings end with, and on what settings: those of the `book` recipe."""

from dataclasses import asdict
from pathlib import Path

from convworks.bench.claims.claim import EPOCHS, Claim, TrainedClaim
from convworks.nets.registry import Initialization
from convworks.train.checkpoint import read_settings
from convworks.train.config import TrainConfig
from convworks.train.recipes import BOOK, resolve
from convworks.train.run import read_config

INITIALIZATION: Initialization = "xavier"
DATA = "fashion_mnist"


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


def _settings(network: str) -> str:
    """Of the `book` recipe."""
    recipe = resolve(TrainConfig(recipe="book"), network, 60_000, mirror=True)
    side = BOOK[network].image_size
    return f"{recipe.lr:g}, {recipe.batch_size}, {recipe.epochs}, {side}×{side}"


SETTINGS = (
    *(
        Claim(
            section,
            source,
            f"{network}: learning rate, batch, epochs, images",
            printed,
            lambda network=network: _settings(network),  # type: ignore[misc]
        )
        for section, source, network, printed in (
            ("lenet", "S3 7.6", "lenet", "0.1, 128, 10, 28×28"),
            ("batch-norm", "S0 7.5", "lenet_bn", "1, 256, 10, 28×28"),
            ("alexnet", "S0 7.1", "alexnet", "0.01, 128, 10, 224×224"),
            ("vgg", "S0 7.2", "vgg11_small", "0.05, 128, 10, 224×224"),
            ("nin", "S0 7.3", "nin", "0.1, 128, 10, 224×224"),
            ("googlenet", "S0 7.4", "googlenet", "0.1, 128, 10, 96×96"),
            ("resnet", "S0 7.6", "resnet18", "0.05, 256, 10, 96×96"),
            ("densenet", "S0 7.7", "densenet_book", "0.1, 256, 10, 96×96"),
        )
    ),
    *(
        Claim(
            section,
            source,
            f"{network}: learning rate and batch of the notebook",
            printed,
            None,
            reason=f"S0's are trained; `convworks train {network} --data fashion_mnist"
            f" --recipe book {options}` takes these",
        )
        for section, source, network, printed, options in (
            ("vgg", "S3 8.2", "vgg11_small", "0.01, 128", "--lr 0.01"),
            ("resnet", "S3 8.6", "resnet18", "0.01, 128", "--lr 0.01 --batch-size 128"),
        )
    ),
)


def unlike_printed(folder: Path, network: str) -> str:
    """In what the run there is not the documents' training of that network; empty where it is.

    Its length is looked at where its figures are judged. Raises InputError when there is no run.
    """
    settings = read_settings(folder)
    recipe = resolve(TrainConfig(recipe="book", epochs=EPOCHS), network, 60_000, mirror=True)
    model, data = settings.get("model") or {}, settings["data"]
    trained = read_config(settings, folder).to_dict()
    asked: dict[str, tuple[object, object]] = {
        "model": (network, model.get("name")),
        "initialization": (INITIALIZATION, model.get("initialization")),
        "options": ({}, model.get("options")),
        "data": (DATA, data.get("name")),
        "image size": (BOOK[network].image_size, data.get("image_size")),
        "seed": (0, trained["seed"]),
        "init": (None, trained["init"]),
        **{name: (value, trained[name]) for name, value in asdict(recipe).items()},
    }
    del asked["epochs"]
    unlike = [f"{name} {got}, not {want}" for name, (want, got) in asked.items() if got != want]
    return f"{folder} has {'; '.join(unlike)}" if unlike else ""
