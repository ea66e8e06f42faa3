"""Studies as files: what is refused, and with which words."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import convworks as cw
from convworks.errors import InputError
from convworks.studies.figures import FIGURES
from convworks.studies.page import FIRST
from convworks.studies.reader import load_study, parse_study, shipped
from convworks.studies.study import Compare, Settings

WHOLE = """
question = "Does a ReLU help LeNet?"
source = "a test"
measure = ["test_accuracy"]
[fixed]
network = "lenet"
data = "digits"
image_size = 16
train = {epochs = 2, lr = 0.01}
[variants.sigmoid]
[variants.relu]
options = {activation = "relu"}
train = {lr = 0.02}
[axis]
label = "batch"
points = [{value = 8, train = {batch_size = 8}}, {value = 16, train = {batch_size = 16, lr = 1}}]
[quick]
seeds = 2
train_images = 100
train = {epochs = 1}
values = [16]
[full]
seeds = 3
"""


def test_a_point_wins_over_a_variant_over_a_budget_over_what_is_fixed() -> None:
    study = parse_study(WHOLE, "relu", "relu.toml")
    quick = Settings("lenet", "digits", 16, 100)
    assert list(study.cells("quick")) == [
        ("sigmoid", 16, quick.under(Settings(train={"epochs": 1, "lr": 1, "batch_size": 16}))),
        (
            "relu",
            16,
            quick.under(
                Settings(
                    options={"activation": "relu"},
                    train={"epochs": 1, "lr": 1, "batch_size": 16},
                )
            ),
        ),
    ]
    full = list(study.cells("full"))
    assert [(variant, value) for variant, value, _ in full] == [
        ("sigmoid", 8),
        ("sigmoid", 16),
        ("relu", 8),
        ("relu", 16),
    ]
    assert full[2][2].train == {"epochs": 2, "lr": 0.02, "batch_size": 8}
    assert (study.runs("quick"), study.runs("full")) == (4, 12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('question = "Does', "question = Does", "s.toml is no TOML file: .*line 2"),
        ('source = "a test"', "", "s.toml: source is missing"),
        ('source = "a test"', "source = 3", "s.toml: source must be a text"),
        ('"test_accuracy"', '"test_acuracy"', "s.toml: measure .*did you mean 'test_accuracy'"),
        ('["test_accuracy"]', "[]", "s.toml: measure must name at least one"),
        ('["test_accuracy"]', '"test_accuracy"', "s.toml: measure must be a list of names"),
        ("[quick]", "[quik]", "s.toml: quik is not known.*did you mean 'quick'"),
        ("seeds = 2", "seeds = 0", "s.toml: quick.seeds must be a whole number from 1 on, not 0"),
        ("seeds = 2", "seeds = true", "s.toml: quick.seeds must be a whole number"),
        ("seeds = 2", "sedes = 2", "s.toml: quick.sedes is not known.*did you mean 'seeds'"),
        ("values = [16]", "values = [17]", "s.toml: quick.values must be .*8, 16"),
        ('data = "digits"', "", "s.toml: fixed.data is missing"),
        ("image_size = 16", 'image_size = "16"', "s.toml: fixed.image_size must be a whole"),
        ("lr = 0.02", "lr = -1", "s.toml: train of quick, relu|s.toml: train of full, relu"),
        ("lr = 0.02", 'lr = "high"', "s.toml: variants.relu.train.lr must be a number"),
        ("lr = 0.02", "rl = 1", "s.toml: variants.relu.train.rl is not known"),
        ("lr = 0.02", "seed = 1", "s.toml: variants.relu.train.seed is not known"),
        ("[variants.relu]", "[variants.Sigmoid]", "'sigmoid' and 'Sigmoid', whose folders"),
        ('label = "batch"', 'label = "batch"\nscale = "cubic"', "axis.scale must be linear or log"),
        ("value = 8,", "", r"s.toml: axis.points\[0\].value must be a number or a text"),
        ("value = 8,", "value = 16,", "s.toml: axis.points has the same value twice"),
        ('["test_accuracy"]', '["macs"]\nfigure = "line"', "figure must be bars or lines"),
        ('["test_accuracy"]', '["macs"]\nbaseline = "tanh"', "s.toml: baseline .*'tanh'"),
        ('["test_accuracy"]', '["macs"]\nusable = 0.5', "usable needs a figure of training"),
        ('["test_accuracy"]', '["macs"]\nusable = "much"', "usable must be a number above 0"),
        ('["test_accuracy"]', '["macs"]\ncompare = ["all"]', "s.toml: compare has 'all'"),
        ('["test_accuracy"]', '["macs"]\ncompare = ["each"]', "macs, which no training gives"),
        (
            "seeds = 2",
            'variants = ["relu"]',
            "s.toml: quick.variants lacks the baseline, 'sigmoid'",
        ),
    ],
)
def test_what_does_not_fit_is_named(old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(InputError, match=message) as caught:
        parse_study(WHOLE.replace(old, new, 1), "s", "s.toml")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_name_that_is_none() -> None:
    with pytest.raises(InputError, match=r"Cannot read mine\.toml .*No such file"):
        load_study("mine.toml")
    Path("latin.toml").write_bytes(b'question = "\xe9"')
    with pytest.raises(InputError, match=r"Cannot read latin\.toml"):
        load_study("latin.toml")
    with pytest.raises(InputError, match="no study 'degradaton'; did you mean 'degradation'"):
        cw.study("degradaton")
    with pytest.raises(InputError, match="no budget 'slow'"):
        cw.study("lenet", budget="slow")  # type: ignore[arg-type]


def test_reading_a_study_imports_no_pytorch() -> None:
    program = (
        "import sys; from convworks.studies.reader import load_study, shipped;"
        "[load_study(name) for name in shipped()]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    assert len(shipped()) >= 18


PAGES = Path(__file__).parents[2] / "docs" / "studies"


def test_the_page_that_says_how_a_study_is_written_is_right() -> None:
    text = (PAGES / "index.md").read_text()
    (example,) = re.findall(r"```toml[^\n]*\n(.*?)```", text, re.DOTALL)
    study = parse_study(example, "mine", "mine.toml")
    assert study.runs("quick") == 12
    for name in (*FIGURES, "compare", "usable", "minutes", *get_args(Compare)):
        assert name in text


def test_every_shipped_study_has_its_page() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"index"}
    assert set(shipped()) == pages


def test_every_page_is_of_a_shipped_study_with_its_picture_and_reading() -> None:
    pages = [page for page in PAGES.glob("*.md") if page.stem != "index"]
    for page in pages:
        reading = page.read_text().partition("\n## Reading\n")[2]
        assert reading.strip() == f"{FIRST}\n\n{load_study(page.stem).reading['quick']}".strip()
        assert load_study(page.stem).question in page.read_text()
        assert page.with_suffix(".svg").exists()
        assert f"({page.name})" in (PAGES / "index.md").read_text()
