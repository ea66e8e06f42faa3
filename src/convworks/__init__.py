"""Convolutional image classifiers: build, train, measure, explain, ship.

    import convworks as cw
    model = cw.create_model("resnet18", num_classes=10, in_channels=1, image_size=96)
    data = cw.load_data("fashion_mnist", image_size=96)
    run = cw.fit(model, data, cw.TrainConfig(epochs=1))

Importing the package is cheap; PyTorch is imported when the first name is used.
"""

from typing import TYPE_CHECKING

from convworks.version import __version__ as __version__

if TYPE_CHECKING:
    from convworks.api import (
        Answer,
        Bench,
        Contestant,
        Exported,
        Memory,
        Run,
        TrainConfig,
        benchmark,
        create_model,
        evaluate,
        export,
        fit,
        list_models,
        load,
        load_data,
        predict_memory,
        reproduce,
        resume,
        study,
        summarize,
    )

__all__ = [
    "Answer",
    "Bench",
    "Contestant",
    "Exported",
    "Memory",
    "Run",
    "TrainConfig",
    "benchmark",
    "create_model",
    "evaluate",
    "export",
    "fit",
    "list_models",
    "load",
    "load_data",
    "predict_memory",
    "reproduce",
    "resume",
    "study",
    "summarize",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'convworks' has no attribute {name!r}")
    from convworks import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
