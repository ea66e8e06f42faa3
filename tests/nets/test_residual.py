"""What is particular to residual and dense networks."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.nets.densenet import CifarDenseNet, DenseNet
from convworks.nets.registry import create_model
from convworks.nets.residual import Block, Design, Order, PadShortcut
from convworks.nets.resnet import CifarResNet, ResNet

ORDERS: dict[Order, tuple[str, str]] = {
    "original": ("conv norm relu conv norm", "relu"),
    "norm_after_add": ("conv norm relu conv", "norm relu"),
    "relu_before_add": ("conv norm relu conv norm relu", ""),
    "relu_only_preact": ("relu conv norm relu conv norm", ""),
    "preact": ("norm relu conv norm relu conv", ""),
}
"""Figure 4 of the 2016 paper: layers before the sum, and after it."""


@pytest.mark.parametrize("order", ORDERS)
def test_orders_of_the_2016_paper(order: Order) -> None:
    block = Block(16, 16, design=Design(order=order))
    kinds = {nn.Conv2d: "conv", nn.BatchNorm2d: "norm", nn.ReLU: "relu"}

    def names(module: nn.Module) -> str:
        return " ".join(kinds[type(m)] for m in module.modules() if type(m) in kinds)

    assert (names(block.body), names(block.after)) == ORDERS[order]


@pytest.mark.parametrize(
    ("order", "bottleneck", "shortcut"),
    list(itertools.product(ORDERS, (False, True), ("projection", "padding", "none"))),
)
def test_every_combination_learns(order: Order, bottleneck: bool, shortcut: str) -> None:
    torch.manual_seed(0)
    model = CifarResNet(
        (1, 1, 1),
        order=order,
        bottleneck=bottleneck,
        shortcut=shortcut,  # type: ignore[arg-type]
    )
    images = torch.randn(2, 3, 16, 16)
    before = images.clone()
    logits = model(images)
    assert torch.equal(images, before)  # no layer may overwrite its input in place
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("order", ORDERS)
def test_the_shortcut_carries_the_input_as_it_was(order: Order) -> None:
    """With a body of zeros the block is its shortcut: nothing in place has touched the input."""
    block = Block(8, 8, design=Design(order=order))
    for layer in block.body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    block.eval()
    images = torch.randn(2, 8, 6, 6)
    expected = images.relu() if order in ("original", "norm_after_add") else images
    torch.testing.assert_close(block(images.clone()), expected, rtol=1e-4, atol=1e-4)


def test_the_padding_shortcut_has_no_parameters() -> None:
    images = torch.randn(2, 3, 6, 6)
    out = PadShortcut(stride=2, extra=5)(images)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, :3], images[:, :, ::2, ::2])
    assert not out[:, 3:].any()


def test_zero_last_begins_as_the_shortcut() -> None:
    model = ResNet((1, 1, 1, 1), zero_last=True, stem="small").eval()
    stage = model.get_submodule("stage1")
    images = torch.rand(2, 64, 8, 8)
    assert torch.equal(stage(images.clone()), images)


@pytest.mark.parametrize("order", ["original", "relu_only_preact", "preact", "norm_after_add"])
def test_what_begins_as_zero_can_learn(order: Order) -> None:
    model = ResNet((1, 1, 1, 1), zero_last=True, stem="small", order=order)
    block = model.get_submodule("stage1.0")
    assert isinstance(block, Block)
    assert not block.body(torch.rand(2, 64, 8, 8)).any()
    model(torch.rand(2, 3, 16, 16)).square().sum().backward()
    zeros = [weight for weight in block.body.parameters() if weight.ndim > 0 and not weight.any()]
    gradients = [weight.grad for weight in zeros]
    assert any(gradient is not None and gradient.any() for gradient in gradients)


def test_a_relu_of_zeros_is_refused() -> None:
    with pytest.raises(InputError, match="zero_last does not go with relu_before_add"):
        ResNet((1, 1, 1, 1), zero_last=True, stem="small", order="relu_before_add")


def test_the_paper_halves_in_the_first_1x1() -> None:
    """ResNet v1 and v1.5: the same parameters, fewer multiply-adds in v1."""
    for on_1x1, strides in ((True, (2, 1, 1)), (False, (1, 2, 1))):
        block = Block(256, 128, 2, Design(bottleneck=True, stride_on_1x1=on_1x1))
        convs = [m for m in block.body.modules() if isinstance(m, nn.Conv2d)]
        assert tuple(conv.stride[0] for conv in convs) == strides


def test_recomputing_changes_nothing_but_memory() -> None:
    """Outputs, gradients and running statistics as without; far fewer activations kept."""
    kept: list[int] = []
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = CifarDenseNet((6, 6, 6), recompute=recompute)
        images = torch.randn(4, 3, 16, 16)
        kept.append(0)

        def note(tensor: Tensor) -> Tensor:
            kept[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = model(images)
        output.square().sum().backward()
        gradients = [p.grad for p in model.parameters()]
        results.append((output, gradients, list(model.buffers())))
    for plain, again in zip(results[0], results[1], strict=True):
        torch.testing.assert_close(plain, again)
    assert kept[1] < kept[0] / 2


def test_recomputing_needs_no_gradient_in_evaluation() -> None:
    model = DenseNet((2, 2), growth=8, recompute=True, stem="small").eval()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 16, 16)).shape == (1, 1000)


def test_wide_networks_drop_between_the_last_relu_and_its_convolution() -> None:
    """Zagoruyko and Komodakis 2016: between convolutions and after ReLU."""
    model = create_model("wide_resnet40_4", options={"dropout": 0.3})
    names = [name for name, _ in model.get_submodule("stage2.1.body").named_children()]
    assert names == ["norm1", "relu1", "conv1", "norm2", "relu2", "dropout", "conv2"]


def test_preactivated_networks_begin_and_end_as_the_papers() -> None:
    """He et al. 2016, appendix: an activation before the first split, one after the last sum."""
    model = CifarResNet((1, 1, 1), order="preact")
    first, second = (model.get_submodule(f"stage{i}.0") for i in (1, 2))
    for block in (first, second):
        assert [name for name, _ in block.get_submodule("before").named_children()] == [
            "norm1",
            "relu1",
        ]
    assert [name for name, _ in model.named_children()][-4:] == ["norm", "relu", "pool", "fc"]
    other = CifarResNet((1, 1, 1), order="relu_only_preact")
    assert [name for name, _ in other.named_children()][-3:] == ["relu", "pool", "fc"]
