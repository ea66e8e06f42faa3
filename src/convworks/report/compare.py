"""Networks side by side: what they cost, and where it is known how fast and how good they are."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch

from convworks.bench.contest import Contestant
from convworks.bench.speed import Bench
from convworks.errors import InputError, unknown
from convworks.measure.memory import predict_memory
from convworks.measure.summary import summarize
from convworks.measure.units import COSTS, Cost, show_bytes
from convworks.nets.registry import spec_of
from convworks.report.labels import label_points
from convworks.report.picture import check_picture, on_white, save_picture
from convworks.train.checkpoint import read_settings, read_summary
from convworks.train.job import MAY_DIFFER
from convworks.train.recipes import Recipe
from convworks.train.run import build_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECIDED = tuple(field.name for field in fields(Recipe))
"""Settings that a recipe decides where they are not given."""


@dataclass(frozen=True)
class Entry:
    """One network on one input. What was not measured is None."""

    model: str
    input: str
    parameters: int
    macs: int
    kept_bytes: int
    """Activations kept for backward in fp32, one image."""
    training_memory: int
    """Predicted bytes at the peak of a step of AdamW at `batch_size`, in fp32."""
    batch_size: int
    training_rate: float | None = None
    """Images a second."""
    inference_rate: float | None = None
    latency_ms: float | None = None
    """Of one image alone, the median."""
    accuracy: float | None = None
    """On the test part, the mean of the runs."""
    accuracy_deviation: float | None = None
    """Between the runs; None for a single one."""
    runs: int = 0


def entry(contestant: Contestant) -> Entry:
    """What a network costs, without running it."""
    model = contestant.on_meta()
    totals = summarize(model, contestant.shape, depth=0).totals
    memory = predict_memory(model, contestant.shape, contestant.batch_size)
    return Entry(
        contestant.name,
        "×".join(map(str, contestant.shape)),
        totals.parameters,
        totals.macs,
        totals.kept_bytes,
        memory.total,
        contestant.batch_size,
    )


def with_speed(one: Entry, bench: Bench) -> Entry:
    """The entry with what was measured."""
    return replace(
        one,
        training_rate=bench.training.median,
        inference_rate=bench.inference.median,
        latency_ms=bench.latency_ms.median,
    )


@dataclass(frozen=True)
class Trained:
    """Runs of one network that were trained alike, but for the seed."""

    contestant: Contestant
    settings: Mapping[str, Any]
    """Of TrainConfig, without those that change no result, and how the network was begun."""
    accuracies: dict[int, float]
    """On the test part, by seed: the same one trained twice says nothing new."""


def trained(folders: Sequence[Path], batch_size: int) -> list[Trained]:
    """The runs in these folders, those together that differ by their seeds only.

    InputError for a folder without a run, for a run that is not complete, and for runs on different
    pictures: their accuracies do not compare.
    """
    found: list[Trained] = []
    data: dict[str, Path] = {}
    for folder in folders:
        settings, figures = read_settings(folder), read_summary(folder)
        if figures is None:
            raise InputError(
                f"{folder} is not complete: finish it with convworks train --resume --out {folder}"
            )
        data.setdefault(str(settings["data"].get("digest")), folder)
        if len(data) > 1:
            first, second = data.values()
            raise InputError(
                f"{first} and {second} were trained or tested on different pictures: their"
                " accuracies do not compare. Leave one out."
            )
        free = MAY_DIFFER - {"init"} | {"seed"}
        alike = {name: value for name, value in settings["train"].items() if name not in free}
        with torch.device("meta"):
            spec = spec_of(build_model(settings, folder))
        assert spec is not None
        contestant = Contestant(
            spec.name,
            spec.num_classes,
            spec.in_channels,
            spec.image_size,
            batch_size,
            options=dict(spec.options),
            stem=spec.stem,
        )
        alike |= {"stem": spec.stem, "initialization": spec.initialization}
        known = [x for x in found if (x.contestant, x.settings) == (contestant, alike)]
        if not known:
            known = [Trained(contestant, alike, {})]
            found += known
        known[0].accuracies[settings["train"]["seed"]] = figures.test_accuracy
    return found


def entries_of(groups: Sequence[Trained]) -> list[Entry]:
    """Their costs and accuracies, called by what tells one from another."""
    entries = []
    for one in groups:
        found = [*one.accuracies.values()]
        stem = one.contestant.stem
        twins = [x for x in groups if replace(x.contestant, stem=stem) == one.contestant]
        said = [f"{name}={value}" for name, value in one.contestant.options.items()]
        for name, value in one.settings.items():
            others = [x for x in twins if x.settings.get(name) != value]
            if name in DECIDED:  # the recipe's name says as much
                others = [x for x in others if x.settings["recipe"] == one.settings["recipe"]]
            said += [f"{name}={value}"] * bool(others)
        entries.append(
            replace(
                entry(one.contestant),
                model=" ".join([one.contestant.name, *said]),
                accuracy=mean(found),
                accuracy_deviation=stdev(found) if len(found) > 1 else None,
                runs=len(found),
            )
        )
    return entries


def columns(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Heading to cells, for people; columns that say nothing are left out."""
    shown = {
        "network": [one.model for one in entries],
        "input": [one.input for one in entries],
        "parameters": [f"{one.parameters / 1e6:,.2f} M" for one in entries],
        "MACs": [f"{one.macs / 1e6:,.1f} M" for one in entries],
        "kept": [show_bytes(one.kept_bytes) for one in entries],
        "memory": [show_bytes(one.training_memory) for one in entries],
        "training/s": [_number(one.training_rate, ",.0f") for one in entries],
        "use/s": [_number(one.inference_rate, ",.0f") for one in entries],
        "one image": [_number(one.latency_ms, ",.2f", " ms") for one in entries],
        "test accuracy": [_accuracy(one) for one in entries],
    }
    return {name: cells for name, cells in shown.items() if any(cells)}


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def _accuracy(one: Entry) -> str:
    if one.accuracy is None:
        return ""
    spread = f" ± {one.accuracy_deviation:.4f}" if one.accuracy_deviation is not None else ""
    return f"{one.accuracy:.4f}{spread} ({one.runs} run{'s' if one.runs > 1 else ''})"


def as_markdown(entries: Sequence[Entry]) -> str:
    """A table for a README."""
    shown = columns(entries)
    align = ["---" if name in ("network", "input") else "---:" for name in shown]
    lines = [list(shown), align, *map(list, zip(*shown.values(), strict=True))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def as_csv(entries: Sequence[Entry]) -> str:
    """Every field, unrounded; empty where it was not measured."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [f.name for f in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) for one in entries)
    return buffer.getvalue()


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Of (cost, accuracy) by name those that no other beats in both, the cheapest first."""
    front: list[str] = []
    for name, (_, accuracy) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if not front or accuracy > points[front[-1]][1]:
            front.append(name)
    return front


def draw_comparison(entries: Sequence[Entry], path: Path, cost: Cost = "macs") -> None:
    """`accuracy_over_cost` in a file; its ending says SVG, PNG or PDF.

    Raises InputError for another ending, and as `accuracy_over_cost` does.
    """
    check_picture(path)
    save_picture(accuracy_over_cost(entries, cost), path)


@on_white
def accuracy_over_cost(entries: Sequence[Entry], cost: Cost = "macs") -> "Figure":
    """Accuracy over cost, the Pareto front joined.

    Raises InputError when fewer than two entries have both.
    """
    from matplotlib.figure import Figure

    if cost not in COSTS:
        raise unknown("cost", cost, COSTS)
    known = [one for one in entries if one.accuracy is not None and getattr(one, cost) is not None]
    if len(known) < 2:
        raise InputError(
            "A picture of accuracy against cost needs the runs of two networks: give --runs"
            f"{' and --bench' if cost == 'latency_ms' else ''}."
        )
    points = {
        f"{one.model} {one.input}" if len({o.input for o in known}) > 1 else one.model: (
            float(getattr(one, cost)),
            100 * (one.accuracy or 0),
        )
        for one in known
    }
    errors = [100 * (one.accuracy_deviation or 0) for one in known]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    xs, ys = zip(*points.values(), strict=True)
    axes.errorbar(xs, ys, errors, fmt="o", color="#0072b2", capsize=3)
    front = pareto(points)
    axes.plot(
        *zip(*(points[name] for name in front), strict=True),
        color="#d55e00",
        zorder=0,
        label="not beaten in both",
    )
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    label_points(figure, axes, points)
    return figure
