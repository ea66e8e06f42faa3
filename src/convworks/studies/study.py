"""A study: a question as data. docs/studies/index.md says how its file is written.

A variant wins over what is fixed, a point of the axis over both, a budget over what is fixed only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from convworks.studies.figures import FIGURES

Budget = Literal["quick", "full"]
Compare = Literal["each", "previous", "best", "ends"]
Value = int | float | str


@dataclass(frozen=True)
class Settings:
    """What a run is made of. None: not said here."""

    network: str | None = None
    data: str | None = None
    image_size: int | None = None
    train_images: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    train: Mapping[str, object] = field(default_factory=dict)

    def under(self, other: "Settings") -> "Settings":
        """These settings where the other says nothing."""
        return Settings(
            other.network or self.network,
            other.data or self.data,
            other.image_size or self.image_size,
            other.train_images or self.train_images,
            {**self.options, **other.options},
            {**self.train, **other.train},
        )


@dataclass(frozen=True)
class Point:
    """A value of the axis and what it changes."""

    value: Value
    settings: Settings


@dataclass(frozen=True)
class Axis:
    """What the variants are crossed with."""

    label: str
    log: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plan:
    """What a budget says."""

    settings: Settings
    seeds: int
    variants: tuple[str, ...]
    """Empty: all of them, and so `values`."""
    values: tuple[Value, ...]
    minutes: float | None


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it."""

    name: str
    question: str
    source: str
    measure: tuple[str, ...]
    figure: Literal["bars", "lines"]
    baseline: str
    compare: tuple[Compare, ...]
    usable: float | None
    fixed: Settings
    variants: Mapping[str, Settings]
    axis: Axis | None
    plans: Mapping[str, Plan]
    reading: Mapping[str, str]

    @property
    def trained(self) -> bool:
        """Whether anything is trained."""
        return any(FIGURES[name].how == "trained" for name in self.measure)

    def cells(self, budget: Budget) -> Iterator[tuple[str, Value | None, Settings]]:
        """The variants, at each value of the axis if there is one, and their settings."""
        plan = self.plans[budget]
        base = self.fixed.under(plan.settings)
        for name, settings in self.variants.items():
            if plan.variants and name not in plan.variants:
                continue
            row = base.under(settings)
            if self.axis is None:
                yield name, None, row
                continue
            for point in self.axis.points:
                if not plan.values or point.value in plan.values:
                    yield name, point.value, row.under(point.settings)

    def runs(self, budget: Budget) -> int:
        """How many trainings the budget takes."""
        return self.trained * self.plans[budget].seeds * len(list(self.cells(budget)))


def folder_name(name: str) -> str:
    """What a run folder is called for a variant or a value."""
    return re.sub(r"[^\w.+-]+", "-", name)


def show_value(value: Value) -> str:
    """A value of the axis, for people and for folders."""
    return value if isinstance(value, str) else f"{value:g}"


def cell_title(variant: str, value: Value | None) -> str:
    """A variant, at a value of the axis if there is one, in words."""
    return variant if value is None else f"{variant} at {show_value(value)}"
