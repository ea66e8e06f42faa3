"""Convolutional image classifiers: build, train, measure, explain, ship.

    import convworks as cw
    model = cw.create_model("resnet18", num_classes=10, in_channels=1, image_size=96)
    data = cw.load_data("fashion_mnist", image_size=96)
    run = cw.fit(model, data, cw.TrainConfig(epochs=1))

Importing the package is cheap; PyTorch is imported when the first name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from convworks.version import __version__ as __version__

if TYPE_CHECKING:
    from convworks.api import (
        Bench,
        Contestant,
        Exported,
        Memory,
        RateTest,
        Run,
        TrainConfig,
        Tuned,
        benchmark,
        create_model,
        evaluate,
        export,
        find_lr,
        fit,
        list_models,
        load,
        load_data,
        predict_memory,
        repeat,
        resume,
        summarize,
        tune,
    )
    from convworks.data.duplicates import near_duplicates
    from convworks.deploy.report import write_report
    from convworks.estimator import Classifier
    from convworks.report import figures
    from convworks.reproduction import reproduce
    from convworks.studies.answer import Answer, study

__all__ = [
    "Answer",
    "Bench",
    "Classifier",
    "Contestant",
    "Exported",
    "Memory",
    "RateTest",
    "Run",
    "TrainConfig",
    "Tuned",
    "benchmark",
    "create_model",
    "evaluate",
    "export",
    "figures",
    "find_lr",
    "fit",
    "list_models",
    "load",
    "load_data",
    "near_duplicates",
    "predict_memory",
    "repeat",
    "reproduce",
    "resume",
    "study",
    "summarize",
    "tune",
    "write_report",
]

ELSEWHERE = {
    "Answer": "studies.answer",
    "Classifier": "estimator",
    "figures": "report.figures",
    "near_duplicates": "data.duplicates",
    "reproduce": "reproduction",
    "study": "studies.answer",
    "write_report": "deploy.report",
}
"""The modules of the names that are not in api.py, because training does not wait for them."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'convworks' has no attribute {name!r}")
    module = import_module(f"convworks.{ELSEWHERE.get(name, 'api')}")
    return module if module.__name__.endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
