"""Does an exponential moving average of the weights pay, under the modern recipe?

    python benchmarks/weight_averaging.py

Trains LeNet and its batch-normalised form on Fashion-MNIST, three seeds each, with averages of two
decays updated after every step beside the weights, and writes the validation accuracy of each at
the end of training. The training itself is not changed by the averages.
"""

import json
import tempfile
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from convworks.data.loader import open_loader
from convworks.data.sources import load_data
from convworks.nets.registry import create_model
from convworks.train import loop
from convworks.train.config import TrainConfig
from convworks.train.device import environment
from convworks.train.observer import Observer, Progress
from convworks.train.run import measure

RESULTS = Path(__file__).parent / "results" / "weight_averaging.json"
DECAYS = (0.99, 0.998)
CPU = torch.device("cpu")


class Averages(Observer):
    """Averages of the weights and of batch norm's statistics."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.averages = {
            decay: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
            for decay in DECAYS
        }

    def step(self, progress: Progress) -> None:  # noqa: ARG002
        """After every step, since the loop is told to report every one."""
        for average in self.averages.values():
            average.update_parameters(self.model)


def main() -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    loop.REPORT_SECONDS = 0.0
    data = load_data("fashion_mnist")
    results = []
    for name in ("lenet", "lenet_bn"):
        for seed in range(3):
            torch.manual_seed(seed)
            model = create_model(name, num_classes=10, in_channels=1, image_size=28)
            averages = Averages(model)
            with tempfile.TemporaryDirectory() as folder:
                config = TrainConfig(seed=seed, out=Path(folder) / "run")
                run = loop.fit(model, data, config, observers=[averages])
            loader = open_loader(data.val, batch_size=256, image_size=28, device=CPU)
            accuracies = {"none": run.history[-1].val_accuracy} | {
                str(decay): measure(average, loader, run.preparation, CPU, torch.float32).accuracy
                for decay, average in averages.averages.items()
            }
            print(name, seed, accuracies, flush=True)
            results.append({"model": name, "seed": seed, "val_accuracy": accuracies})
    RESULTS.write_text(
        json.dumps({"environment": environment(CPU), "results": results}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
