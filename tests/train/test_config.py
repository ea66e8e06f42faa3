"""Options, recipes and the choice of device and precision."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convworks.errors import InputError, UsageError
from convworks.train import device as devices
from convworks.train.config import TrainConfig
from convworks.train.device import choose_device, choose_precision, environment
from convworks.train.recipes import BOOK, Recipe, resolve

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -0.1),
        ("warmup", 1.0),
        ("label_smoothing", -0.1),
        ("seed", -1),
        ("workers", -1),
    ],
)
def test_values_out_of_range(option: str, value: float) -> None:
    with pytest.raises(UsageError, match="--" + option.replace("_", "-")):
        TrainConfig(**{option: value})  # type: ignore[arg-type]


def test_every_value_of_a_recipe_can_be_given() -> None:
    assert {f.name for f in fields(Recipe)} < {f.name for f in fields(TrainConfig)}


@given(
    st.builds(
        TrainConfig,
        epochs=st.none() | st.integers(1, 999),
        lr=st.none() | st.floats(1e-6, 10),
        init=st.none() | st.just(Path("a/b.safetensors")),
        seed=st.integers(0, 2**40),
        precision=st.sampled_from(["auto", "bf16"]),
    )
)
def test_a_config_survives_json(config: TrainConfig) -> None:
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_the_books_constants() -> None:
    """Rates and batch sizes as the sources print them, network by network."""
    printed = {
        "lenet": (0.1, 128),
        "lenet_bn": (1.0, 256),
        "alexnet": (0.01, 128),
        "vgg11_small": (0.05, 128),
        "nin": (0.1, 128),
        "googlenet": (0.1, 128),
        "resnet18": (0.05, 256),
        "densenet_book": (0.1, 256),
    }
    for network, (lr, batch_size) in printed.items():
        recipe = resolve(TrainConfig(recipe="book"), network, 54_000, mirror=True)
        assert (recipe.lr, recipe.batch_size, recipe.epochs) == (lr, batch_size, 10)
        assert (recipe.optimizer, recipe.schedule, recipe.normalize) == ("sgd", "constant", "off")
        assert (recipe.augment, recipe.weight_decay) == ("none", 0.0)
    assert BOOK.keys() == printed.keys() | {"vgg11"}


def test_given_values_win_over_the_recipe() -> None:
    config = TrainConfig(recipe="book", lr=0.5, augment="crop", weight_decay=0.0)
    recipe = resolve(config, "lenet", 1000, mirror=True)
    assert (recipe.lr, recipe.augment, recipe.batch_size) == (0.5, "crop", 128)


def test_the_modern_recipe_gives_small_sets_enough_steps() -> None:
    for images in (10, 300, 1_295, 5_000, 54_000):
        recipe = resolve(TrainConfig(), "lenet", images, mirror=False)
        steps = recipe.epochs * max(1, images // recipe.batch_size)
        assert steps >= 1000
        assert recipe.augment == "crop"  # letters and digits are not mirrored
    assert resolve(TrainConfig(), "lenet", 54_000, mirror=True).augment == "flip-crop"


def test_the_quick_recipe_is_the_modern_one_in_a_fifth_of_the_epochs() -> None:
    quick = TrainConfig(recipe="quick")
    for images in (1_295, 54_000):
        modern = resolve(TrainConfig(), "resnet18", images, mirror=True, norms=True)
        recipe = resolve(quick, "resnet18", images, mirror=True, norms=True)
        assert recipe.epochs == round(modern.epochs / 5)
        assert (recipe.augment, recipe.batch_size) == ("none", modern.batch_size)
        assert recipe.lr > modern.lr
    assert resolve(quick, "alexnet", 54_000, mirror=True).lr == modern.lr  # it has no norms


def test_precision_is_chosen_by_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = 10**9, 10**5
    monkeypatch.setattr(devices, "cpu_computes_bf16", lambda: True)
    assert choose_precision("auto", CPU, large) == torch.bfloat16
    assert choose_precision("auto", CPU, small) == torch.float32
    monkeypatch.setattr(devices, "cpu_computes_bf16", lambda: False)
    assert choose_precision("auto", CPU, large) == torch.float32
    assert choose_precision("bf16", CPU, small) == torch.bfloat16
    for capability, expected in (((9, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert choose_precision("auto", torch.device("cuda"), small) == expected


def test_the_flags_of_this_cpu_are_read_right() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("the system lists no CPU flags")
    flags = set(cpuinfo.read_text().split())
    assert devices.cpu_computes_bf16() == bool(flags & {"amx_bf16", "avx512_bf16"})


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no usable cuda device: give --device auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU


def test_the_environment_is_recorded() -> None:
    found = environment(CPU)
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("recipe", "modrn"),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("augment", "mirror"),
        ("normalize", True),
        ("precision", "fp61"),
        ("device", "gpu"),
        ("compile", True),
    ],
)
def test_values_that_are_no_choice(option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"--{option} must be .* or .*, not {value!r}"):
        TrainConfig(**{option: value})  # type: ignore[arg-type]


def test_paths_may_be_text() -> None:
    assert TrainConfig(out="runs/a", init="b").out == Path("runs/a")  # type: ignore[arg-type]
