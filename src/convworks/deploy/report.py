"""Runs side by side as one HTML page: what their folders hold, and their tests looked at again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from convworks.data.folder import decode
from convworks.data.splits import Data, FileImages, Images
from convworks.deploy.evaluation import assess, places_of
from convworks.deploy.interval import wilson
from convworks.deploy.predict import open_run
from convworks.errors import ConvworksError, InputError, UsageError
from convworks.files import check_parent, write_file
from convworks.measure.summary import summarize
from convworks.nets.registry import spec_of
from convworks.report.confusion import Answers, Wrong
from convworks.report.console import SturdyConsole
from convworks.report.page import RunRecord, render
from convworks.train.checkpoint import (
    BEST,
    read_metrics,
    read_settings,
    read_summary,
)
from convworks.train.run import Run, build_model, load, own_data

SIDE = 96
"""Pixels of a picture in the page, at most."""


def write_report(
    runs: Run | str | Path | Sequence[Run | str | Path],
    out: str | Path = "report.html",
    *,
    data: str | Path | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Writes one page about runs that needs no network and no other file, and returns its path.

    It shows the settings that differ, results and costs, curves over each other, and for each
    complete run the confusion matrix and the mistakes made most surely on the test part of its own
    data, from where they were or from the folder `data`; where those cannot be had it says why. A
    run of a network of your own is tested when it is given as a `Run`. `progress`: standard error
    says what is being tested.

    Raises InputError for a folder that holds no run or a damaged one, and when `out` cannot be
    written; an older page there then stays.
    """
    path = _target(Path(out).expanduser())
    given = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    folders = {_folder(one).resolve(): one for one in reversed(given)}  # each once, the first
    chosen = list(reversed(folders.values()))
    if not chosen:
        raise UsageError("Nothing to report: give run folders such as runs/lenet-digits.")
    names = _names([_folder(one) for one in chosen])
    records = [_read(one, name) for one, name in zip(chosen, names, strict=True)]
    console = SturdyConsole(stderr=True, quiet=not progress)
    known: dict[str, Data | str] = {}
    for place, one in enumerate(chosen):
        said = f"looking at {names[place]}, {place + 1} of {len(chosen)}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
        tested = _test(one, records[place], known, data, data_root)
        records[place] = replace(records[place], tested=tested)
    text = render(records)
    write_file(path, text)
    return path


def _target(path: Path) -> Path:
    """Where the page is to stand; its folder is there."""
    if path.suffix not in (".html", ".htm") or path.is_dir():
        raise InputError(f"A report is a file that ends with .html, not {path}.")
    check_parent(path)
    return path


def _folder(run: Run | str | Path) -> Path:
    return run.path if isinstance(run, Run) else Path(run).expanduser()


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names where they differ, else their paths."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _read(run: Run | str | Path, name: str) -> RunRecord:
    """What stands in the folder; InputError when it is damaged."""
    folder = _folder(run)
    settings, summary = read_settings(folder), read_summary(folder)
    record = RunRecord(name, settings, read_metrics(folder), summary, None, None, None, "")
    if summary is not None:
        return replace(
            record,
            interval=wilson(summary.test_accuracy, summary.test_images),
            parameters=summary.parameters,
            macs=summary.macs,
        )
    if settings.get("model") is None:
        return record
    with torch.device("meta"):
        model = build_model(settings, folder)
    spec = spec_of(model)
    assert spec is not None
    shape = (spec.in_channels, spec.image_size, spec.image_size)
    totals = summarize(model, shape, depth=0).totals
    return replace(record, parameters=totals.parameters, macs=totals.macs)


def _test(
    run: Run | str | Path,
    record: RunRecord,
    known: dict[str, Data | str],
    moved: str | Path | None,
    root: str | Path | None,
) -> Answers | str:
    """What a complete run's network says of its test part, or why that cannot be told.

    `known` remembers the data of other runs, or why they cannot be had.
    """
    folder = _folder(run)
    if record.summary is None:
        return (
            "it is not complete, and the test part is for one look at the end. Go on with:"
            f" convworks train --resume --out {folder}"
        )
    if not isinstance(run, Run):
        if record.settings.get("model") is None:
            return (
                "it is a network of your own, which the folder does not hold: load it in Python"
                " with convworks.load(path, model=...) and give that to convworks.write_report."
            )
        if not (folder / BEST).exists():
            return f"its weights are gone: there is no {folder / BEST}."
        run = load(folder)
    data = _data(run, known, moved, root)
    if isinstance(data, str):
        return data
    try:
        found = assess(open_run(run), data, "test")
        places = places_of(found.worst, data.test)
        wrong = [
            Wrong(one.picture, one.label, one.said, one.probability, _pixels(data.test, place))
            for one, place in zip(found.worst, places, strict=True)
        ]
    except ConvworksError as error:  # other pictures than the run's, or none that can be read
        return str(error)
    return Answers(data.classes, found.confusion, tuple(wrong))


def _data(
    run: Run, known: dict[str, Data | str], moved: str | Path | None, root: str | Path | None
) -> Data | str:
    """The run's own, from where they were, else from the folder where they may be now."""
    # With what they must fit: a run of other classes may name the same folder.
    key = json.dumps([run.data, run.classes, run.preparation.mean], sort_keys=True)
    if key not in known:
        for place in (None,) if moved is None else (None, moved):
            try:
                known[key] = own_data(run, place, root)
                break
            except ConvworksError as error:  # also a store that does not answer
                known[key] = str(error)
    return known[key]


def _pixels(images: Images, place: int) -> np.ndarray:
    """The picture at that place as uint8, H×W or H×W×3."""
    if isinstance(images, FileImages):
        pixels = decode(images.paths[place], images.channels, SIDE)
    else:
        pixels = images.pixels[place]
    return (pixels[0] if len(pixels) == 1 else pixels.movedim(0, 2)).numpy()
