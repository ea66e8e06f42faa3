"""Run folders, weights and data made to run code, take all memory or reach out. None succeeds."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

import convworks as cw
from convworks import cli
from convworks.errors import ConvworksError, InputError
from convworks.nets.weights import read_file
from hostile import MARK, Hostile, rewritten, trained


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("hostile") / "run").path


@pytest.fixture
def run(whole: Path) -> Path:
    """A complete run."""
    return Path(shutil.copytree(whole, "run"))


def test_the_marks_of_code_can_be_seen() -> None:
    pickle.loads(pickle.dumps(Hostile()))
    assert MARK.exists()


@pytest.mark.parametrize("how", ["pickle", "torch", "inside"])
def test_a_checkpoint_that_runs_code(run: Path, how: str) -> None:
    last = run / "last.pt"
    if how == "pickle":
        last.write_bytes(pickle.dumps(Hostile()))
    elif how == "torch":
        torch.save(Hostile(), last)
    else:
        torch.save(torch.load(last, weights_only=True) | {"more": Hostile()}, last)
    (run / "summary.json").unlink()
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        cw.resume(run, progress=False)
    assert not MARK.exists()


def test_weights_that_run_code(run: Path) -> None:
    torch.save({"weight": Hostile()}, run / "best.safetensors")
    with pytest.raises(InputError, match="Cannot read weights"):
        cw.load(run)
    with pytest.raises(InputError):
        cw.Classifier("lenet", epochs=1, init=run / "best.safetensors").fit(
            torch.rand(30, 1, 12, 12).numpy(), [0, 1, 2] * 10
        )
    assert not MARK.exists()


def safetensors(header: dict[str, object] | bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return pack("<Q", len(text) if length is None else length) + text + bytes(64)


HEADERS = {
    "a tensor of a petabyte": safetensors(
        {"fc.weight": {"dtype": "F32", "shape": [2**24, 2**24], "data_offsets": [0, 2**50]}}
    ),
    "a header of 8 EiB": safetensors({}, 2**63 - 1),
    "offsets that cross": safetensors(
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}
    ),
    "a shape that overflows": safetensors(
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}}
    ),
    "a negative shape": safetensors(
        {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}
    ),
    "no JSON": safetensors(b"{" * 5000),
    "nothing": b"",
}


@pytest.mark.parametrize("name", HEADERS)
def test_weights_that_claim_what_they_have_not(run: Path, name: str) -> None:
    (run / "best.safetensors").write_bytes(HEADERS[name])
    with pytest.raises(InputError, match="Cannot read weights"):
        cw.load(run)


def test_a_network_of_a_size_that_its_weights_have_not(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["model"]["num_classes"] = 10**12  # 300 TiB of weights
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not fit"):
        cw.load(run)


@pytest.mark.parametrize("said", ['"x"', '{"preparation": 5}', '{"preparation": {"mean": [1]}}'])
def test_what_weights_say_of_themselves_may_be_anything(run: Path, said: str) -> None:
    weights = load_file(run / "best.safetensors")
    header = said if said != '"x"' else '{"model": "x"}'
    save_file(weights, "odd.safetensors", {"convworks": header})
    config = cw.TrainConfig(epochs=1, init=Path("odd.safetensors"), out=Path("new"))
    model = cw.create_model("lenet", num_classes=10, in_channels=1, image_size=12)
    with pytest.raises(InputError, match="odd.safetensors"):
        cw.fit(model, cw.load_data("digits", image_size=12), config, progress=False)


MANY_BYTES = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + pack("<Q", 4_000_000_000)[:5] + b"\x85R."
"""`bytearray(4_000_000_000)`, which PyTorch's own check lets pass."""


def _many_bytes(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)
    rewritten(path, lambda name, old: MANY_BYTES if name.endswith("data.pkl") else old)


def _inflated(path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as old:
        entries = [(name, old.read(name)) for name in old.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in entries:
            new.writestr(name, content)


def _zip_behind(path: Path) -> None:
    """Which is all that Python sees; PyTorch reads the older format before it."""
    torch.save({"a": torch.zeros(3)}, path)
    before = (MAGIC_NUMBER, PROTOCOL_VERSION, {})
    old = b"".join(pickle.dumps(one, 2) for one in before) + MANY_BYTES + pickle.dumps([], 2)
    path.write_bytes(old + path.read_bytes())


def _capitals(path: Path) -> None:
    """PyTorch takes either."""
    _many_bytes(path)
    path.write_bytes(path.read_bytes().replace(b"data.pkl", b"DATA.PKL"))


def _two_pickles(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("data.pkl"))
        archive.writestr(name.replace("data.pkl", "Data.pkl"), MANY_BYTES)


@pytest.mark.parametrize("write", [_many_bytes, _inflated, _zip_behind, _capitals, _two_pickles])
def test_a_checkpoint_that_claims_memory(run: Path, write: Callable[[Path], None]) -> None:
    write(run / "last.pt")
    with pytest.raises(InputError, match=r"Cannot read run/last.pt"):
        cw.resume(run, progress=False)
    write(Path("weights.pth"))
    config = cw.TrainConfig(epochs=1, init=Path("weights.pth"), out=Path("new"))
    with pytest.raises(InputError, match="Cannot read weights.pth"):
        cw.fit(cw.create_model("lenet"), cw.load_data("digits"), config, progress=False)


def test_what_was_checked_of_a_checkpoint_is_what_is_read() -> None:
    """Python finds the last archive in a file, PyTorch the one where its offsets lead to."""
    for name, value in (("first.pt", 1.0), ("other.pt", 2.0)):
        torch.save({"a": torch.full((3,), value)}, name)
        rewritten(Path(name))  # both are laid out alike
    both = Path("both.pt")
    both.write_bytes(Path("first.pt").read_bytes() + Path("other.pt").read_bytes())
    assert torch.load(both, weights_only=True)["a"].tolist() == [1, 1, 1]
    assert read_file(both)["a"].tolist() == [2, 2, 2]


def unfinished(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Of two epochs one is over, and what is kept of it is changed."""
    config = json.loads((run / "config.json").read_text())
    config["train"]["epochs"] = 2
    (run / "config.json").write_text(json.dumps(config))
    (run / "summary.json").unlink()
    saved = torch.load(run / "last.pt", weights_only=True)
    change(saved)
    torch.save(saved, run / "last.pt")


def _small_moments(saved: dict[str, Any]) -> None:
    """A fused step would read and write beyond them."""
    for kept in saved["optimizer"]["state"].values():
        kept["exp_avg"] = torch.zeros(1)


def _large_moments(saved: dict[str, Any]) -> None:
    saved["optimizer"]["state"][0]["exp_avg_sq"] = torch.zeros(1).expand(2**40)


def _whole_moments(saved: dict[str, Any]) -> None:
    kept = saved["optimizer"]["state"][0]
    kept["exp_avg"] = torch.zeros(kept["exp_avg"].shape, dtype=torch.int64)


def _other_order(saved: dict[str, Any]) -> None:
    """Each weight would get what was kept for another."""
    saved["optimizer"]["param_groups"][0]["params"].reverse()


def _many_steps(saved: dict[str, Any]) -> None:
    saved["optimizer"]["state"][0]["step"] = torch.zeros(5)


def _no_tensor(saved: dict[str, Any]) -> None:
    saved["optimizer"]["state"][0]["exp_avg"] = 0.0


def _one_more(saved: dict[str, Any]) -> None:
    kept = saved["optimizer"]["state"][0]
    kept["max_exp_avg_sq"] = kept["exp_avg_sq"]


def _one_less(saved: dict[str, Any]) -> None:
    del saved["optimizer"]["state"][0]["exp_avg"]


def _unknown_weight(saved: dict[str, Any]) -> None:
    saved["optimizer"]["state"][-1] = saved["optimizer"]["state"][0]


def _odd_rate(saved: dict[str, Any]) -> None:
    saved["optimizer"]["param_groups"][0]["lr"] = torch.zeros(3)


@pytest.mark.parametrize(
    "change",
    [
        _small_moments, _large_moments, _whole_moments, _other_order, _many_steps, _no_tensor,
        _one_more, _one_less, _unknown_weight, _odd_rate,
    ],
)  # fmt: skip
def test_an_optimizer_that_is_not_the_networks(
    run: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    unfinished(run, change)
    with pytest.raises(
        InputError, match=r"run/last.pt is not of this run's network: .*(optimizer|rate)"
    ):
        cw.resume(run, progress=False)


def test_a_checkpoint_does_not_change_how_the_run_is_trained(run: Path) -> None:
    """That stands in its config.json."""
    shutil.copytree(run, "usual")
    unfinished(Path("usual"), lambda saved: None)

    def change(saved: dict[str, Any]) -> None:
        for group in saved["optimizer"]["param_groups"]:
            group |= {"betas": (0.0, 0.0), "eps": 1.0, "weight_decay": 9.0, "amsgrad": True}
            group |= {"maximize": True, "fused": False, "differentiable": True, "lr_scale": 9.0}

    unfinished(run, change)
    found, usual = (cw.resume(folder, progress=False) for folder in (run, Path("usual")))
    last = [torch.load(one.path / "last.pt", weights_only=True) for one in (found, usual)]
    for part in ("model", "optimizer"):
        torch.testing.assert_close(last[0][part], last[1][part], rtol=0, atol=0)


@pytest.mark.parametrize(
    "said",
    [
        {"epoch": 3}, {"epoch": 0}, {"epoch": "1"}, {"epoch": 10**9}, {"batch": -1},
        {"batch": 10**6}, {"batch": 1, "seconds": 0.0}, {"seconds": float("nan")}, {"more": 1},
        {"tally": None}, {"tally": torch.zeros(9)}, {"history": 5}, {"history": [{}]},
        {"history": ()},
    ],
)  # fmt: skip
def test_a_place_where_no_run_stands(run: Path, said: dict[str, Any]) -> None:
    unfinished(run, lambda saved: saved["state"].update(said))
    with pytest.raises(InputError, match="run/last.pt"):
        cw.resume(run, progress=False)


@pytest.mark.parametrize(
    "said",
    [
        {"unreadable": None, "near_duplicates": {}},
        {"unreadable": {"a.png": 1}, "near_duplicates": {}},
        {"unreadable": {}, "near_duplicates": 5},
        {"unreadable": {}, "near_duplicates": {"test": [["a", "b"]]}},
        {"near_duplicates": {}},
    ],
)
def test_a_list_of_pictures_that_is_none(run: Path, said: dict[str, Any]) -> None:
    (run / "pictures.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"Cannot use run/pictures.json: "):
        cw.resume(run, progress=False)


@pytest.mark.parametrize("depth", [60, 100_000])
def test_values_nested_deep(run: Path, depth: int) -> None:
    """Python gives up reading, copying or printing some."""
    deep = "[" * depth + "]" * depth
    for name in ("config.json", "metrics.jsonl", "summary.json", "pictures.json"):
        before = (run / name).read_bytes() if (run / name).exists() else None
        (run / name).write_text(f'{{"model": {deep}}}')
        with pytest.raises(InputError, match=f"run/{name}.*nested too deep"):
            cw.resume(run, progress=False)
        (run / name).unlink() if before is None else (run / name).write_bytes(before)
    save_file(load_file(run / "best.safetensors"), run / "best.safetensors", {"convworks": deep})
    with pytest.raises(InputError, match=r"run/best.safetensors .*nested too deep"):
        cw.load(run)


def test_words_nested_deep(capsys: pytest.CaptureFixture[str]) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    for value in (deep, "1" * 5000):
        assert cli.run(["summary", "resnet18", "--set", f"se={value}"]) in (1, 2)
        assert "Unexpected" not in capsys.readouterr().err
    Path("deep.toml").write_text(f"question = {deep}")
    with pytest.raises(InputError, match="deep.toml is nested too deep"):
        cw.study("deep.toml")


def test_a_run_folder_reaches_nothing_outside(run: Path) -> None:
    secret = Path("secret.json")
    secret.write_text("{}")
    config = json.loads((run / "config.json").read_text())
    config["train"]["out"] = "../elsewhere"
    (run / "config.json").write_text(json.dumps(config))
    (run / "summary.json").unlink()
    cw.resume(run, progress=False)  # goes on where it lies, whatever it says of its place
    assert (run / "summary.json").exists()
    assert not Path("../elsewhere").exists()


def test_data_that_a_run_names_are_only_read(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["data"]["name"] = "/etc"
    (run / "config.json").write_text(json.dumps(config))
    (run / "summary.json").unlink()
    with pytest.raises(ConvworksError):
        cw.resume(run, progress=False)


@pytest.fixture
def precious() -> Path:
    """A file of the user's."""
    path = Path("precious")
    path.write_text("mine")
    return path.resolve()


def test_nothing_is_written_through_links_in_a_run(run: Path, precious: Path) -> None:
    unfinished(run, lambda saved: None)
    for name in ("metrics.jsonl", "best.safetensors", "curves.svg", "model.pt2", "model.pt2.md"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(precious)
    for file in [*run.glob("[a-z]*"), run / "summary.json"]:
        file.with_name(f".{file.name}.tmp").symlink_to(precious)
    found = cw.resume(run, progress=False)
    assert len(found.history) == 2
    cw.export(found, "pt2")
    assert not any(file.is_symlink() for file in run.glob("[a-z]*"))
    assert precious.read_text() == "mine"


def test_the_lock_of_a_run_is_no_link(run: Path, precious: Path) -> None:
    (run / "summary.json").unlink()
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to(precious)
    with pytest.raises(ConvworksError, match="Cannot write in run"):
        cw.resume(run, progress=False)
    assert precious.read_text() == "mine"


def test_figures_stay_in_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere").mkdir()
    (run / "figures").symlink_to(Path("elsewhere").resolve())
    assert cli.run(["show", str(run), "curves"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "run/figures is a link to" in line
    assert not list(Path("elsewhere").iterdir())
    assert cli.run(["show", str(run), "curves", "--out", "elsewhere"]) == 0  # as one asks


def test_a_trial_stays_in_the_search() -> None:
    pytest.importorskip("optuna")
    config = cw.TrainConfig(epochs=1, out=Path("search"))
    Path("search").mkdir()
    Path("elsewhere").mkdir()
    Path("search/trial001").symlink_to(Path("elsewhere").resolve())
    with pytest.raises(InputError, match="search/trial001 is a link to"):
        cw.tune("lenet", config=config, trials=1, image_size=12, progress=False)
    assert not list(Path("elsewhere").iterdir())
