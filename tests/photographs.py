"""Real photographs in every kind of file that a user's folder may hold, good and bad."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

WIDTH, HEIGHT = 160, 120
LABELS = ("china", "flower")


@cache
def photograph(label: int = 0, number: int = 0) -> Image.Image:
    """RGB, 160×120: another part of scikit-learn's temple or flower for each number."""
    dice = np.random.default_rng((label, number))
    whole = Image.fromarray(load_sample_images().images[label])
    left, top = (dice.integers(0, side - least) for side, least in ((640, 320), (427, 240)))
    return whole.crop((left, top, left + 320, top + 240)).resize((WIDTH, HEIGHT))


def grey16(picture: Image.Image) -> Image.Image:
    """All 16 bits in use."""
    values = np.asarray(picture.convert("L")).astype(np.uint16)
    return Image.fromarray(values * 257)


def adobe_cmyk(picture: Image.Image) -> bytes:
    """A JPEG as Photoshop writes it: inverted, which its APP14 marker tells."""
    buffer = io.BytesIO()
    picture.convert("CMYK").save(buffer, "JPEG", quality=95)
    assert b"Adobe" in buffer.getvalue()[:60]
    return buffer.getvalue()


def transparent(picture: Image.Image, mode: str) -> Image.Image:
    """Opaque, but for the upper left quarter, below which lies black."""
    alpha = Image.new("L", picture.size, 255)
    box = (0, 0, picture.width // 2, picture.height // 2)
    alpha.paste(0, box)
    found = picture.convert(mode[:-1])
    found.paste("black", box)
    found.putalpha(alpha)
    return found


def turned(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """Stored so that its EXIF orientation, 1 to 8, turns it back."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions of Pillow
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture
    if orientation > 1:
        stored = picture.transpose(Image.Transpose(undo[orientation]))
    return stored, exif


def _turned(orientation: int) -> Callable[[Path, Image.Image], None]:
    def write(path: Path, picture: Image.Image) -> None:
        stored, exif = turned(picture, orientation)
        stored.save(path, exif=exif, quality=95)

    return write


def _grey16_tiff(path: Path, picture: Image.Image) -> None:
    grey16(picture).save(path)


def _pages(path: Path, picture: Image.Image) -> None:
    other = ImageOps.invert(picture)
    picture.save(path, save_all=True, append_images=[other, other])


def _palette(path: Path, picture: Image.Image) -> None:
    picture.quantize(200).save(path)


def _palette_transparent(path: Path, picture: Image.Image) -> None:
    """Transparency in bytes, one for each colour; the upper left quarter is a clear black."""
    found = picture.quantize(200)
    palette = found.getpalette()
    assert palette is not None
    found.putpalette([*palette[:600], 0, 0, 0])
    found.paste(200, (0, 0, WIDTH // 2, HEIGHT // 2))
    found.save(path, transparency=bytes([255] * 200 + [0]))


def _turned_grey(path: Path, picture: Image.Image) -> None:
    stored, exif = turned(picture.convert("L"), 6)
    (grey16(stored) if "16" in path.name else stored).save(path, exif=exif)


GOOD: dict[str, Callable[[Path, Image.Image], None]] = {
    "plain.jpg": lambda path, picture: picture.save(path, quality=95),
    "PROGRESSIVE.JPG": lambda path, picture: picture.save(path, quality=95, progressive=True),
    "grey.jpeg": lambda path, picture: picture.convert("L").save(path, quality=95),
    "cmyk.jpg": lambda path, picture: path.write_bytes(adobe_cmyk(picture)) and None,
    "plain.png": lambda path, picture: picture.save(path),
    "grey.png": lambda path, picture: picture.convert("L").save(path),
    "grey16.png": lambda path, picture: grey16(picture).save(path),
    "bits.png": lambda path, picture: picture.convert("1").save(path),
    "LA.png": lambda path, picture: transparent(picture, "LA").save(path),
    "RGBA.png": lambda path, picture: transparent(picture, "RGBA").save(path),
    "palette.png": _palette,
    "palette transparent.png": _palette_transparent,
    "plain.webp": lambda path, picture: picture.save(path, quality=95),
    "RGBA.webp": lambda path, picture: transparent(picture, "RGBA").save(path, lossless=True),
    "moving.webp": _pages,
    "plain.tif": lambda path, picture: picture.save(path),
    "lzw.tiff": lambda path, picture: picture.save(path, compression="tiff_lzw"),
    "grey16.tiff": _grey16_tiff,
    "cmyk.tiff": lambda path, picture: picture.convert("CMYK").save(path),
    "pages.tiff": _pages,
    "bits.tiff": lambda path, picture: picture.convert("1").save(path, compression="group4"),
    "moving.gif": _pages,
    "plain.bmp": lambda path, picture: picture.save(path),
    "tiny.png": lambda path, picture: picture.resize((1, 1)).save(path),
    "oblong.jpg": lambda path, picture: picture.resize((1600, 3)).save(path, quality=95),
    "sp ace ünïcode 写真.jpg": lambda path, picture: picture.save(path, quality=95),
    "new\nline.jpg": lambda path, picture: picture.save(path, quality=95),
    "turned6 grey.tiff": _turned_grey,
    "turned6 grey16.tiff": _turned_grey,
    "turned6 grey16.png": _turned_grey,
    **{f"turned{i}.jpg": _turned(i) for i in range(1, 9)},
}
"""Files that are read, by name."""


def _truncated(path: Path, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, path.suffix[1:].replace("jpg", "jpeg").replace("tif", "tiff"))
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def _bomb(path: Path, _picture: Image.Image) -> None:
    """A PNG of 400 megapixels in 50 kB."""
    Image.new("1", (20_000, 20_000)).save(path)


BAD: dict[str, Callable[[Path, Image.Image], object]] = {
    "empty.jpg": lambda path, _: path.touch(),
    "text.jpg": lambda path, _: path.write_text("no picture"),
    "truncated.jpg": _truncated,
    "truncated.png": _truncated,
    "truncated.webp": _truncated,
    "truncated.tif": _truncated,
    "float.tiff": lambda path, picture: picture.convert("F").save(path),
    "bomb.png": _bomb,
}
"""Files that are none, or whose white nobody knows, by name."""


def write_photographs(root: Path, *, plain: int = 12, good: bool = True, bad: bool = False) -> Path:
    """A folder of two classes, so many plain pictures in each, and beside them each other kind."""
    for label, name in enumerate(LABELS):
        folder = root / name / "deeper"
        folder.mkdir(parents=True)
        for i in range(plain):
            photograph(label, i).save(folder / f"{i:03}.jpg", quality=90)
        kinds = (GOOD if good else {}) | (BAD if bad else {})
        for i, (file, write) in enumerate(kinds.items()):
            write(root / name / file, photograph(label, 1000 + i))
    return root
