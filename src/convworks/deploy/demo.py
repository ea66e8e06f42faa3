"""A page of this machine where networks tell what a picture shows, and where they looked.

Everything that the page needs comes from this machine, and nothing leaves it.
"""

import errno
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from convworks.data.folder import decode
from convworks.data.splits import Data, FileImages
from convworks.deploy.evaluation import data_to_test
from convworks.deploy.predict import likeliest, open_network
from convworks.deploy.runtime import Deployed
from convworks.deploy.shipped import batches
from convworks.errors import ConvworksError, InputError
from convworks.extras import need

UPLOAD = "20mb"
"""The largest file that is taken."""
PORTS = range(7860, 7960)
KEPT = 3600
"""Seconds after which an uploaded file is deleted; at the end all are."""
SAMPLES, TOP = 12, 5
SIDE, LABEL, THUMBNAIL = 280, 30, 125
"""Pixels on the page: of a picture, of what lies over its upper edge, and of the samples' row."""
COLUMN = 220
"""The least width of one: three stand side by side in a window of 1,000 pixels."""
OPACITY = 0.6


@dataclass(frozen=True)
class Reply:
    """What a network says of a picture."""

    probabilities: Mapping[str, float]
    """Of the likeliest labels, those first."""
    view: np.ndarray
    """uint8 H×W×3: what the network saw, coloured where it looked, yellow the most."""
    milliseconds: float
    """For the probabilities of one picture, reading it left out."""
    note: str
    """What the colours tell, or why there are none."""


def answer(network: Deployed, path: Path) -> Reply:
    """What it says of a picture file, read as `predict` reads it; InputError when it cannot be."""
    channels, side, _ = network.shape
    pixels = decode(path, channels, side).numpy()[None]
    started = perf_counter()
    row = network.run(pixels)[0]
    milliseconds = 1000 * (perf_counter() - started)
    seen = np.broadcast_to(pixels[0].transpose(1, 2, 0), (side, side, 3))
    note = "Where it looked: yellow the most."
    if network.look is None:
        note = "What it saw. An exported file does not tell where it looked: the run's folder does."
    else:
        try:
            seen = _coloured(seen, network.look(pixels)[0])
        except InputError as error:
            note = f"What it saw. {error}"
    enlarged = seen.repeat(ceil(SIDE / side), 0).repeat(ceil(SIDE / side), 1)
    return Reply(dict(likeliest(network, row, TOP)), enlarged, milliseconds, note)


def _coloured(seen: np.ndarray, looked: np.ndarray) -> np.ndarray:
    """uint8 H×W×3 under a colour where the map H×W is above 0, opaque as it is high."""
    from matplotlib import colormaps

    colour = colormaps["viridis"](looked)[..., :3] * 255
    share = OPACITY * looked[..., None]
    found: np.ndarray = (seen * (1 - share) + colour * share).round().astype(np.uint8)
    return found


def draw_samples(data: Data, channels: int, side: int, folder: Path) -> list[tuple[Path, str]]:
    """Pictures of the test part as files of that size, and their labels.

    So many of each class as there is room for, or one of each of the first classes. Files are
    read in so many channels.
    """
    labels = data.test.labels.numpy()
    each = max(1, SAMPLES // len(data.classes))
    by_class = [np.flatnonzero(labels == i)[:each] for i in range(len(data.classes))]
    chosen = data.test.take(torch.from_numpy(np.concatenate(by_class)[:SAMPLES]))
    if isinstance(chosen, FileImages):
        chosen = replace(chosen, channels=channels)
    found: list[tuple[Path, str]] = []
    for pixels, truth in batches(chosen, side):
        for one, label in zip(pixels, truth, strict=True):
            path = folder / f"sample{len(found):02}.png"
            Image.fromarray(one[0] if len(one) == 1 else one.transpose(1, 2, 0)).save(path)
            found.append((path, data.classes[label]))
    return found


@contextmanager
def serving(
    paths: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    data_root: Path | None = None,
) -> Iterator[str]:
    """Serves a page with those run folders and exported files side by side; gives its address.

    `port` None is the first free one of PORTS. Raises InputError for what is no network, for a
    port that is taken, and where gradio is not installed.
    """
    port = _free_port(host, port)
    networks = [open_network(path) for path in paths]
    for network in networks:
        network.run(np.zeros((1, *network.shape), np.uint8))  # the first is slow
    with tempfile.TemporaryDirectory(prefix="convworks-demo-") as folder, _private(Path(folder)):
        gradio = need("gradio", "demo")
        samples, missing = find_samples(networks, data_root, Path(folder))
        page = _page(gradio, networks, samples, missing)
        page.queue(default_concurrency_limit=1)  # hooks and time belong to one picture
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=UPLOAD,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
        )
        try:
            yield address
        finally:
            page.close(verbose=False)


def _free_port(host: str, port: int | None) -> int:
    """The port, or the first free one; InputError when nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in PORTS if port is None else (port,):
        try:
            socket.create_server((host, tried), family=family).close()
        except OSError as error:
            reason = error.strerror
            if error.errno != errno.EADDRINUSE:
                break
        else:
            return tried
    raise InputError(
        f"Cannot serve at {host}, port {tried}: {reason}. Choose another --port or --host."
    )


@contextmanager
def _private(folder: Path) -> Iterator[None]:
    """Gradio keeps files in that folder and asks nothing of the outside.

    Pictures that Pillow takes for bombs are refused, not only warned of.
    """
    settings = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def find_samples(
    networks: Sequence[Deployed], root: Path | None, folder: Path
) -> tuple[list[tuple[Path, str]], str]:
    """Pictures to click, of the first network whose data are here; or why there are none.

    At the size and in the colours of the one that sees most, for which others scale them down.
    """
    channels, side = (max(network.shape[i] for network in networks) for i in range(2))
    for network in networks:
        try:
            data = data_to_test(network.path, None, network, root)
            if samples := draw_samples(data, channels, side, folder):
                return samples, ""
        except ConvworksError:  # also a store that does not answer; it names places, visitors read
            continue
    return [], "No samples: the data that it was trained on are not here, or not as they were."


def _page(
    gradio: ModuleType,
    networks: Sequence[Deployed],
    samples: Sequence[tuple[Path, str]],
    missing: str,
) -> Any:
    """The page: a picture on the left, a column for each network."""

    def as_it_came(payload: Any) -> tuple[str, str] | None:
        """The uploaded file and its name."""
        return payload and (payload.path, payload.orig_name or "the picture")

    def choose(event: gradio.SelectData) -> str:  # type: ignore[name-defined]
        """The sample that was clicked."""
        return str(samples[event.index][0])

    with gradio.Blocks(
        title="convworks demo", analytics_enabled=False, delete_cache=(KEPT, KEPT)
    ) as page:
        with gradio.Row():
            with gradio.Column(min_width=COLUMN):
                picture = gradio.Image(
                    label="Drop, paste, choose or photograph a picture",
                    sources=["upload", "clipboard", "webcam"],
                    buttons=["fullscreen"],
                    height=SIDE + 2 * LABEL,
                    elem_id="picture",
                )
                # In the place of gradio's own, which decodes and converts the file first.
                picture.preprocess = as_it_came
                picture.async_move_resource_to_block_cache = partial(
                    _only_uploads, picture.async_move_resource_to_block_cache
                )
                outputs = [gradio.Markdown(elem_id="message")]
            for network in networks:
                outputs += _column(gradio, network)
        gradio.Markdown(_plain(missing or "Pictures of the test part, to click:"))
        gallery = gradio.Gallery(
            [(str(path), label) for path, label in samples],
            show_label=False,
            columns=SAMPLES,
            height=THUMBNAIL,
            allow_preview=False,
            buttons=[],
            visible=bool(samples),
            elem_id="samples",
        )
        gallery.select(choose, None, picture, api_visibility="private", show_progress="hidden")
        tell = partial(_tell, networks)
        picture.change(tell, picture, outputs, api_name="predict", show_progress="minimal")
    return page


async def _only_uploads(keep: Callable[[str | None], Any], place: str | None) -> Any:
    """In the place of gradio's own, which fetches any address that a visitor names."""
    if place is not None and "://" in place:
        raise ValueError("an address is no picture: upload the file itself")
    return await keep(place)


def _column(gradio: ModuleType, network: Deployed) -> list[Any]:
    """What a network says, and what it is; gives the parts that an answer fills."""
    with gradio.Column(elem_classes="network", min_width=COLUMN):
        gradio.Markdown(f"### {_plain(_name(network.path))}")
        filled = [
            gradio.Label(num_top_classes=TOP, label="What it says", show_heading=False),
            gradio.Image(
                show_label=False,
                buttons=["fullscreen"],
                format="png",
                interactive=False,
                height=SIDE,
            ),
            gradio.Markdown(),
        ]
        gradio.Markdown(_describe(network))
    return filled


def _tell(networks: Sequence[Deployed], given: tuple[str, str] | None) -> list[Any]:
    """The message, and what fills each network's column, for an uploaded file and its name."""
    nothing = [None, None, ""] * len(networks)
    if given is None:
        return ["", *nothing]
    try:
        replies = [answer(network, Path(given[0])) for network in networks]
    except InputError as error:
        return [f"**{_refusal(error, *given)}**", *nothing]
    columns = [
        (one.probabilities, one.view, f"{one.note} It took {one.milliseconds:.1f} ms.")
        for one in replies
    ]
    return ["", *(cell for column in columns for cell in column)]


def _refusal(error: InputError, path: str, name: str) -> str:
    """Why a picture got no answer, without where the page keeps it."""
    if isinstance(error.__cause__, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _plain(
            f"{name} has too many pixels, more than {Image.MAX_IMAGE_PIXELS:,}: make it smaller."
        )
    return _plain(str(error).replace(path, name))


def _describe(network: Deployed) -> str:
    """The network and what is done to a picture, as Markdown."""
    about = network.metadata
    channels, side, _ = network.shape
    colours, preparation = about["input"]["colours"], about["input"]["preparation"]
    mean, deviation = (
        ", ".join(f"{x:.3f}" for x in about["normalisation"][name]) for name in ("mean", "std")
    )
    tested = about["run_test_accuracy"]
    accuracy = "" if tested is None else f", test accuracy {tested:.4f}"
    return "\n".join(
        f"- {_plain(line)}"
        for line in (
            f"{about['network']} for {len(network.labels)} classes, trained on"
            f" {about['data']}{accuracy}",
            f"sees {channels}×{side}×{side}, {colours}: {preparation}",
            f"mean {mean} and deviation {deviation} of pixels in 0…1",
        )
    )


def _name(path: Path) -> str:
    """A run's folder, an exported file with the folder that it stands in."""
    return "/".join(path.resolve().parts[-1 if path.is_dir() else -2 :])


def _plain(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&$-])", r"\\\1", text)
