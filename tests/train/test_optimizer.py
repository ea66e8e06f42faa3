"""Stages of networks, a rate for each, a frozen trunk; and that a resumed run is the same run."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages
from convworks.errors import InputError, UsageError
from convworks.measure.summary import summarize
from convworks.nets.registry import create_model, find
from convworks.train.config import TrainConfig
from convworks.train.loop import fit
from convworks.train.observer import EpochRecord, Observer
from convworks.train.optimizer import Trunk, make_optimizer, stages_of
from convworks.train.recipes import resolve
from convworks.train.weights import Weights
from small import assert_same


@pytest.fixture(scope="module")
def digits() -> Data:
    data = load_data("digits", image_size=16)
    assert isinstance(data.train, MemoryImages)
    return replace(data, train=data.train.take(torch.arange(120)))


def network(seed: int = 0) -> nn.Module:
    """Batch norm, and dropout in front of the head."""
    torch.manual_seed(seed)
    stage1 = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    stage2 = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
    pooling = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2))
    return nn.Sequential(stage1, stage2, *pooling, nn.Linear(32, 10))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet", ["head.fc3", "head.fc1 head.fc2", "features.conv2", "features.conv1"]),
        ("resnet18", ["fc", "stage4", "stage3", "stage2", "stage1", "stem"]),
        (
            "vgg11",
            ["head.fc3", "head.fc1 head.fc2", *(f"features.block{i}" for i in (5, 4, 3, 2, 1))],
        ),
        ("nin", ["block4", "block3", "block2", "block1"]),
        ("squeezenet1_1", ["classes", "stage3", "stage2", "stage1", "stem"]),
    ],
)
def test_the_stages_are_those_that_the_network_is_drawn_with(
    name: str, expected: list[str]
) -> None:
    stages = found_stages(name, classes=7)
    for number, prefixes in enumerate(expected):
        members = [layer for layer, stage in stages.items() if stage == number]
        assert members, number
        assert all(m.startswith(tuple(prefixes.split())) for m in members), (number, members)
    assert max(stages.values()) == len(expected) - 1


def found_stages(name: str, classes: int) -> dict[str, int]:
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
        return stages_of(model, summarize(model, find(name).input), classes)


def test_stages_end_where_maps_become_smaller() -> None:
    """Squeeze-and-excitation's 1×1 maps and linear layers on maps end none; norms go along."""
    densenet = found_stages("densenet121", classes=7)
    assert max(densenet.values()) == 5
    assert densenet["stem.conv.weight"] == densenet["stem.norm.bias"] == 5
    assert densenet["block4.0.body.conv.weight"] == densenet["norm.weight"] == 1
    efficientnet = found_stages("efficientnet_b0", classes=7)
    halvings = [efficientnet[f"blocks.{i}.body.project.conv.weight"] for i in range(16)]
    assert halvings == [5, 4, 4, 3, 3, *[2] * 6, *[1] * 5]
    squeezes = [n for n in efficientnet if n.startswith("blocks.14.")]
    assert {efficientnet[n] for n in squeezes} == {1}
    gated, plain = (found_stages(name, classes=7) for name in ("se_resnet50", "resnet50"))
    assert {name: gated[name] for name in plain} == plain  # its last layer is a gate's
    convnext = found_stages("convnext_tiny", classes=7)  # its last maps are 7×7
    assert [n for n, stage in convnext.items() if stage == 0] == ["fc.weight", "fc.bias"]
    assert convnext["norm.weight"] == 1


def test_the_groups_of_the_optimizer() -> None:
    model = network()
    stages = stages_of(model, summarize(model, (1, 16, 16)), 10)
    recipe = resolve(TrainConfig(weight_decay=0.1), "", 1000, mirror=False)
    groups = make_optimizer(model, recipe, stages, layer_decay=0.5).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    found = [
        ([names[id(p)] for p in g["params"]], g["lr_scale"], g["weight_decay"]) for g in groups
    ]
    assert found == [
        (["5.weight"], 1.0, 0.1),
        (["5.bias"], 1.0, 0.0),
        (["1.0.weight"], 0.5, 0.1),
        (["1.0.bias", "1.1.weight", "1.1.bias"], 0.5, 0.0),
        (["0.0.weight"], 0.25, 0.1),
        (["0.0.bias", "0.1.weight", "0.1.bias"], 0.25, 0.0),
    ]
    assert len(make_optimizer(model, recipe, stages).param_groups) == 2


def test_factors_of_channels_do_not_decay() -> None:
    model = create_model("convnext_tiny", num_classes=7, image_size=32)
    recipe = resolve(TrainConfig(weight_decay=0.1), "", 1000, mirror=False)
    decayed, free = (group["params"] for group in make_optimizer(model, recipe).param_groups)
    scales = {id(p) for name, p in model.named_parameters() if name.endswith("layer_scale")}
    assert len(scales) == 18
    assert scales <= {id(p) for p in free}
    assert all(p.ndim > 1 and p.numel() > len(p) for p in decayed)
    gated = create_model("resnet20", options={"se": 16})  # one channel inside the first gates
    decayed, free = (group["params"] for group in make_optimizer(gated, recipe).param_groups)
    assert all(p.ndim == 1 for p in free)
    assert all(p.ndim > 1 for p in decayed)


def test_a_first_step_that_overflows_leaves_no_trace() -> None:
    """As fp16's does when its scale begins too high; PyTorch's own would leave what memory held."""
    model = nn.Linear(300, 300)
    recipe = resolve(TrainConfig(optimizer="nesterov", lr=0.1), "", 1000, mirror=False)
    optimizer, scaler = make_optimizer(model, recipe), torch.amp.GradScaler("cpu")
    before = model.weight.detach().clone()
    scaler.scale(model(torch.full((1, 300), 1e38)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model.weight, before)
    for weight in model.parameters():
        assert optimizer.state[weight]["momentum_buffer"].abs().max() == 0


def test_each_stage_moves_at_its_own_rate(digits: Data) -> None:
    """AdamW's first step is the rate itself, for every weight with a gradient."""
    model, twin = network(), network()
    config = TrainConfig(epochs=1, batch_size=120, lr=0.01, warmup=0.0, weight_decay=0.0)
    run = fit(model, digits, replace(config, layer_decay=0.5))
    for name, rate in (("5.weight", 0.01), ("1.0.weight", 0.005), ("0.0.weight", 0.0025)):
        moved = (model.get_parameter(name) - twin.get_parameter(name)).abs()
        assert moved.max().item() == pytest.approx(rate, rel=1e-3), name
    assert run.history[0].lr == 0.01


def test_a_frozen_trunk_stays_and_costs_no_gradient(digits: Data) -> None:
    model, twin = network(), network()
    seen: list[dict[str, bool]] = []

    def note(_: nn.Module, __: object, output: torch.Tensor) -> None:
        if output.device.type != "meta" and model.training:
            seen.append(
                {
                    "recorded": output.requires_grad,
                    "norm": model.get_submodule("0.1").training,
                    "dropout": model.get_submodule("4").training,
                }
            )

    model.get_submodule("1").register_forward_hook(note)
    config = TrainConfig(epochs=2, batch_size=30, lr=0.01, freeze=True)
    run = fit(model, digits, config)
    assert seen == [{"recorded": False, "norm": False, "dropout": True}] * 8
    for name, tensor in run.model.state_dict().items():
        same = torch.equal(tensor, twin.state_dict()[name])
        assert same == (not name.startswith("5.")), name  # running statistics included
    assert all(p.requires_grad for p in model.parameters())  # as it was given


class Kept(Observer):
    """The trunk's first kernel after each epoch, and a crash after one of them."""

    def __init__(self, model: nn.Module, crash: int | None = None) -> None:
        self.kernel, self.crash = model.get_parameter("0.0.weight"), crash
        self.seen: list[torch.Tensor] = []

    def epoch(self, history: tuple[EpochRecord, ...]) -> None:
        self.seen.append(self.kernel.detach().clone())
        if len(history) == self.crash:
            raise RuntimeError("crash")


@pytest.mark.parametrize(
    ("optimizer", "decay"), [("adamw", 0.6), ("nesterov", 0.6), ("nesterov", 1.0)]
)
def test_thawed_and_resumed_it_is_the_same_run(digits: Data, optimizer: str, decay: float) -> None:
    config = TrainConfig(
        epochs=4,
        batch_size=30,
        lr=0.01,
        optimizer=optimizer,  # type: ignore[arg-type]
        freeze=True,
        unfreeze_after=2,
        layer_decay=decay,
    )
    model = network()
    begun, kept = model.get_parameter("0.0.weight").detach().clone(), Kept(model)
    whole = fit(model, digits, replace(config, out=Path("whole")), observers=[kept])
    assert [torch.equal(seen, begun) for seen in kept.seen] == [True, True, False, False]
    for epoch in (1, 2, 3):
        stopped = replace(config, out=Path(f"stopped{epoch}"))
        other = network()
        with pytest.raises(RuntimeError, match="crash"):
            fit(other, digits, stopped, observers=[Kept(other, crash=epoch)])
        assert all(p.requires_grad for p in other.parameters())
        assert_same(fit(network(9), digits, stopped, resume=True), whole)


def test_an_auxiliary_head_is_trained_with_the_head() -> None:
    model = create_model(
        "googlenet", num_classes=7, in_channels=1, image_size=96, options={"auxiliary": True}
    )
    stages = stages_of(model, summarize(model, (1, 96, 96)), 7)
    Trunk(model, stages).freeze()
    trained = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert "fc" in trained
    assert (
        trained - {"fc"} == {n for n, _ in model.named_children() if n.startswith("aux")} != set()
    )


def test_what_cannot_be_frozen_or_slowed(digits: Data) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(256, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ self.weight

    with pytest.raises(InputError, match="No layer at the end of Bare gives 10 classes"):
        fit(Bare(), digits, TrainConfig(freeze=True))
    with pytest.raises(UsageError, match="give --freeze too"):
        TrainConfig(unfreeze_after=2)
    for value in (0.0, 1.1, float("nan")):
        with pytest.raises(UsageError, match="--layer-decay must lie in 0…1"):
            TrainConfig(layer_decay=value)


def test_patience_ends_a_run_at_the_same_epoch_also_when_resumed(digits: Data) -> None:
    """A rate of 1e-12 brings nothing new after the first epochs."""
    config = TrainConfig(epochs=30, batch_size=60, lr=0.3, schedule="constant", patience=3)
    whole = fit(network(), digits, replace(config, out=Path("whole")))
    assert whole.summary is not None
    assert whole.summary.stopped_early
    assert 3 < whole.summary.epochs < 30
    assert whole.summary.epochs == whole.summary.best_epoch + 3
    for epoch in (2, whole.summary.epochs):  # the second: stopped before the look at the test
        stopped = replace(config, out=Path(f"stopped{epoch}"))
        model = network()
        with pytest.raises(RuntimeError, match="crash"):
            fit(model, digits, stopped, observers=[Kept(model, crash=epoch)])
        resumed = fit(network(4), digits, stopped, resume=True)
        assert_same(resumed, whole)
        assert resumed.summary is not None
        assert resumed.summary.epochs == whole.summary.epochs
    patient = fit(network(), digits, TrainConfig(epochs=2, patience=2))
    assert patient.summary is not None
    assert not patient.summary.stopped_early


@pytest.mark.parametrize("name", ["adamw", "nesterov"])
def test_an_optimizers_state_lies_in_memory_as_its_weight(name: str) -> None:
    """Saved from contiguous weights, resumed with channels-last ones."""

    def trained(model: nn.Module, steps: int, state: dict[str, Any] | None) -> dict[str, Any]:
        config = TrainConfig(optimizer=name, lr=0.1)  # type: ignore[arg-type]
        optimizer = make_optimizer(model, resolve(config, "", 1000, mirror=False))
        if state:
            Weights(model).load_optimizer(optimizer, state)
        for _ in range(steps):
            for weight in model.parameters():
                weight.grad = torch.sin(torch.arange(weight.numel()).float()).view(weight.shape)
                weight.grad = torch.empty_like(weight).copy_(weight.grad)
            optimizer.step()
        return optimizer.state_dict()

    torch.manual_seed(0)
    whole = nn.Conv2d(4, 6, 3)
    begun = copy.deepcopy(whole)
    trained(whole, 5, None)
    state = trained(begun, 2, None)
    trained(begun.to(memory_format=torch.channels_last), 3, state)  # type: ignore[call-overload]
    torch.testing.assert_close(begun.weight.contiguous(), whole.weight)
