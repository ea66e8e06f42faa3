"""Exported files do what the network does, in processes that know neither PyTorch nor convworks."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convworks as cw
from command import convworks
from conftest import write_digits
from convworks.data.splits import Data
from convworks.deploy import export as exporting
from convworks.deploy.export import BATCHES, ExportError, export
from convworks.deploy.runtime import Deployed, open_deployed
from convworks.deploy.shipped import Shipped, batches
from convworks.errors import InputError, UsageError

FORMATS = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}


def pictures(digits: Data, count: int) -> np.ndarray:
    """As the network takes them."""
    pixels, _ = next(batches(digits.test, 28))
    return pixels[:count]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_for_each_format(kind: str, run: cw.Run, digits: Data) -> None:
    found = export(run, kind)  # type: ignore[arg-type]
    assert found.path == run.path / FORMATS[kind]
    assert found.farthest < 1e-4
    assert abs(found.test_accuracy - found.run_accuracy) < 0.01
    assert found.test_images == len(digits.test)
    deployed = open_deployed(found.path, exact=True)
    assert deployed.labels == list(run.classes)
    assert deployed.shape == (1, 28, 28)
    pixels = pictures(digits, 32)
    with torch.inference_mode():
        expected = Shipped(run.model, run.preparation)(torch.from_numpy(pixels)).numpy()
    for size in BATCHES:
        result = deployed.run(pixels[:size])
        assert result.shape == (size, 10)
        np.testing.assert_allclose(result, expected[:size], atol=1e-5)
        np.testing.assert_allclose(result.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_cards_program_runs_without_us(
    kind: str, run: cw.Run, digits: Data, tmp_path: Path
) -> None:
    """The lines are taken from the card; ONNX Runtime's has numpy beside it and nothing else."""
    found = export(run, kind)  # type: ignore[arg-type]
    card = Path(f"{found.path}.md").read_text()
    program, reading = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    forbidden = ["convworks", "PIL", *([] if kind == "pt2" else ["torch"])]
    block = f"import sys\nfor name in {forbidden}: sys.modules[name] = None\n"
    pixels = pictures(digits, 20)
    np.save(tmp_path / "images.npy", pixels)
    done = subprocess.run(
        [sys.executable, "-c", block + program, str(tmp_path / "images.npy")],
        cwd=run.path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = open_deployed(found.path).run(pixels)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [label for label, _ in lines] == [run.classes[i] for i in result.argmax(1)]
    compile(reading, "card", "exec")


def test_an_image_folder_and_a_network_of_ones_own(digit_pictures: Path, tmp_path: Path) -> None:
    data = cw.load_data(digit_pictures, image_size=20)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 18 * 18, 3))
    run = cw.fit(model, data, cw.TrainConfig(epochs=2, out=tmp_path / "run"), progress=False)
    found = cw.export(run, "onnx", tmp_path / "mine.onnx")
    metadata = open_deployed(found.path).metadata
    assert metadata["labels"] == ["digit0", "digit1", "digit2"]
    assert metadata["network"] == "Sequential"
    assert metadata["input"]["shape"] == [1, 20, 20]
    assert sorted(p.name for p in tmp_path.glob("mine*")) == ["mine.onnx", "mine.onnx.md"]


def run_on(pictures: Path, out: Path) -> cw.Run:
    """A run on a folder of three classes."""
    data = cw.load_data(pictures, image_size=20)
    model = cw.create_model("lenet", num_classes=3, in_channels=1, image_size=20)
    return cw.fit(model, data, cw.TrainConfig(epochs=1, out=out), progress=False)


def test_few_test_pictures_are_compared_in_batches_of_all_sizes(
    digit_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six, of which slices would be no more than six."""
    run = run_on(digit_pictures, tmp_path / "run")
    right, sizes = exporting.open_deployed, []

    def counting(path: Path, *, exact: bool = False) -> Deployed:
        opened = right(path, exact=exact)

        def run_counted(pixels: np.ndarray) -> np.ndarray:
            sizes.append(len(pixels))
            return opened.run(pixels)

        return replace(opened, run=run_counted) if exact else opened

    monkeypatch.setattr(exporting, "open_deployed", counting)
    cw.export(run)
    assert sizes == [1, 7, 32, 6]


def test_a_file_for_some_batches_only_is_not_kept(
    digit_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on(digit_pictures, tmp_path / "run")
    right = exporting.open_deployed

    def wrong(path: Path, *, exact: bool = False) -> Deployed:
        opened = right(path, exact=exact)
        return replace(opened, run=lambda x: opened.run(x) + (0.1 if len(x) == 32 else 0))

    monkeypatch.setattr(exporting, "open_deployed", wrong)
    with pytest.raises(ExportError, match="gives other probabilities than the network .by 0.1"):
        cw.export(run)
    assert not list((tmp_path / "run").glob("*.onnx*"))


def test_without_a_readable_test_picture_nothing_is_written(
    digit_pictures: Path, tmp_path: Path
) -> None:
    data = cw.load_data(digit_pictures, image_size=20)
    run = run_on(digit_pictures, tmp_path / "run")
    for path in data.test.paths:  # type: ignore[union-attr]
        path.write_bytes(b"no picture")  # type: ignore[union-attr]
    with pytest.raises(InputError, match="None of the pictures in the test part of pictures can"):
        cw.export(run)
    assert not list((tmp_path / "run").glob("*.onnx*"))


def test_a_file_that_differs_is_not_kept(
    run: cw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exporting.WRITERS["pt2"]

    def wrong(shipped: Shipped, *rest: object) -> None:
        other = Shipped(shipped.model, replace(run.preparation, mean=(0.9,)))
        right(other.eval(), *rest)  # type: ignore[arg-type]

    monkeypatch.setitem(exporting.WRITERS, "pt2", wrong)
    with pytest.raises(ExportError, match="gives other probabilities than the network"):
        export(run, "pt2", tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_number_is_not_kept(
    run: cw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exporting.WRITERS["pt2"]

    class Broken(Shipped):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * torch.nan

    def wrong(shipped: Shipped, *rest: object) -> None:
        right(Broken(shipped.model, run.preparation).eval(), *rest)  # type: ignore[arg-type]

    monkeypatch.setitem(exporting.WRITERS, "pt2", wrong)
    with pytest.raises(ExportError, match="other probabilities than the network .by nan"):
        export(run, "pt2", tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_two_files_of_different_exports_are_refused(run: cw.Run, tmp_path: Path) -> None:
    """As after a power cut between the two, or when only one of them was copied."""
    changed = copy.deepcopy(run.model)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1.0001)
    for name, model in (("one", run.model), ("two", changed)):
        (tmp_path / name).mkdir()
        export(replace(run, model=model), "openvino", tmp_path / name / "model.xml")
    open_deployed(tmp_path / "one" / "model.xml")
    shutil.copy(tmp_path / "two" / "model.bin", tmp_path / "one")
    with pytest.raises(InputError, match="not of one export: copy both"):
        open_deployed(tmp_path / "one" / "model.xml")


@pytest.mark.parametrize("links", [True, False])  # which not all file systems have
def test_files_are_replaced_together_or_not_at_all(
    run: cw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Ctrl-C before any of the three moves; and whenever it is killed, each file is there."""
    export(run, "openvino", tmp_path / "model.xml")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes() + b"\n")  # so that the new ones are others
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert len(before) == 3
    replace_file, moves_left = Path.replace, 0

    def stopped(self: Path, target: Path) -> Path:
        nonlocal moves_left
        if ".export" in f"{self}{target}":
            assert {p.name for p in tmp_path.iterdir() if p.is_file()} == before.keys()
            moves_left -= 1
            if moves_left == 0:
                raise KeyboardInterrupt
        return replace_file(self, target)

    def no_link(*_: object, **__: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(Path, "replace", stopped)
    for failing in (1, 2, 3):
        moves_left = failing
        with pytest.raises(KeyboardInterrupt):
            export(run, "openvino", tmp_path / "model.xml")
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    moves_left = 4  # there is no fourth
    export(run, "openvino", tmp_path / "model.xml")
    after = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)


def test_the_runs_model_stays_as_it_is(run: cw.Run, tmp_path: Path) -> None:
    run.model.train()
    export(run, "pt2", tmp_path / "model.pt2")
    assert run.model.training
    run.model.eval()


def test_data_that_the_run_cannot_be_tested_with(run: cw.Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not split, or no longer filled, as it was"):
        export(run, data=cw.load_data("digits", image_size=28, seed=5))
    unfinished = replace(run, summary=None)
    with pytest.raises(InputError, match="is not complete: finish it with convworks train"):
        export(unfinished)
    (tmp_path / "model.onnx.md").mkdir()
    with pytest.raises(InputError, match="model.onnx.md is a folder, in the way"):
        export(run, out=tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx.md"]


def test_a_folder_that_has_moved(digit_pictures: Path, tmp_path: Path) -> None:
    data = cw.load_data(digit_pictures, image_size=20)
    run = run_on(digit_pictures, tmp_path / "run")
    elsewhere = tmp_path / "a|b"
    digit_pictures.rename(elsewhere)
    found = cw.export(run.path, data=elsewhere)
    assert found.test_images == len(data.test)
    assert "| data | a\\|b: " in Path(f"{found.path}.md").read_text()


def test_a_network_that_counts_on_its_batch(digits: Data, tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(784, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x.view(len(x), -1))

    config = cw.TrainConfig(epochs=1, out=tmp_path / "run")
    run = cw.fit(Fixed(), digits, config, progress=False)
    with pytest.raises(ExportError, match=r"take x.flatten\(1\)"):
        export(run)


def test_bad_input(run: cw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'onnx'"):
        export(run, "onx")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--int8 is for onnx and openvino"):
        export(run, "pt2", int8=True)
    with pytest.raises(InputError, match="name it .*model.onnx"):
        export(run, "onnx", tmp_path / "model.pt")
    with pytest.raises(InputError, match="There is no folder"):
        export(run, "onnx", tmp_path / "none" / "model.onnx")
    with pytest.raises(InputError, match="is a folder"):
        export(run, "onnx", tmp_path)
    write_digits(tmp_path / "pictures", (0, 1), count=6)
    with pytest.raises(InputError, match="other classes"):
        export(run, "onnx", data=cw.load_data(tmp_path / "pictures", image_size=28))
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="Cannot read .*bad.onnx"):
        open_deployed(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="There is no .*: name a run's folder, or a file"):
        open_deployed(tmp_path / "none.onnx")
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(InputError, match="they end in"):
        open_deployed(tmp_path / "best.safetensors")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install '\.\[export\]'"):
        export(run, "openvino", tmp_path / "model.xml")
    assert not (tmp_path / "model.xml").exists()


def test_files_of_others_beside_it_are_left(run: cw.Run, tmp_path: Path) -> None:
    for format_, target, other in (
        ("onnx", "model.onnx", "model.onnx.md"),
        ("openvino", "model.xml", "model.bin"),
    ):
        (tmp_path / other).write_text("mine")
        with pytest.raises(InputError, match=f"{other} is in the way .* beside {target}: move it"):
            export(run, format_, tmp_path / target)  # type: ignore[arg-type]
        assert (tmp_path / other).read_text() == "mine"
        assert not (tmp_path / target).exists()


def test_a_network_that_is_not_ours_is_told(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "other.pt2")
    with pytest.raises(InputError, match="was not exported by convworks"):
        open_deployed(tmp_path / "other.pt2")


def test_the_command(run: cw.Run, tmp_path: Path) -> None:
    done = convworks("export", str(run.path), "--json", "--out", str(tmp_path / "model.onnx"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["path"] == str(tmp_path / "model.onnx")
    assert found["test_accuracy"] == pytest.approx(found["run_accuracy"], abs=0.01)
    assert done.stderr == ""
    plain = convworks("export", str(run.path), "--out", str(tmp_path / "model.onnx"))
    assert plain.stdout.splitlines() == [
        f"{tmp_path}/model.onnx: fp32, {found['bytes'] / 1e6:,.1f} MB; test accuracy"
        f" {found['test_accuracy']:.4f} of 359 pictures, the run's network"
        f" {found['run_accuracy']:.4f}",
        f"how to use it: {tmp_path}/model.onnx.md",
    ]


class Odd(nn.Module):
    """A network of one's own with a part that `.pt2` files are refused for."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(144, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            flat = images.flatten(1).mul(2)
        return self.fc(torch.einsum("ij,ij->ij", flat, flat))


def test_what_would_not_be_opened_again_is_not_written(tmp_path: Path) -> None:
    data = cw.load_data("digits", image_size=12, train_images=60)
    run = cw.fit(Odd(), data, cw.TrainConfig(epochs=1, out=tmp_path / "run"), progress=False)
    with pytest.raises(ExportError, match="is not opened: .* Export it in another --format"):
        cw.export(run, "pt2", data=data)
    assert not list((tmp_path / "run").glob("*.pt2*"))
    assert cw.export(run, "onnx", data=data).path.exists()
