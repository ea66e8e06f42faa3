"""Data sets by name, and how parts are held out."""

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from torchvision import datasets

from convworks.data.sources import SOURCES, data_root, load_data
from convworks.data.splits import MemoryImages, hold_out, mean_and_std
from convworks.errors import InputError, UsageError


def test_digits_are_the_real_ones() -> None:
    data = load_data("digits")
    assert len(data.train) + len(data.val) + len(data.test) == 1797
    assert data.classes == tuple("0123456789")
    assert (data.channels, data.image_size) == (1, 28)
    assert isinstance(data.train, MemoryImages)
    assert data.train.pixels.dtype == torch.uint8
    assert data.train.pixels.shape[1:] == (1, 8, 8)
    assert data.train.pixels.max() == 255
    ours = {
        (bytes(pixels.flatten().tolist()), label)
        for part in (data.train, data.val, data.test)
        if isinstance(part, MemoryImages)
        for pixels, label in zip(part.pixels, part.labels.tolist(), strict=True)
    }
    theirs = load_digits()
    assert ours == {
        (bytes((picture.flatten() * (255 / 16)).round().astype(int).tolist()), label)
        for picture, label in zip(theirs.images, theirs.target, strict=True)
    }


def test_parts_do_not_overlap_and_do_not_depend_on_luck() -> None:
    data, again, other = load_data("digits"), load_data("digits"), load_data("digits", seed=1)
    assert isinstance(data.train, MemoryImages)
    parts = [getattr(data, name).pixels.flatten(1) for name in ("train", "val", "test")]
    pictures = {tuple(row) for part in parts for row in part.tolist()}
    assert len(pictures) == sum(map(len, parts))  # the set itself holds no picture twice
    assert torch.equal(data.test.labels, again.test.labels)
    assert not torch.equal(data.test.labels, other.test.labels)


def test_held_out_parts_are_stratified() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 2 + [3])
    kept, held = hold_out(labels, 0.2, seed=0)
    assert torch.bincount(labels[held], minlength=4).tolist() == [20, 10, 1, 0]
    assert sorted(kept.tolist() + held.tolist()) == list(range(153))


def test_mean_and_std_agree_with_torch() -> None:
    pixels = torch.randint(0, 256, (50, 3, 9, 7), dtype=torch.uint8)
    mean, std = mean_and_std(pixels)
    scaled = pixels.double() / 255
    torch.testing.assert_close(
        torch.tensor(mean).double(), scaled.mean((0, 2, 3)), rtol=1e-6, atol=0
    )
    expected = scaled.std((0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(std).double(), expected, rtol=1e-6, atol=0)
    assert mean_and_std(torch.zeros(2, 1, 3, 3, dtype=torch.uint8)) == ((0.0,), (1.0,))


def test_fashion_mnist_is_found_offline(fashion_root: Path) -> None:
    data = load_data("fashion_mnist", image_size=96, root=fashion_root)
    assert (len(data.train), len(data.val), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"
    assert data.image_size == 96
    assert torch.bincount(data.val.labels).tolist() == [600] * 10
    # Published mean and deviation of the whole training part: 0.2860 and 0.3530.
    assert data.mean[0] == pytest.approx(0.2860, abs=0.001)
    assert data.std[0] == pytest.approx(0.3530, abs=0.001)


def test_unknown_data_get_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'fashion_mnist'"):
        load_data("fashionmnist")
    with pytest.raises(InputError, match="no data set or folder 'no/such/folder'"):
        load_data("no/such/folder")


def test_values_out_of_range() -> None:
    with pytest.raises(UsageError, match="at least 1 pixel, not 0"):
        load_data("digits", image_size=0)
    with pytest.raises(UsageError, match="val_fraction"):
        load_data("digits", val_fraction=1.0)


def test_the_root_is_the_argument_else_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVWORKS_DATA", "/from/the/variable")
    assert data_root() == Path("/from/the/variable")
    assert data_root("/given") == Path("/given")
    monkeypatch.delenv("CONVWORKS_DATA")
    assert data_root() == Path("~/.cache/convworks").expanduser()


# Small sets in the published formats, served from this machine, take the way of a real download.


def idx(array: torch.Tensor) -> bytes:
    """The IDX format of uint8 arrays (MNIST's page describes it), gzipped."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.to(torch.uint8).numpy().tobytes())


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lets torchvision's MNIST download 200 + 40 pictures; yields the served folder."""
    served = tmp_path / "served"
    served.mkdir()
    torch.manual_seed(0)
    for part, count in (("train", 200), ("t10k", 40)):
        images = torch.randint(0, 256, (count, 28, 28))
        labels = torch.arange(count) % 10
        (served / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (served / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(served))

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hashes = [
            (file.name, hashlib.md5(file.read_bytes()).hexdigest())
            for file in sorted(served.iterdir())
        ]
        monkeypatch.setattr(datasets.MNIST, "resources", hashes)
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield served
        server.shutdown()


def test_a_download_is_kept_and_not_repeated(
    small_mnist: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    data = load_data("mnist", root=root)
    assert (len(data.train), len(data.val), len(data.test)) == (180, 20, 40)
    assert data.classes == tuple("0123456789")
    assert "100%" in capfd.readouterr().err  # a progress bar
    for file in small_mnist.iterdir():
        file.unlink()
    again = load_data("mnist", root=root)
    assert torch.equal(again.test.pixels, data.test.pixels)


def test_a_failed_download_says_what_to_do(small_mnist: Path, tmp_path: Path) -> None:
    (small_mnist / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip at all")
    with pytest.raises(
        InputError, match="cannot be downloaded .*connect to the internet"
    ) as caught:
        load_data("mnist", root=tmp_path / "root")
    assert "\n" not in str(caught.value)


def test_a_root_that_cannot_be_written(small_mnist: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="--data-root"):
        load_data("mnist", root=tmp_path / "file" / "below")


def cut_short(file: Path) -> bytes:
    """What is left of a file that was being written."""
    left = file.read_bytes()[:1000]
    file.write_bytes(left)
    return left


@pytest.mark.parametrize("archives", [True, False])
def test_what_an_interrupted_download_left_is_made_anew(
    small_mnist: Path, tmp_path: Path, archives: bool
) -> None:
    """From the archives if they are there, which needs no network."""
    whole = load_data("mnist", root=tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    cut_short(raw / "t10k-images-idx3-ubyte")
    for file in (small_mnist if archives else raw).glob("*.gz"):
        file.unlink()
    (raw / "notes.txt").write_text("somebody's")
    before = {path.name for path in raw.iterdir()}
    again = load_data("mnist", root=tmp_path)
    assert torch.equal(again.test.pixels, whole.test.pixels)
    assert {path.name.removesuffix(".gz") for path in raw.iterdir()} == {
        name.removesuffix(".gz") for name in before
    }
    assert (raw / "notes.txt").read_text() == "somebody's"


def test_labels_for_fewer_pictures_are_made_anew(small_mnist: Path, tmp_path: Path) -> None:
    whole = load_data("mnist", root=tmp_path)
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(gzip.decompress(idx(torch.arange(100) % 10)))
    assert load_data("mnist", root=tmp_path).digest == whole.digest


@pytest.mark.usefixtures("small_mnist")
def test_damaged_files_are_refused_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_data("mnist", root=tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    left = cut_short(raw / "t10k-images-idx3-ubyte")
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    for file in raw.glob("*.gz"):
        file.unlink()
    before = {path.name for path in raw.iterdir()}
    with pytest.raises(InputError, match="MNIST is not whole below .* connect to the internet"):
        load_data("mnist", root=tmp_path)
    assert (raw / "t10k-images-idx3-ubyte").read_bytes() == left
    assert {path.name for path in raw.iterdir()} == before


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "digits"])
def test_every_known_set_names_its_torchvision_class(name: str, tmp_path: Path) -> None:
    """Offline and empty-handed each fails in one line, never with a traceback of torchvision."""
    blocked = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in blocked.items():
            patch.setenv(variable, value)
        with pytest.raises(InputError, match="connect to the internet") as caught:
            load_data(name, root=tmp_path)
    assert "\n" not in str(caught.value)
    kind = str(caught.value).partition(" ")[0]
    assert kind.lower() == name.replace("_", "")
    assert issubclass(getattr(datasets, kind), Dataset)


@pytest.mark.parametrize(
    ("name", "kind", "place", "labels", "key"),
    [
        ("cifar10", datasets.CIFAR10, "cifar-10-batches-py", "labels", "label_names"),
        ("cifar100", datasets.CIFAR100, "cifar-100-python", "fine_labels", "fine_label_names"),
    ],
)
def test_colour_sets_in_cifars_format(
    name: str,
    kind: type[datasets.CIFAR10],
    place: str,
    labels: str,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pictures written in CIFAR's files come back with channels first and class names."""
    import pickle

    torch.manual_seed(0)
    folder = tmp_path / place
    folder.mkdir()
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    batch = {"data": pixels.flatten(1).numpy(), labels: [i % 10 for i in range(20)]}
    names = [f"thing{i}" for i in range(10)]
    for file, _ in kind.train_list + kind.test_list:
        (folder / file).write_bytes(pickle.dumps(batch))
    (folder / str(kind.meta["filename"])).write_bytes(pickle.dumps({key: names}))

    def listed(name: str) -> list[str]:
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    monkeypatch.setattr(kind, "train_list", [listed(name) for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [listed(name) for name, _ in kind.test_list])
    meta = kind.meta | {"md5": listed(str(kind.meta["filename"]))[1]}
    monkeypatch.setattr(kind, "meta", meta)
    data, count = load_data(name, root=tmp_path), 20 * len(kind.train_list)
    assert data.classes == tuple(names)
    assert (data.channels, data.image_size, len(data.train) + len(data.val)) == (3, 32, count)
    assert torch.equal(data.test.pixels, pixels)


def test_a_part_of_the_training_pictures() -> None:
    whole, part = load_data("digits"), load_data("digits", train_images=200)
    assert len(part.train) + len(part.val) == pytest.approx(200, abs=5)
    assert len(part.val) == pytest.approx(20, abs=5)
    counts = torch.bincount(part.train.labels)
    assert counts.max() - counts.min() <= 2
    assert isinstance(part.train, MemoryImages)
    assert isinstance(whole.test, MemoryImages)
    assert isinstance(part.test, MemoryImages)
    assert torch.equal(part.test.pixels, whole.test.pixels)
    assert part.digest == load_data("digits", train_images=200).digest != whole.digest
    assert load_data("digits", train_images=10**6).digest == whole.digest
    again = load_data(**asdict(part.spec))
    assert again.digest == part.digest
    with pytest.raises(UsageError, match="train_images must be at least 1"):
        load_data("digits", train_images=0)
