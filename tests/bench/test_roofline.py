"""The machine's peaks, kept and measured; each layer's work, bytes and time in a real step."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convworks.bench import machine as machines
from convworks.bench.contest import Contestant
from convworks.bench.machine import Machine, know_machine
from convworks.bench.roofline import UPDATE, LayerTime, Roofline, by_kind, measure_roofline
from convworks.measure.summary import summarize
from convworks.report.roofline import dominating, draw_roofline, in_words

CPU = torch.device("cpu")
MADE_UP = Machine({}, {"fp32": 2e11, "bf16": 8e11, "fp16": 1e9}, 5e10)


def roofline(name: str, size: int, batch: int, *, training: bool, **more: str) -> Roofline:
    contestant = Contestant(name, image_size=size, batch_size=batch, device_name="cpu", **more)  # type: ignore[arg-type]
    return measure_roofline(contestant, MADE_UP, training=training, repeats=2)


@pytest.fixture(scope="module")
def training() -> Roofline:
    return roofline("resnet20", 32, 8, training=True, precision_name="fp32")


def test_peaks_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "WINDOW_SECONDS", 0.02)
    monkeypatch.setattr(machines, "BYTES", 2**22)
    monkeypatch.setattr(machines, "SIZES", (256,))
    first = know_machine(CPU, root=tmp_path)
    assert set(first.flops_per_second) == {"fp32", "bf16", "fp16"}
    assert 1e9 < first.flops_per_second["fp32"] < 1e15
    assert 1e8 < first.bytes_per_second < 1e13
    assert know_machine(CPU, root=tmp_path) == first
    kept = tmp_path / "machine.json"
    other = json.loads(kept.read_text())[0] | {"identity": {"device": "another"}}
    kept.write_text(json.dumps([other, *json.loads(kept.read_text())]))
    again = know_machine(CPU, remeasure=True, root=tmp_path)
    assert again.identity == first.identity
    assert [one["identity"] for one in json.loads(kept.read_text())] == [
        {"device": "another"},
        first.identity,
    ]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[1]", '[{"identity": {}, "flops_per_second": {}, "bytes_per_second": 0}]', "null"],
)
def test_a_damaged_file_is_measured_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "measure_machine", lambda _device: MADE_UP)
    (tmp_path / "machine.json").write_text(damage)
    assert know_machine(CPU, root=tmp_path) is MADE_UP
    assert len(json.loads((tmp_path / "machine.json").read_text())) == 1


def test_peaks_without_a_place_to_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "measure_machine", lambda _device: MADE_UP)
    (tmp_path / "file").write_text("")
    assert know_machine(CPU, root=tmp_path / "file" / "below") is MADE_UP


def test_work_is_that_of_the_flop_counter(training: Roofline) -> None:
    """Of a whole step, backward included; and of each layer's forward, from the layer table."""
    contestant = Contestant("resnet20", image_size=32, batch_size=8, device_name="cpu")
    model = contestant.model().train()
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(8, 1, 32, 32)).sum().backward()
    assert training.total.flops == counter.get_total_flops()
    use = roofline("resnet20", 32, 8, training=False, precision_name="fp32")
    rows = {row.name: row for row in summarize(model, (1, 32, 32)).rows}
    for one in use.layers:
        assert one.flops == (2 * 8 * rows[one.name].macs if one.name in rows else 0)


def test_every_layer_has_its_backward(training: Roofline) -> None:
    """Two products for each of forward's, but for the first convolution, which needs only one."""
    use = {x.name: x for x in roofline("resnet20", 32, 8, training=False).layers}
    for one in training.layers:
        if one.kind in ("Conv2d", "Linear"):
            assert one.flops == (2 if one.name == "stem.conv" else 3) * use[one.name].flops
        elif one.kind in ("BatchNorm2d", "ReLU"):
            assert one.bytes > 2 * use[one.name].bytes
    assert training.layers[-1].name == UPDATE
    parameters = sum(p.numel() for p in Contestant("resnet20").model().parameters())
    update = training.layers[-1].bytes / (4 * parameters)
    assert 7 <= update < 7.1  # AdamW reads four numbers and writes three; the loss is small


def test_bytes_by_hand() -> None:
    """LeNet's second convolution in use: 6×14×14 and 16×10×10 floats an image, its weights."""
    (conv,) = (x for x in roofline("lenet", 28, 16, training=False).layers if "conv2" in x.name)
    products = 16 * 10 * 10 * 6 * 25
    assert conv.flops == 2 * 16 * products
    weights = 16 * (6 * 25 + 1)
    images = 16 * (6 * 14 * 14 + 16 * 10 * 10)
    bias = 16 * 2 * 16 * 10 * 10 + 16  # added in its place by an operation of its own
    assert conv.bytes in (4 * (weights + images), 4 * (weights + images + bias))


def test_pooling_by_hand() -> None:
    """NiN's first pooling of 54×54 to 26×26, 96 channels in bf16: the largest, and where it was."""
    contestant = Contestant(
        "nin", image_size=224, batch_size=2, device_name="cpu", precision_name="bf16"
    )
    training = measure_roofline(contestant, MADE_UP, training=True, repeats=1)
    (pool,) = (x for x in training.layers if x.name == "pool1")
    before, after = 2 * 96 * 54**2, 2 * 96 * 26**2
    forward = 2 * before + (2 + 8) * after
    backward = (2 + 8) * after + 2 * before
    assert pool.bytes == forward + backward
    assert pool.held == 8 * after  # its input is the activation's result, kept there
    (conv,) = (x for x in training.layers if x.name == "block1.mix1.conv")
    weights = 96 * 96
    assert conv.held == 4 * 4 * (weights + 96) + 2 * weights


def test_convolutions_onto_small_maps_are_counted_the_same() -> None:
    """They are computed as products of matrices, with the windows written out."""
    size = {"image_size": 96, "batch_size": 2, "device_name": "cpu"}
    contestant = Contestant("resnet18", **size)  # type: ignore[arg-type]
    training = measure_roofline(contestant, MADE_UP, training=True, repeats=1)
    use = measure_roofline(contestant, MADE_UP, training=False, repeats=1)
    (small,) = (x for x in training.layers if x.name == "stage4.1.body.conv2")
    (forward,) = (x for x in use.layers if x.name == small.name)
    assert small.flops == 3 * forward.flops
    weights = 512 * 512 * 9  # read as fp32, written as bf16, read for each product, and back
    assert 18 * weights < small.bytes < 19 * weights
    assert small.held == (16 + 2) * weights


def test_bounds_and_shares() -> None:
    one = LayerTime("a", "Conv2d", 800, 0, 10, 5, 2.0, 1.0, 0.5, 1.0)
    other = LayerTime("b", "ReLU", 0, 30, 60, 5, 1.0, 0.0, 0.8, 0.8)
    assert (one.bound, one.attained, one.intensity) == ("compute", 0.5, 80)
    assert (other.bound, other.attained, other.intensity) == ("memory", 0.8, 0.5)
    both = Roofline("toy", True, 1, "fp32", MADE_UP, (one, other))
    assert (both.total.seconds, both.peak_share) == (3.0, pytest.approx(1 / 3))
    assert both.total.attained == pytest.approx(1.8 / 3)
    assert [x.name for x in by_kind(both)] == ["Conv2d", "ReLU"]
    assert dominating(both)["computation"] == [("a", 1.0)]
    assert dominating(both)["memory moved"][0] == ("b", pytest.approx(6 / 7))
    assert json.loads(json.dumps(both.to_dict()))["layers"][0]["bound"] == "compute"


def test_words_name_what_dominates() -> None:
    """AlexNet's Linear layers hold the memory, its convolutions do the products."""
    lines = in_words(roofline("alexnet", 224, 2, training=True))
    assert lines[0].startswith(("computation: 9", "computation: 8"))
    assert "Conv2d; most in features.conv2.conv" in lines[0]
    assert "Linear; most in head.fc1" in lines[1]


def test_recomputed_layers_are_counted_where_they_belong() -> None:
    """Gradient checkpointing runs a block's forward again inside backward."""
    options: dict[str, object] = {"recompute": True}
    plain = Contestant("densenet_book", image_size=64, batch_size=2, device_name="cpu")
    twice = Contestant(
        "densenet_book", image_size=64, batch_size=2, device_name="cpu", options=options
    )
    first, second = (measure_roofline(x, MADE_UP, training=True, repeats=1) for x in (plain, twice))
    assert {x.name for x in first.layers} >= {x.name for x in second.layers if x.flops}
    assert second.total.flops == first.total.flops  # norms and ReLUs are repeated
    assert second.total.bytes > 1.1 * first.total.bytes
    assert second.total.held < 0.8 * first.total.held


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_the_picture(ending: str, training: Roofline, tmp_path: Path) -> None:
    path = tmp_path / f"roofline.{ending}"
    draw_roofline(training, path)
    assert path.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r", b"%PDF-")
    if ending == "svg":
        assert "fp32: 200 GFLOP/s" in path.read_text()
