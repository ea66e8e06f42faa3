"""--init: weights of a run, of a file, of other libraries' files; and what it refuses."""

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from convworks import api
from convworks.data.sources import load_data
from convworks.data.splits import Data, Images, MemoryImages
from convworks.errors import InputError, UsageError
from convworks.nets.initialization import seeded
from convworks.nets.registry import create_model
from convworks.train import loop
from convworks.train.config import TrainConfig
from convworks.train.initial import load_initial
from convworks.train.loop import fit
from convworks.train.observer import Observer, Plan
from convworks.train.run import Run, load

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def of_classes(data: Data, labels: range, count: int | None = None) -> Data:
    """The pictures of some classes, and only the first `count` of each to train on."""

    def part(images: Images, most: int | None = None) -> MemoryImages:
        assert isinstance(images, MemoryImages)
        chosen = [(images.labels == label).nonzero().squeeze(1)[:most] for label in labels]
        picked = images.take(torch.cat(chosen))
        return MemoryImages(picked.pixels, picked.labels - labels.start)

    return replace(
        data,
        title=f"digits{labels.start}",
        classes=tuple(map(str, labels)),
        train=part(data.train, count),
        val=part(data.val),
        test=part(data.test),
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits", image_size=16)


def network(seed: int, classes: int = 5, channels: int = 1) -> nn.Module:
    return seeded(
        seed,
        lambda: create_model("resnet20", num_classes=classes, in_channels=channels, image_size=16),
    )


def small_net(seed: int, classes: int) -> nn.Module:
    """It learns in seconds."""

    def layers(channels: int, out: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(out), nn.ReLU()]

    torch.manual_seed(seed)
    pooling = (nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(
        *layers(1, 16), *layers(16, 32), *layers(32, 64), *pooling, nn.Linear(256, classes)
    )


def test_fine_tuning_on_few_pictures_beats_training_from_scratch(digits: Data) -> None:
    """Three seeds, three pictures of each of four digits, after training on the six others."""
    pretraining = TrainConfig(epochs=5, lr=3e-3)
    pretrained = fit(small_net(0, 6), of_classes(digits, range(6)), pretraining)
    few = of_classes(digits, range(6, 10), count=3)
    config = TrainConfig(epochs=2, batch_size=2, lr=5e-3, augment="none")
    found: dict[str, list[float]] = {"scratch": [], "tuned": [], "head": []}
    for seed in range(3):
        for kind, extra in (
            ("scratch", {}),
            ("tuned", {"init": pretrained.path, "layer_decay": 0.7}),
            ("head", {"init": pretrained.path, "freeze": True, "lr": 1e-2}),
        ):
            settings = replace(config, seed=seed, **extra)  # type: ignore[arg-type]
            run = fit(small_net(seed + 1, 4), few, settings)
            assert run.summary is not None
            found[kind].append(run.summary.test_accuracy)
    assert fmean(found["tuned"]) > fmean(found["scratch"]) + 0.05, found
    assert fmean(found["head"]) > fmean(found["scratch"]) + 0.03, found


def test_stopped_before_its_first_step_a_run_keeps_what_it_began_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weights of --init are not there any more, or others, when it goes on."""
    settings = {"epochs": 1, "augment": "none", "device": "cpu"}

    def trained(out: str, **more: object) -> Run:
        config = TrainConfig(out=Path(out), **settings, **more)  # type: ignore[arg-type]
        return api.train("lenet", config=config, image_size=12, progress=False)

    trained("first")
    whole = trained("whole", init=Path("first"), lr=1e-6)

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("crash")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "take_step", crash)
        with pytest.raises(RuntimeError, match="crash"):
            trained("stopped", init=Path("first"), lr=1e-6)
    resumed = api.resume("stopped", progress=False)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    (Path("stopped") / "last.pt").unlink()
    for name in ("best.safetensors", "summary.json", "metrics.jsonl"):
        (Path("stopped") / name).unlink()
    with pytest.raises(InputError, match="stopped before its first weights were kept"):
        api.resume("stopped", progress=False)


def test_weights_from_python_are_not_taken_for_the_seeds() -> None:
    """`repeat` draws them anew, which gives those that `train` began with and no others."""
    data = load_data("digits", image_size=12)

    def small(seed: int) -> nn.Module:
        make = lambda: create_model("lenet", num_classes=10, in_channels=1, image_size=12)  # noqa: E731
        return seeded(seed, make)

    for seed, out in ((0, "drawn"), (7, "given")):
        config = TrainConfig(epochs=1, out=Path(out), device="cpu")
        api.fit(small(seed), data, config, progress=False)
    config = replace(load("drawn").config, out=Path("again"))
    again = api.repeat("drawn", config, progress=False)
    for name, tensor in load("drawn").model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    with pytest.raises(InputError, match="began with weights that its seed does not give"):
        api.repeat("given", progress=False)
    other = replace(load("given").config, seed=1, out=Path("other"))
    with pytest.raises(InputError, match="began with weights that its seed does not give"):
        api.repeat("given", other, progress=False)


@pytest.fixture(scope="module")
def torchvisions() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).eval()


def test_a_file_of_torchvisions_gives_equal_outputs(torchvisions: nn.Module) -> None:
    torch.save({"model": torchvisions.state_dict(), "epoch": 3}, "theirs.pth")
    model = create_model("resnet18", image_size=96).eval()
    found = load_initial(model, Path("theirs.pth"))
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(model(images), torchvisions(images))
    assert (found.loaded, found.tensors, found.fresh) == (102, 102, ())
    assert found.colours == IMAGENET
    assert found.sha256 == hashlib.sha256(Path("theirs.pth").read_bytes()).hexdigest()


def test_a_file_of_timms_gives_equal_outputs() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv1_100").eval()
    save_file(theirs.state_dict(), "theirs.safetensors")
    model = create_model("mobilenet_v1", image_size=96).eval()
    found = load_initial(model, Path("theirs.safetensors"))
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(model(images), theirs(images), rtol=1e-4, atol=1e-5)
    assert found.fresh == ()
    assert found.colours is not None


def test_a_network_by_the_names_of_its_own_module_has_equal_weights() -> None:
    """As torch.save(DistributedDataParallel(model).state_dict(), file) writes them."""
    model, twin = network(0), network(1)
    torch.save({f"module.{k}": v for k, v in twin.state_dict().items()}, "ours.pt")
    found = load_initial(model, Path("ours.pt"))
    assert found.fresh == ()
    assert found.colours is None
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name


def test_other_classes_and_channels_and_what_is_said_of_them(
    digits: Data, torchvisions: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(torchvisions.state_dict(), "theirs.pth")
    data = of_classes(digits, range(5), count=4)
    plans: list[Plan] = []

    class Witness(Observer):
        def begin(self, plan: Plan) -> None:
            plans.append(plan)

    model = create_model("resnet18", num_classes=5, in_channels=1, image_size=16, stem="paper")
    fresh = model.get_parameter("fc.weight").clone()
    config = TrainConfig(epochs=1, lr=1e-12, init=Path("theirs.pth"), weight_decay=0.0)
    run = fit(model, data, config, observers=[Witness()])
    said = "100 of 102 tensors from theirs.pth; fresh: fc.weight, fc.bias"
    assert plans[0].init == said
    torch.testing.assert_close(run.model.get_parameter("fc.weight"), fresh, rtol=0, atol=1e-9)
    stem = torchvisions.get_parameter("conv1.weight").sum(1, keepdim=True)
    torch.testing.assert_close(run.model.get_parameter("stem.conv.weight"), stem)
    settings = json.loads((run.path / "config.json").read_text())
    digest = hashlib.sha256(Path("theirs.pth").read_bytes()).hexdigest()
    assert settings["init"] | {"sha256": digest, "loaded": 100} == settings["init"]
    assert settings["train"]["normalize"] == "init"
    assert run.preparation.mean == pytest.approx((fmean(IMAGENET[0]),))
    Path("theirs.pth").unlink()
    again = load(run.path)
    assert again.preparation == run.preparation
    own = TrainConfig(epochs=1, init=run.path, normalize="on")
    assert fit(model, data, own).preparation.mean == data.mean


def test_a_resumed_run_needs_the_weights_it_began_with_no_more(digits: Data) -> None:
    first = fit(network(0), of_classes(digits, range(5), 20), TrainConfig(epochs=1))
    data = of_classes(digits, range(5, 10), 20)
    config = TrainConfig(epochs=2, batch_size=20, init=first.path)

    class Crash(Observer):
        def epoch(self, history: object) -> None:
            raise RuntimeError("crash")

    whole = fit(network(1), data, replace(config, out=Path("whole")))
    stopped = replace(config, out=Path("stopped"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(network(1), data, stopped, observers=[Crash()])
    first.path.rename("elsewhere")
    resumed = fit(network(7), data, stopped, resume=True)
    assert resumed.preparation == whole.preparation == first.preparation
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name
    begun = json.loads(Path("stopped/config.json").read_text())
    assert begun["init"]["loaded"] == begun["init"]["tensors"] > 0


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("ran"),)


def save_pickle(value: object) -> Path:
    torch.save(value, "file.pth")
    return Path("file.pth")


def test_files_that_are_refused(torchvisions: nn.Module) -> None:
    model = create_model("resnet18", image_size=96)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = torchvision.models.resnet34(weights=None).state_dict()
    wide = torchvision.models.wide_resnet50_2(weights=None).state_dict()
    vgg = create_model("vgg11_small", image_size=32).state_dict()
    cases = {
        "holds more than weights, which could run code": {"x": Hostile()},
        "holds no weights by their names": [1, 2],
        "of another network: it has layer1.2.bn1.bias besides": other,
        "is of another network": wide,
        "of another network than resnet18, or of another .*: it has features": vgg,
        "it has nothing, not stem.conv.weight": {},
    }
    for message, content in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            load_initial(model, save_pickle(content))
        assert "\n" not in str(caught.value)
    assert not Path("ran").exists()
    Path("cut.pth").write_bytes(Path("file.pth").read_bytes()[:100])
    with pytest.raises(InputError, match="Cannot read cut.pth: it is damaged"):
        load_initial(model, Path("cut.pth"))
    Path("empty").mkdir()
    for missing in ("nowhere.pth", "empty"):
        with pytest.raises(InputError, match=f"Cannot read weights from {missing}.*no such file"):
            load_initial(model, Path(missing))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_run_of_another_network_is_refused_by_name(digits: Data) -> None:
    run = fit(network(0), of_classes(digits, range(5), 8), TrainConfig(epochs=1))
    model = create_model("resnet32", num_classes=5, in_channels=1, image_size=16)
    with pytest.raises(InputError, match="is of resnet20, not of resnet32: train resnet20"):
        load_initial(model, run.path)
    half: dict[str, Tensor] = network(0).state_dict()
    for name in [n for n in half if n.startswith(("stage2", "stage3"))]:
        half[name] = torch.zeros(3, 3)
    with pytest.raises(InputError, match="only .* of .* tensors fit, not stage2"):
        load_initial(network(1), save_pickle(half))


def test_published_weights_without_a_network(
    digits: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    published = torchvision.models.get_model_weights("resnet18").DEFAULT.value
    monkeypatch.setattr(published, "url", "http://127.0.0.1:9/nothing-00000000.pth")
    model = create_model("resnet18", num_classes=10, in_channels=1, image_size=16)
    with pytest.raises(InputError, match="Cannot download .* try again with a network"):
        fit(model, digits, TrainConfig(init=Path("torchvision")))
    with pytest.raises(InputError, match="timm publishes no weights for lenet"):
        load_initial(create_model("lenet"), Path("timm"))
    with pytest.raises(InputError, match="not for your own"):
        load_initial(nn.Linear(1, 1), Path("timm"))
    with pytest.raises(UsageError, match="give --init"):
        fit(model, digits, TrainConfig(normalize="init"))
    assert not Path("runs").exists()


def test_published_weights_from_torchs_cache(
    digits: Data, torchvisions: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save(torchvisions.state_dict(), "w.pth")
    digest = hashlib.sha256(Path("w.pth").read_bytes()).hexdigest()[:8]
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    Path("w.pth").rename(cache / f"resnet18-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    published = torchvision.models.get_model_weights("resnet18").DEFAULT.value
    monkeypatch.setattr(published, "url", f"http://127.0.0.1:9/resnet18-{digest}.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = create_model("resnet18", num_classes=5, in_channels=1, image_size=16)
        found = load_initial(model, Path("torchvision"))
    assert str(found) == (
        "99 of 102 tensors from torchvision's resnet18; fresh: stem.conv.weight, fc.weight, fc.bias"
    )
    assert found.colours == IMAGENET
