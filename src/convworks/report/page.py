"""Runs side by side as one HTML page that needs nothing else: no network, no other file.

What it shows is handed over as plain records. All of it is text of others, so the template escapes
it, and the page allows its browser no request and no script but the page's own.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from convworks.report.confusion import (
    Answers,
    count_right,
    heat_picture,
    heat_table,
    most_frequent,
)
from convworks.report.embed import png_uri
from convworks.report.overlay import Line, draw_overlay, line
from convworks.train.observer import History, RunSummary
from convworks.version import __version__

FOLDER = Path(__file__).parent
TABLE_CLASSES = 20
"""With more classes a confusion matrix is a picture, with a list of its largest mistakes."""
DIGEST = 12
"""Hexadecimal digits of a hash that are shown."""
NONE = "–"


@dataclass(frozen=True)
class RunRecord:
    """What the page is told of a run."""

    name: str
    """Short, and no other run's."""
    settings: Mapping[str, Any]
    """Its config.json."""
    history: History
    summary: RunSummary | None
    """None as long as the run is not complete."""
    interval: tuple[float, float] | None
    """95 % interval of the test accuracy."""
    parameters: int | None
    macs: int | None
    tested: Answers | str
    """Or why there is nothing of it."""


@dataclass(frozen=True)
class Cell:
    """Of a table that can be sorted."""

    text: str
    value: float | str | None = None
    """What it is sorted by; None is last."""
    number: bool = False
    """Whether the column is one of numbers."""
    bar: tuple[float, float, float] | None = None
    """An interval's beginning, the value and the end, on a scale of 0 to 100."""
    note: str = ""
    """What stands below a value with a bar."""


@dataclass(frozen=True)
class Grid:
    """A table with a row for each run."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def render(records: Sequence[RunRecord]) -> str:
    """The page, for one run or more; the same records give the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    settings = [_settings(one.settings) for one in records]
    surroundings = [_texts("", one.settings.get("environment")) for one in records]
    return environment.get_template("page.html").render(
        version=__version__,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=records[0].name if len(records) == 1 else f"{len(records)} runs",
        records=records,
        lines=[line(place) for place in range(len(records))],
        notices=_notices(records),
        results=_results(records),
        curves=draw_overlay([one.history for one in records]),
        settings=_differing(settings),
        same_settings=_same(settings),
        environments=_differing(surroundings),
        same_environment=_same(surroundings),
        heat_table=heat_table,
        heat_picture=heat_picture,
        most_frequent=most_frequent,
        table_classes=TABLE_CLASSES,
        png_uri=png_uri,
        count_right=count_right,
        dashes=_dashes,
    )


def _notices(records: Sequence[RunRecord]) -> list[str]:
    """What a reader must know before comparing."""
    found = []
    if len({json.dumps(one.settings.get("classes")) for one in records}) > 1:
        found.append("These runs tell apart different classes: their accuracies do not compare.")
    elif len({str(one.settings["data"].get("digest")) for one in records}) > 1:
        found.append(
            "These runs were trained or tested on different pictures: their accuracies do not"
            " compare."
        )
    for one in records:
        if one.summary is None:
            done = len(one.history)
            best = " The validation accuracy is the best so far." if done else ""
            found.append(
                f"{one.name} is not complete: {done} epoch{'s' * (done != 1)} of"
                f" {one.settings['train'].get('epochs')} over.{best}"
            )
    return found


def _results(records: Sequence[RunRecord]) -> Grid:
    """The figures of every run."""
    intervals = [one.interval for one in records if one.interval]
    low = min((begin for begin, _ in intervals), default=0.0)
    high = max((end for _, end in intervals), default=1.0)

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low or 1.0)

    def accuracy(one: RunRecord) -> Cell:
        if one.summary is None or one.interval is None:
            return Cell(NONE, number=True)
        value, (begin, end) = one.summary.test_accuracy, one.interval
        bar = (place(begin), place(value), place(end))
        return Cell(f"{value:.4f}", value, True, bar, f"{begin:.4f} to {end:.4f}")

    columns: dict[str, Callable[[RunRecord], Cell]] = {
        "test accuracy": accuracy,
        "validation": lambda one: _number(_validation(one), ".4f"),
        "network": lambda one: _word(_network(one.settings)),
        "data": lambda one: _word(Path(str(one.settings["data"].get("name"))).name),
        "epochs": lambda one: _number(len(one.history), ",d"),
        "seconds": lambda one: _number(_seconds(one), ",.1f"),
        "images/s": lambda one: _number(_rate(one), ",.0f"),
        "parameters": lambda one: _number(one.parameters, ",d"),
        "MACs": lambda one: _number(one.macs, ",d"),
    }
    rows = tuple(tuple(make(one) for make in columns.values()) for one in records)
    return Grid(tuple(columns), rows)


def _network(settings: Mapping[str, Any]) -> str:
    spec = settings.get("model")
    return str(spec.get("name")) if isinstance(spec, dict) else "a network of your own"


def _validation(one: RunRecord) -> float | None:
    if one.summary:
        return one.summary.val_accuracy
    return max((record.val_accuracy for record in one.history), default=None)


def _seconds(one: RunRecord) -> float | None:
    return sum(record.seconds for record in one.history) if one.history else None


def _rate(one: RunRecord) -> float | None:
    rates = [record.images_per_second for record in one.history]
    return median(rates) if rates else None


def _number(value: float | None, form: str) -> Cell:
    return Cell(NONE if value is None else f"{value:{form}}", value, number=True)


def _word(text: str) -> Cell:
    return Cell(text, text)


def _settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Names as in config.json to values; without the run's own folder."""
    found: dict[str, str] = {}
    for section in ("data", "model", "train", "device", "classes", "preparation"):
        found |= _texts(section, settings.get(section))
    found.pop("train.out", None)
    if digest := found.get("data.digest"):
        found["data.digest"] = digest[:DIGEST]
    return found


def _texts(name: str, value: object) -> dict[str, str]:
    """A JSON value as text; of an object, its entries by dotted names."""
    if isinstance(value, dict) and value:
        return {
            key: text
            for inner in value
            for key, text in _texts(f"{name}.{inner}" if name else str(inner), value[inner]).items()
        }
    return {name: _text(value)} if name else {}


def _text(value: object) -> str:
    if value is None or value in ({}, []):
        return NONE
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def _names(each: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for one in each for name in one))


def _same(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all have alike."""
    return {
        name: each[0].get(name, NONE)
        for name in _names(each)
        if len({one.get(name, NONE) for one in each}) == 1
    }


def _differing(each: Sequence[Mapping[str, str]]) -> Grid:
    """The rest."""
    same = _same(each)
    names = tuple(name for name in _names(each) if name not in same)
    rows = tuple(tuple(_setting(one.get(name, NONE)) for name in names) for one in each)
    return Grid(names, rows)


def _setting(text: str) -> Cell:
    return Cell(text, None if text == NONE else text)


def _dashes(look: Line) -> str:
    return " ".join(f"{length:g}" for length in look.dashes) or "none"
