"""A run that was stopped, or crashed, goes on and ends as if it had not, to the last bit."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convworks import api
from convworks.data.sources import load_data
from convworks.data.splits import Data, MemoryImages
from convworks.errors import InputError, TrainingError, UsageError
from convworks.train import checkpoint, loop
from convworks.train.config import TrainConfig
from convworks.train.loop import fit
from convworks.train.observer import Observer, Progress
from convworks.train.run import measure
from small import SmallNet, StopAfterEpoch, assert_same, small_net


class InterruptAtStep(Observer):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def step(self, progress: Progress) -> None:
        if (progress.epoch, progress.step) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


CONFIGS = [
    TrainConfig(epochs=4, batch_size=32, lr=0.01),
    TrainConfig(epochs=4, batch_size=32, lr=0.01, precision="bf16", optimizer="nesterov"),
    TrainConfig(epochs=4, batch_size=32, recipe="book"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["modern", "bf16-nesterov", "book"])
def test_a_run_stopped_after_any_epoch_and_resumed_is_the_same_run(
    digits: Data, config: TrainConfig
) -> None:
    whole = fit(small_net(), digits, replace(config, out=Path("whole")))
    for epoch in (1, 2, 3, 4):
        stopped = replace(config, out=Path(f"stopped{epoch}"))
        with pytest.raises(RuntimeError, match="crash"):
            fit(small_net(), digits, stopped, observers=[StopAfterEpoch(epoch)])
        torch.manual_seed(999 + epoch)  # another process, another global state
        resumed = fit(small_net(seed=77), digits, stopped, resume=True)
        assert_same(resumed, whole)


def test_ctrl_c_saves_inside_an_epoch(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)  # every step is observed
    config = CONFIGS[0]
    whole = fit(small_net(), digits, replace(config, out=Path("whole")))
    stopped = replace(config, out=Path("stopped"))
    for epoch, step in ((0, 3), (2, 8)):
        with pytest.raises(KeyboardInterrupt, match="train --resume --out stopped"):
            fit(
                small_net(),
                digits,
                stopped,
                observers=[InterruptAtStep(epoch, step)],
                resume=Path("stopped").exists(),
            )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(fit(small_net(5), digits, stopped, resume=True), whole)


def test_resuming_an_image_folder(digit_pictures: Path) -> None:
    data = load_data(digit_pictures, image_size=16)
    config = TrainConfig(epochs=3, batch_size=8, workers=2)

    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))

    whole = fit(net(), data, replace(config, out=Path("whole")))
    stopped = replace(config, out=Path("stopped"), workers=1)
    with pytest.raises(RuntimeError, match="crash"):
        fit(net(), data, stopped, observers=[StopAfterEpoch(2)])
    assert_same(fit(net(), data, stopped, resume=True), whole)


def test_a_complete_run_is_returned_as_it_is(digits: Data) -> None:
    config = TrainConfig(epochs=1, out=Path("a"))
    run = fit(small_net(), digits, config)
    before = {file.name: file.stat().st_mtime_ns for file in run.path.iterdir()}
    again = fit(small_net(1), digits, config, resume=True)
    assert_same(again, run)
    assert {file.name: file.stat().st_mtime_ns for file in run.path.iterdir()} == before


def test_resume_refuses_other_settings_and_other_folders(digits: Data) -> None:
    config = TrainConfig(epochs=2, batch_size=32, out=Path("run"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(small_net(), digits, config, observers=[StopAfterEpoch(1)])
    with pytest.raises(InputError, match="begun with train epochs=2, not 3: .*--init run"):
        fit(small_net(), digits, replace(config, epochs=3), resume=True)
    with pytest.raises(InputError, match="run already holds a run: add --resume"):
        fit(small_net(), digits, config)
    Path("empty").mkdir()
    with pytest.raises(InputError, match=r"empty is no run folder \(it has no config.json\)"):
        fit(small_net(), digits, replace(config, out=Path("empty")), resume=True)
    with pytest.raises(UsageError, match="--resume needs --out"):
        fit(small_net(), digits, replace(config, out=None), resume=True)
    Path("run/last.pt").write_bytes(b"damaged")
    with pytest.raises(InputError, match="Cannot read run/last.pt: .*--init run"):
        fit(small_net(), digits, config, resume=True)


def test_a_crash_between_two_files_is_mended(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is written first; what follows from it is written again on resuming."""
    config = TrainConfig(epochs=3, batch_size=32, lr=0.01)
    whole = fit(small_net(), digits, replace(config, out=Path("whole")))
    for name in ("save_best", "write_metrics"):
        stopped = replace(config, out=Path(name))
        real, calls = getattr(checkpoint, name), []

        def crash(*arguments: Any, real: Any = real, calls: list[int] = calls) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("crash")
            real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, name, crash)
            with pytest.raises(RuntimeError, match="crash"):
                fit(small_net(), digits, stopped)
        resumed = fit(small_net(), digits, stopped, resume=True)
        assert_same(resumed, whole)
        assert len(resumed.history) == 3


def test_a_stop_during_validation_or_test_keeps_the_epoch(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(epochs=2, batch_size=32, lr=0.01)
    whole = fit(small_net(), digits, replace(config, out=Path("whole")))
    for nth in (1, 2, 3):  # two validations, one test
        stopped, calls = replace(config, out=Path(f"stopped{nth}")), []

        def stop(*arguments: Any, nth: int = nth, calls: list[int] = calls) -> Any:
            calls.append(1)
            if len(calls) == nth:
                os.kill(os.getpid(), signal.SIGINT)
            return measure(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "measure", stop)
            with pytest.raises(KeyboardInterrupt, match="saved"):
                fit(small_net(), digits, stopped)
        assert_same(fit(small_net(), digits, stopped, resume=True), whole)


@pytest.mark.parametrize("nth", [2, 3])  # the first is on resuming
def test_a_stop_while_weights_are_exchanged_for_the_test(
    digits: Data, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """The best ones are not taken for the last: behind their loading, before the last are back."""
    config, calls = TrainConfig(epochs=2, batch_size=32, lr=0.01, out=Path("run")), []
    fit(small_net(), digits, config, test=False)
    saved = checkpoint.load_last(Path("run"))
    assert saved is not None
    saved["state"]["history"][0]["val_accuracy"] = 1.0
    checkpoint.save_last(Path("run"), saved)
    weights, metadata = checkpoint.load_weights(Path("run"))
    zeros = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    checkpoint.save_best(Path("run"), zeros, metadata)
    load_weights = SmallNet.load_state_dict

    def stop(self: SmallNet, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == nth == 3:
            os.kill(os.getpid(), signal.SIGINT)
        done = load_weights(self, *arguments)
        if len(calls) == nth == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return done

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(SmallNet, "load_state_dict", stop)
        fit(small_net(), digits, config, resume=True)
    assert len(calls) >= nth
    kept = checkpoint.load_last(Path("run"))
    assert kept is not None
    torch.testing.assert_close(kept["model"], saved["model"], rtol=0, atol=0)


def test_weights_of_others_are_not_taken_for_those_that_a_run_began_with(digits: Data) -> None:
    """Killed between config.json and the first last.pt, a run resumes with the same or not."""
    config = TrainConfig(epochs=1, batch_size=32)
    whole = fit(small_net(), digits, replace(config, out=Path("whole")))
    Path("run").mkdir()
    shutil.copy("whole/config.json", "run")
    killed = replace(config, out=Path("run"))
    with pytest.raises(InputError, match="run was stopped before its first weights were kept, and"):
        fit(small_net(seed=1), digits, killed, resume=True)
    assert_same(fit(small_net(), digits, killed, resume=True), whole)


def test_a_stop_does_not_save_ruined_weights(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    class RuinAndStop(Observer):
        def step(self, progress: Progress) -> None:
            if (progress.epoch, progress.step) == (1, 5):
                with torch.no_grad():
                    model.fc.weight.fill_(float("nan"))
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    model, config = small_net(), TrainConfig(epochs=3, batch_size=32, out=Path("run"))
    with pytest.raises(TrainingError, match="not finite"):
        fit(model, digits, config, observers=[RuinAndStop()])
    saved = checkpoint.load_last(Path("run"))
    assert saved is not None
    assert saved["state"]["epoch"] == 1
    assert all(t.isfinite().all() for t in saved["model"].values())


def test_resuming_on_other_pictures_is_refused(digits: Data) -> None:
    """They would mix training pictures into the test part."""
    config = TrainConfig(epochs=2, batch_size=32, out=Path("run"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(small_net(), digits, config, observers=[StopAfterEpoch(1)])
    assert isinstance(digits.train, MemoryImages)
    fewer = replace(digits, train=digits.train.take(torch.arange(299)))
    with pytest.raises(InputError, match="begun with data digest="):
        fit(small_net(), fewer, config, resume=True)


def test_files_that_a_run_has_lost_are_named(digits: Data) -> None:
    config = TrainConfig(epochs=3, batch_size=32, lr=0.01, out=Path("run"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(small_net(), digits, config, observers=[StopAfterEpoch(2)])
    Path("run/last.pt").rename("last.pt")
    with pytest.raises(InputError, match="run has lost its last.pt: .*--init run"):
        fit(small_net(), digits, config, resume=True)
    saved = torch.load("last.pt", weights_only=True)
    saved["state"]["history"][0]["val_accuracy"] = 1.0  # the best is no longer the last
    torch.save(saved, "run/last.pt")
    Path("run/best.safetensors").unlink()
    with pytest.raises(InputError, match="run has lost its best.safetensors"):
        fit(small_net(), digits, config, resume=True)


def test_a_good_checkpoint_that_cannot_be_read_now_is_not_called_damaged(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(epochs=2, batch_size=32, lr=0.01, out=Path("run"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(small_net(), digits, config, observers=[StopAfterEpoch(1)])
    for error, said in (
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (MemoryError(), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory ran out"),
    ):

        def failing(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(torch, "load", failing)
            with pytest.raises(InputError, match=f"Cannot read run/last.pt.*{said}") as raised:
                fit(small_net(), digits, config, resume=True)
        assert "--init" not in str(raised.value)
    assert len(fit(small_net(), digits, config, resume=True).history) == 2


def test_a_half_written_file_of_a_killed_run_is_no_hindrance(digits: Data) -> None:
    config = TrainConfig(epochs=1, batch_size=32, lr=0.01, out=Path("run"))
    fit(small_net(), digits, config)
    Path("run/summary.json").rename("run/.summary.json.tmp")
    assert fit(small_net(), digits, config, resume=True).summary is not None
    assert not Path("run/.summary.json.tmp").exists()


def test_a_folder_that_has_moved_is_resumed(digit_pictures: Path) -> None:
    config = TrainConfig(epochs=2, batch_size=8, out=Path("run"), workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_close_epoch", crash_after(loop._close_epoch))
        with pytest.raises(RuntimeError, match="crash"):
            api.train("lenet", digit_pictures, config, image_size=16, progress=False)
    moved = digit_pictures.rename(digit_pictures.with_name("moved"))
    run = api.resume("run", data=str(moved), progress=False)
    assert len(run.history) == 2


def test_a_run_folder_is_claimed_until_its_last_file_is_written(digits: Data) -> None:
    refused: list[str] = []

    class WritesLate(StopAfterEpoch):
        def __exit__(self, *_: object) -> None:
            try:
                with checkpoint.claimed(Path("run")):
                    pass
            except InputError as error:
                refused.append(str(error))

    with pytest.raises(RuntimeError, match="crash"):
        fit(small_net(), digits, replace(CONFIGS[0], out=Path("run")), observers=[WritesLate(1)])
    assert len(refused) == 1
    assert "Another process is training in run" in refused[0]
    with checkpoint.claimed(Path("run")):
        pass


def test_a_run_that_was_begun_meanwhile_stays(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process claimed the free folder first, and has ended since."""
    real = checkpoint.claimed

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        (folder / checkpoint.CONFIG).write_text("another's")
        with real(folder):
            yield

    monkeypatch.setattr(checkpoint, "claimed", late)
    with pytest.raises(InputError, match="run already holds a run"):
        fit(small_net(), digits, replace(CONFIGS[0], out=Path("run")))
    assert Path("run", checkpoint.CONFIG).read_text() == "another's"
    assert not Path("run", checkpoint.LAST).exists()


def crash_after(real: Any) -> Any:
    def crash(*arguments: Any) -> None:
        real(*arguments)
        raise RuntimeError("crash")

    return crash
