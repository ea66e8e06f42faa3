"""Results as a notebook shows them."""

from dataclasses import dataclass
from pathlib import Path

import convworks as cw
from convworks.measure.display import Displayed, html_table


@dataclass(frozen=True)
class Inner(Displayed):
    rate: float


@dataclass(frozen=True)
class Outer(Displayed):
    path: Path
    count: int
    inner: Inner
    rows: tuple[object, ...] = ()
    nothing: float | None = None


def test_records_are_tables_of_their_plain_values() -> None:
    shown = Outer(Path("a<b"), 12_345, Inner(0.98765432))._repr_html_()
    assert shown == (
        "<table><caption>Outer</caption><tr><td>path</td><td>a&lt;b</td></tr>"
        "<tr><td>count</td><td>12,345</td></tr><tr><td>inner.rate</td><td>0.98765</td></tr></table>"
    )
    assert html_table("&", [["<"]], ["h"], ["f"]) == (
        "<table><caption>&amp;</caption><tr><th>h</th></tr><tr><td>&lt;</td></tr>"
        "<tr><th>f</th></tr></table>"
    )


def test_memory_has_its_sum() -> None:
    model = cw.create_model("lenet", num_classes=10, in_channels=1, image_size=28)
    memory = cw.predict_memory(model, (1, 28, 28), 8)
    assert f"<td>total</td><td>{memory.total:,}</td>" in memory._repr_html_()


def test_a_run_that_is_not_complete_shows_its_last_epoch(tmp_path: Path) -> None:
    data = cw.load_data("digits", image_size=16)
    model = cw.create_model("lenet", num_classes=10, in_channels=1, image_size=16)
    config = cw.TrainConfig(epochs=2, out=tmp_path / "run")
    run = cw.fit(model, data, config, progress=False)
    assert "<td>test_accuracy</td>" in run._repr_html_()
    (run.path / "summary.json").unlink()
    (run.path / "curves.svg").unlink()
    shown = cw.load(run.path)._repr_html_()
    assert "not complete</caption><tr><td>epoch</td><td>2</td></tr>" in shown
    assert "<img" not in shown
    assert "<td>accuracy</td>" in cw.evaluate(run, data)._repr_html_()
