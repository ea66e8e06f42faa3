"""From a TOML file to a study, every word of it checked. Nothing in the file can run code."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from convworks.errors import InputError, unknown
from convworks.studies.figures import FIGURES
from convworks.studies.study import (
    Axis,
    Budget,
    Compare,
    Plan,
    Point,
    Settings,
    Study,
    cell_title,
    folder_name,
    show_value,
)
from convworks.train.config import TrainConfig

Table = Mapping[str, Any]
WORDS = tuple(one.name for one in fields(Settings))
OWN = ("seed", "out", "init", "freeze", "unfreeze_after", "device", "compile", "workers")
"""Of TrainConfig's fields, those that a study leaves to itself or to the machine, and those for
weights that were trained before."""


def shipped() -> list[str]:
    """The names of the studies that come with convworks."""
    files = resources.files("convworks.studies").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))


def load_study(name: str | Path) -> Study:
    """A shipped study by its name, or a user's by its file's path, which ends with .toml.

    Raises InputError, one line that names the file and the key, for whatever does not fit.
    """
    if str(name) in shipped():
        file = resources.files("convworks.studies") / f"{name}.toml"
        return parse_study(file.read_text(encoding="utf-8"), str(name), f"{name}.toml")
    path = Path(name)
    if path.suffix != ".toml":
        hint = "`convworks study --list` lists them all; a file of your own ends with .toml."
        raise unknown("study", str(name), shipped(), hint)
    try:
        return parse_study(path.read_text(encoding="utf-8"), path.stem, str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot read {path} ({reason}): name a study's TOML file.") from error


def parse_study(text: str, name: str, file: str) -> Study:
    """The study that a TOML text describes; InputErrors begin with `file`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file} is no TOML file: {error}.") from error
    except RecursionError as error:
        raise InputError(f"{file} is nested too deep.") from error
    return _Reader(file).study(name, table)


class _Reader:
    """Takes tables apart; every error names the file and the key."""

    def __init__(self, file: str) -> None:
        self.file = file

    def study(self, name: str, table: Table) -> Study:
        own = ("question", "source", "measure", "figure", "baseline", "compare", "usable")
        self.known(table, "", (*own, "fixed", "variants", "axis", *get_args(Budget), "reading"))
        measure = self.names(table, "measure", "measure", FIGURES)
        if not measure:
            raise self.wrong("measure", "must name at least one figure")
        variants = self.table(table, "variants", "variants", needed=True)
        if not variants:
            raise self.wrong("variants", "must hold at least one variant")
        self.folders("variants", variants)
        axis = self.axis(table)
        figure = self.choice(table, "figure", ("bars", "lines"), "bars")
        if figure == "lines" and axis is None:
            raise self.wrong("figure", 'is "lines", which needs an [axis]')
        baseline = self.text(table, "baseline", "baseline", default=next(iter(variants)))
        if baseline not in variants:
            raise self.wrong("baseline", str(unknown("variant", baseline, variants)))
        compare = self.names(table, "compare", "compare", get_args(Compare)) or ("each",)
        if "compare" in table and FIGURES[measure[0]].how != "trained":
            raise self.wrong("compare", f"is of {measure[0]}, which no training gives")
        if "ends" in compare and axis is None:
            raise self.wrong("compare", 'has "ends", which needs an [axis]')
        usable = self.number(table, "usable", "usable") if "usable" in table else None
        if usable is not None and (
            axis is None or any(isinstance(p.value, str) for p in axis.points)
        ):
            raise self.wrong("usable", "needs an [axis] of numbers")
        if usable is not None and not any(FIGURES[name].how == "trained" for name in measure):
            raise self.wrong("usable", "needs a figure of training in measure")
        reading = self.table(table, "reading", "reading")
        self.known(reading, "reading", get_args(Budget))
        study = Study(
            name,
            self.text(table, "question", "question"),
            self.text(table, "source", "source"),
            measure,
            figure,  # type: ignore[arg-type]
            baseline,
            compare,  # type: ignore[arg-type]
            usable,
            self.settings(self.table(table, "fixed", "fixed", needed=True), "fixed"),
            {
                key: self.settings(self.table(variants, key, f"variants.{key}"), f"variants.{key}")
                for key in variants
            },
            axis,
            {one: self.plan(table, one, tuple(variants), axis) for one in get_args(Budget)},
            {key: self.text(reading, key, f"reading.{key}").strip() for key in reading},
        )
        self.complete(study)
        return study

    def complete(self, study: Study) -> None:
        """That every run has a network, data, and settings that training takes."""
        for budget in get_args(Budget):
            chosen = study.plans[budget].variants
            if chosen and study.baseline not in chosen and {"each", "best"} & {*study.compare}:
                raise self.wrong(f"{budget}.variants", f"lacks the baseline, {study.baseline!r}")
            for variant, value, settings in study.cells(budget):
                where = f"{budget}, {cell_title(variant, value)}"
                for word in ("network", "data"):
                    if getattr(settings, word) is None:
                        raise self.wrong(f"fixed.{word}", f"is missing ({where} has none)")
                try:
                    TrainConfig(**settings.train)  # type: ignore[arg-type]
                except (TypeError, ValueError) as error:
                    raise self.wrong("train", f"of {where}: {error}") from error

    def axis(self, table: Table) -> Axis | None:
        if "axis" not in table:
            return None
        axis = self.table(table, "axis", "axis")
        self.known(axis, "axis", ("label", "scale", "points"))
        rows = axis.get("points")
        if not isinstance(rows, list) or not rows or not all(isinstance(p, dict) for p in rows):
            raise self.wrong("axis.points", "must be a list of tables such as {value = 1}")
        points = []
        for i, row in enumerate(rows):
            key = f"axis.points[{i}]"
            self.known(row, key, ("value", *WORDS))
            value = row.get("value")
            if not isinstance(value, int | float | str) or isinstance(value, bool):
                raise self.wrong(f"{key}.value", "must be a number or a text")
            rest = {word: given for word, given in row.items() if word != "value"}
            points.append(Point(value, self.settings(rest, key)))
        self.folders("axis.points", [show_value(point.value) for point in points])
        log = self.choice(axis, "scale", ("linear", "log"), "linear", "axis.scale") == "log"
        if log and not all(isinstance(p.value, int | float) and p.value > 0 for p in points):
            raise self.wrong("axis.scale", 'is "log", which needs values above 0')
        if len({isinstance(point.value, str) for point in points}) > 1:
            raise self.wrong("axis.points", "must have numbers or texts as values, not both")
        points.sort(key=lambda point: 0.0 if isinstance(point.value, str) else point.value)
        return Axis(self.text(axis, "label", "axis.label"), log, tuple(points))

    def plan(self, whole: Table, key: str, variants: Sequence[str], axis: Axis | None) -> Plan:
        table = self.table(whole, key, key, needed=True)
        self.known(table, key, (*WORDS, "seeds", "variants", "values", "minutes"))
        settings = {word: table[word] for word in WORDS if word in table}
        values = table.get("values", [])
        there = [point.value for point in axis.points] if axis else []
        if not isinstance(values, list) or not all(value in there for value in values):
            listed = ", ".join(map(show_value, there)) or "no axis"
            raise self.wrong(f"{key}.values", f"must be a list of the axis' values ({listed})")
        minutes = self.number(table, "minutes", f"{key}.minutes") if "minutes" in table else None
        return Plan(
            self.settings(settings, key),
            self.count(table, "seeds", f"{key}.seeds", default=1),
            self.names(table, "variants", f"{key}.variants", variants),
            tuple(values),
            minutes,
        )

    def settings(self, table: Table, key: str) -> Settings:
        self.known(table, key, WORDS)
        train = self.table(table, "train", f"{key}.train")
        known = [name for name in TrainConfig().to_dict() if name not in OWN]
        self.known(train, f"{key}.train", known)
        for name, value in train.items():
            number = TrainConfig.__annotations__[name]
            if "float" in str(number) and isinstance(value, str | bool):
                raise self.wrong(f"{key}.train.{name}", f"must be a number, not {value!r}")

        def text(word: str) -> str | None:
            return self.text(table, word, f"{key}.{word}") if word in table else None

        def count(word: str) -> int | None:
            return self.count(table, word, f"{key}.{word}") if word in table else None

        return Settings(
            text("network"),
            text("data"),
            count("image_size"),
            count("train_images"),
            self.table(table, "options", f"{key}.options"),
            train,
        )

    # The kinds of values.

    def wrong(self, key: str, why: str) -> InputError:
        return InputError(f"{self.file}: {key} {why.rstrip('.')}.")

    def known(self, table: Table, key: str, words: Sequence[str]) -> None:
        for word in table:
            if word not in words:
                where = f"{key}.{word}" if key else word
                raise self.wrong(where, f"is not known. {unknown('key', word, words)}")

    def table(self, table: Table, word: str, key: str, *, needed: bool = False) -> Table:
        if word not in table and needed:
            raise self.wrong(key, f"is missing: add a table [{key}]")
        found = table.get(word, {})
        if not isinstance(found, dict):
            raise self.wrong(key, f"must be a table, not {found!r}")
        return found

    def text(self, table: Table, word: str, key: str, default: str | None = None) -> str:
        found = table.get(word, default)
        if not isinstance(found, str) or not found.strip():
            raise self.wrong(key, "must be a text" if word in table else "is missing")
        return found

    def choice(
        self, table: Table, word: str, choices: Sequence[str], default: str, key: str = ""
    ) -> str:
        found = table.get(word, default)
        if found not in choices:
            raise self.wrong(key or word, f"must be {' or '.join(choices)}, not {found!r}")
        return str(found)

    def number(self, table: Table, word: str, key: str) -> float:
        found = table[word]
        if not isinstance(found, int | float) or isinstance(found, bool) or not found > 0:
            raise self.wrong(key, f"must be a number above 0, not {found!r}")
        return found

    def count(self, table: Table, word: str, key: str, default: int | None = None) -> int:
        found = table.get(word, default)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise self.wrong(key, f"must be a whole number from 1 on, not {found!r}")
        return found

    def names(
        self, table: Table, word: str, key: str, known: Mapping[str, object] | Sequence[str]
    ) -> tuple[str, ...]:
        found = table.get(word, [])
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.wrong(key, f"must be a list of names, not {found!r}")
        for one in found:
            if one not in known:
                raise self.wrong(key, f"has {one!r}. {unknown('such name', one, known)}")
        return tuple(found)

    def folders(self, key: str, names: Sequence[str] | Mapping[str, object]) -> None:
        """That the names give folders of their own."""
        taken: dict[str, str] = {}
        for name in names:
            first = taken.setdefault(folder_name(name).lower(), name)
            if first != name or not folder_name(name).strip("-."):
                raise self.wrong(key, f"has {first!r} and {name!r}, whose folders would be one")
        if len(set(names)) < len(names):
            raise self.wrong(key, "has the same value twice")
