"""The contract, for every network of the zoo, without exceptions."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from convworks.errors import InputError
from convworks.measure.summary import summarize
from convworks.nets.registry import build, create_model, find, list_models, spec_of
from convworks.nets.zoo import ZOO

every_network = pytest.mark.parametrize("name", list_models())


def small_model(name: str, **options: object) -> nn.Module:
    """A network at 28 pixels, which every network takes."""
    torch.manual_seed(0)
    return create_model(name, **{"num_classes": 10, "in_channels": 1, "image_size": 28} | options)


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


@every_network
def test_outputs_are_finite_and_every_parameter_gets_a_gradient(name: str) -> None:
    model = small_model(name)
    images = torch.randn(4, 1, 28, 28)
    logits = model(images)
    assert logits.shape == (4, 10)
    assert logits.isfinite().all()
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if parameter.ndim > 1:  # a bias before a norm has no effect and rightly gets 0
            assert parameter.grad.abs().max() > 0, parameter_name


@every_network
def test_weights_survive_saving(name: str, tmp_path: Path) -> None:
    model, images = small_model(name).eval(), torch.randn(2, 1, 28, 28)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    other = create_model(name, num_classes=10, in_channels=1, image_size=28).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.inference_mode():
        assert torch.equal(model(images), other(images))


@every_network
def test_the_exported_program_computes_the_same(name: str) -> None:
    model, images = small_model(name).eval(), torch.randn(2, 1, 28, 28)
    exported = torch.export.export(model, (images,)).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(images), model(images))


@every_network
def test_copies_are_independent_and_keep_the_spec(name: str) -> None:
    model = small_model(name)
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
        with torch.device("meta"), pytest.raises((RuntimeError, InputError), match="too small"):
            build(row, too_small).eval()(torch.empty(2, 1, side - 1, side - 1))


@every_network
def test_the_stem_is_chosen_by_the_size(name: str) -> None:
    with torch.device("meta"):
        at_64, at_100 = (spec_of(create_model(name, image_size=size)) for size in (64, 100))
    one_stem = ZOO[name].smallest_small is None
    assert at_64 is not None
    assert at_100 is not None
    assert (at_64.stem, at_100.stem) == ("paper" if one_stem else "small", "paper")


def test_published_parameter_counts() -> None:
    """torchvision's documentation states 132,863,336 and 11,689,512; the book's AlexNet has
    11·11·96 + 96 + 25·96·256 + 256 + 9·(256·384 + 384·384 + 384·256) + 384 + 384 + 256
    + (6400 + 1)·4096 + 4097·4096 + 4097·10."""
    convolutions = 11 * 11 * 96 + 96 + 25 * 96 * 256 + 256
    convolutions += 9 * (256 * 384 + 384 * 384 + 384 * 256) + 384 + 384 + 256
    linear = 6401 * 4096 + 4097 * 4096 + 4097 * 10
    assert ZOO["alexnet"].parameters == convolutions + linear
    assert ZOO["vgg11"].parameters == 132_863_336
    assert ZOO["resnet18"].parameters == 11_689_512


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


def test_patterns() -> None:
    assert list_models("lenet*") == ["lenet", "lenet_bn"]
    assert list_models("RESNET18") == ["resnet18"]
    assert list_models("nothing*") == []
