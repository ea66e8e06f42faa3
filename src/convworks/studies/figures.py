"""What a study can measure."""

from dataclasses import dataclass
from typing import Literal

from convworks.measure.units import show_bytes


@dataclass(frozen=True)
class Figure:
    """One kind of number."""

    label: str
    how: Literal["trained", "counted", "measured"]
    """By training; by running the network on the meta device; by a clock, on this machine."""
    kind: Literal["share", "number", "rate", "count", "bytes"] = "number"

    def show(self, value: float) -> str:
        """For people."""
        if self.kind == "bytes":
            return show_bytes(round(value))
        if self.kind == "count":
            for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
                if value >= size:
                    return f"{value / size:.3g} {unit}" if value < 1e12 else f"{value:.3g}"
            return f"{value:.0f}"
        return f"{value:,.0f}" if self.kind == "rate" else f"{value:.4f}"


FIGURES: dict[str, Figure] = {
    "test_accuracy": Figure("test accuracy", "trained", "share"),
    "val_accuracy": Figure("validation accuracy", "trained", "share"),
    "train_accuracy": Figure("training accuracy", "trained", "share"),
    "test_loss": Figure("test loss", "trained"),
    "train_loss": Figure("training loss", "trained"),
    "images_per_second": Figure("images/s, while trained", "trained", "rate"),
    "parameters": Figure("parameters", "counted", "count"),
    "macs": Figure("multiply-adds", "counted", "count"),
    "kept_bytes": Figure("kept for backward, an image", "counted", "bytes"),
    "training_memory": Figure("memory of a step, predicted", "counted", "bytes"),
    "measured_memory": Figure("memory of a step, measured", "measured", "bytes"),
    "training_rate": Figure("images/s in training", "measured", "rate"),
    "inference_rate": Figure("images/s in use", "measured", "rate"),
}
"""`train_*` are of the last epoch, while the weights changed; `val_*` and `test_*` of the best."""
