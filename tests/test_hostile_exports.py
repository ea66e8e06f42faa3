"""Exported files made to run code, or to take all memory, when they are opened. None succeeds."""

import copy
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import convworks as cw
from convworks.deploy.runtime import open_deployed
from convworks.errors import InputError
from hostile import MARK, Hostile, rewritten, trained


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = trained(tmp_path_factory.mktemp("hostile") / "run")
    return cw.export(run, "pt2").path


@pytest.fixture
def model(whole: Path) -> Path:
    """A .pt2 file as `export` writes it."""
    return Path(shutil.copy(whole, "model.pt2"))


def _pickled_weights(path: Path) -> None:
    torch.save(Hostile(), "hostile.pt")
    content = Path("hostile.pt").read_bytes()

    def change(name: str, old: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            return old.replace(b'"use_pickle": false', b'"use_pickle": true')
        return content if "/weight_" in name else old

    rewritten(path, change)


def _evaluated_size(path: Path) -> None:
    code = f'__import__(\\\\"os\\\\").system(\\\\"touch {MARK}\\\\")'.replace("\\\\", "\\")

    def change(name: str, old: bytes) -> bytes:
        begin = old.find(b'"expr_str": "')
        if not name.endswith("models/model.json") or begin < 0:
            return old
        begin += len(b'"expr_str": "')
        return old[:begin] + code.encode() + old[old.find(b'"', begin) :]

    rewritten(path, change)


def _written_name(path: Path) -> None:
    """PyTorch writes the names of a graph's inputs into a function that it then defines."""
    name = f"x=__import__('os').system('touch {MARK}')"

    def change(entry: str, old: bytes) -> bytes:
        if not entry.endswith("models/model.json"):
            return old
        document = json.loads(old)
        graph = document["graph_module"]["graph"]
        (first, *_) = [one for one in graph["inputs"] if "images" in str(one)]
        graph["inputs"].append(json.loads(json.dumps(first).replace("images", name)))
        graph["tensor_values"][name] = graph["tensor_values"]["images"]
        signature = document["graph_module"]["signature"]["input_specs"]
        (spec,) = [one for one in signature if "images" in str(one)]
        signature.append(json.loads(json.dumps(spec).replace("images", name)))
        return json.dumps(document).encode()

    rewritten(path, change)


def _replaced(path: Path, old: bytes, new: bytes) -> None:
    """In the network's description."""

    def change(name: str, content: bytes) -> bytes:
        return content.replace(old, new, 1) if name.endswith("models/model.json") else content

    rewritten(path, change)


def _called_function(path: Path) -> None:
    _replaced(path, b"torch.ops.aten.conv2d.default", b"torch.hub.load")


def _read_file(path: Path) -> None:
    _replaced(path, b"torch.ops.aten.conv2d.default", b"torch.ops.aten.from_file.default")


def _trusted_index(path: Path) -> None:
    """Of a sparse tensor, which is written wherever its indices say."""
    name = b"torch.ops.aten._sparse_coo_tensor_unsafe.default"
    _replaced(path, b"torch.ops.aten.conv2d.default", name)


def _many_symbols(path: Path) -> None:
    """PyTorch counts up to the number of a symbol."""
    document = b'"range_constraints": {"'
    _replaced(path, document, document + b'u99999999999999999": {"min_val": 0, "max_val": 1}, "')


def _claimed_weight(path: Path) -> None:
    """Of an empty entry PyTorch makes as many zeros as it says."""

    def change(name: str, old: bytes) -> bytes:
        return b"" if name.endswith("/weight_0") else old

    rewritten(path, change)


def _one_entry_many_times(path: Path) -> None:
    """Of which only the table of contents is long."""
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = (x for x in archive.infolist() if x.filename.endswith("/weight_8"))
        for number in range(100, 200):
            again = copy.copy(first)
            again.filename = first.filename.replace("weight_8", f"weight_{number}")
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True


def _endless_size(path: Path) -> None:
    _replaced(path, b"Symbol('s", b"9**9**9**9*Symbol('s")


def _slow_size(path: Path) -> None:
    """A pattern that tries all ways would take years to refuse it."""
    _replaced(path, b"Symbol('s", b"1" * 60 + b"!Symbol('s")


def _imported_module(path: Path) -> None:
    _replaced(path, b'\\"context\\": \\"null\\"', b'\\"context\\": \\"{fqn: this:A}\\"')


def _pickled_constant(path: Path) -> None:
    rewritten(path, more=[("model/data/constants/custom_obj_0", pickle.dumps(Hostile()))])


def _outside(path: Path) -> None:
    rewritten(path, more=[("model/../../outside", b"x")])


def _two_of_one_name(path: Path) -> None:
    """Of which readers may choose differently."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("models/model.json"))
    rewritten(path, more=[(name.upper(), b"{}"), (name.replace("model", "Model"), b"")])


def _compressed(path: Path) -> None:
    """A few bytes may become many."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        name = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{name}/data/sample_inputs/more.pt", bytes(2**20))


@pytest.mark.parametrize(
    "change",
    [
        _pickled_weights,
        _evaluated_size,
        _called_function,
        _written_name,
        _read_file,
        _trusted_index,
        _many_symbols,
        _claimed_weight,
        _one_entry_many_times,
        _endless_size,
        _slow_size,
        _imported_module,
        _pickled_constant,
        _outside,
        _two_of_one_name,
        _compressed,
    ],
)
def test_an_export_that_runs_code(model: Path, change: Callable[[Path], None]) -> None:
    before = model.read_bytes()
    open_deployed(model)  # as it is, it opens
    change(model)
    assert model.read_bytes() != before
    with pytest.raises(InputError, match="is not opened"):
        open_deployed(model)
    assert not MARK.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"labels": [', '"labels": [1, '),
        ('"shape": [1, 12, 12]', '"shape": [1, 60000, 60000]'),
        ('"shape": [1, 12, 12]', '"shape": "none"'),
        ("{", "[{"),
    ],
)
def test_notes_of_an_export_that_are_none(model: Path, old: str, new: str) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content.replace(old.encode(), new.encode(), 1) if "extra/" in name else content

    before = model.read_bytes()
    rewritten(model, change)
    assert model.read_bytes() != before
    with pytest.raises(InputError, match="Cannot (use|read) model.pt2"):
        open_deployed(model)


def test_the_example_in_an_export_is_not_read(model: Path) -> None:
    """PyTorch writes its keys into code that it runs at every prediction."""
    key = f"'\"+str(__import__('os').system('touch {MARK}'))+\"'"
    torch.save((({key: torch.zeros(2, 1, 12, 12, dtype=torch.uint8)},), {}), "hostile.pt")
    content = Path("hostile.pt").read_bytes()
    rewritten(model, lambda name, old: content if "sample_inputs" in name else old)
    images = np.zeros((3, 1, 12, 12), np.uint8)
    assert open_deployed(model).run(images).shape == (3, 10)
    assert not MARK.exists()


def test_what_was_checked_is_what_is_opened(model: Path) -> None:
    """Python finds the last archive in a file, others the first where its offsets lead there."""
    other = Path(shutil.copy(model, "other.pt2"))
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 12, 12), np.uint8)

    def emptied(name: str, old: bytes) -> bytes:
        return bytes(len(old)) if re.search(r"/weight_\d+$", name) else old

    rewritten(model)  # both are laid out alike
    rewritten(other, emptied)
    expected = open_deployed(model).run(images)
    assert np.isfinite(expected).all()
    assert np.isnan(open_deployed(other).run(images)).all()  # pixels divided by 0
    other.write_bytes(other.read_bytes() + model.read_bytes())
    np.testing.assert_array_equal(open_deployed(other).run(images), expected)
