"""Where a network looks, against hand-computed maps; every family of the zoo."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.measure.explain import activation_map, feature_maps
from convworks.nets.registry import create_model, list_models
from convworks.nets.zoo import ZOO

SMALL = ["lenet", "lenet_bn", "resnet20", "squeezenet1_1", "mobilenet_v2", "shufflenet_v1_g3"]


def averaging_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 7, 3, stride=2, padding=1),
        nn.BatchNorm2d(7),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(7, 4),
    )


def by_hand(model: nn.Sequential, images: Tensor, classes: Tensor) -> Tensor:
    """Zhou et al. 2016, equation 2: the linear layer's weights of the class times the maps."""
    with torch.no_grad():
        maps = model.eval()[:3](images)
        weights = model[5].weight[classes]
        found = torch.einsum("nc,nchw->nhw", weights, maps).relu()
        found = F.interpolate(found[:, None], images.shape[2:], mode="bilinear")[:, 0]
    return found / found.amax((1, 2), keepdim=True)


def test_behind_a_global_average_it_is_the_class_activation_map() -> None:
    torch.manual_seed(0)
    model, images = averaging_network(), torch.randn(3, 1, 12, 16)
    model(images)  # the norm's statistics are no longer 0 and 1
    classes = torch.tensor([2, 0, 3])
    found = activation_map(model, images, classes)
    assert found.shape == (3, 12, 16)
    torch.testing.assert_close(found, by_hand(model, images, classes))
    said = model.eval()(images).argmax(1)
    torch.testing.assert_close(activation_map(model, images), by_hand(model, images, said))
    assert torch.equal(activation_map(model, images, said.tolist()), activation_map(model, images))


def test_the_model_is_left_as_it_was() -> None:
    model = averaging_network().train()
    model[1].eval()
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        images = torch.rand(2, 1, 8, 8)
        found = activation_map(model, images)
        feature_maps(model, images)
    assert found.isfinite().all()
    assert not found.requires_grad
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    model[5] = nn.Linear(1, 1)
    with pytest.raises(RuntimeError):
        activation_map(model, images)
    assert not any(m._forward_hooks for m in model.modules())
    assert model[3].training


def test_it_finds_the_patch_that_makes_the_class() -> None:
    """The class is the mean brightness: the map is bright where the picture is."""
    model = nn.Sequential(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[3].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    images = torch.zeros(1, 1, 16, 16)
    images[:, :, 2:6, 8:12] = 1
    found = activation_map(model, images, [0])[0]
    assert found[2:6, 8:12].min() > 0.5
    assert found[10:].max() == 0
    assert activation_map(model, images, [1]).max() == 0, "nothing speaks for the other class"


def test_where_there_is_no_map_it_says_so() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(InputError, match="No layer gives a map of more than one pixel"):
        activation_map(flat, torch.rand(1, 1, 4, 4))
    with pytest.raises(InputError, match="no classifier"):
        activation_map(nn.Conv2d(1, 2, 3), torch.rand(1, 1, 4, 4))
    model = averaging_network()
    with pytest.raises(InputError, match="classes are 0 to 3"):
        activation_map(model, torch.rand(1, 1, 8, 8), [4])
    with pytest.raises(InputError, match="each of the 2 pictures"):
        activation_map(model, torch.rand(2, 1, 8, 8), [1])


def test_feature_maps_are_what_the_layers_gave() -> None:
    model, images = averaging_network().eval(), torch.rand(2, 1, 8, 8)
    found = feature_maps(model, images, ["0", "1", "2"])
    with torch.no_grad():
        assert torch.equal(found["0"], model[0](images))
        assert torch.equal(found["1"], model[:2](images)), "before the ReLU that works in place"
        assert torch.equal(found["2"], model[:3](images))
    with pytest.raises(InputError, match="There is no layer '9'"):
        feature_maps(model, images, ["9"])
    with pytest.raises(InputError, match="gives no maps"):
        feature_maps(model, images, ["5"])


def test_without_names_there_is_one_layer_for_each_size() -> None:
    lenet = feature_maps(create_model("lenet"), torch.rand(1, 1, 28, 28))
    assert {name: tuple(x.shape[1:]) for name, x in lenet.items()} == {
        "features.act1": (6, 28, 28),
        "features.pool1": (6, 14, 14),
        "features.act2": (16, 10, 10),
        "features.pool2": (16, 5, 5),
    }
    convnext = feature_maps(create_model("convnext_tiny"), torch.rand(1, 3, 96, 96))
    assert [x.shape[2] for x in convnext.values()] == [24, 12, 6, 3]


@pytest.mark.parametrize("name", SMALL)
def test_the_zoo(name: str) -> None:
    _check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_models() if name not in SMALL])
def test_the_rest_of_the_zoo(name: str) -> None:
    _check(name)


def _check(name: str) -> None:
    """Finite and in its range, at the paper's size and at that of small pictures."""
    row = ZOO[name]
    torch.manual_seed(0)
    smallest = row.smallest if row.smallest_small is None else row.smallest_small
    for side in {row.input[1], max(32, smallest)}:
        model = create_model(name, image_size=side, num_classes=5)
        found = activation_map(model, torch.rand(1, row.input[0], side, side))
        assert found.shape == (1, side, side)
        assert found.isfinite().all()
        assert found.min() >= 0
        assert found.max() <= 1
