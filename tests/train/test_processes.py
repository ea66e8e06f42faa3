"""Several processes train one network: the shares, the statistics, and the result as users get it.

Every process is a real one, started by torchrun.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from command import Command, convworks
from conftest import write_digits
from convworks.data.loader import open_loader
from convworks.data.share import Share
from convworks.data.splits import MemoryImages
from convworks.errors import InputError
from convworks.train.opening import _check_shares
from convworks.train.processes import Processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
HERE = ("--standalone",)
TRAIN = ["-m", "convworks", "train"]

EXACT = ["--optimizer", "sgd", "--lr", "0.05", "--precision", "fp32", "--batch-size", "60"]
"""Plain SGD does not magnify the rounding of sums, as dividing by their size does."""


def started(
    processes: int, *arguments: str, restarts: int = 0, where: Sequence[str] = HERE
) -> "subprocess.Popen[str]":
    """torchrun, in a group of its own."""
    own = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    return subprocess.Popen(
        [*TORCHRUN, *where, *own, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def torchrun(processes: int, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, once it is over."""
    process = started(processes, *arguments)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def records(run: str) -> list[dict[str, float]]:
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_run(one: str, other: str) -> None:
    """Weights, losses and accuracies within the rounding of some hundred steps."""
    ours, theirs = (load_file(Path(run) / "best.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=5e-4, rtol=2e-3, msg=name)
    for a, b in zip(records(one), records(other), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-3)
        assert a["train_accuracy"] == pytest.approx(b["train_accuracy"], abs=0.002)


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_the_batch(count: int, processes: int) -> None:
    batch = torch.arange(count)
    shares = [Share(rank, processes).cut(batch) for rank in range(processes)]
    assert torch.equal(torch.cat(shares), batch)
    sizes = {len(share) for share in shares}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shuffle", [True, False])
def test_loaders_of_all_processes_give_every_picture_once(shuffle: bool) -> None:
    images = MemoryImages(torch.zeros(50, 1, 2, 2, dtype=torch.uint8), torch.arange(50))
    cpu = torch.device("cpu")
    seen = []
    for rank in range(3):
        loader = open_loader(
            images,
            batch_size=12,
            image_size=2,
            device=cpu,
            shuffle=shuffle,
            share=Share(rank, 3),
        )
        batches = [labels for _, labels in loader.epoch(seed=5)]
        assert len(batches) == len(loader) == (4 if shuffle else 5)
        seen += batches
    labels = torch.cat(seen)
    assert len(labels.unique()) == len(labels) == (48 if shuffle else 50)


NORMS = """
import torch, torch.distributed as dist
from torch import nn
from convworks.train.synced_norms import with_synced_norms

dist.init_process_group("gloo")
rank = dist.get_rank()
mine = [slice(0, 3), slice(3, 8)][rank]  # statistics do not depend on who has how many
for kind, shape in ((nn.BatchNorm2d, (8, 3, 5, 4)), (nn.BatchNorm1d, (8, 3))):
    for options in ({}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}):
        for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 0.06)):
            torch.manual_seed(0)
            images = (torch.randn(shape) * 3 + 40).to(dtype)
            gradient = torch.randn(shape).to(dtype)
            whole, shared = kind(3, **options), kind(3, **options)
            for norm in (whole, shared):
                for p in norm.parameters():
                    p.data.copy_(torch.tensor([1.0, 2.0, -0.5]))
            x = images.clone().requires_grad_()
            y = whole(x)
            y.backward(gradient)
            part = images[mine].clone().requires_grad_()
            out = with_synced_norms(shared)(part)
            out.backward(gradient[mine])
            for p in shared.parameters():
                dist.all_reduce(p.grad)
            close = dict(atol=most, rtol=most, check_dtype=True)
            torch.testing.assert_close(out, y[mine].detach(), **close)
            torch.testing.assert_close(part.grad, x.grad[mine], **close)
            for p, q in zip(shared.parameters(), whole.parameters()):
                torch.testing.assert_close(p.grad, q.grad, atol=10 * most, rtol=10 * most)
            for p, q in zip(shared.buffers(), whole.buffers()):
                torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-5)
            shared.eval(), whole.eval()
            if options != {"track_running_stats": False}:
                torch.testing.assert_close(with_synced_norms(shared)(images), whole(images))
print("compared", flush=True)
dist.destroy_process_group()
"""


def test_synced_norms_have_the_statistics_of_the_whole_batch() -> None:
    Path("norms.py").write_text(NORMS)
    code, out, err = torchrun(2, "norms.py")
    assert code == 0, err
    assert out.count("compared") == 2


@pytest.mark.parametrize(
    ("model", "extent"),
    [
        pytest.param("lenet_bn", ["--epochs", "3"], marks=pytest.mark.slow),
        # One step: rounding grows so fast in 20 layers of batch norm that after 21 steps one
        # process with two threads differs as much from one with one thread (0.2 in a variance).
        ("resnet20", ["--epochs", "1", "--batch-size", "1200"]),
    ],
)
def test_two_processes_train_as_one(model: str, extent: list[str]) -> None:
    arguments = [model, *EXACT, *extent, "--augment", "flip-crop", "--image-size", "16"]
    one = convworks("train", *arguments, "--out", "one")
    assert one.returncode == 0, one.stderr
    code, out, err = torchrun(2, *TRAIN, *arguments, "--out", "two")
    assert code == 0, err
    assert_same_run("one", "two")
    assert out.count("test accuracy") == 1  # the first process alone tells
    assert err.count("images/s") == len(records("two"))
    assert sorted(p.name for p in Path("two").iterdir()) == sorted(
        p.name for p in Path("one").iterdir()
    )


@pytest.mark.slow
def test_an_image_folder_is_shared() -> None:
    """Of uneven classes, whose weights the processes' shares have otherwise than the batch."""
    write_digits(Path("pictures"), classes=(0, 7), count=40)
    write_digits(Path("pictures"), classes=(1,), count=15)
    arguments = ["--data", "pictures", "--image-size", "16", "--batch-size", "20", "--epochs", "2"]
    rest = ["--optimizer", "sgd", "--lr", "0.05", "--precision", "fp32"]
    rest += ["--class-weights", "balanced"]
    one = convworks("train", "lenet_bn", *arguments, *rest, "--out", "one")
    assert one.returncode == 0, one.stderr
    code, _, err = torchrun(2, *TRAIN, "lenet_bn", *arguments, *rest, "--out", "two")
    assert code == 0, err
    assert_same_run("one", "two")


UNREAD = """
from convworks.cli import main
from convworks.data import kept

kept.free_memory = lambda: 0  # pictures are read as they are needed, each by its own process
main()
"""


def test_pictures_that_one_process_cannot_read_are_left_out_by_all() -> None:
    write_digits(Path("pictures"), classes=(0, 7), count=60)
    for place in ("digit0/003.png", "digit0/030.png", "digit7/041.png"):
        Path("pictures", place).write_bytes(b"no picture")
    Path("unread.py").write_text(UNREAD)
    rest = ["--data", "pictures", "--image-size", "16", "--batch-size", "20", "--epochs", "3"]
    rest += ["--optimizer", "sgd", "--lr", "0.05", "--precision", "fp32"]
    listed = []
    for processes, out in ((1, "one"), (2, "two")):
        code, _, err = torchrun(processes, "unread.py", "train", "lenet_bn", *rest, "--out", out)
        assert code == 0, err
        assert err.count("left out: ") == 3
        listed.append(json.loads(Path(out, "pictures.json").read_text())["unreadable"])
    assert listed[0] == listed[1]
    assert sorted(listed[0]) == ["digit0/003.png", "digit0/030.png", "digit7/041.png"]
    assert_same_run("one", "two")


APART = """
import os, sys
from convworks.cli import main

os.chdir(os.environ["RANK"])
main()
"""


@pytest.mark.parametrize("apart", ["data", "run", "state"])
def test_processes_that_see_different_folders_are_refused(apart: str) -> None:
    """As on two machines whose disks are their own."""
    Path("apart.py").write_text(APART)
    words = [*EXACT, "--epochs", "2", "--image-size", "16", "--data", "data", "--out", "run"]
    shared = Path("shared").resolve()
    write_digits(shared / "data", classes=(0, 7), count=60)
    write_digits(shared / "other", classes=(0, 7), count=61)
    for rank in ("0", "1"):
        Path(rank).mkdir()
        other = "other" if apart == "data" and rank == "1" else "data"
        Path(rank, "data").symlink_to(shared / other)
    if apart == "state":  # one of them has an older copy of the run
        begun = Command("train", *words, cwd=Path("0"))
        begun.wait_for("epoch 1/")
        begun.send_signal(signal.SIGKILL)
        begun.end()
        shutil.copytree("0/run", "1/run")
        done = convworks("train", "--resume", "--out", "run", "--epochs", "2", cwd=Path("0"))
        assert done.returncode == 0, done.stderr
        Path("0/run/summary.json").unlink()
        words = ["--resume", "--out", "run"]
    code, out, err = torchrun(2, str(Path("apart.py").resolve()), "train", *words)
    assert code == 1
    differs = {
        "data": r"data set than process 0 on \S+ \(hash \w+, not hash \w+\)",
        "run": r"run/config.json than process 0 on \S+ \(none, not hash \w+\)",
        "state": r"place to go on from than process 0 on \S+ \(epoch \d, step 1, not epoch 3",
    }
    assert re.search(rf"convworks: Process 1 on \S+ has another {differs[apart]}", err), err
    assert "epoch 1/2" not in err
    assert out == ""


@pytest.mark.slow
def test_two_machines_train_as_one() -> None:
    """Two torchrun that meet at an address, and see the same folder."""
    arguments = [*EXACT, "--epochs", "2", "--image-size", "16"]
    one = convworks("train", *arguments, "--out", "one")
    assert one.returncode == 0, one.stderr
    meet = f"--rdzv-endpoint=127.0.0.1:{free_port()}"
    where = ["--nnodes=2", "--rdzv-backend=c10d", "--rdzv-id=both", meet]
    machines = [started(1, *TRAIN, *arguments, "--out", "two", where=where) for _ in range(2)]
    ended = [machine.communicate(timeout=200) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], ended
    assert sum(out.count("test accuracy") for out, _ in ended) == 1
    assert_same_run("one", "two")


@pytest.mark.slow
def test_a_frozen_trunk_is_shared_too() -> None:
    first = convworks("train", "lenet_bn", *EXACT, "--epochs", "1", "--out", "first")
    assert first.returncode == 0, first.stderr
    arguments = ["lenet_bn", *EXACT, "--epochs", "3", "--init", "first", "--freeze"]
    arguments += ["--unfreeze-after", "2"]
    one = convworks("train", *arguments, "--out", "one")
    assert one.returncode == 0, one.stderr
    code, _, err = torchrun(2, *TRAIN, *arguments, "--out", "two")
    assert code == 0, err
    assert_same_run("one", "two")


def test_a_run_goes_on_with_another_number_of_processes() -> None:
    arguments = [*EXACT, "--epochs", "30", "--image-size", "16"]
    whole = convworks("train", *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = started(2, *TRAIN, *arguments, "--out", "moved")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch  3/"):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
            break
    _, rest = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "go on with: convworks train --resume --out moved" in rest
    assert 3 <= len(records("moved")) < 30
    code, _, err = torchrun(3, *TRAIN, "--resume", "--out", "moved")
    assert code == 0, err
    assert "resumed after epoch" in err
    assert_same_run("whole", "moved")


SPREAD = ["--lr", "0.002", "--precision", "fp32", "--batch-size", "60", "--image-size", "16"]
SPREAD += ["--epochs", "5", "--optimizer", "nesterov"]


def test_a_network_in_parts_trains_as_a_whole_one_and_goes_on_alone() -> None:
    whole = convworks("train", "lenet_bn", *SPREAD, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = started(2, *TRAIN, "lenet_bn", *SPREAD, "--fsdp", "on", "--out", "parts")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            os.killpg(process.pid, signal.SIGINT)
            break
    _, rest = process.communicate(timeout=120)
    assert "go on with: convworks train --resume --out parts" in rest
    assert 3 <= len(records("parts")) < 5
    alone = convworks("train", "--resume", "--out", "parts")
    assert alone.returncode == 2
    assert "start them with torchrun --nproc-per-node N" in alone.stderr
    done = convworks("train", "--resume", "--out", "parts", "--fsdp", "off")
    assert done.returncode == 0, done.stderr
    assert_same_run("whole", "parts")


@pytest.mark.slow
@pytest.mark.parametrize("every", ["1", "1min"])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_process_of_a_network_in_parts_is_told_to_stop(every: str) -> None:
    """The others learn of it before anything is saved, which takes all of them."""
    extent = ["--epochs", "500", "--fsdp", "on", "--save-every", every, "--out", "parts"]
    process = started(2, *TRAIN, "lenet_bn", *SPREAD, *extent)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2/"):
            os.kill(_children(process)[1], signal.SIGINT)
            break
    _, rest = process.communicate(timeout=100)
    assert "go on with: convworks train --resume --out parts" in rest
    assert convworks("eval", "parts").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lenet_bn", "resnet20", "googlenet"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_network_that_began_as_a_whole_goes_on_in_parts(model: str, optimizer: str) -> None:
    """The losses of four epochs and the best weights' test, which Adam's rounding leaves alike."""
    side = "32" if model == "googlenet" else "16"
    arguments = ["--precision", "fp32", "--image-size", side, "--batch-size", "240"]
    arguments += ["--lr", "0.001", "--epochs", "4", "--optimizer", optimizer]
    whole = convworks("train", model, *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    first = Command("train", model, *arguments, "--out", "parts")
    first.wait_for("epoch 2/")
    first.send_signal(signal.SIGINT)
    assert first.end().returncode == 130
    assert 2 <= len(records("parts")) < 4
    code, out, err = torchrun(2, *TRAIN, "--resume", "--out", "parts", "--fsdp", "on")
    assert code == 0, err
    assert out.count("test accuracy") == 1
    for a, b in zip(records("whole"), records("parts"), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-2)
        assert a["val_accuracy"] == pytest.approx(b["val_accuracy"], abs=0.03)
    assert convworks("eval", "parts").returncode == 0


@pytest.mark.parametrize(
    "other", [("--freeze", "--init", "x"), ("--compile", "on"), ("--sync-norms", "off")]
)
def test_what_parts_do_not_go_with(other: tuple[str, ...]) -> None:
    done = convworks("train", "--fsdp", "on", *other)
    assert done.returncode == 2
    assert (
        f"--fsdp on does not go with {' '.join(other[: 1 if len(other) > 2 else 2])}" in done.stderr
    )


def _children(process: "subprocess.Popen[str]") -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


@pytest.mark.parametrize(
    ("victim", "standalone"), [(0, False), pytest.param(1, True, marks=pytest.mark.slow)]
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_ends_the_job_and_torchrun_goes_on_with_it(
    victim: int, standalone: bool
) -> None:
    """Also when torchrun gives the job no id of its own, as without --standalone."""
    where = HERE if standalone else [f"--master-port={free_port()}"]
    arguments = [*EXACT, "--epochs", "30", "--image-size", "16"]
    whole = convworks("train", *arguments, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = started(2, *TRAIN, *arguments, "--out", "killed", restarts=1, where=where)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("epoch  3/"):
            os.kill(_children(process)[victim], signal.SIGKILL)
            break
    _, rest = process.communicate(timeout=200)
    assert process.returncode == 0, rest
    assert "resumed after epoch" in rest
    assert_same_run("whole", "killed")


@pytest.mark.slow
def test_without_restarts_a_killed_process_ends_the_job() -> None:
    process = started(2, *TRAIN, *EXACT, "--epochs", "500", "--image-size", "16", "--out", "killed")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   3/"):
            os.kill(_children(process)[1], signal.SIGKILL)
            break
    begun = time.monotonic()
    _, rest = process.communicate(timeout=120)
    assert time.monotonic() - begun < 60
    assert process.returncode == 1
    assert "convworks/" not in rest  # no traceback of ours
    assert len(records("killed")) >= 3
    assert not Path("killed/summary.json").exists()


@pytest.mark.slow
def test_norms_of_several_processes_are_not_computed_again() -> None:
    words = ("densenet_book", "--set", "recompute=true", "--image-size", "32", "--batch-size", "32")
    code, _, err = torchrun(2, *TRAIN, *words, "--out", "never")
    assert code == 1
    assert "recompute does not go with synchronised norms: add --sync-norms off." in err
    code, _, err = torchrun(2, *TRAIN, "lenet_bn", "--set", "norm_kind=whitening", "--out", "never")
    assert code == 1
    assert "whitening has no synchronised statistics: add --sync-norms off." in err
    code, _, err = torchrun(2, *TRAIN, "lenet_bn", "--compile", "on", "--out", "never")
    assert code == 1
    assert "torch.compile leaves synchronised norms out: add --sync-norms off." in err


@pytest.mark.slow
def test_one_picture_a_process_is_too_few_for_its_own_norms() -> None:
    words = ("lenet_bn", "--batch-size", "2", "--sync-norms", "off", "--out", "never")
    code, _, err = torchrun(2, *TRAIN, *words)
    assert code == 1
    assert "convworks: Batch norm needs more than one picture a step" in err
    assert not Path("never").exists()


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared() -> None:
    code, _, err = torchrun(2, *TRAIN, "--batch-size", "31", "--out", "never")
    assert code == 1
    assert "cannot be shared equally by 2 processes: choose --batch-size 30 or 32" in err
    assert not Path("never").exists()


@pytest.mark.parametrize(
    ("batch", "processes", "advice"),
    [(512, 3, "start 2 or 4 of them"), (30, 7, "start 6 or 10 of them"), (4, 8, "start 4 of them")],
)
def test_a_run_to_go_on_with_keeps_its_batch(batch: int, processes: int, advice: str) -> None:
    with pytest.raises(InputError, match=f"equally by {processes} processes: {advice}"):
        _check_shares(batch, Processes(Share(0, processes)), resume=True)


def test_restarts_need_a_named_folder() -> None:
    done = Command("train", environment={"TORCHELASTIC_MAX_RESTARTS": "1"}).end()
    assert done.returncode == 2
    assert "needs --out DIR" in done.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("standalone", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_restarts_leave_the_run_of_another_job_alone(standalone: bool) -> None:
    """The second attempt finds a run as the first did, which was refused."""
    older = convworks("train", "--epochs", "1", "--out", "older")
    assert older.returncode == 0, older.stderr
    Path("older/summary.json").unlink()  # as if it had been stopped
    where = HERE if standalone else [f"--master-port={free_port()}"]
    process = started(
        2, *TRAIN, "--epochs", "1", "--out", "older", "--save-every", "1", restarts=1, where=where
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.count("older already holds a run: add --resume") == 2  # both attempts
    assert "resumed after" not in err
    assert out == ""


def test_a_job_goes_on_with_its_own_run_alone() -> None:
    """torchrun's count of restarts stays 0 when a machine joins or leaves."""
    words = ("train", "--epochs", "400", "--out", "run")
    first = Command(*words, environment={"TORCHELASTIC_RUN_ID": "a"})
    first.wait_for("epoch   2/")
    first.send_signal(signal.SIGKILL)
    first.end()
    other = Command(*words, environment={"TORCHELASTIC_RUN_ID": "b"}).end()
    assert other.returncode == 1
    assert "run already holds a run: add --resume" in other.stderr
    again = Command(*words, environment={"TORCHELASTIC_RUN_ID": "a"})
    again.wait_for("resumed after epoch")
    again.send_signal(signal.SIGINT)
    again.end()
    done = json.loads(Path("run/config.json").read_text())
    Path("run/summary.json").write_text("{}")  # a complete run, of whichever job
    complete = Command(*words, environment={"TORCHELASTIC_RUN_ID": done["job"]}).end()
    assert complete.returncode == 1
    assert "run already holds a run: add --resume" in complete.stderr
