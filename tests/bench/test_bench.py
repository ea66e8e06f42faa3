"""What is measured: real steps in real processes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convworks.bench import energy, machine, memory, speed
from convworks.bench.contest import Contestant
from convworks.bench.memory import measure_memory
from convworks.errors import ConvworksError
from convworks.measure.memory import predict_memory
from convworks.train.recipes import BOOK

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "name",
    [
        "lenet",
        "nin",
        pytest.param("googlenet", marks=pytest.mark.slow),
        "resnet18",
        "densenet_book",
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_memory_is_what_was_predicted(name: str, training: bool) -> None:
    """Within 15 %; a small batch, but enough that a few megabytes of rounding do not count."""
    size = min(96, BOOK[name].image_size)
    contestant = Contestant(
        name, image_size=size, batch_size=1024 if name == "lenet" else 32, device_name="cpu"
    )
    predicted = predict_memory(
        contestant.on_meta(),
        contestant.shape,
        contestant.batch_size,
        training=training,
        precision=contestant.precision(),
    ).total
    measured = measure_memory(contestant, training=training)
    assert measured is not None
    assert predicted == pytest.approx(measured, rel=0.15)


def test_a_step_that_dies_is_one_line() -> None:
    contestant = Contestant("lenet", device_name="cpu", batch_size=2**40)
    with pytest.raises(ConvworksError, match="Memory could not be measured: ") as caught:
        measure_memory(contestant, training=True)
    assert "\n" not in str(caught.value)


def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "none")
    assert memory._child('[{"name": "lenet", "device_name": "cpu"}, true, true]') == 0


def test_speed_of_a_small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "WARM_UP_SECONDS", 0.05)
    monkeypatch.setattr(speed, "WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(machine, "WINDOW_SECONDS", 0.02)
    result = speed.benchmark(Contestant("lenet", device_name="cpu"), repeats=3)
    assert (result.parameters, result.macs, result.precision) == (61_706, 416_520, "fp32")
    for rate in (result.training, result.inference):
        assert 100 < rate.low <= rate.median <= rate.high
    assert result.inference.median > result.training.median
    assert 0 < result.latency_ms.median <= result.latency_ms.p95 < 1000
    assert result.training_memory.predicted > result.inference_memory.predicted
    assert result.to_dict()["environment"]["threads"] == torch.get_num_threads()  # type: ignore[index]


def test_steps_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contestant's step is the trainer's: the weights change, in evaluation they do not."""
    contestant = Contestant("resnet20", in_channels=3, image_size=32, batch_size=8)
    model = contestant.model()
    monkeypatch.setattr(Contestant, "model", lambda _self: model)
    before = [p.clone() for p in model.parameters()]
    replace(contestant, device_name="cpu").inference_step()()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    replace(contestant, device_name="cpu").training_step()()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_energy_is_read_where_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "COUNTERS", tmp_path)
    assert energy.joules(CPU) is None
    for name, count in (("intel-rapl:0", 5), ("intel-rapl:1", 7), ("intel-rapl:0:0", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{count}000000\n")
        (tmp_path / name / "name").write_text("package-0\n")
    (tmp_path / "intel-rapl:2").mkdir()  # what counts the packages once more
    (tmp_path / "intel-rapl:2/energy_uj").write_text("900000000\n")
    (tmp_path / "intel-rapl:2/name").write_text("psys\n")
    assert energy.joules(CPU) == 12.0
    (tmp_path / "intel-rapl:1/energy_uj").unlink()
    (tmp_path / "intel-rapl:1/energy_uj").mkdir()  # cannot be read
    assert energy.joules(CPU) is None
