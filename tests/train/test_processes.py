"""Several processes train one network: the shares, the statistics, and the result as users get it.

Every process is a real one, started by torchrun.
"""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from command import Command, convworks
from conftest import write_digits
from convworks.data.loader import open_loader
from convworks.data.share import Share
from convworks.data.splits import MemoryImages
from torchrun import (
    EXACT,
    TRAIN,
    assert_same_run,
    free_port,
    records,
    started,
    torchrun,
)


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
    """In uneven shares, of uneven classes, whose weights they have otherwise than the batch."""
    write_digits(Path("pictures"), classes=(0, 7), count=40)
    write_digits(Path("pictures"), classes=(1,), count=15)
    arguments = ["--data", "pictures", "--image-size", "16", "--batch-size", "21", "--epochs", "2"]
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
    """Of a batch of 61 they have 30 and 31, then 20, 20 and 21."""
    arguments = [*EXACT, "--epochs", "30", "--image-size", "16", "--batch-size", "61"]
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
def test_a_batch_too_small_to_be_shared() -> None:
    code, _, err = torchrun(3, *TRAIN, "--batch-size", "2", "--out", "never")
    assert code == 1
    assert "leaves none for some of 3 processes: start at most 2 of them with torchrun" in err
    assert not Path("never").exists()
