"""Convolutions as products give what the usual ones give, and train alike."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.measure.summary import summarize
from convworks.train import small_maps
from convworks.train.small_maps import SmallMaps, with_small_maps
from convworks.train.step import train_step

CPU = torch.device("cpu")


@pytest.fixture
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_maps, "LEAST_WEIGHTS", 1)


@pytest.mark.usefixtures("_any_size")
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [((3, 3), 1, 1, 3), ((3, 3), 2, 1, 7), ((1, 3), 1, (0, 1), 4), ((2, 2), (2, 1), 0, 4)],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_values_and_gradients(
    kernel: tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    side: int,
    channels_last: bool,
) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 6, side, side)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    given = [images, torch.randn(5, 6, *kernel), torch.randn(5)]
    for tensor in given:
        tensor.requires_grad_()
    usual = F.conv2d(*given, stride, padding)
    with SmallMaps():
        ours = F.conv2d(*given, stride, padding)
    torch.testing.assert_close(ours, usual)
    weights = torch.randn_like(usual)
    for mine, theirs in zip(
        torch.autograd.grad(ours, given, weights),
        torch.autograd.grad(usual, given, weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def is_product(result: Tensor) -> bool:
    """Whether it came from a product of matrices."""
    return "AsProduct" in type(result.grad_fn).__name__


def test_what_gains_and_what_does_not() -> None:
    large = torch.randn(512, 256, 3, 3, requires_grad=True)
    with SmallMaps():
        assert is_product(F.conv2d(torch.randn(1, 256, 4, 4), large, None, 1, 1))
        for result in (
            F.conv2d(torch.randn(1, 256, 5, 5), large, None, 1, 1),
            F.conv2d(torch.randn(1, 256, 4, 4), large, None, 1, "same"),
            F.conv2d(torch.randn(1, 256, 4, 4), large, padding=1),
            F.conv2d(torch.randn(1, 256, 5, 5), large, None, 1, 1, 2),
            F.conv2d(torch.randn(1, 512, 4, 4), large, None, 1, 1, 1, 2),
            F.conv2d(torch.randn(256, 4, 4), large, None, 1, 1),
        ):
            assert not is_product(result)
        for shape in ((1, 256, 2, 2), (1, 256, 4, 1)):
            with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
                F.conv2d(torch.randn(shape), large, None, 1, 0)


def network() -> nn.Sequential:
    """Ends with 2×2 maps of 512 channels."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 256, 3, 2, 1),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.Conv2d(256, 512, 3, 2, 1, bias=False),
        nn.BatchNorm2d(512),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fifty_steps_train_alike(precision: torch.dtype) -> None:
    """Losses of the fast and the plain path differ by rounding, which training enlarges."""
    losses: dict[str, list[float]] = {}
    for way in ("plain", "fast"):
        model = network()
        model(torch.randn(2, 1, 8, 8))
        summary = summarize(model, (1, 8, 8))
        running = model if way == "plain" else with_small_maps(model, summary, CPU)
        assert (running is model) == (way == "plain")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        torch.manual_seed(1)
        kept = []
        for _ in range(50):
            labels = torch.randint(4, (32,))
            images = torch.randn(32, 1, 8, 8) + labels[:, None, None, None] * 0.3
            _, loss = train_step(running, optimizer, scaler, images, labels, precision=precision)
            kept.append(loss.item())
        losses[way] = kept
    assert losses["fast"][0] == pytest.approx(losses["plain"][0], rel=1e-3)
    close = 0.02 if precision == torch.float32 else 0.1
    assert losses["fast"] == pytest.approx(losses["plain"], abs=close)
    assert sum(losses["fast"][-5:]) < 0.8 * sum(losses["fast"][:5])


def test_a_network_that_gains_nothing_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
    assert with_small_maps(model, summarize(model, (1, 8, 8)), CPU) is model
    large = network()
    large(torch.randn(2, 1, 8, 8))
    assert with_small_maps(large, summarize(large, (1, 8, 8)), torch.device("meta")) is large
