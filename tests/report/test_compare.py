"""Networks side by side."""

import csv
import io
import json
from pathlib import Path

import pytest

import convworks as cw
from convworks import api
from convworks.bench.contest import Contestant
from convworks.errors import InputError
from convworks.report.compare import (
    Entry,
    as_csv,
    as_markdown,
    columns,
    draw_comparison,
    entries_of,
    entry,
    pareto,
    trained,
)
from convworks.train.config import TrainConfig


def known(name: str, macs: int, accuracy: float | None, deviation: float | None = None) -> Entry:
    """An entry of which only that matters."""
    return Entry(
        name, "1×8×8", 7, macs, 5, 6, 128, accuracy=accuracy, accuracy_deviation=deviation, runs=2
    )


def test_costs_are_the_summarys() -> None:
    one = entry(Contestant("lenet", batch_size=64))
    assert (one.parameters, one.macs, one.kept_bytes) == (61_706, 416_520, 35_472)
    double = entry(Contestant("lenet", batch_size=128))
    assert one.training_memory < double.training_memory < 2 * one.training_memory
    assert columns([one]) == {
        "network": ["lenet"],
        "input": ["1×28×28"],
        "parameters": ["0.06 M"],
        "MACs": ["0.4 M"],
        "kept": ["34.6 KiB"],
        "memory": columns([one])["memory"],
    }


def test_runs_bring_their_accuracy(tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1):
        config = TrainConfig(epochs=1, seed=seed, out=tmp_path / f"run{seed}", device="cpu")
        run = api.train("lenet", config=config, image_size=16, progress=False)
        folders.append(run.path)
    (group,) = trained(folders, 32)
    assert group.contestant == Contestant("lenet", 10, 1, 16, 32, stem="paper")
    (found,) = entries_of([group])
    assert found.model == "lenet"
    each = [json.loads((f / "summary.json").read_text())["test_accuracy"] for f in folders]
    assert found.accuracy == pytest.approx(sum(each) / 2)
    assert found.accuracy_deviation == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    assert found.runs == 2
    assert trained([*folders, folders[0]], 32) == [group]  # a seed counts once
    settings = json.loads((folders[1] / "config.json").read_text())
    settings["data"]["digest"] = "other"
    (folders[1] / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="different pictures: .* Leave one out"):
        trained(folders, 32)
    (folders[0] / "summary.json").unlink()
    with pytest.raises(InputError, match="is not complete: finish it with convworks train"):
        trained(folders, 32)


def test_runs_that_were_trained_otherwise_are_not_averaged(tmp_path: Path) -> None:
    """Rows are called by what tells them apart; a recipe by its name."""
    folders = []
    for i, (options, settings) in enumerate(
        [({}, {}), ({"activation": "relu"}, {}), ({}, {"recipe": "book"}), ({}, {"lr": 0.5})]
    ):
        config = TrainConfig(epochs=1, out=tmp_path / f"run{i}", device="cpu", **settings)  # type: ignore[arg-type]
        run = api.train("lenet", config=config, options=options, image_size=16, progress=False)
        folders.append(run.path)
    found = entries_of(trained(folders, 32))
    assert [one.runs for one in found] == [1] * 4
    assert [one.model for one in found] == [
        "lenet recipe=modern lr=0.008",
        "lenet activation=relu",
        "lenet recipe=book",
        "lenet recipe=modern lr=0.5",
    ]


def test_runs_that_began_otherwise_are_not_averaged(tmp_path: Path) -> None:
    """The stem is another network's cost, the drawing of the weights another training."""
    folders, data = [], cw.load_data("digits", image_size=32)
    for i, begun in enumerate([{}, {"stem": "paper"}, {"initialization": "xavier"}]):
        model = cw.create_model(  # type: ignore[call-overload]
            "resnet18", num_classes=10, in_channels=1, image_size=32, **begun
        )
        config = TrainConfig(epochs=1, batch_size=512, out=tmp_path / f"run{i}", device="cpu")
        folders.append(cw.fit(model, data, config, progress=False).path)
    small, paper, xavier = entries_of(trained(folders, 32))
    assert small.model == "resnet18 stem=small initialization=paper"
    assert paper.model == "resnet18 stem=paper initialization=paper"
    assert xavier.model == "resnet18 stem=small initialization=xavier"
    assert paper.macs < small.macs / 10
    assert xavier.macs == small.macs


def test_tables_for_files() -> None:
    entries = [known("a", 10, 0.9, 0.01), known("b", 20, None)]
    rows = list(csv.DictReader(io.StringIO(as_csv(entries))))
    assert [(row["model"], row["accuracy"], row["training_rate"]) for row in rows] == [
        ("a", "0.9", ""),
        ("b", "", ""),
    ]
    lines = as_markdown(entries).splitlines()
    assert lines[0].startswith("| network | input | parameters |")
    assert lines[1].startswith("| --- | --- | ---: |")
    assert lines[2].endswith("| 0.9000 ± 0.0100 (2 runs) |")
    assert len(lines) == 4


def test_the_front() -> None:
    points = {"dear": (9.0, 80.0), "good": (5.0, 90.0), "cheap": (1.0, 50.0), "bad": (2.0, 40.0)}
    assert pareto(points) == ["cheap", "good"]
    assert pareto({"a": (1.0, 50.0), "b": (1.0, 60.0)}) == ["b"]


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_the_picture_is_drawn(tmp_path: Path, ending: str) -> None:
    entries = [known("lenet", 10, 0.8), known("resnet20", 100, 0.9, 0.01), known("nin", 90, None)]
    path = tmp_path / f"front.{ending}"
    draw_comparison(entries, path)
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)
    if ending == "svg":
        text = path.read_text()
        assert "<!-- lenet -->" in text
        assert "<!-- resnet20 -->" in text
        assert "<!-- nin -->" not in text
        draw_comparison(entries, tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_text() == text


def test_a_picture_that_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the runs of two networks: give --runs"):
        draw_comparison([known("a", 1, 0.5)], tmp_path / "a.svg")
    entries = [known("a", 1, 0.5), known("b", 2, 0.6)]
    with pytest.raises(InputError, match="--runs and --bench"):
        draw_comparison(entries, tmp_path / "a.svg", "latency_ms")
    with pytest.raises(InputError, match="ends with .svg, .png or .pdf, not a.gif"):
        draw_comparison(entries, tmp_path / "a.gif")
    with pytest.raises(InputError, match="There is no cost"):
        draw_comparison(entries, tmp_path / "a.svg", "price")  # type: ignore[arg-type]
