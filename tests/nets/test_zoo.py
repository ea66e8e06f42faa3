"""The contract, for every network of the zoo, without exceptions."""

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.measure.summary import summarize
from convworks.nets.registry import build, create_model, find, list_models, spec_of
from convworks.nets.zoo import ZOO

every_network = pytest.mark.parametrize("name", list_models())

LIGHT = 6_000_000
WELL_KNOWN = ("alexnet", "vgg11_small", "resnet18", "resnet50", "densenet121")
"""Parameters up to which a network is computed in the usual tests, and others that are, of the book
and the guides. The rest take minutes."""

every_network_computed = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[] if row.parameters <= LIGHT or name in WELL_KNOWN else [pytest.mark.slow],
        )
        for name, row in ZOO.items()
    ],
)


every_shape = pytest.mark.parametrize("shape", ["paper", "1x28x28", "3x32x32"])


def made(name: str, shape: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A network of ten classes for pictures of that shape, and some of them."""
    channels, size, _ = ZOO[name].input if shape == "paper" else map(int, shape.split("x"))
    torch.manual_seed(seed)
    model = create_model(name, num_classes=10, in_channels=channels, image_size=size)
    return model, torch.randn(2 if shape == "paper" else 4, channels, size, size)


@every_network
def test_the_row_states_exact_costs(name: str) -> None:
    row = ZOO[name]
    with torch.device("meta"):
        model = create_model(name)
    totals = summarize(model, row.input).totals
    assert (totals.parameters, totals.macs) == (row.parameters, row.macs)
    assert row.name == name


@every_network
@pytest.mark.parametrize(
    ("channels", "size", "classes"), [(1, 28, 10), (3, 32, 7), (3, 40, 2), (4, 100, 11)]
)
def test_any_classes_channels_and_size(name: str, channels: int, size: int, classes: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=classes, in_channels=channels, image_size=size)
        assert model(torch.empty(2, channels, size, size)).shape == (2, classes)


@every_network_computed
@every_shape
def test_outputs_are_finite_and_every_parameter_gets_a_gradient(name: str, shape: str) -> None:
    without = None
    for seed in range(3):
        model, images = made(name, shape, seed)
        logits = model(images)
        assert logits.shape == (len(images), 10)
        assert logits.isfinite().all()
        nn.functional.cross_entropy(logits, torch.arange(len(images))).backward()
        zero = set()
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            # A bias before a norm has no effect and rightly gets 0.
            if parameter.ndim > 1 and not parameter.grad.any():
                zero.add(parameter_name)
        # Units may be dead, blocks left out by stochastic depth: by chance, not in three networks.
        without = zero if without is None else without & zero
        if not without:
            return
    assert not without


@every_network_computed
@every_shape
def test_weights_survive_saving(name: str, shape: str, tmp_path: Path) -> None:
    model, images = made(name, shape)
    save_file(model.eval().state_dict(), tmp_path / "weights.safetensors")
    other = made(name, shape, seed=1)[0].eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.inference_mode():
        assert torch.equal(model(images), other(images))


@every_network_computed
@every_shape
def test_the_exported_program_computes_the_same(name: str, shape: str) -> None:
    model, images = made(name, shape)
    exported = torch.export.export(model.eval(), (images,)).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(images), model(images))


@every_network_computed
def test_copies_are_independent_and_keep_the_spec(name: str) -> None:
    model, _ = made(name, "1x28x28")
    twin = copy.deepcopy(model)
    assert spec_of(twin) == spec_of(model)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(next(twin.parameters()), next(model.parameters()))


@every_network
def test_the_smallest_image_is_the_one_stated(name: str) -> None:
    row = ZOO[name]
    stems = [("paper", row.smallest)]
    if row.smallest_small is not None:
        stems.append(("small", row.smallest_small))
    for stem, side in stems:
        with torch.device("meta"):
            model = create_model(name, in_channels=1, image_size=side, stem=stem).eval()
            assert model(torch.empty(2, 1, side, side)).shape[0] == 2
        if side == 1:
            continue
        with pytest.raises(InputError, match=f"{name} cannot take .* is {side}: use .*{side}"):
            create_model(name, in_channels=1, image_size=side - 1, stem=stem)
        # The statement is not stricter than the network itself.
        too_small = replace(spec_of(model), image_size=side - 1)
        with (
            torch.device("meta"),
            pytest.raises((RuntimeError, InputError), match="too small|actual input size"),
        ):
            build(row, too_small).eval()(torch.empty(2, 1, side - 1, side - 1))


@every_network
def test_the_stem_is_chosen_by_the_size(name: str) -> None:
    with torch.device("meta"):
        at_64, at_100 = (spec_of(create_model(name, image_size=size)) for size in (64, 100))
    one_stem = ZOO[name].smallest_small is None
    assert at_64 is not None
    assert at_100 is not None
    assert (at_64.stem, at_100.stem) == ("paper" if one_stem else "small", "paper")


PUBLISHED = {
    "alexnet": 46.76,
    "vgg11": 132.86,
    "vgg13": 133.05,
    "vgg16": 138.36,
    "vgg19": 143.67,
    "inception_v3": 23.83,
    "inception_v4": 42.68,
    "resnet18": 11.69,
    "resnet34": 21.80,
    "resnet50": 25.56,
    "resnet101": 44.55,
    "resnet152": 60.19,
    "resnext50_32x4d": 25.03,
    "densenet121": 7.98,
    "densenet169": 14.15,
    "densenet161": 28.68,
    "densenet201": 20.01,
    "shufflenet_v2_x0_5": 1.367,
    "shufflenet_v2_x1_0": 2.279,
    "shufflenet_v2_x1_5": 3.504,
    "shufflenet_v2_x2_0": 7.394,
    "mobilenet_v1": 4.23,
    "mobilenet_v2": 3.50,
    "resnet20": 0.27,
    "resnet32": 0.46,
    "resnet44": 0.66,
    "resnet56": 0.85,
    "resnet110": 1.7,
    "wide_resnet28_10": 36.5,
    "wide_resnet40_4": 8.9,
    "densenet_bc100_12": 0.8,
    "efficientnet_b0": 5.3,
    "xception": 22.86,
    "senet154": 115.09,
    "regnetx_200mf": 2.7,
    "regnetx_400mf": 5.2,
    "regnetx_4_0gf": 22.1,
    "regnety_800mf": 6.3,
    "regnety_4_0gf": 20.6,
    "regnety_8gf": 39.2,
}
"""Millions of parameters, as the papers or the peers' documentation print them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    decimals = len(str(PUBLISHED[name]).split(".")[1])
    assert ZOO[name].parameters / 1e6 == pytest.approx(PUBLISHED[name], abs=0.6 * 10**-decimals)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        find("resnet-18")
    with pytest.raises(InputError, match="no network 'xyzzy'. `convworks models`"):
        create_model("xyzzy")


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="num_classes must be at least 1, not 0"):
        create_model("lenet", num_classes=0)
    with pytest.raises(InputError, match="no stem 'papr'; did you mean 'paper'"):
        create_model("resnet18", image_size=32, stem="papr")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="lenet has one stem only"):
        create_model("lenet", stem="small")
    with pytest.raises(InputError, match="or stem='small'"):
        create_model("alexnet", image_size=28, stem="paper")


def test_options_are_checked_and_kept() -> None:
    with torch.device("meta"):
        model = create_model("resnet50", options={"se": 16, "stride_on_1x1": True})
    spec = spec_of(model)
    assert spec is not None
    assert spec.options == {"se": 16, "stride_on_1x1": True}
    again = create_model(**json.loads(json.dumps(asdict(spec))))
    assert again.state_dict().keys() == model.state_dict().keys()
    for options, message in (
        ({"see": 16}, "no option of resnet50 'see'; did you mean 'se'"),
        ({"order": "preac"}, "no order 'preac'; did you mean 'preact'"),
        ({"se": "yes"}, "resnet50's se takes an int, not 'yes'"),
        ({"se": True}, "resnet50's se takes an int, not True"),
        ({"stride_on_1x1": 1}, "takes a bool, not 1"),
        ({"se": -4}, "resnet50's se must be 0 or more, not -4"),
        ({"blocks": [1, 1]}, r"resnet50 cannot be made with {'blocks': \[1, 1\]}: zip"),
        ({"blocks": None}, "resnet50 cannot be made with {'blocks': None}: "),
        ({"dropout": 2.0, "bottleneck": False}, "cannot be made with .* between 0 and 1"),
        ({"num_classes": 3}, "num_classes is an argument of create_model"),
    ):
        with pytest.raises(InputError, match=message):
            create_model("resnet50", options=options)
    with pytest.raises(InputError, match="convnext_tiny cannot be made with .*1 excluded, not 1.0"):
        create_model("convnext_tiny", options={"drop_path": 1.5})
    with pytest.raises(InputError, match="It has: activation, pool, dropout, norm_kind, "):
        create_model("lenet", options={"se": 16})


def test_the_paper_halves_bottlenecks_in_the_first_1x1() -> None:
    """ResNet-50 as printed: 3.8·10⁹ multiply-adds (table 1), 4.1·10⁹ in the usual form."""
    with torch.device("meta"):
        model = create_model("resnet50", options={"stride_on_1x1": True})
    totals = summarize(model, (3, 224, 224)).totals
    assert totals.parameters == ZOO["resnet50"].parameters
    assert totals.macs / 1e9 == pytest.approx(3.86, abs=0.01)


def test_weights_begin_by_the_paper_or_by_name() -> None:
    """Deviations of the first hidden layers: Xavier √(2/(in + out)), He √(2/out)."""
    xavier, he = ((2 / (64 * 9 + 64 * 9)) ** 0.5, (2 / (64 * 9)) ** 0.5)
    for name, initialization, expected in (
        ("resnet18", "paper", he),
        ("resnet18", "xavier", xavier),
        ("vgg11_small", "paper", None),
        ("vgg11_small", "he", None),
    ):
        torch.manual_seed(0)
        model = create_model(name, image_size=96, initialization=initialization)  # type: ignore[arg-type]
        if expected is not None:
            weight = model.get_parameter("stage1.0.body.conv1.weight")
        else:
            weight = model.get_parameter("head.fc2.weight")
            fan = 2 * 4096 if initialization == "paper" else 4096
            expected = (2 / fan) ** 0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.02)
    with pytest.raises(InputError, match="no initialization 'hee'; did you mean 'he'"):
        create_model("lenet", initialization="hee")  # type: ignore[arg-type]


def test_rows_say_which_variant_they_are() -> None:
    for name, words in (
        ("googlenet", "torchvision: 3×3"),
        ("resnet50", "v1.5"),
        ("mobilenet_v1", "ReLU6"),
        ("inception_v3", "auxiliary=true"),
        ("regnetx_400mf", "torchvision's 400MF is wider"),
    ):
        assert words in ZOO[name].note
    assert all(row.note for row in ZOO.values())


def test_patterns() -> None:
    assert list_models("lenet*") == ["lenet", "lenet_bn"]
    assert list_models("RESNET18") == ["resnet18"]
    assert list_models("nothing*") == []
