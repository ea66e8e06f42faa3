"""A network with all that a step needs, as the trainer would choose it, on invented pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from convworks.measure.summary import summarize
from convworks.nets.registry import create_model
from convworks.train.config import TrainConfig
from convworks.train.device import arithmetic, choose_device, choose_precision
from convworks.train.optimizer import make_optimizer
from convworks.train.recipes import resolve
from convworks.train.small_maps import with_small_maps
from convworks.train.step import train_step


@dataclass(frozen=True)
class Contestant:
    """A network of the zoo on pictures of one size, in batches; plain values, for JSON."""

    name: str
    num_classes: int = 10
    in_channels: int = 1
    image_size: int = 28
    batch_size: int = 128
    device_name: str = "auto"
    precision_name: str = "auto"
    options: dict[str, object] = field(default_factory=dict)
    stem: Literal["auto", "paper", "small"] = "auto"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture."""
        return (self.in_channels, self.image_size, self.image_size)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return choose_device(self.device_name)

    def model(self) -> nn.Module:
        """A fresh network."""
        torch.manual_seed(0)
        return create_model(
            self.name,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            image_size=self.image_size,
            stem=self.stem,
            options=self.options,
        )

    def on_meta(self) -> nn.Module:
        """The same without weights."""
        with torch.device("meta"):
            return self.model()

    def precision(self) -> torch.dtype:
        """What the trainer would compute in."""
        macs = summarize(self.on_meta(), self.shape, depth=0).totals.macs
        return choose_precision(self.precision_name, self.device, macs)

    def training_step(self, model: nn.Module | None = None) -> Callable[[], None]:
        """A function that takes one step of training, with the modern recipe's optimizer.

        `model` is moved to the device; None: a fresh one.
        """
        device, precision = self.device, self.precision()
        model = (model or self.model()).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        config = TrainConfig(batch_size=self.batch_size)
        recipe = resolve(config, self.name, 60_000, mirror=False)
        optimizer = make_optimizer(model, recipe)
        scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        network = with_small_maps(model, summarize(self.on_meta(), self.shape), device)
        images, labels = self._batch(device)

        def step() -> None:
            with arithmetic():
                train_step(
                    network,
                    optimizer,
                    scaler,
                    images,
                    labels,
                    precision=precision,
                    label_smoothing=recipe.label_smoothing,
                    auxiliary_weight=getattr(model, "auxiliary_weight", 0.3),
                )

        return step

    def inference_step(self, model: nn.Module | None = None) -> Callable[[], None]:
        """A function that computes one batch's logits; `model` as in `training_step`."""
        device, precision = self.device, self.precision()
        model = (model or self.model()).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        images, _ = self._batch(device)

        @torch.inference_mode()
        def step() -> None:
            with arithmetic(), torch.autocast(device.type, precision, precision != torch.float32):
                model(images)

        return step

    def _batch(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.randn(self.batch_size, *self.shape, device=device)
        labels = torch.randint(self.num_classes, (self.batch_size,), device=device)
        return images.contiguous(memory_format=torch.channels_last), labels
