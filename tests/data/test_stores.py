"""Pictures in tar files and in object storage are those of a folder on the disk."""

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from zlib import crc32

import fsspec
import pytest
import torch

import convworks as cw
from command import convworks
from conftest import write_digits
from convworks.data import folder as folders
from convworks.data import stores
from convworks.data.loader import open_loader
from convworks.data.splits import Data, FileImages
from convworks.data.stores import Stored
from convworks.errors import InputError, TrainingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image folder of three classes, one in folders of its own."""
    root = tmp_path / "digits"
    write_digits(root, classes=(0, 1, 7), count=20)
    (root / "digit7" / "more").mkdir()
    for path in sorted((root / "digit7").glob("*.png"))[::2]:
        path.rename(root / "digit7" / "more" / path.name)
    return root


def pack(folder: Path, shards: list[Path]) -> None:
    """The folder in tar files, a file here and the next there, in no order."""
    with ExitStack() as stack:
        places = cycle([stack.enter_context(tarfile.open(shard, "w")) for shard in shards])
        for path in sorted(folder.rglob("*.png"), key=lambda p: crc32(p.read_bytes())):
            next(places).add(path, path.relative_to(folder))


def in_a_tar(folder: Path) -> str:
    pack(folder, [folder.with_suffix(".tar")])
    return str(folder.with_suffix(".tar"))


def in_three(folder: Path) -> str:
    place = folder.parent / "shards"
    place.mkdir()
    pack(folder, [place / f"{i:03}.tar" for i in range(3)])
    return str(place)


def in_a_store(folder: Path) -> str:
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/digits", recursive=True)
    return "memory://digits"


def shards_in_a_store(folder: Path) -> str:
    store = fsspec.filesystem("memory")
    store.put(in_three(folder), "/shards", recursive=True)
    return "memory://shards"


@pytest.fixture(autouse=True)
def _empty_store() -> None:
    store = fsspec.filesystem("memory")
    for path in store.ls("/"):
        store.rm(path["name"], recursive=True)


WAYS = [in_a_tar, in_three, in_a_store, shards_in_a_store]


def batches(data: Data) -> list[torch.Tensor]:
    loader = open_loader(
        data.train,
        batch_size=7,
        image_size=16,
        device=torch.device("cpu"),
        workers=3,
        shuffle=True,
        crop=True,
    )
    return [pixels for pixels, _ in loader.epoch(seed=3)]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_data_as_in_a_folder(
    folder: Path, tmp_path: Path, way: Callable[[Path], str]
) -> None:
    expected = cw.load_data(folder, image_size=16)
    found = cw.load_data(way(folder), image_size=16, root=tmp_path / "cache")
    assert found.digest == expected.digest
    assert (found.classes, found.mean, found.std) == (expected.classes, expected.mean, expected.std)
    for ours, theirs in zip(batches(found), batches(expected), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("way", [in_a_tar, shards_in_a_store])
def test_the_same_run_as_from_a_folder(
    folder: Path, tmp_path: Path, way: Callable[[Path], str]
) -> None:
    runs = []
    for place, name in (("folder", str(folder)), ("stored", way(folder))):
        data = cw.load_data(name, image_size=28, root=tmp_path / "cache")
        torch.manual_seed(0)
        model = cw.create_model("lenet_bn", num_classes=3, in_channels=1, image_size=28)
        config = cw.TrainConfig(epochs=2, out=Path(place), device="cpu")
        runs.append(cw.fit(model, data, config, progress=False))
    one, other = (run.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert runs[0].history[-1].val_loss == runs[1].history[-1].val_loss


def test_the_commands(folder: Path) -> None:
    name = in_three(folder)
    words = ["--image-size", "16", "--epochs", "2", "--out", "run"]
    done = convworks("train", "--data", name, *words)
    assert done.returncode == 0, done.stderr
    assert "shards: 3 classes" in done.stderr
    shown = convworks("eval", "run", "--json")
    assert shown.returncode == 0, shown.stderr
    assert convworks("show", "run", "samples", "mistakes").returncode == 0
    assert convworks("report", "run").returncode == 0


def add(tar: tarfile.TarFile, name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type = len(content), kind
    tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("inside", [False, True])
def test_parts_and_classes_by_number(inside: bool, folder: Path, tmp_path: Path) -> None:
    """As WebDataset writes them: the part in the file's name, the class in a file beside.

    The part's folder may be packed too.
    """
    place = tmp_path / "set"
    place.mkdir()
    pictures = sorted(folder.rglob("*.png"))
    for shard, first, end in (
        ("train-000", 0, 30),
        ("train-001", 30, 50),
        ("validation-0", 50, 59),
    ):
        with tarfile.open(place / f"imagenet1k-{shard}.tar", "w") as tar:
            above = f"{shard.partition('-')[0]}/" if inside else ""
            for i in range(first, end):
                add(tar, f"{above}{i:06}.png", pictures[i].read_bytes())
                add(tar, f"{above}{i:06}.cls", str((2, 11, 100)[i % 3]).encode())
                add(tar, f"{above}{i:06}.json", b"{}")
    data = cw.load_data(place, image_size=16)
    assert data.classes == ("002", "011", "100")
    assert len(data.val) == 9
    assert len(data.train) + len(data.test) == 50
    assert isinstance(data.val, FileImages)
    assert str(data.val.paths[0]) == str(place / "imagenet1k-validation-0.tar/val/002/000051.png")


def test_folders_of_parts_in_a_tar(tmp_path: Path) -> None:
    for part, skip in (("train", 0), ("test", 20)):
        write_digits(tmp_path / "set" / part, classes=(3, 8), count=20, skip=skip)
    pack(tmp_path / "set", [tmp_path / "set.tar"])
    data = cw.load_data(tmp_path / "set.tar", image_size=16)
    assert (len(data.test), data.classes) == (40, ("digit3", "digit8"))
    assert data.digest == cw.load_data(tmp_path / "set", image_size=16).digest


def test_a_tar_is_read_as_its_folder_is(tmp_path: Path) -> None:
    """The system's own files are none of the pictures; a part's folder may be packed with it."""
    for part, skip in (("train", 0), ("val", 20)):
        write_digits(tmp_path / "set" / part, (0, 1), count=20, skip=skip)
    hidden = tmp_path / "set" / "train" / "digit0" / ".originals"
    hidden.mkdir()
    shutil.copy(hidden.parent / "000.png", hidden)
    shutil.copytree(hidden.parent, tmp_path / "set" / "train" / ".thumbnails")
    expected = cw.load_data(tmp_path / "set", image_size=16)
    (tmp_path / "tars").mkdir()
    for part in ("train", "val"):
        with tarfile.open(tmp_path / "tars" / f"{part}.tar", "w") as tar:
            tar.add(tmp_path / "set" / part, part)
    assert cw.load_data(tmp_path / "tars", image_size=16).digest == expected.digest
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "set"), "/set", recursive=True)
    assert cw.load_data("memory://set", image_size=16).digest == expected.digest


def test_a_far_tar_file_that_is_another_is_looked_through_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the store's key says nothing but the address, as a web server's does."""
    store, name = fsspec.filesystem("memory"), shards_in_a_store(folder)
    monkeypatch.setattr(type(store), "ukey", lambda _self, path: path)
    before = cw.load_data(name, image_size=16, root=tmp_path / "cache")
    for path in sorted(folder.rglob("*.png"))[::5]:
        path.unlink()
    shutil.rmtree(folder.parent / "shards")
    store.rm("/shards", recursive=True)
    after = cw.load_data(shards_in_a_store(folder), image_size=16, root=tmp_path / "cache")
    assert len(after.train) < len(before.train)
    assert after.digest == cw.load_data(folder, image_size=16).digest


def test_what_far_tar_files_hold_is_noted_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, indices = shards_in_a_store(folder), tmp_path / "indices"
    first = stores.list_stored(name, indices)
    assert len(list(indices.iterdir())) == 3
    looked = []
    members = stores._members
    monkeypatch.setattr(stores, "_members", lambda tar: looked.append(tar) or members(tar))
    assert stores.list_stored(name, indices) == first
    assert looked == []
    damaged = sorted(indices.iterdir())[0]
    damaged.write_text(damaged.read_text()[:50])  # as if it had been written half-way
    assert stores.list_stored(name, indices) == first
    assert len(looked) == 1
    assert stores.list_stored(name, indices) == first
    assert len(looked) == 1
    fsspec.filesystem("memory").put(str(tmp_path / "shards/000.tar"), "/shards/001.tar")
    assert stores.list_stored(name, indices) != first
    assert len(looked) == 2


def test_a_picture_that_has_gone(folder: Path) -> None:
    data = cw.load_data(in_a_store(folder), image_size=16)
    assert isinstance(data.train, FileImages)
    gone = data.train.paths[0]
    assert isinstance(gone, Stored)
    gone.store.rm(gone.address)
    with pytest.raises(InputError, match=f"Cannot read {gone}"):
        batches(data)


@pytest.mark.parametrize("fails", [3, 4])
def test_a_store_that_does_not_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """It is asked four times; then the run ends, and no picture is taken for unreadable."""
    monkeypatch.setattr(stores, "PAUSES", (0.0, 0.0, 0.0))
    data = cw.load_data(in_a_store(folder), image_size=28)
    assert isinstance(data.train, FileImages)
    picture = data.train.paths[0]
    assert isinstance(picture, Stored)
    asked = 0
    answer = picture.store.cat_file

    def sometimes(address: str, *given: int) -> bytes:
        nonlocal asked
        if address == picture.address and (asked := asked + 1) <= fails:
            raise TimeoutError("no answer")
        found: bytes = answer(address, *given)
        return found

    monkeypatch.setattr(picture.store, "cat_file", sometimes)
    model = cw.create_model("lenet_bn", num_classes=3, in_channels=1, image_size=28)
    config = cw.TrainConfig(epochs=1, out=Path("run"), device="cpu", workers=1)
    if fails == 3:
        run = cw.fit(model, data, config, progress=False)
        assert asked == 4
        assert not (run.path / "pictures.json").exists()
    else:
        with pytest.raises(TrainingError, match=r"Cannot read .* \(no answer\)\. Try again"):
            cw.fit(model, data, config, progress=False)
        assert not Path("run/pictures.json").exists()


def test_a_store_that_falls_silent_before_the_first_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that waited in vain ends it; the others are not asked for."""
    asked = []

    def never(address: str, *_range: int) -> bytes:
        asked.append(address)
        raise TimeoutError("no answer")

    monkeypatch.setattr(stores, "PAUSES", (0.1, 0.1, 0.1))
    monkeypatch.setattr(folders, "AT_ONCE", 2)
    name = in_a_store(folder)
    monkeypatch.setattr(fsspec.filesystem("memory"), "cat_file", never)
    with pytest.raises(TrainingError, match="no answer"):
        cw.load_data(name)
    assert len(set(asked)) < 8


def gzipped(folder: Path) -> str:
    path = Path(in_a_tar(folder))
    path.write_bytes(gzip.compress(path.read_bytes()))
    return str(path)


def cut_short(folder: Path) -> str:
    path = Path(in_a_tar(folder))
    path.write_bytes(path.read_bytes()[:20_000])
    return str(path)


def leading_out(folder: Path) -> str:
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        add(tar, "a/../../b/1.png", b"")
    return str(folder.with_suffix(".tar"))


def without_training(folder: Path) -> str:
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        for name in ("valid/a/1.png", "test/b/1.png"):
            add(tar, name, b"")
    return str(folder.with_suffix(".tar"))


def of_links(folder: Path) -> str:
    """A link is no picture, and leads nowhere."""
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        for name in ("a/1.png", "b/1.png"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return str(folder.with_suffix(".tar"))


def numbered_by_words(folder: Path) -> str:
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        add(tar, "1.png", b"")
        add(tar, "1.cls", b"cat")
    return str(folder.with_suffix(".tar"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (gzipped, r"Cannot read .*digits.tar \(.*\): it must be a whole .tar file, not compressed"),
        (cut_short, r"Cannot read .*digits.tar \(unexpected end of data\)"),
        (leading_out, r"leads out of it"),
        (numbered_by_words, "1.cls holds no number of a class"),
        (without_training, "digits.tar has test and val but no train"),
        (of_links, r"'a/1.png' is a link.*--dereference"),
        (
            lambda _: "memory://nowhere",
            "No pictures in memory://nowhere",
        ),
        (lambda _: "sftp://host/photos", "There is no store 'sftp'.*s3"),
        (lambda _: "gs://bucket/photos", "is read with gcsfs: pip install gcsfs"),
    ],
)
def test_what_cannot_be_read_is_told(
    folder: Path, make: Callable[[Path], str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        cw.load_data(make(folder), image_size=16)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tar_that_leads_back_to_itself(tmp_path: Path) -> None:
    """A negative size, which tarfile takes for the way to the next file."""
    first, second = tarfile.TarInfo("a/1.png"), tarfile.TarInfo("a/2.png")
    second.size = -512
    blocks = [one.tobuf(tarfile.GNU_FORMAT) for one in (first, second)]
    (tmp_path / "endless.tar").write_bytes(b"".join(blocks))
    with pytest.raises(InputError, match="'a/2.png' has no size"):
        cw.load_data(tmp_path / "endless.tar", root=tmp_path)
