"""Every kind of file that a user's folder may hold: read as it looks, or named as unreadable."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convworks.data import kept
from convworks.data.duplicates import ALIKE, find_alike, near_duplicates, thumbnails
from convworks.data.folder import UnreadableError, decode, find_files, look_at, squeeze
from convworks.data.loader import FileLoader, open_loader
from convworks.data.sources import load_data
from convworks.data.splits import FileImages
from convworks.data.unreadable import LeftOut, check_few
from convworks.errors import InputError
from photographs import BAD, GOOD, HEIGHT, LABELS, WIDTH, photograph, write_photographs

CPU = torch.device("cpu")
SIDE = 48
CLEAR = ("LA.png", "RGBA.png", "RGBA.webp", "palette transparent.png")
COARSE = ("tiny.png", "oblong.jpg")
TOLERANCE = {"bits.png": 14, "bits.tiff": 14}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", GOOD)
def test_a_picture_is_read_as_it_looks(name: str, channels: int, tmp_path: Path) -> None:
    picture = photograph()
    GOOD[name](tmp_path / name, picture)
    found = decode(tmp_path / name, channels, SIDE)
    assert found.shape == (channels, SIDE, SIDE)
    if name in COARSE:
        return
    picture.save(tmp_path / "true.png")
    expected = decode(tmp_path / "true.png", channels, SIDE).float()
    if torch.equal(found, found[:1].expand_as(found)):  # a grey file
        expected = expected.mean(0, keepdim=True).expand(channels, -1, -1)
    if name in CLEAR:
        corner = SIDE * 3 // 8  # the square's upper left
        assert found[:, : corner - 2, : corner - 2].min() == 255
        found, expected = found[:, SIDE // 2 + 2 :], expected[:, SIDE // 2 + 2 :]
    assert (found - expected).abs().mean() < TOLERANCE.get(name, 4)
    whole, size = squeeze(tmp_path / name, channels, SIDE)
    assert whole.shape == (SIDE, SIDE, channels)
    assert size[0] / size[1] == pytest.approx(WIDTH / HEIGHT, rel=0.02)


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_none_is_named(name: str, tmp_path: Path) -> None:
    BAD[name](tmp_path / name, photograph())
    with pytest.raises(UnreadableError, match=r"Cannot read \S+ \(.{8,}\): repair") as caught:
        decode(tmp_path / name, 3, SIDE)
    assert caught.value.path == tmp_path / name
    assert "\n" not in str(caught.value)


def test_links_and_folders_that_cannot_be_read(tmp_path: Path) -> None:
    for name, target in (("loop.jpg", "loop.jpg"), ("dead.jpg", "nowhere.jpg")):
        (tmp_path / name).symlink_to(tmp_path / target)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "up").symlink_to(tmp_path)
    (tmp_path / ".hidden").mkdir()
    for place in ("more/a.PNG", ".hidden/a.png", "._a.png", ".DS_Store"):
        photograph().save(tmp_path / place, "PNG")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket.jpg"))
        found = find_files(tmp_path)
    assert [p.name for p in found] == ["dead.jpg", "loop.jpg", "a.PNG"]
    with pytest.raises(UnreadableError, match="loop.jpg .Too many levels of symbolic links"):
        decode(tmp_path / "loop.jpg", 3, SIDE)
    with pytest.raises(UnreadableError, match="dead.jpg .No such file"):
        decode(tmp_path / "dead.jpg", 3, SIDE)


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, whom nothing is forbidden."""
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(place: str) -> object:
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="Cannot list .*closed .Permission denied.: make it"):
        find_files(tmp_path)


def test_postscript_is_not_run(tmp_path: Path) -> None:
    """Pillow would have Ghostscript do it, whatever the file is called."""
    photograph().save(tmp_path / "a.png", "EPS")
    with pytest.raises(UnreadableError, match="not a picture that can be decoded"):
        decode(tmp_path / "a.png", 3, SIDE)


def test_grey_of_either_order_of_bytes(tmp_path: Path) -> None:
    """As microscopes write it."""
    pixels = np.arange(0, 2**16, 64, np.uint16).reshape(32, 32)
    for order, mode in (("<", "I;16"), (">", "I;16B")):
        file = tmp_path / f"{mode[-1]}.tiff"
        Image.frombytes(mode, (32, 32), pixels.astype(f"{order}u2").tobytes()).save(file)
        with Image.open(file) as picture:
            assert picture.mode == mode
        assert look_at([file])[0] == 1
        assert torch.equal(decode(file, 1, 32)[0], torch.from_numpy((pixels >> 8).astype(np.uint8)))


def test_names_of_any_bytes(tmp_path: Path) -> None:
    root = write_photographs(tmp_path / "photos", good=False, plain=6)
    photograph().save(root / "china" / os.fsdecode(b"caf\xe9.jpg"))
    (root / "china" / "two\nlines.jpg").touch()
    data = load_data(root, image_size=SIDE)
    assert len(data.digest) == 64
    with pytest.raises(UnreadableError, match=r"two\\nlines.jpg' .an empty file") as caught:
        decode(root / "china" / "two\nlines.jpg", 3, SIDE)
    assert "\n" not in str(caught.value)


def test_one_colour_picture_among_many_grey_ones(tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / label).mkdir()
        for i in range(150):
            photograph(0).convert("L").resize((8, 6)).save(tmp_path / label / f"{i}.png")
    assert load_data(tmp_path, image_size=8).channels == 1
    photograph(0).resize((8, 6)).save(tmp_path / "china" / "77.png")
    assert load_data(tmp_path, image_size=8).channels == 3


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def loader(images: FileImages, *, shuffle: bool, left_out: LeftOut | None, workers: int = 2):  # type: ignore[no-untyped-def]
    return open_loader(
        images,
        batch_size=5,
        image_size=SIDE,
        device=CPU,
        workers=workers,
        shuffle=shuffle,
        crop=shuffle,
        keeping=True,
        left_out=left_out,
    )


@pytest.fixture
def images(tmp_path: Path) -> FileImages:
    """Ten of each of two classes, of which four cannot be read, two of them neighbours."""
    root = write_photographs(tmp_path / "photos", good=False, plain=10)
    paths = tuple(find_files(root))
    for i in (0, 3, 4, 19):
        spoil(paths[i])
    return FileImages(paths, torch.arange(20) // 10, 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_in_training_another_of_the_class_stands_in(
    images: FileImages, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pictures, whether unreadable ones were known, found before or on the way."""
    runs = []
    for how in ("known", "read", "on the way", "not kept"):
        monkeypatch.setattr(kept, "free_memory", lambda how=how: 0 if how == "not kept" else 2**40)
        left_out = LeftOut()
        if how == "known":
            left_out = LeftOut({images.paths[i]: "bad" for i in (0, 3, 4, 19)})
        made = loader(images, shuffle=True, left_out=left_out, workers=workers)
        if how == "read":
            made.read(lambda _: None)
        epochs = [list(made.epoch(seed)) for seed in range(3)]
        assert [len(epoch) for epoch in epochs] == [4, 4, 4]
        for epoch in epochs:
            assert torch.cat([labels for _, labels in epoch]).bincount().tolist() == [10, 10]
        entered = next(iter(made.epoch(seed=2, start=3)))
        assert torch.equal(entered[0], epochs[2][3][0])
        assert set(left_out.reasons) == {images.paths[i] for i in (0, 3, 4, 19)}
        runs.append(torch.cat([pixels for epoch in epochs for pixels, _ in epoch]))
    assert all(torch.equal(runs[0], other) for other in runs[1:])


def test_in_tests_they_are_left_out(images: FileImages) -> None:
    left_out = LeftOut()
    batches = list(loader(images, shuffle=False, left_out=left_out).epoch())
    assert sum(len(pixels) for pixels, _ in batches) == 16
    assert torch.cat([labels for _, labels in batches]).bincount().tolist() == [7, 9]
    assert len(left_out.reasons) == 4
    with pytest.raises(UnreadableError, match=images.paths[0].name):
        list(loader(images, shuffle=False, left_out=None).epoch())


def test_a_class_of_which_nothing_can_be_read(images: FileImages) -> None:
    for path in images.paths[:10]:
        path.write_text("nothing")
    with pytest.raises(
        InputError, match="No training picture of its class can be read, .*not a picture.*repair"
    ):
        list(loader(images, shuffle=True, left_out=LeftOut()).epoch())
    batches = list(loader(images, shuffle=False, left_out=LeftOut()).epoch())
    assert [len(labels) for _, labels in batches] == [5, 4]  # empty batches are none


def test_how_many_are_put_up_with() -> None:
    bad = LeftOut({Path(f"{i}.jpg"): "bad" for i in range(6)})
    check_few(bad, 120, 0.05, strict=False)
    with pytest.raises(InputError, match="6 of 100 .*0.jpg .bad.*3 more.*--max-unreadable 0.06"):
        check_few(bad, 100, 0.05, strict=False)
    del bad.reasons[Path("0.jpg")]
    check_few(bad, 6, 0.0, strict=False)  # so few may always be
    with pytest.raises(InputError, match=r"Repair or remove them\.$"):
        check_few(bad, 10_000, 0.05, strict=True)


def changed(picture: Image.Image, how: str) -> Image.Image:
    if how == "compressed":
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=40)
        return Image.open(buffer).convert("RGB")
    return picture.resize((80, 60)) if how == "halved" else picture.convert("L")


@pytest.mark.parametrize("how", ["compressed", "halved", "grey"])
def test_copies_are_found_and_others_are_not(how: str, tmp_path: Path) -> None:
    """30 copies among 60 other photographs' parts."""
    root = tmp_path / "photos"
    for label, name in enumerate(LABELS):
        for part in ("train", "test"):
            (root / part / name).mkdir(parents=True)
        for i in range(30):
            photograph(label, i).save(root / "train" / name / f"{i:02}.png")
        for i in range(15):
            changed(photograph(label, i), how).save(root / "test" / name / f"copy{i:02}.png")
            photograph(label, 100 + i).save(root / "test" / name / f"other{i:02}.png")
    data = load_data(root, image_size=SIDE, val_fraction=0.01)
    found = near_duplicates(data)
    assert isinstance(data.test, FileImages)
    assert isinstance(data.train, FileImages)
    pairs = {(data.test.paths[x.place], data.train.paths[x.other]) for x in found}
    assert all(a.stem == f"copy{b.stem}" and a.parent.name == b.parent.name for a, b in pairs)
    held = {p.stem for p in data.val.paths}  # type: ignore[union-attr]
    assert len(pairs) >= 30 - len(held) - 1
    correlations = [x.correlation for x in found]
    assert correlations == sorted(correlations, reverse=True)
    assert correlations[-1] >= ALIKE


def test_flat_pictures_are_like_nothing() -> None:
    flat = torch.full((3, 32, 32), 7, dtype=torch.uint8)
    assert find_alike(flat, flat) == []
    noise = torch.randint(0, 256, (9000, 32, 32), generator=torch.Generator().manual_seed(0))
    found = find_alike(noise[[8500, 3]].byte(), noise.byte())  # across blocks
    assert [(x.place, x.other) for x in found] == [(0, 8500), (1, 3)]


def test_pictures_in_memory_are_compared_too() -> None:
    """scikit-learn's digits hold no picture twice."""
    data = load_data("digits")
    assert near_duplicates(data) == []
    small = thumbnails(data.test)
    assert small.shape == (len(data.test), 32, 32)
    assert {(x.place, x.other) for x in find_alike(small[:5], small)} == {(i, i) for i in range(5)}


@pytest.mark.slow
def test_fashion_mnists_own_duplicates(fashion_root: Path) -> None:
    """Seven test pictures stand in the training pictures too, within rounding."""
    data = load_data("fashion_mnist", root=fashion_root)
    found = near_duplicates(data)
    assert sum(x.correlation > 0.999 for x in found) == 7
    assert all(data.test.labels[x.place] == data.train.labels[x.other] for x in found)


def test_thumbnails_do_not_depend_on_what_is_kept(images: FileImages) -> None:
    """The central square, whatever the loader keeps: up to sampling."""
    good = images.take(torch.tensor([1, 2, 5, 11, 12]))
    cropped = loader(good, shuffle=True, left_out=LeftOut())
    assert isinstance(cropped, FileLoader)
    small = cropped.read(lambda _: None)
    plain = thumbnails(good)
    assert {(x.place, x.other) for x in find_alike(small, plain)} == {(i, i) for i in range(5)}
