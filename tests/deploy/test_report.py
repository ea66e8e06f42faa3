"""The page about runs, in a real browser."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convworks as cw
from browser import Visit
from command import convworks
from conftest import write_digits
from convworks import api
from convworks.data.splits import MemoryImages
from convworks.deploy import report
from convworks.errors import InputError, UsageError

NAMES = ["lenet", "lenet_bn"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short runs on the same digits."""
    folders = []
    place = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(NAMES):
        config = cw.TrainConfig(epochs=3, seed=seed, out=place / name, device="cpu")
        folders.append(api.train(name, config=config, image_size=16, progress=False).path)
    return folders


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> Path:
    return cw.write_report(runs, runs[0].parent / "report.html", progress=False)


def names(visit: Visit) -> list[str]:
    """Of the runs, in the order of the table of results."""
    cells = visit.page.locator("table.sortable").first.locator("tbody th")
    return [text.strip() for text in cells.all_inner_texts()]


def test_it_opens_from_the_disk_and_asks_for_nothing(visit: Visit, page: Path) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.goto(page.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert visit.outside == []
    widths = visit.page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
    assert len(widths) >= 2
    assert min(widths) == 8  # the digits as they are
    curves = visit.page.locator(".curves > svg")
    assert curves.count() == 4
    for one in curves.all():
        box = one.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["height"] > 150
    for part in ("Results", "Curves", "Settings", "Mistakes", "Environment"):
        visit.page.get_by_role("link", name=part).click()
        assert visit.page.get_by_role("heading", name=part).is_visible()
    assert visit.complaints == []
    assert page.stat().st_size < 200_000


def test_the_table_is_sorted_by_mouse_and_keyboard(
    visit: Visit, page: Path, runs: list[Path]
) -> None:
    visit.page.goto(page.as_uri())
    assert names(visit) == NAMES
    accuracies = {
        run.name: json.loads((run / "summary.json").read_text())["test_accuracy"] for run in runs
    }
    assert len(set(accuracies.values())) == 2
    best_first = sorted(NAMES, key=lambda name: -accuracies[name])
    heading = visit.page.locator("th", has=visit.page.get_by_role("button", name="test accuracy"))
    button = heading.get_by_role("button")
    assert heading.get_attribute("aria-sort") == "none"
    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert names(visit) == best_first
    button.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names(visit) == best_first[::-1]
    table = visit.page.locator("table.sortable").first
    table.get_by_role("button", name="parameters").click()  # 61,706 are more than 44,878
    assert heading.get_attribute("aria-sort") == "none"
    assert names(visit) == ["lenet_bn", "lenet"]
    table.get_by_role("button", name="run").click()
    assert names(visit) == NAMES
    assert visit.complaints == []


def test_in_the_dark_on_a_phone_and_on_paper(visit: Visit, page: Path) -> None:
    visit.page.goto(page.as_uri())

    def brightness(name: str) -> int:
        colour = visit.page.evaluate(f"getComputedStyle(document.body).{name}")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness("backgroundColor") == 3 * 255
    assert brightness("color") < 200
    visit.page.emulate_media(color_scheme="dark")
    assert brightness("backgroundColor") < 100
    assert brightness("color") > 600
    ink = visit.page.locator(".curves text").first.evaluate("one => getComputedStyle(one).fill")
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) > 600

    visit.page.set_viewport_size({"width": 360, "height": 700})
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 360

    folded = "document.querySelectorAll('details:not([open])').length"
    before = visit.page.evaluate(folded)
    assert before > 0
    visit.page.evaluate(f"addEventListener('beforeprint', () => {{ window.left = {folded}; }})")
    assert visit.page.pdf().startswith(b"%PDF")
    assert visit.page.evaluate("window.left") == 0
    assert visit.page.evaluate(folded) == before
    visit.page.emulate_media(media="print")
    assert not visit.page.locator("nav").is_visible()
    assert brightness("backgroundColor") == 3 * 255
    assert visit.complaints == []


def test_what_it_shows_is_what_the_runs_did(visit: Visit, page: Path, runs: list[Path]) -> None:
    data = cw.load_data("digits", image_size=16)
    assert isinstance(data.test, MemoryImages)
    visit.page.goto(page.as_uri())
    settings = visit.page.get_by_role("region", name="Settings that differ").inner_text()
    assert re.findall(r"[a-z]+\.[a-z_]+", settings) == ["model.name", "train.seed"]
    shared = visit.page.locator("details", has_text="Settings that all runs share")
    assert "train.lr" not in settings
    shared.locator("summary").click()
    assert shared.get_by_role("row", name="train.recipe modern").is_visible()
    for run, block in zip(runs, visit.page.locator("details.tested").all(), strict=True):
        summary = json.loads((run / "summary.json").read_text())
        rows = block.locator(".matrix tbody tr").all()
        counts = np.array([[int(n) for n in r.locator("td").all_inner_texts()[:-1]] for r in rows])
        assert counts.shape == (10, 10)
        assert counts.sum() == summary["test_images"] == 359
        assert np.trace(counts) == pytest.approx(359 * summary["test_accuracy"], abs=3)
        assert f"{np.trace(counts)} of 359 right" in block.locator("summary").inner_text()
        assert (counts.sum(1) == np.bincount(data.test.labels)).all()
        for picture in block.locator("figure").all():
            image = picture.locator("img")
            address = image.get_attribute("src") or ""
            place = int(image.get_attribute("title") or "")
            shown = np.array(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
            assert (shown == data.test.pixels[place, 0].numpy()).all()
            label, said, share = picture.locator("figcaption").inner_text().splitlines()
            assert label == str(int(data.test.labels[place]))
            assert said.startswith("said ")
            assert said != f"said {label}"
            assert 10 < float(share.rstrip("%")) <= 100
    environment = json.loads((runs[0] / "config.json").read_text())["environment"]
    text = visit.page.get_by_role("region", name="What all runs share").inner_text()
    assert environment["torch"] in text
    assert environment["platform"] in text


def test_names_of_others_are_only_text(visit: Visit, tmp_path: Path) -> None:
    """A class may be called what it likes, and a run."""
    nasty = "<img src=x onerror=alert(1)> & \"7\" 'q' {{ 7*7 }} $1_$2"
    pictures = tmp_path / "pictures"
    write_digits(pictures, (1, 7), count=30)
    (pictures / "digit7").rename(pictures / nasty)
    for file in [*pictures.glob("*/*")]:
        file.rename(file.with_name(f"caf\udce9 {file.name}"))  # Latin-1, which is no UTF-8
    out = tmp_path / "<b onclick=alert(2)>run $a_$b"
    config = cw.TrainConfig(epochs=1, out=out, device="cpu")
    api.train("lenet", pictures, config, image_size=16, progress=False)
    page = cw.write_report(out, tmp_path / "page.html", progress=False)
    asked = []
    visit.page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    visit.page.goto(page.as_uri())
    assert visit.page.title().startswith("<b onclick=alert(2)>run")
    assert visit.page.get_by_role("columnheader", name=nasty).count() == 1
    assert visit.page.locator("body [onclick], body [onerror]").count() == 0
    assert (asked, visit.complaints, visit.outside) == ([], [], [])
    sources = visit.page.eval_on_selector_all("img", "all => all.map(one => one.src.slice(0, 14))")
    assert set(sources) == {"data:image/png"}


def test_what_is_missing_is_said_and_the_rest_shown(
    visit: Visit, runs: list[Path], tmp_path: Path
) -> None:
    def copy(name: str, *without: str) -> Path:
        shutil.copytree(runs[0], tmp_path / name)
        for file in without:
            (tmp_path / name / file).unlink()
        return tmp_path / name

    begun = copy("begun", "summary.json", "best.safetensors", "metrics.jsonl", "last.pt")
    stopped, weightless = copy("stopped", "summary.json"), copy("weightless", "best.safetensors")
    gone = copy("gone")
    settings = json.loads((gone / "config.json").read_text())
    settings["data"]["name"] = "/nowhere/pictures"
    settings["data"]["digest"] = "another"
    (gone / "config.json").write_text(json.dumps(settings))
    page = cw.write_report([begun, stopped, weightless, gone, runs[0]], tmp_path / "page.html")
    visit.page.goto(page.as_uri())
    notices = visit.page.get_by_role("note").inner_text()
    assert "different pictures: their accuracies do not compare" in notices
    assert "begun is not complete: 0 epochs of 3 over" in notices
    assert "stopped is not complete: 3 epochs of 3 over. The validation accuracy is the" in notices
    said = visit.page.locator("section", has_text="Mistakes").inner_text()
    assert f"convworks train --resume --out {stopped}" in said
    assert f"weightless is not tested here: its weights are gone: there is no {weightless}" in said
    assert "gone is not tested here: The pictures that" in said
    assert "are no longer at /nowhere/pictures: put them back" in said
    assert visit.page.locator("details.tested").count() == 1
    table = visit.page.get_by_role("region", name="Results")
    cells = table.get_by_role("row", name="begun").locator("td").all_inner_texts()
    assert cells == ["–", "–", "lenet", "digits", "0", "–", "–", "21,386", "95,400"]
    table.get_by_role("button", name="test accuracy").click()
    assert set(names(visit)[3:]) == {"begun", "stopped"}  # last in either order
    table.get_by_role("button", name="test accuracy").click()
    assert set(names(visit)[3:]) == {"begun", "stopped"}
    assert "begun (no epoch is over)" in visit.page.get_by_role("list", name="Lines").inner_text()


def test_pictures_that_have_moved(runs: list[Path], digit_pictures: Path, tmp_path: Path) -> None:
    config = cw.TrainConfig(epochs=1, out=tmp_path / "mine", device="cpu")
    mine = api.train("lenet", digit_pictures, config, image_size=16, progress=False).path
    page = tmp_path / "page.html"
    before = cw.write_report([mine, runs[0]], page, progress=False).read_text()
    assert before.count('<details class="tested"') == 2
    digit_pictures.rename(tmp_path / "elsewhere")
    without = cw.write_report([mine, runs[0]], page, progress=False).read_text()
    assert without.count('<details class="tested"') == 1
    moved = tmp_path / "elsewhere"
    again = cw.write_report([mine, runs[0]], page, data=moved, progress=False).read_text()
    assert again.count('<details class="tested"') == 2, "the digits are where they were"


def test_a_network_of_ones_own(visit: Visit, runs: list[Path], tmp_path: Path) -> None:
    data = cw.load_data("digits", image_size=16)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10))
    run = cw.fit(model, data, cw.TrainConfig(epochs=1, out=tmp_path / "own"), progress=False)
    visit.page.goto(cw.write_report([run, runs[0]], tmp_path / "a.html").as_uri())
    assert visit.page.locator("details.tested").count() == 2
    visit.page.goto(cw.write_report(run.path, tmp_path / "b.html").as_uri())
    assert visit.page.locator("details.tested").count() == 0
    assert "load it in Python with convworks.load(path, model=...)" in visit.page.inner_text("main")


def test_data_are_read_once_and_runs_looked_at_once(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read, looked = [], []
    own, assess = report.own_data, report.assess
    monkeypatch.setattr(report, "own_data", lambda *a: (read.append(a), own(*a))[1])
    monkeypatch.setattr(report, "assess", lambda *a: (looked.append(a), assess(*a))[1])
    monkeypatch.chdir(runs[0])
    once = cw.write_report([*runs, ".", str(runs[1])], tmp_path / "page.html")
    assert (len(read), len(looked)) == (1, 2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["looking at lenet, 1 of 2", "looking at lenet_bn, 2 of 2"]
    first = once.read_bytes()
    assert cw.write_report(runs, tmp_path / "page.html", progress=False).read_bytes() == first
    assert capsys.readouterr().err == ""


def test_runs_of_the_same_name_go_by_their_paths(runs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(runs[0], tmp_path / "more" / "lenet")
    text = cw.write_report([runs[0], "more/lenet"], progress=False).read_text()
    assert f'data-value="{runs[0]}"' in text
    assert 'data-value="more/lenet"' in text


def test_bad_input(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Nothing to report"):
        cw.write_report([])
    with pytest.raises(InputError, match="is no run folder"):
        cw.write_report([runs[0], tmp_path])
    with pytest.raises(InputError, match="best.safetensors is no run folder"):
        cw.write_report(runs[0] / "best.safetensors")
    with pytest.raises(
        InputError, match=r"There is no folder .*nowhere for page.html: make it first"
    ):
        cw.write_report(runs, tmp_path / "nowhere" / "page.html")
    with pytest.raises(InputError, match="ends with .html, not .*best.safetensors"):
        cw.write_report(runs, runs[0] / "best.safetensors")
    (tmp_path / "page.html").write_text("an older page")
    for name in ("config.json", "metrics.jsonl", "summary.json", "best.safetensors"):
        damaged = tmp_path / f"damaged-{name}"
        shutil.copytree(runs[0], damaged)
        (damaged / name).write_bytes((damaged / name).read_bytes()[:50])
        with pytest.raises(InputError, match=f"Cannot read .*{name}") as caught:
            cw.write_report([runs[1], damaged], tmp_path / "page.html", progress=False)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "page.html").read_text() == "an older page"


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    done = convworks("report", *map(str, runs))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report.html: 0.")
    assert "looking at lenet_bn, 2 of 2" in done.stderr
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    (tmp_path / "lr.svg").write_text("")
    done = convworks("report", *map(str, runs), str(tmp_path / "lr.svg"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "looking at lenet_bn, 2 of 2" in done.stderr
    assert f"left out: {tmp_path} is no run folder" in done.stderr
    for wrong, code, said in (
        ([], 2, "Nothing to report: give run folders"),
        ([tmp_path], 1, "is no run folder"),
    ):
        failed = convworks("report", *map(str, wrong))
        assert failed.returncode == code
        assert said in failed.stderr
        assert len(failed.stderr.splitlines()) == 1
