"""Image folders: what is read, and what is refused with one line that names the file."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from conftest import write_digits
from convworks import api
from convworks.data.folder import decode
from convworks.data.loader import open_loader
from convworks.data.sources import load_data
from convworks.data.splits import FileImages
from convworks.errors import InputError
from convworks.train.config import RecipeName, TrainConfig

CPU = torch.device("cpu")


def test_a_folder_without_parts(digit_pictures: Path) -> None:
    data = load_data(digit_pictures, image_size=28)
    assert data.classes == ("digit0", "digit1", "digit2")
    assert data.channels == 1  # all pictures are grey
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 6)
    assert isinstance(data.train, FileImages)
    again = load_data(digit_pictures, image_size=28)
    assert isinstance(again.train, FileImages)
    assert data.train.paths == again.train.paths
    parts = [set(part.paths) for part in (data.train, data.val, data.test)]  # type: ignore[union-attr]
    assert len(set.union(*parts)) == 36


@pytest.mark.parametrize("parts", [("test",), ("val",), ("test", "val")])
def test_parts_of_its_own_are_used(tmp_path: Path, parts: tuple[str, ...]) -> None:
    root = tmp_path / "pictures"
    write_digits(root / "train", (3, 4), count=20)
    for i, part in enumerate(parts):
        write_digits(root / part, (3, 4), count=5, skip=20 + 5 * i)
    data = load_data(root, image_size=28)
    for part in parts:
        images = getattr(data, part)
        assert len(images) == 10
        assert all(path.parts[-3] == part for path in images.paths)
    held = 40 - len(data.train)
    assert held == {"test": 4, "val": 8}.get("".join(parts), 0)


def test_colour_photographs(tmp_path: Path) -> None:
    for name, picture in zip(("china", "flower"), load_sample_images().images, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(picture[i * 40 :]).save(tmp_path / "photos" / name / f"{i}.jpg")
    data = load_data(tmp_path / "photos", image_size=64)
    assert data.channels == 3
    assert len(data.mean) == 3
    assert data.mirror


def write_of_sides(root: Path, *sides: int) -> Path:
    """Pictures twice as long as that, wide or high, in two classes, and a file that is none."""
    for i, side in enumerate(sides * 2):
        shape = (side, 2 * side) if i % 2 else (2 * side, side)
        place = root / "ab"[i >= len(sides)]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("L", shape).save(place / f"{i}.png")
    (root / "a" / "none.png").write_bytes(b"no picture")
    return root


@pytest.mark.parametrize(
    ("sides", "model", "recipe", "seen"),
    [
        ((40, 44, 50, 300, 310), "resnet18", "modern", 50),  # their own: the median
        ((500, 500, 520, 90), "resnet18", "modern", 224),  # the paper's, which is smaller
        ((12, 14, 16), "resnet20", "modern", 28),  # the least
        ((50, 50, 50), "resnet18", "book", 96),  # the book's
    ],
)
def test_a_folders_pictures_are_seen_at_their_own_size(
    tmp_path: Path, sides: tuple[int, ...], model: str, recipe: RecipeName, seen: int
) -> None:
    root = write_of_sides(tmp_path / "pictures", *sides)
    _, data = api.prepare(model, root, TrainConfig(recipe=recipe))
    assert data.image_size == seen
    _, data = api.prepare(model, root, TrainConfig(recipe=recipe), image_size=80)
    assert data.image_size == 80


def test_weights_that_are_brought_see_the_size_of_their_paper(tmp_path: Path) -> None:
    root = write_of_sides(tmp_path / "pictures", 40, 44, 50)
    _, data = api.prepare("resnet18", root, TrainConfig(init=Path("torchvision")))
    assert data.image_size == 224


def test_decode_takes_the_central_square(tmp_path: Path) -> None:
    picture = Image.new("RGB", (60, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))
    picture.save(tmp_path / "a.png")
    pixels = decode(tmp_path / "a.png", channels=3, size=20)
    assert pixels.shape == (3, 20, 20)
    assert pixels.float().mean((1, 2)).tolist() == [0, 0, 255]


def test_decode_applies_exif_rotation(tmp_path: Path) -> None:
    picture = Image.new("L", (20, 20))
    picture.paste(255, (0, 0, 20, 10))  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180°
    picture.save(tmp_path / "a.png", exif=exif)
    pixels = decode(tmp_path / "a.png", channels=1, size=20)
    assert pixels[0, :5].max() == 0
    assert pixels[0, -5:].min() == 255


def test_damaged_notes_of_a_camera_do_not_matter(tmp_path: Path) -> None:
    """A resolution that is no fraction: Pillow cannot write it again."""
    picture = Image.new("L", (20, 20))
    picture.paste(255, (0, 0, 20, 10))  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180°
    exif[0x0131] = "made"
    path = tmp_path / "a.jpg"
    picture.save(path, exif=exif)
    data = bytearray(path.read_bytes())
    tag = struct.pack("<HH", 0x0131, 2), struct.pack(">HH", 0x0131, 2)
    place = max(data.find(one) for one in tag)
    assert place > 0
    order = "<" if data.find(tag[0]) == place else ">"
    data[place : place + 12] = struct.pack(f"{order}HHI4s", 0x011A, 1, 1, b"\x01\0\0\0")
    path.write_bytes(data)
    pixels = decode(path, channels=1, size=20)
    assert pixels[0, :5].max() < 50
    assert pixels[0, -5:].min() > 200


@pytest.mark.parametrize(("train", "test"), [("Train", "TEST"), ("Training", "testing")])
def test_parts_however_they_are_written(tmp_path: Path, train: str, test: str) -> None:
    write_digits(tmp_path / train, classes=(1, 2), count=9)
    write_digits(tmp_path / test, classes=(1, 2), count=4, skip=9)
    data = load_data(tmp_path, image_size=20)
    assert data.classes == ("digit1", "digit2")
    assert (len(data.train) + len(data.val), len(data.test)) == (18, 8)


def test_two_folders_of_one_part(tmp_path: Path) -> None:
    for name in ("train", "val", "validation"):
        write_digits(tmp_path / name, classes=(1, 2), count=4)
    with pytest.raises(InputError, match="has val and validation, which mean the same part"):
        load_data(tmp_path, image_size=20)


def test_other_endings_of_pictures(tmp_path: Path) -> None:
    write_digits(tmp_path, classes=(1, 2), count=9)
    for path, ending in zip(
        sorted(tmp_path.rglob("*.png")), (".jfif", ".jpe", ".pbm", ".pnm"), strict=False
    ):
        kind = "JPEG" if ending[1] == "j" else "PPM"
        Image.open(path).convert("1" if ending == ".pbm" else "L").save(
            path.with_suffix(ending), kind
        )
        path.unlink()
    data = load_data(tmp_path, image_size=20)
    assert len(data.train) + len(data.val) + len(data.test) == 18


def test_crops_depend_on_their_seed_alone(tmp_path: Path) -> None:
    Image.fromarray(load_sample_images().images[0]).save(tmp_path / "a.jpg")
    first, same, other = (decode(tmp_path / "a.jpg", 3, 64, seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No pictures in .*one sub-folder a class"):
        load_data(tmp_path)


def test_one_class(digit_pictures: Path) -> None:
    shutil.rmtree(digit_pictures / "digit1")
    shutil.rmtree(digit_pictures / "digit2")
    with pytest.raises(InputError, match=r"one class only \(digit0\)"):
        load_data(digit_pictures)


def test_an_empty_class(digit_pictures: Path) -> None:
    (digit_pictures / "digit9").mkdir()
    with pytest.raises(InputError, match="digit9 has no pictures"):
        load_data(digit_pictures)


@pytest.mark.parametrize(
    ("changed", "message"), [(3, "No pictures"), (2, "one class"), (1, "has no")]
)
def test_photographs_of_a_telephone_are_named(
    digit_pictures: Path, changed: int, message: str
) -> None:
    """Whoever sees pictures in a folder is told why none are found."""
    for place in sorted(digit_pictures.iterdir())[:changed]:
        for picture in place.iterdir():
            picture.rename(picture.with_suffix(".HEIC"))
    told = rf"{message}.* {12 * changed} \.heic files passed over, .*: save as JPEG or PNG\.$"
    with pytest.raises(InputError, match=told):
        load_data(digit_pictures)


def test_a_class_that_was_not_trained(tmp_path: Path) -> None:
    write_digits(tmp_path / "train", (3, 4), count=9)
    write_digits(tmp_path / "test", (3, 5), count=9)
    with pytest.raises(InputError, match="digit5 is a class that the training part has not"):
        load_data(tmp_path)


def test_too_few_pictures(tmp_path: Path) -> None:
    write_digits(tmp_path / "pictures", (3, 4), count=1)
    with pytest.raises(InputError, match="at least three"):
        load_data(tmp_path / "pictures")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_picture_is_named(digit_pictures: Path, workers: int) -> None:
    data = load_data(digit_pictures, image_size=28)
    assert isinstance(data.train, FileImages)
    bad = data.train.paths[4]
    bad.write_bytes(bad.read_bytes()[:60])
    loader = open_loader(data.train, batch_size=9, image_size=28, device=CPU, workers=workers)
    with pytest.raises(InputError, match=f"Cannot read .*{bad.parent.name}/{bad.name}"):
        list(loader.epoch())
    bad.write_text("no picture at all")
    with pytest.raises(InputError, match=f"{bad.name} .not a picture .*repair or remove"):
        list(loader.epoch())


def test_sixteen_bit_grey_is_scaled_not_cut(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels = decode(tmp_path / "a.png", channels=1, size=20)
    assert torch.equal(pixels[0], torch.from_numpy((values >> 8).astype(np.uint8)))


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((9, 9)).astype(np.float32)).save(
        tmp_path / "a.tiff"
    )
    with pytest.raises(InputError, match="a.tiff .floating-point"):
        decode(tmp_path / "a.tiff", channels=1, size=9)


def test_a_decompression_bomb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="a.png .*decompression bomb"):
        decode(tmp_path / "a.png", channels=1, size=9)


def test_hidden_files_and_folders_named_like_pictures_are_passed_over(
    digit_pictures: Path,
) -> None:
    (digit_pictures / "digit0" / "._000.png").write_bytes(b"resource fork")
    (digit_pictures / "digit0" / "folder.jpg").mkdir()
    (digit_pictures / "digit0" / "notes.txt").write_text("notes")
    data = load_data(digit_pictures, image_size=16)
    assert len(data.train) + len(data.val) + len(data.test) == 36


def test_parts_without_training_pictures(tmp_path: Path) -> None:
    for part in ("test", "val"):
        write_digits(tmp_path / "pictures" / part, (3, 4), count=9)
    with pytest.raises(InputError, match="has test and val but no train"):
        load_data(tmp_path / "pictures")


def test_validation_folders_by_their_other_names(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    write_digits(root / "train", (3, 4), count=20)
    write_digits(root / "valid", (3, 4), count=5, skip=20)
    assert len(load_data(root, image_size=16).val) == 10


def test_the_digest_tells_another_split_and_another_file(digit_pictures: Path) -> None:
    first, again = (load_data(digit_pictures, image_size=s) for s in (16, 20))
    assert first.digest == again.digest
    assert load_data(digit_pictures, seed=1).digest != first.digest
    moved = digit_pictures.rename(digit_pictures.with_name("moved"))
    assert load_data(moved).digest == first.digest
    shutil.copy(moved / "digit0" / "000.png", moved / "digit0" / "more.png")
    assert load_data(moved).digest != first.digest


def test_integers_of_32_bits_are_refused(tmp_path: Path) -> None:
    """What is white in them nobody says; PNG's are 16 bits."""
    Image.fromarray(np.full((8, 8), 200, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif .32-bit pixels have no known white"):
        decode(tmp_path / "a.tif", 1, 8)


def test_a_class_whose_name_cannot_be_shown(digit_pictures: Path) -> None:
    (digit_pictures / "digit0").rename(digit_pictures / "new\nline")
    with pytest.raises(InputError, match="has a name that cannot be shown: rename it"):
        load_data(digit_pictures)
