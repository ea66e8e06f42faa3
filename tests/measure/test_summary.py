"""The layer table."""

import json

import pytest
import torch
from torch import nn

from convworks.errors import InputError
from convworks.measure.summary import summarize
from convworks.nets.registry import create_model


def test_a_table_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))
    summary = summarize(model, (3, 8, 8))
    assert [(row.kind, row.output, row.parameters, row.macs) for row in summary.rows] == [
        ("Conv2d", (8, 8, 8), 8 * 3 * 9 + 8, 8 * 8 * 8 * 3 * 9),
        ("ReLU", (8, 8, 8), 0, 0),
        ("Flatten", (512,), 0, 0),
        ("Linear", (5,), 512 * 5 + 5, 512 * 5),
    ]
    assert summary.totals.macs == 8 * 8 * 8 * 27 + 512 * 5
    assert summary.totals.output == (5,)


def test_a_layer_used_twice_keeps_its_weights() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared)
    before = shared.weight.clone()
    summary = summarize(model, (1, 2, 2))
    assert summary.totals.macs == 32
    assert summary.totals.parameters == 20
    assert torch.equal(shared.weight, before)
    assert shared.weight.requires_grad


def test_blocks_and_layers_have_the_same_totals() -> None:
    model = create_model("googlenet")
    blocks, layers = summarize(model, (1, 96, 96), depth=1), summarize(model, (1, 96, 96))
    assert [row.name for row in blocks.rows] == [name for name, _ in model.named_children()]
    for summary in (blocks, layers):
        assert sum(row.parameters for row in summary.rows) == summary.totals.parameters
        assert sum(row.macs for row in summary.rows) == summary.totals.macs


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("resnet18", image_size=32)
    model.get_submodule("stage1").eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    summarize(model, (3, 32, 32))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_shown_as_text_json_and_html() -> None:
    summary = summarize(create_model("lenet"), (1, 28, 28))
    assert "16×10×10" in str(summary)
    assert "61,706" in str(summary)
    assert json.loads(json.dumps(summary.to_dict()))["totals"]["parameters"] == 61_706
    assert "<td>16×10×10</td>" in summary._repr_html_()


def test_an_input_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(InputError, match="cannot take 3×28×28 images") as caught:
        summarize(create_model("lenet"), (3, 28, 28))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="positive"):
        summarize(create_model("lenet"), (1, 0, 28))
