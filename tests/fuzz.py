"""Malformed files and words by the thousand: each must be taken, or refused in one clear line.

    python tests/fuzz.py 10000

Prints as JSON, for each kind of input, how many were taken and how many refused; `findings` are
those that ended in anything else: another exception, or a message of several lines.
Every input follows from its number, so that a finding can be made again.
"""

import json
import logging
import os
import random
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import copytree, rmtree
from struct import pack
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import convworks as cw
from convworks.cli import COMMANDS, run
from convworks.data.folder import decode
from convworks.errors import ConvworksError
from convworks.studies.reader import load_study

MEMORY = 8 * 2**30
"""Address space that the process may take beyond what it has."""
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 10**30, 1e308, -0.5, float("nan"), "", "x", "../..", "\0", "é" * 300,
    [], [1, "a"], {}, {"name": 3}, [[[[]]]], "1x1x1", "💥\n",
)  # fmt: skip
FILES = ["best.safetensors", "last.pt", "metrics.jsonl", "summary.json", "pictures.json"]
"""Of a run folder, besides config.json."""
BYTES = 2000
"""So many from the beginning are where changes are made mostly: headers are there."""


def change_bytes(content: bytes, luck: random.Random) -> bytes:
    """Flipped, cut, repeated, overwritten."""
    found = bytearray(content)
    for _ in range(luck.randint(1, 4)):
        if not found:
            break
        place = luck.randrange(min(len(found), luck.choice((16, BYTES, len(found)))))
        way = luck.randrange(5)
        if way == 0:
            found[place] ^= 1 << luck.randrange(8)
        elif way == 1:
            del found[place:]
        elif way == 2:
            found[place:place] = found[place : place + luck.randint(1, 50)]
        elif way == 3:
            found[place : place + 4] = pack(">i", luck.choice((-1, 0, 2**31 - 1, 2**30)))
        else:
            found[place : place + 1] = bytes(luck.randrange(256) for _ in range(luck.randint(0, 9)))
    return bytes(found)


def change_json(value: Any, luck: random.Random) -> Any:
    """With another value at a random place, or without one."""
    if not isinstance(value, dict | list) or not value or luck.random() < 0.1:
        return luck.choice(ODD)
    if isinstance(value, dict):
        key = luck.choice(list(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rest if luck.random() < 0.15 else rest | {key: change_json(value[key], luck)}
    place = luck.randrange(len(value))
    return [*value[:place], change_json(value[place], luck), *value[place + 1 :]]


def change_file(path: Path, luck: random.Random) -> None:
    try:
        assert path.suffix == ".json"
        assert luck.random() < 0.7
        value = json.loads(path.read_bytes())
    except (AssertionError, ValueError):  # no JSON, or none any more
        path.write_bytes(change_bytes(path.read_bytes(), luck))
    else:
        path.write_text(json.dumps(change_json(value, luck)))


def run_folder(luck: random.Random) -> None:
    """Any file of a run changed, then read, tested, resumed."""
    rmtree("run", ignore_errors=True)
    copytree("whole", "run")
    for name in luck.sample(["config.json"] * 3 + FILES, luck.choice((1, 1, 2))):
        change_file(Path("run", name), luck)
    what = luck.randrange(3)
    if what == 0:
        cw.load("run")
    elif what == 1:
        cw.resume("run", progress=False)
    else:
        Path("run/summary.json").unlink()
        Path("run/best.safetensors").write_bytes(Path("whole/best.safetensors").read_bytes())
        try:
            begun = json.loads(Path("run/config.json").read_bytes())["train"]["epochs"]
        except (KeyError, TypeError, ValueError):
            begun = None
        if not isinstance(begun, int) or begun < 3:  # not to train for ever
            cw.resume("run", progress=False)


def idx(luck: random.Random) -> None:
    """A file of MNIST's changed."""
    rmtree("root", ignore_errors=True)
    copytree("mnist", "root")
    change_file(luck.choice(sorted(Path("root").rglob("*ubyte"))), luck)
    cw.load_data("mnist", root="root")


def picture(luck: random.Random) -> None:
    """A picture file changed, read in grey or colour."""
    source = luck.choice(sorted(Path("pictures").iterdir()))
    path = Path("changed" + source.suffix)
    path.write_bytes(change_bytes(source.read_bytes(), luck))
    decode(path, luck.choice((1, 3)), luck.choice((1, 16, 48)), luck.choice((None, 5)))


def study(luck: random.Random) -> None:
    """A shipped study's file changed."""
    import convworks.studies

    source = luck.choice(sorted(Path(convworks.studies.__path__[0]).glob("*.toml")))
    words = source.read_text().split(" ")
    for _ in range(luck.randint(1, 3)):
        words[luck.randrange(len(words))] = luck.choice(("", "x", "[", "= 3", "[[a]]", '"', "\n"))
    path = Path("mine.toml")
    path.write_text(" ".join(words))
    load_study(path)


def words(luck: random.Random) -> None:
    """A command with words of its own and of others; none of them may begin a long work."""
    name = luck.choice([*COMMANDS, "", "trian", "--help", "-x"])
    pool = [
        "lenet", "resnet18", "nin", "nowhere", "run", "--json", "--input", "1x28x28", "--depth",
        "0", "-1", "1e9", "", "\0", "é", "--epochs", "--lr", "nan", "--data", "pictures", "--out",
        "--seed", "--set", "se=16", "=", "--memory", "8GiB", "0GiB", "--help", "--debug=1", "--top",
        "--format", "onnx", "--figure", "a.svg", "a.xyz", "--", "--image-size", "1", "99999999",
    ]  # fmt: skip
    chosen = [luck.choice(pool) for _ in range(luck.randint(0, 6))]
    if name in ("train", "study", "reproduce", "demo", "bench", "export", "report"):
        chosen.append("--no-such-option")  # parsed, refused at the latest here
    shown = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(shown):
        try:
            code = run([name, *chosen])
        except SystemExit as usage:
            code = usage.code  # type: ignore[assignment]
    text = shown.getvalue()
    if code not in (0, 1, 2, None) or "Traceback" in text or "Unexpected" in text:
        raise AssertionError(f"{name} {chosen}: {code}: {text[-300:]}")
    if code in (1, 2):
        raise ConvworksError("refused")


KINDS: dict[str, Callable[[random.Random], None]] = {
    "run folders": run_folder,
    "IDX files": idx,
    "pictures": picture,
    "studies": study,
    "command lines": words,
}


def prepare() -> None:
    """Small good inputs, which are then changed; there is no network.

    Damaged files of a known set are downloaded again, which would wait or mend them.
    """
    os.environ |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    data = cw.load_data("digits", image_size=12, train_images=40)
    model = cw.create_model("lenet", num_classes=10, in_channels=1, image_size=12)
    cw.fit(model, data, cw.TrainConfig(epochs=1, out=Path("whole")), progress=False)
    said = {"unreadable": {"a.png": "cut"}, "near_duplicates": {"test": [["b.png", "c.png", 1.0]]}}
    Path("whole/pictures.json").write_text(json.dumps(said))
    raw = Path("mnist/MNIST/raw")
    raw.mkdir(parents=True)
    for part, count in (("train", 30), ("t10k", 20)):
        luck = np.random.default_rng(count)
        pixels = luck.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = pack(">iiii", 2051, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = pack(">ii", 2049, count)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    Path("pictures").mkdir()
    photo = Image.fromarray(load_sample_images().images[0]).resize((64, 48))
    for name, mode in (
        ("a.jpg", "RGB"), ("b.png", "RGBA"), ("c.webp", "RGB"), ("d.gif", "P"), ("e.tif", "L"),
        ("f.bmp", "RGB"), ("g.jpg", "CMYK"), ("h.tif", "RGB"), ("i.png", "1"), ("j.ppm", "RGB"),
    ):  # fmt: skip
        photo.convert(mode).save(Path("pictures", name))


def fuzz(count: int, kinds: tuple[str, ...] = tuple(KINDS)) -> dict[str, Any]:
    """So many of each kind, in the working folder."""
    prepare()
    logging.disable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    found: dict[str, Any] = {"findings": []}
    for kind in kinds:
        outcomes: Counter[str] = Counter()
        for number in range(count):
            luck = random.Random(f"{kind} {number}")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    KINDS[kind](luck)
                outcomes["taken"] += 1
            except ConvworksError as error:
                outcomes["refused"] += 1
                if "\n" in str(error):
                    found["findings"].append(f"{kind} {number}: line break in {error!s:.200}")
            except Exception as error:
                found["findings"].append(f"{kind} {number}: {type(error).__name__} {error!s:.300}")
        found[kind] = dict(outcomes)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place, chdir(place):
        chosen = tuple(sys.argv[2:]) or tuple(KINDS)
        sys.stdout.write(json.dumps(fuzz(int(sys.argv[1]), chosen), indent=1) + "\n")
