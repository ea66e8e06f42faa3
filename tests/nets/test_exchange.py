"""Norms and convolutions exchanged in networks of the zoo."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convworks as cw
from convworks.errors import InputError
from convworks.nets.exchange import exchange
from convworks.nets.whitening import InverseRoot, Whitening

FEATURES = ["features.*"]


def correlated(count: int, channels: int, side: int) -> Tensor:
    torch.manual_seed(0)
    mixed = torch.randn(channels, channels)
    pixels = torch.randn(count, side, side, channels) @ mixed + 3
    return pixels.movedim(3, 1)


def test_whitening_gives_the_identity_as_covariance_and_changes_x_least() -> None:
    x = correlated(64, 6, 5)
    flat = Whitening(6, eps=0.0)(x).detach().movedim(1, 0).flatten(1).double()
    raw = x.movedim(1, 0).flatten(1).double()
    eye = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(torch.cov(flat, correction=0), eye, atol=1e-3, rtol=0)
    assert (torch.cov(raw, correction=0) - eye).abs().max() > 1
    assert flat.mean(1).abs().max() < 1e-3
    cross = flat @ (raw - raw.mean(1, keepdim=True)).T / raw.shape[1]
    torch.testing.assert_close(cross, cross.T, atol=1e-3, rtol=0)  # the root is symmetric
    assert torch.linalg.eigvalsh((cross + cross.T) / 2).min() > 0


def test_the_roots_gradient_also_where_eigenvalues_are_the_same() -> None:
    x = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for matrix in (x @ x.T / 9, torch.eye(4, dtype=torch.float64)):

        def root(m: Tensor) -> Tensor:
            found: Tensor = InverseRoot.apply((m + m.T) / 2)
            return found

        assert torch.autograd.gradcheck(root, matrix.clone().requires_grad_())


def test_whitening_in_use_takes_the_moving_averages() -> None:
    x = correlated(64, 5, 3)
    layer = Whitening(5, momentum=1.0)
    trained = layer(x)
    torch.testing.assert_close(layer.eval()(x), trained)
    alone = layer(x[:1])
    torch.testing.assert_close(alone, trained[:1])
    rows = Whitening(5)(x[:, :, 0, 0])
    torch.testing.assert_close(torch.cov(rows.T, correction=0), torch.eye(5), atol=1e-3, rtol=0)


def test_the_probability_integral_spreads_normal_numbers_evenly() -> None:
    model = cw.create_model("lenet_bn", options={"norm_kind": "integral", "norm_layers": FEATURES})
    layer = model.get_submodule("features.norm2")
    x = torch.randn(32, 16, 20, 20, generator=torch.Generator().manual_seed(0)) * 3 - 1
    spread = layer(x).detach()
    ranks = x[:, 0].flatten().argsort().argsort() / 12_800  # the share that is smaller
    expected = 12**0.5 * (ranks - 0.5)
    torch.testing.assert_close(spread[:, 0].flatten(), expected, atol=0.1, rtol=0)
    assert spread.abs().max() <= 3**0.5
    torch.testing.assert_close(spread.std((0, 2, 3)), torch.ones(16), atol=0.02, rtol=0)
    layer.eval()
    torch.testing.assert_close(layer(x[:1]), layer(x)[:1])
    rows = cw.create_model("lenet_bn", options={"norm_kind": "integral", "norm_affine": False})
    assert rows(torch.randn(4, 1, 28, 28)).shape == (4, 10)
    assert "features.norm2.weight" not in rows.state_dict()


@pytest.mark.parametrize("kind", ["group", "layer", "instance"])
def test_norms_of_single_pictures(kind: str) -> None:
    """What a picture gives does not depend on the others; over its groups mean 0, deviation 1."""
    options = {"norm_kind": kind, "norm_layers": FEATURES}
    model = cw.create_model("lenet_bn", options=options)
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    norm = model.get_submodule("features.norm2")
    x = torch.randn(3, 16, 8, 8) * 4 + 2
    groups = {"group": 8, "layer": 1, "instance": 16}[kind]
    parts = norm(x).view(3, groups, -1)
    torch.testing.assert_close(parts.mean(2), torch.zeros(3, groups), atol=1e-4, rtol=0)
    torch.testing.assert_close(parts.std(2, correction=0), torch.ones(3, groups), atol=1e-3, rtol=0)
    images = torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(model(images)[:1], model(images[:1]))


def test_some_layers_only_frozen_and_without_bias() -> None:
    model = cw.create_model(
        "lenet_bn",
        options={"norm_layers": ["features.norm1"], "norm_affine": False, "norm_bias": False},
    )
    norms = {n: m for n, m in model.named_modules() if n.split(".")[-1].startswith("norm")}
    assert {n for n, m in norms.items() if isinstance(m, nn.BatchNorm2d)} == {"features.norm1"}
    assert list(norms["features.norm1"].parameters()) == []
    biased = {n for n, m in model.named_modules() if getattr(m, "bias", None) is not None}
    assert biased == {"features.conv2", "head.fc1", "head.fc2", "head.fc3"}
    plain = cw.create_model("resnet20", options={"norm_kind": "none"})
    convs = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.bias is not None for conv in convs)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())


def test_weights_begin_the_same_whatever_the_norm() -> None:
    made = []
    for kind in ("batch", "group"):
        torch.manual_seed(0)
        made.append(cw.create_model("resnet20", options={"norm_kind": kind, "zero_last": True}))
    for (name, ours), (_, theirs) in zip(
        made[0].named_parameters(), made[1].named_parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=name)


@pytest.mark.parametrize(
    ("kind", "each"),
    [  # weights of a 3×3 convolution from c to c channels
        ("dense", lambda c: 9 * c * c),
        ("sliced", lambda c: 6 * c * c),
        ("grouped", lambda c: 9 * c * c // 4),
        ("depthwise", lambda c: 9 * c + c * c),
    ],
)
def test_convolutions_cost_what_the_formulas_say(kind: str, each: object) -> None:
    """Stage 1 of ResNet-18 at 96 pixels: four convolutions of 64 channels on 24×24 pixels."""
    model = cw.create_model("resnet18", image_size=96, options={"conv_kind": kind})
    assert model(torch.randn(2, 3, 96, 96)).shape == (2, 1000)
    rows = {row.name: row for row in cw.summarize(model, (3, 96, 96), depth=1).rows}
    assert rows["stage1"].macs == 4 * 24 * 24 * each(64)  # type: ignore[operator]
    assert rows["stage1"].parameters == 4 * (each(64) + 128)  # type: ignore[operator]


def test_what_cannot_be_exchanged() -> None:
    for name, options, message in (
        ("lenet", {"norm_kind": "group"}, "no batch norm that another could"),
        ("lenet_bn", {"norm_layers": ["features.norm9"]}, "there are: features.norm1, features"),
        ("lenet_bn", {"norm_kind": "instance"}, "Instance norm needs pixels.*norm_layers"),
        ("lenet_bn", {"norm_kind": "power"}, "no norm_kind 'power'"),
        ("lenet_bn", {"conv_kind": 3}, "no conv_kind '3'"),
        ("lenet_bn", {"model": 3}, "no option of lenet_bn 'model'"),
    ):
        with pytest.raises(InputError, match=message):
            cw.create_model(name, options=options)


def test_a_run_remembers_what_was_exchanged(tmp_path: Path) -> None:
    data = cw.load_data("digits", image_size=16, train_images=100)
    options = {"norm_kind": "whitening", "conv_kind": "depthwise", "norm_layers": FEATURES}
    model = cw.create_model("lenet_bn", image_size=16, options=options)
    config = cw.TrainConfig(epochs=2, out=tmp_path / "run")
    run = cw.fit(model, data, config, progress=False)
    again = cw.load(run.path)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(again.model(x), run.model.eval()(x))
    assert isinstance(again.model.get_submodule("features.norm1"), Whitening)
    exported = torch.export.export(again.model, (x,)).module()
    torch.testing.assert_close(exported(x), again.model(x))


def test_a_network_of_anyones_own() -> None:
    model = nn.Sequential(nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
    exchange(model, "group")
    assert isinstance(model[1], nn.GroupNorm)
    assert model[1].num_groups == 3


def test_nin_with_fewer_1x1() -> None:
    """Each of a block's 1×1 convolutions is c² + c parameters."""
    with torch.device("meta"):
        counts = [
            cw.summarize(cw.create_model("nin", options={"mixes": n}), (1, 224, 224), depth=0)
            for n in range(3)
        ]
    a_set = sum(c * c + c for c in (96, 256, 384, 10))
    none, one, two = (one.totals.parameters for one in counts)
    assert two - one == one - none == a_set


def test_alexnet_for_28_pixels_costs_what_its_text_says() -> None:
    with torch.device("meta"):
        whole, small = (
            cw.summarize(cw.create_model("alexnet", image_size=28, options=options), (1, 28, 28))
            for options in ({}, {"widths": [32, 64, 96, 96, 64], "hidden": 256})
        )
    assert whole.totals.parameters / small.totals.parameters == pytest.approx(64, abs=1)
    assert whole.totals.macs / small.totals.macs == pytest.approx(14, abs=0.5)


def test_lenets_exercises() -> None:
    options = {"activation": "relu", "pool": "max", "dropout": 0.5}
    kinds = [type(m) for m in cw.create_model("lenet", options=options).modules()]
    assert [kinds.count(k) for k in (nn.ReLU, nn.MaxPool2d, nn.Dropout)] == [4, 2, 2]
    assert not {nn.Sigmoid, nn.AvgPool2d} & set(kinds)
    plain = [type(m) for m in cw.create_model("lenet").modules()]
    assert [plain.count(k) for k in (nn.Sigmoid, nn.AvgPool2d, nn.Dropout)] == [4, 2, 0]
    dense = cw.create_model("densenet_book", options={"pool": "max"})
    assert isinstance(dense.get_submodule("transition3.pool"), nn.MaxPool2d)


@pytest.mark.parametrize("kind", ["depthwise", "grouped"])
def test_exchanged_convolutions_pass_on_as_large_a_signal(kind: str) -> None:
    """Drawn as He et al. draw them, also where a sum is over a group's inputs only."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1))
    exchange(model, conv_kind=kind)  # type: ignore[arg-type]
    assert len([*model.modules()]) > 2
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.weight[0, 0].numel() / layer.groups
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
