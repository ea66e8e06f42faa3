"""Studies from the file to the page, on real digits."""

import json
import shutil
import signal
from pathlib import Path

import pytest

import convworks as cw
from command import Command, convworks
from convworks.bench import speed
from convworks.errors import InputError
from convworks.nets.registry import create_model, find
from convworks.studies.page import as_page
from convworks.studies.reader import load_study, shipped
from convworks.studies.study import Settings, Value
from convworks.train.checkpoint import read_summary

SMALL = """
question = "Does a ReLU help LeNet?"
source = "a test"
measure = ["test_accuracy", "train_loss", "macs"]
figure = "lines"
usable = 0.05
[fixed]
network = "lenet"
data = "digits"
image_size = 12
train_images = 200
train = {recipe = "book", epochs = 1, batch_size = 20}
[variants.sigmoid]
[variants."ReLU, max pooling"]
options = {activation = "relu", pool = "max"}
[axis]
label = "learning rate"
scale = "log"
points = [{value = 0.1, train = {lr = 0.1}}, {value = 1e9, train = {lr = 1e9}}]
[quick]
seeds = 3
[full]
seeds = 1
[reading]
quick = "Read."
"""


@pytest.fixture
def small() -> Path:
    path = Path("small.toml")
    path.write_text(SMALL)
    return path


def times() -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in Path("runs").rglob("*") if path.is_file()}


def test_a_study_is_its_runs_and_complete_runs_are_read(small: Path) -> None:
    found = cw.study(small, progress=False)
    assert [(cell.variant, cell.value) for cell in found.cells] == [
        ("sigmoid", 0.1),
        ("sigmoid", 1e9),
        ("ReLU, max pooling", 0.1),
        ("ReLU, max pooling", 1e9),
    ]
    relu = found.cells[2]
    folder = Path("runs/studies/small/quick/ReLU-max-pooling/0.1")
    summaries = [read_summary(folder / f"seed{seed}") for seed in range(3)]
    accuracies = tuple(one.test_accuracy for one in summaries if one)
    assert relu.figures["test_accuracy"].values == accuracies
    assert len(set(accuracies)) == 3
    assert relu.figures["test_accuracy"].centre == pytest.approx(sum(accuracies) / 3)
    with_relu = create_model("lenet", image_size=12, options={"activation": "relu"})
    assert relu.figures["macs"].centre == cw.summarize(with_relu, (1, 12, 12)).totals.macs
    assert [cell.diverged for cell in found.cells] == [0, 0, 0, 3]
    assert found.largest_usable["ReLU, max pooling"] == 0.1
    assert found.lines()[-1].endswith("reaches 5 % is 0.1")
    before = times()
    again = cw.study(small, progress=False)
    assert times() == before
    assert again == found


def test_a_usable_value_that_is_the_largest_tried_may_not_be_the_largest(small: Path) -> None:
    small.write_text(SMALL.replace("lr = 1e9", "lr = 0.2").replace("value = 1e9", "value = 0.2"))
    lines = cw.study(small, progress=False).lines()
    assert lines[-1].endswith("at which every seed reaches 5 % is 0.2 (the largest tried)")


def test_memory_is_predicted_for_the_optimizer_of_the_recipe(small: Path) -> None:
    measured = SMALL.replace('"train_loss", "macs"]', '"training_memory", "parameters"]')
    needed = {}
    for recipe in ("book", "modern"):
        text = measured.replace('recipe = "book"', f'recipe = "{recipe}"').split("[axis]")[0]
        text = text.replace("usable = 0.05", "").replace('"lines"', '"bars"')
        Path(f"{recipe}.toml").write_text(f"{text}[quick]\nseeds = 1\n[full]\n")
        figures = cw.study(f"{recipe}.toml", progress=False).cells[0].figures
        needed[recipe] = figures["training_memory"].centre or 0
    two_averages = 2 * 4 * (figures["parameters"].centre or 0)
    assert needed["modern"] - needed["book"] == two_averages


def test_a_run_of_other_settings_is_refused_and_left_alone(small: Path) -> None:
    one = SMALL.replace("seeds = 3", "seeds = 1")
    small.write_text(one)
    cw.study(small, progress=False)
    before = times()
    for old, new in (("lr = 0.1", "lr = 0.2"), ("lr = 1e9", "lr = 2e9"), ("= 200", "= 210")):
        small.write_text(one.replace(old, new))
        with pytest.raises(InputError, match="was begun with .*choose another --runs"):
            cw.study(small, progress=False)
    assert times() == before


def test_nothing_is_trained_when_a_later_variant_cannot_be_made(small: Path) -> None:
    for old, new, message in (
        ('pool = "max"', 'pool = "min"', "small, ReLU, max pooling at 0.1: .*pool 'min'"),
        ('pool = "max"}', 'pool = "max"}\nimage_size = 4', "ReLU.*smallest side is 12"),
        ('network = "lenet"', 'network = "lennet"', "did you mean 'lenet'"),
    ):
        small.write_text(SMALL.replace(old, new))
        with pytest.raises(InputError, match=message):
            cw.study(small, progress=False)
    assert not Path("runs").exists()


def test_costs_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "WINDOW_SECONDS", 0.02)  # that it is measured, not how fast it is
    text = SMALL.split("[axis]")[0].replace("usable = 0.05", "").replace('"lines"', '"bars"')
    measure = '["training_rate", "measured_memory", "parameters"]'
    text = text.replace("image_size = 12", "image_size = 28")
    text = text.replace('["test_accuracy", "train_loss", "macs"]', measure)
    Path("cost.toml").write_text(text + "[quick]\n[full]\n")
    found = cw.study("cost.toml", progress=False)
    assert len(found.cells) == 2
    assert found.comparisons == ()
    rate = found.cells[0].figures["training_rate"].centre
    assert rate is not None
    assert rate > 0
    assert (found.cells[0].figures["measured_memory"].centre or 0) > 2**18
    assert cw.study("cost.toml", progress=False) == found
    assert not list(Path("runs").rglob("config.json"))
    kept = Path("runs/studies/cost/quick/sigmoid/cost.json")
    wrong = json.loads(kept.read_text())
    wrong["found"]["training_rate"]["values"] = ["fast"]
    for text in ("{", "[" * 100_000, json.dumps(wrong)):
        kept.write_text(text)
        assert cw.study("cost.toml", progress=False).cells[1] == found.cells[1]
    assert json.loads(kept.read_text())["found"]["training_rate"]["centre"] > 0


def test_the_command_writes_table_json_picture_and_page(small: Path) -> None:
    done = convworks("study", "small.toml", "--figure", "a.png", "--out", "page.md")
    assert done.returncode == 0, done.stderr
    assert "run 7 of 12: ReLU, max pooling at 0.1, seed 0" in done.stderr
    assert "(3 of 3 diverged)" in done.stdout
    assert "reaches 5 % is 0.1" in done.stdout
    assert Path("a.png").stat().st_size > 10_000
    page = Path("page.md").read_text()
    for part in (
        "# Does a ReLU help LeNet?",
        "Asked by a test. Written by `convworks study small.toml --figure a.png --out page.md`",
        "**Held fixed:** network `lenet`, data `digits`, image size `12`",
        "| ReLU, max pooling | activation `relu`, pool `max` |",
        "| 1e+09 | lr `1000000000.0` |",
        "![Does a ReLU help LeNet?](page.svg)",
        "3 seeds for each row",
        f"convworks {cw.__version__}, in fp32.",
        "The full budget has not been run: 4 runs.",
        "## Reading\n\n*Written for the figures that were found first;",
        "\n\nRead.\n",
    ):
        assert part in page
    assert Path("page.svg").stat().st_size > 10_000
    assert page.count("±") >= 5
    again = convworks("study", "small.toml", "--json")
    found = json.loads(again.stdout)
    assert len(found["cells"][2]["figures"]["test_accuracy"]["values"]) == 3
    assert found["environments"][0]["torch"]
    assert "run 1 of" not in again.stderr
    one = convworks("study", "small.toml", "--budget", "full", "--out", "one.md")
    assert one.returncode == 0, one.stderr
    assert "So few seeds do not tell a difference from luck." in Path("one.md").read_text()
    assert "Not read yet" in Path("one.md").read_text()
    assert "full budget" not in Path("one.md").read_text()
    shutil.rmtree("runs/studies/small/full/sigmoid")
    found = cw.study(small, progress=False)
    assert found.full == (2, 4)
    assert "Of the full budget's 4 runs 2 have been made." in as_page(found, "", "")


def test_a_signal_saves_and_the_same_command_goes_on(small: Path) -> None:
    one, _ = SMALL.replace("epochs = 1", "epochs = 40").split('[variants."ReLU')
    one = one.replace("usable = 0.05", "").replace('"lines"', '"bars"')
    small.write_text(one + "[quick]\n[full]\n")
    process = Command("study", "small.toml", "--runs", "kept")
    process.wait_for("epoch  3/")
    process.send_signal(signal.SIGINT)
    stopped = process.end()
    assert stopped.returncode == 130
    assert "Stopped: saved; the same command goes on from there." in stopped.stderr
    run = Path("kept/small/quick/sigmoid/seed0")
    assert (run / "last.pt").exists()
    assert not (run / "summary.json").exists()
    done = convworks("study", "small.toml", "--runs", "kept", "--json")
    assert done.returncode == 0, done.stderr
    assert "resumed after epoch" in done.stderr
    losses = json.loads(done.stdout)["cells"][0]["figures"]["train_loss"]["values"]
    whole = cw.study(small, progress=False).cells[0].figures["train_loss"].values
    assert losses == list(whole)


def test_mistakes_on_the_command_line(small: Path) -> None:
    for arguments, code, text in (
        (["lenett"], 1, "did you mean 'lenet'"),
        (["small.toml", "--out", "page.html"], 2, "--out takes a Markdown file"),
        (["small.toml", "--out", "none/page.md"], 1, "There is no folder none"),
        (["small.toml", "--figure", "a.gif"], 1, "ends with .svg, .png or .pdf"),
        (["small.toml", "--budget", "huge"], 2, "huge"),
    ):
        done = convworks("study", *arguments)
        assert done.returncode == code, done.stderr
        assert text in done.stderr
    assert not Path("runs").exists()


def test_the_list_has_every_study() -> None:
    shown = convworks("study")
    assert shown.returncode == 0, shown.stderr
    for name in shipped():
        assert f" {name} " in shown.stdout
    listed = json.loads(convworks("study", "--list", "--json").stdout)
    assert [one["study"] for one in listed] == shipped()
    lenet = next(one for one in listed if one["study"] == "lenet")
    assert lenet["quick"]["runs"] == load_study("lenet").runs("quick") == 84


LIGHT = 8_000_000
"""Parameters up to which a variant is trained in the usual tests."""


def variants() -> list[object]:
    """Every network of every shipped study, each once."""
    found: dict[str, object] = {}
    for name in shipped():
        study = load_study(name)
        for budget in ("quick", "full"):
            for variant, value, settings in study.cells(budget):
                key = f"{settings.network} {sorted(settings.options.items())}"
                marks = [pytest.mark.slow] if find(str(settings.network)).parameters > LIGHT else []
                where = f"{name}-{budget}-{variant}-{value}"
                found.setdefault(key, pytest.param(settings, id=where, marks=marks))
    return list(found.values())


@pytest.mark.parametrize("settings", variants())
def test_every_shipped_variant_takes_a_step(settings: Settings) -> None:
    side = min(96, settings.image_size or 28)
    contestant = cw.Contestant(
        str(settings.network), image_size=side, batch_size=4, options=dict(settings.options)
    )
    model = contestant.model()
    before = [p.clone() for p in model.parameters()]
    contestant.training_step(model)()
    after = list(model.parameters())
    assert all(p.isfinite().all() for p in after)
    assert sum(not p.equal(q) for p, q in zip(before, after, strict=True)) > len(after) / 2


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_cell_can_be_made_at_its_size(name: str) -> None:
    import torch

    study = load_study(name)
    made: set[tuple[str, Value | None]] = set()
    for budget in ("quick", "full"):
        for variant, value, settings in study.cells(budget):
            with torch.device("meta"):
                create_model(
                    str(settings.network),
                    num_classes=10,
                    in_channels=1,
                    image_size=settings.image_size or 28,
                    options=settings.options,
                )
            made.add((variant, value))
    assert made == {(v, p) for v, p, _ in study.cells("full")} | {
        (v, p) for v, p, _ in study.cells("quick")
    }
