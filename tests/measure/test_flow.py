"""Data's way through modules, read from what they do."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convworks.measure.flow import Flow, Fork, flow
from convworks.nets.blocks import Concat
from convworks.nets.registry import create_model


def shape_of(way: Flow | None) -> list[object]:
    """Kinds in order; a fork as a tuple of its paths."""
    return [
        tuple(shape_of(path) for path in item.paths) if isinstance(item, Fork) else item.kind
        for item in way or ()
    ]


def test_a_residual_block_forks_into_its_body_and_a_shortcut() -> None:
    net = flow(create_model("resnet20"), (3, 32, 32))
    assert net.output == (10,)
    stage = next(item for item in net.inside or () if getattr(item, "name", "") == "stage1")
    assert not isinstance(stage, Fork)
    (first, *_) = stage.inside or ()
    assert not isinstance(first, Fork)
    assert (first.name, first.output) == ("stage1.0", (16, 32, 32))
    assert shape_of(first.inside) == ["Identity", (["Sequential"], ["Identity"]), "add", "ReLU"]


def test_operations_without_modules_are_steps_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.fc = nn.Linear(2, 3)
            self.unused = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x = F.relu_(x) + x.sigmoid()  # of the rectified: relu_ works in place
            out: Tensor = self.fc(x.mean((2, 3)).view(len(x), -1))
            return out

    assert shape_of(flow(Net(), (1, 8, 8)).inside) == [
        *("Conv2d", "relu", (["sigmoid"], []), "add", "mean", "Linear"),
    ]


def test_forks_lie_in_forks() -> None:
    """As in a U-Net: the paths between a fork and its join have forks of their own."""
    inner = nn.Sequential(nn.ReLU(), Concat(a=nn.Sigmoid(), b=nn.Tanh()))
    net = nn.Sequential(Concat(x=inner, y=nn.Identity()))
    (outer,) = flow(net, (2, 4, 4)).inside or ()
    assert not isinstance(outer, Fork)
    assert shape_of(outer.inside) == [(["Sequential"], ["Identity"]), "cat"]
    assert outer.output == (6, 4, 4)


def test_the_model_is_not_run_nor_changed() -> None:
    model = create_model("lenet_bn").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flow(model, (1, 28, 28))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
