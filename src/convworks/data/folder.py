"""Image folders: one sub-folder a class."""

import os
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, inf
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from convworks.data.kept import Pixels
from convworks.data.splits import FileImages, Parts, Picture
from convworks.data.stores import AT_ONCE, SUFFIXES, Stored, list_stored, part_of
from convworks.errors import InputError, TrainingError, first_line

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
"""What is decoded. Pillow knows more, among them PostScript, which it has Ghostscript run."""
UNDECODED = frozenset(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd")
)
GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"))
_FLIP = Image.Transpose
TURNS = {
    2: _FLIP.FLIP_LEFT_RIGHT,
    3: _FLIP.ROTATE_180,
    4: _FLIP.FLIP_TOP_BOTTOM,
    5: _FLIP.TRANSPOSE,
    6: _FLIP.ROTATE_270,
    7: _FLIP.TRANSVERSE,
    8: _FLIP.ROTATE_90,
}
"""What sets a picture upright, by the EXIF number for how the camera was held."""
PROBED = 1000
"""So many pictures are looked at, until one has colours, to tell a grey set from a coloured one."""
MEASURED = 100
"""So many at least, to tell the usual size."""

SPARE = 1.5
"""JPEGs that are scaled down are decoded at no less than so many times the size asked for: 500×375
pixels to 96 in 0.9 ms each, which took 1.6 ms at no less than twice the size."""


class UnreadableError(InputError):
    """A picture that cannot be decoded."""

    def __init__(self, path: Picture, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"Cannot read {shown(path)} ({reason}): repair or remove it.")


Tree = dict[str, dict[str, list[Picture]]]
"""Pictures by part, train, val or test, and by the name of their class."""


def list_folder(folder: Path) -> tuple[Tree, str]:
    """An image folder's pictures, and where those to train with are looked for.

    Without folders called as parts are, all are to train with. Raises InputError for a folder that
    cannot be listed, and for two folders of one part.
    """
    folders = _folders(folder)
    roots: dict[str, Path] = {}
    for place in folders:
        if (part := part_of(place.name)) in roots:
            raise InputError(
                f"{folder} has {roots[part].name} and {place.name}, which mean the same part: put"
                " the pictures of both into one."
            )
        if part:
            roots[part] = place
    if "train" not in roots and len(roots) < max(1, len(folders)):
        roots = {"train": folder}
    tree: Tree = {
        part: {place.name: [*find_files(place)] for place in _folders(root)}
        for part, root in roots.items()
    }
    return tree, str(roots.get("train", folder))


def list_store(name: str, indices: Path) -> tuple[Tree, str]:
    """The same for tar files and object storage; `data.stores` keeps what it found in `indices`."""
    tree: Tree = {}
    listed = [(one.inside.split("/"), one) for one in list_stored(name, indices)]
    tops = {names[0]: part_of(names[0]) for names, _ in listed}
    train = next((top for top, part in tops.items() if part == "train"), None)
    apart = train is not None or None not in tops.values()
    for (first, *rest), one in listed:
        part, place = (tops[first], rest) if apart else ("train", [first, *rest])
        if part and len(place) > 1:
            tree.setdefault(part, {}).setdefault(place[0], []).append(one)
    return tree or {"train": {}}, f"{name}/{train}" if train else name


def to_test(tree: Tree, title: str, classes: Sequence[str], channels: int) -> FileImages:
    """The pictures of the test part, or all where there is none, as a network knows them.

    Raises InputError for a class that is none of `classes`, and when there are no pictures.
    """
    found: dict[str, list[Picture]] = {}
    for part in [tree["test"]] if "test" in tree else tree.values():
        for name, pictures in part.items():
            found.setdefault(name, []).extend(pictures)
    if more := sorted(name for name in found if found[name] and name not in classes):
        raise InputError(
            f"{title} has a class that the network does not know ({more[0]}), which knows"
            f" {', '.join(classes)}: name the sub-folders so."
        )
    listed = [(path, i) for i, name in enumerate(classes) for path in found.get(name, ())]
    images = _files(listed, channels)
    if images is None:
        raise InputError(
            f"No pictures in {title}: put those of each class into a sub-folder."
            + _but_others(title)
        )
    return images


def to_parts(tree: Tree, title: str) -> Parts:
    """What can be trained with, classes in alphabetical order. Nothing is decoded.

    Raises InputError for a folder that is empty, has one class only, or whose parts name different
    classes.
    """
    if "train" not in tree:
        raise InputError(
            f"{title} has {' and '.join(tree)} but no train: name the folder of the training"
            " pictures train."
        )
    classes = tuple(sorted(tree["train"]))
    for name in classes:
        if not name.isprintable():
            raise InputError(
                f"The class folder {name!r} has a name that cannot be shown: rename it."
            )
    filled = [name for name in classes if tree["train"][name]]
    if not filled:
        raise InputError(
            f"No pictures in {title}: make one sub-folder a class and put pictures"
            f" ({', '.join(sorted(s[1:] for s in SUFFIXES))}) into each." + _but_others(title)
        )
    if len(filled) < 2:
        raise InputError(
            f"{title} has pictures of one class only ({filled[0]}): put the pictures of each other"
            " class into a sub-folder of its own." + _but_others(title)
        )
    if empty := sorted(set(classes) - set(filled)):
        place = f"{title}/{empty[0]}"
        raise InputError(f"{place} has no pictures: fill or remove it." + _but_others(place))
    for part, found in tree.items():
        if more := sorted(found.keys() - set(classes)):
            raise InputError(
                f"In {part} {more[0]} is a class that the training part has not"
                f" ({', '.join(classes)}): add training pictures or remove it."
            )
    listed = {
        part: [(path, i) for i, name in enumerate(classes) for path in found.get(name, ())]
        for part, found in tree.items()
    }
    channels, side = look_at([path for path, _ in listed["train"]])
    train, val, test = (_files(listed.get(part), channels) for part in ("train", "val", "test"))
    assert train is not None
    return Parts(classes, train, test, val, side)


def _files(pictures: list[tuple[Picture, int]] | None, channels: int) -> FileImages | None:
    """A part; None when the folder has none."""
    if not pictures:
        return None
    paths, labels = zip(*pictures, strict=True)
    return FileImages(paths, torch.tensor(labels), channels)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise _unlisted(error) from error


def find_files(folder: Path) -> list[Path]:
    """The pictures in a folder and those below it, by their endings, in a fixed order.

    Names that begin with a dot are the system's own, such as macOS's; links to folders are not
    followed. Raises InputError for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise _unlisted(error) from error

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and _may_be_read(p))


def passed_over(folder: Path) -> list[str]:
    """What is to be said of the pictures and raw photographs there that nothing here decodes."""
    names = (name for _, _, files in os.walk(folder) for name in files)
    endings = (Path(name).suffix.lower() for name in names if not name.startswith("."))
    counts = Counter(ending for ending in endings if ending in UNDECODED)
    return [
        f"{count:,} {ending} file{'s' * (count > 1)} passed over, which cannot be decoded here:"
        " save as JPEG or PNG"
        for ending, count in counts.most_common()
    ]


def _but_others(folder: str) -> str:
    """The same behind an error's text, empty where there are none."""
    return "".join(f" {text}." for text in passed_over(Path(folder)))


def _may_be_read(path: Path) -> bool:
    """A file, or a link that leads nowhere, which is an error to be told."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _unlisted(error: OSError) -> InputError:
    return InputError(
        f"Cannot list {error.filename} ({error.strerror}): make it readable or move it away."
    )


def shown(path: str | Picture) -> str:
    """A file's name in one line that can be printed."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def look_at(paths: Sequence[Picture]) -> tuple[int, int]:
    """1 when every picture that was looked at is grey, else 3, and their usual smaller side.

    The side is the median of theirs in pixels. Only headers are read; what cannot be read is passed
    over, and counts as grey; the side is 0 where nothing can.
    """
    some = random.Random(0).sample(list(paths), min(PROBED, len(paths)))  # noqa: S311 (no secrets)
    sides: list[int] = []
    coloured = False
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for mode, side in filter(None, pool.map(_header, some)):
            sides.append(side)
            coloured = coloured or mode not in GREY_MODES
            if coloured and len(sides) >= MEASURED:
                break
    finally:  # also where a store does not answer, for which every other one would wait too
        pool.shutdown(wait=False, cancel_futures=True)
    return 3 if coloured else 1, round(median(sides)) if sides else 0


def _header(path: Picture) -> tuple[str, int] | None:
    """Pillow's name for how colours are stored, and the smaller side; None if it is unreadable."""
    try:
        with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as picture:
            return picture.mode, min(picture.size)
    except TrainingError:
        raise
    except Exception:  # decoding it will tell
        return None


def unreadable(path: Picture, error: Exception) -> UnreadableError:
    """The error for a picture that cannot be decoded."""
    reason = first_line(error)
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif "identify" in reason:
        size = path.size if isinstance(path, Stored) else path.stat().st_size
        reason = "not a picture that can be decoded" if size else "an empty file"
    return UnreadableError(path, reason)


def decode(path: Picture, channels: int, size: int, crop_seed: int | None = None) -> Tensor:
    """A picture as uint8 C×size×size.

    Without a seed the largest central square, scaled; with one a random part of 35 to 100 % of the
    area and 3:4 to 4:3, as Szegedy et al. 2014 (section 6) train. EXIF rotation is applied.
    Raises InputError with the path when the file cannot be decoded.
    """
    picture = _open(path, channels, ceil(SPARE * size))
    return cut(picture, picture.size, size, crop_seed)


def squeeze(path: Picture, channels: int, side: int) -> Pixels:
    """A whole picture as uint8 side×side×C, whatever its shape, and its width and height.

    `cut` takes parts of it as of the picture itself. Raises InputError as `decode` does.
    """
    picture = _open(path, channels, side)
    squeezed = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.array(squeezed).reshape(side, side, channels), picture.size


def cut(
    picture: Image.Image, shape: tuple[int, int], size: int, crop_seed: int | None = None
) -> Tensor:
    """The part that `decode` takes of a picture of that width and height, as uint8 C×size×size.

    The picture may have been squeezed.
    """
    box = _central_box(shape) if crop_seed is None else _random_box(shape, crop_seed)
    down, right = picture.height / shape[1], picture.width / shape[0]
    left, top, end, bottom = box
    placed = (left * right, top * down, end * right, bottom * down)
    pixels = np.array(picture.resize((size, size), Image.Resampling.BILINEAR, box=placed))
    found = torch.from_numpy(pixels)
    return found.unsqueeze(0) if found.ndim == 2 else found.movedim(2, 0).contiguous()


def _open(path: Picture, channels: int, least: int) -> Image.Image:
    """A decoded picture, turned as its EXIF data say, grey or RGB; of several its first.

    A JPEG is decoded at a smaller scale, which is faster, but to no less than `least` pixels.
    """
    mode = "L" if channels == 1 else "RGB"
    try:
        # By a path, Pillow maps grey TIFFs into memory, and then turns them wrongly.
        with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as file:
            if file.mode == "I" and file.format not in ("PNG", "PPM"):  # those mean 16 bits by it
                raise ValueError("32-bit pixels have no known white")
            file.draft(mode, (least, least))
            if file.width * file.height > (Image.MAX_IMAGE_PIXELS or inf):
                raise ValueError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels")
            return _on_white(_to_eight_bits(_turned(file))).convert(mode)
    except (MemoryError, TrainingError):
        raise
    except Exception as error:  # whatever a decoder stumbles over, the file is the reason
        raise unreadable(path, error) from error


def _turned(picture: Image.Image) -> Image.Image:
    """As its EXIF data say. Of these only the one number is read: the others may be damaged."""
    picture.load()  # TIFFs are turned by their decoder
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged block, which viewers pass over too
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, which Pillow's own conversion would cut off at 255."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no known white")
    return picture


def _on_white(picture: Image.Image) -> Image.Image:
    """What is transparent shows white, and not the pixels below, which nobody has seen."""
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


Box = tuple[float, float, float, float]


def _central_box(size: tuple[int, int]) -> Box:
    width, height = size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _random_box(size: tuple[int, int], seed: int) -> Box:
    width, height = size
    dice = random.Random(seed)  # noqa: S311 (augmentation, not secrets)
    area = dice.uniform(0.35, 1.0) * width * height
    ratio = 2 ** dice.uniform(-0.415, 0.415)
    w, h = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
    left, top = dice.uniform(0, width - w), dice.uniform(0, height - h)
    return left, top, left + w, top + h
