"""Memory predicted: by hand, by what it must grow with, and the largest batch."""

import pytest
import torch
from torch import nn

from convworks.errors import InputError, UsageError
from convworks.measure.memory import largest_batch, predict_memory
from convworks.measure.units import parse_bytes, show_bytes
from convworks.nets.registry import create_model


def test_one_layer_by_hand() -> None:
    """Linear 100 → 10 without bias, 1000 vectors, in fp32."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 10, bias=False))
    weights, images, logits = 4 * 1000, 4 * 1000 * 100, 4 * 1000 * 10
    use = predict_memory(model, (1, 10, 10), 1000, training=False)
    assert (use.parameters, use.gradients, use.optimizer, use.activations) == (weights, 0, 0, 0)
    assert use.total == weights + images + logits
    for optimizer, states in (("sgd", 0), ("nesterov", 1), ("adamw", 2)):
        need = predict_memory(model, (1, 10, 10), 1000, optimizer=optimizer)  # type: ignore[arg-type]
        assert need.optimizer == states * weights
        # Labels, log-probabilities and the loss's gradient come on top.
        assert need.activations >= images + logits
        assert need.total < weights * (2 + states) + images + 5 * logits + 8 * 1000 + 100


def test_sixteen_bits_halve_the_activations() -> None:
    model = create_model("vgg11_small", num_classes=10, in_channels=1, image_size=96)
    whole, half = (
        predict_memory(model, (1, 96, 96), 512, precision=p)
        for p in (torch.float32, torch.bfloat16)
    )
    assert half.parameters == whole.parameters
    # Pictures stay fp32, pooling keeps 64-bit indices, the weights' copies come on top.
    assert 0.5 * whole.activations < half.activations < 0.95 * whole.activations


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_recomputing_needs_less(precision: torch.dtype) -> None:
    plain, again = (
        predict_memory(
            create_model("densenet_bc100_12", options=options),
            (3, 32, 32),
            64,
            precision=precision,
        ).total
        for options in ({}, {"recompute": True})
    )
    assert again < 0.6 * plain


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("lenet")
    predict_memory(model, (1, 28, 28), 8)
    assert all(p.grad is None for p in model.parameters())
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_a_network_that_fails_without_a_word_is_told() -> None:
    class Silent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError

    with pytest.raises(InputError, match="cannot take 1×4×4 images: RuntimeError"):
        predict_memory(Silent(), (1, 4, 4))


def test_the_largest_batch() -> None:
    assert largest_batch(1000, lambda batch: 10 + 7 * batch) == 141
    assert largest_batch(16, lambda batch: 10 + 7 * batch) == 0
    assert largest_batch(17, lambda batch: 10 + 7 * batch) == 1
    model = create_model("lenet")
    largest = largest_batch(2**30, lambda batch: predict_memory(model, (1, 28, 28), batch).total)
    assert predict_memory(model, (1, 28, 28), largest).total <= 2**30
    assert predict_memory(model, (1, 28, 28), largest + 1).total > 2**30


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(InputError, match="cannot take 3×28×28 images"):
        predict_memory(create_model("lenet"), (3, 28, 28))


def test_bytes_read_and_written() -> None:
    for text, count in (
        ("8GiB", 8 * 2**30),
        ("512 MB", 512 * 10**6),
        ("1.5kib", 1536),
        ("7B", 7),
    ):
        assert parse_bytes(text) == count
    for text in ("8", "GiB", "8 Gi", "-1GiB", "8GiBs", ""):
        with pytest.raises(UsageError, match="such as 8GiB"):
            parse_bytes(text)
    assert show_bytes(1536) == "1.5 KiB"
    assert show_bytes(3 * 2**20 // 2) == "1.50 MiB"
    assert show_bytes(8 * 2**30) == "8.00 GiB"
