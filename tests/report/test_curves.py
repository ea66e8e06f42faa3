"""Curves as a file and in a notebook, progress on a terminal and in a pipe."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console

from convworks import api
from convworks.data.sources import load_data
from convworks.nets.registry import create_model
from convworks.report.console import ConsoleProgress
from convworks.report.curves import draw_curves, in_notebook
from convworks.report.picture import COLOURS
from convworks.train.config import TrainConfig
from convworks.train.observer import EpochRecord, Observer, Plan, Progress

HISTORY = tuple(
    EpochRecord(i, 2.0 / i, 0.5 + i / 20, 2.1 / i, 0.5 + i / 25, 0.01, 1000.0, 1.0)
    for i in range(1, 6)
)

PLAN = Plan(
    "lenet", 61_706, 416_520, "digits", "modern", 5, (), 0, 10, 32, "cpu", "fp32", Path("runs/a")
)


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1]])
def test_curves_are_an_svg_with_four_lines(history: Sequence[EpochRecord]) -> None:
    root = ET.fromstring(draw_curves(history, "a <title> & more"))
    assert root.tag.endswith("svg")
    text = ET.tostring(root, encoding="unicode")
    for colour in ("#0072b2", "#d55e00"):
        assert text.count(f"stroke: {colour}") >= 4  # a line and its legend in both panels


def test_an_interrupted_run_has_its_curves() -> None:
    class Stop(Observer):
        def epoch(self, history: tuple[EpochRecord, ...]) -> None:
            raise KeyboardInterrupt

    from convworks.report.curves import CurvesFile
    from convworks.train.loop import fit

    data = load_data("digits")
    model = create_model("lenet", num_classes=10, in_channels=1, image_size=28)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, TrainConfig(out=Path("a")), observers=[CurvesFile(), Stop()])
    ET.fromstring(Path("a/curves.svg").read_bytes())


def show(terminal: bool) -> str:
    """What a run of one epoch prints."""
    shown = io.StringIO()
    progress = ConsoleProgress(Console(file=shown, force_terminal=terminal, width=120))
    with progress:
        progress.begin(PLAN)
        progress.step(Progress(0, 5, 1.234, 4321.0))
        progress.epoch(HISTORY[:1])
    return shown.getvalue()


def test_a_pipe_gets_lines_without_a_bar() -> None:
    lines = show(terminal=False).splitlines()
    assert lines[0] == "lenet: 61,706 parameters, 0.4 MMACs an image"
    assert lines[-1] == "epoch 1/5  loss 2.0000  train 0.5500  val 0.5400  1,000 images/s"
    assert not any("\x1b" in line or "━" in line for line in lines)


def test_a_terminal_gets_a_bar() -> None:
    shown = show(terminal=True)
    assert "━" in shown
    assert "loss 1.234" in shown
    assert "4,321 images/s" in shown
    assert "epoch 1/5  loss 2.0000" in shown


def test_this_is_no_notebook(capfd: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    api.train("lenet", "digits", TrainConfig(epochs=1), progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_notebook_gets_a_live_plot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    cells = [
        "import convworks as cw\n"
        "data = cw.load_data('digits', image_size=16)\n"
        "model = cw.create_model('lenet', num_classes=10, in_channels=1, image_size=16)\n"
        "run = cw.fit(model, data, cw.TrainConfig(epochs=3))",
        "run",
        "cw.summarize(model, (1, 16, 16))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    training, run, summary = (cell.outputs for cell in notebook.cells)
    pictures = [output for output in training if "image/svg+xml" in output.get("data", {})]
    assert len(pictures) == 1  # one picture, redrawn in its place
    drawn = pictures[0]["data"]["image/svg+xml"]
    assert drawn.count("<svg") == 1
    assert [drawn.count(f"stroke: {colour}") for colour in COLOURS[:4]] == [2, 2, 2, 0], (
        "three lines, each in the legend too"
    )
    assert not [output for output in training if output["output_type"] == "stream"]
    assert "test_accuracy" in run[0]["data"]["text/html"]
    assert "data:image/svg+xml;base64," in run[0]["data"]["text/html"]
    assert "<table>" in summary[0]["data"]["text/html"]
