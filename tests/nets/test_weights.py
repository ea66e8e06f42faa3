"""Published weights: from a server, into other classes, channels, stems; and what can go wrong."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.nets.registry import create_model, published_of
from convworks.nets.weights import read_file


class Quiet(SimpleHTTPRequestHandler):
    """Serves without a word."""

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and its address; torch keeps downloads in an empty folder."""
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield served, f"http://127.0.0.1:{web.server_address[1]}"
    web.shutdown()
    web.server_close()


def publish(
    name: str,
    server: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    weights: dict[str, Tensor],
) -> Path:
    """Serves weights as torchvision's for that network, the hash in the file's name."""
    folder, address = server
    path = folder / "weights.pth"
    torch.save(weights, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    path = path.rename(folder / f"{name}-{digest}.pth")
    published = torchvision.models.get_model_weights(name).DEFAULT.value
    monkeypatch.setattr(published, "url", f"{address}/{path.name}")
    return path


def test_torchvisions_are_downloaded_once_and_checked(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)
    path = publish("resnet18", server, monkeypatch, theirs.state_dict())
    images = torch.randn(2, 3, 96, 96)
    expected = theirs.eval()(images)
    for _ in range(2):
        model = create_model("resnet18", image_size=96, weights="torchvision").eval()
        torch.testing.assert_close(model(images), expected)
        assert published_of(model) == "torchvision's resnet18"
        path.unlink(missing_ok=True)  # the second time from the cache
    kept = Path(torch.hub.get_dir(), "checkpoints", path.name)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])

    def offline(_request: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(InputError, match="is damaged, and .* cannot be downloaded .*no network"):
        create_model("resnet18", weights="torchvision")
    assert kept.read_bytes() == whole[:1000]


@pytest.mark.parametrize("damage", ["cut", "a bit"])
def test_a_damaged_file_in_the_cache_is_downloaded_once_more(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    theirs = torchvision.models.squeezenet1_1(weights=None)
    path = publish("squeezenet1_1", server, monkeypatch, theirs.state_dict())
    create_model("squeezenet1_1", weights="torchvision")
    kept = Path(torch.hub.get_dir(), "checkpoints", path.name)
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content[:1000] if damage == "cut" else content)
    model = create_model("squeezenet1_1", weights="torchvision")
    assert kept.read_bytes() == path.read_bytes()
    assert torch.equal(next(model.parameters()), next(theirs.parameters()))


def test_a_wrong_hash_is_refused(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = torchvision.models.squeezenet1_1(weights=None)
    path = publish("squeezenet1_1", server, monkeypatch, theirs.state_dict())
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="Cannot download .*invalid hash"):
        create_model("squeezenet1_1", weights="torchvision")


def test_code_in_published_weights_does_not_run(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    publish("squeezenet1_1", server, monkeypatch, {"x": Hostile()})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="it is damaged, or holds more than weights"):
        create_model("squeezenet1_1", weights="torchvision")
    assert not (tmp_path / "ran").exists()


def test_without_a_network_one_line_says_so(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = torchvision.models.get_model_weights("resnet18").DEFAULT.value
    monkeypatch.setattr(published, "url", f"{server[1]}/nothing-00000000.pth")
    with pytest.raises(InputError, match="Cannot download http.*404.* try again") as caught:
        create_model("resnet18", weights="torchvision")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(published, "url", "http://127.0.0.1:9/nothing-00000000.pth")
    with pytest.raises(InputError, match="Cannot download .*refused.* try again"):
        create_model("resnet18", weights="torchvision")


def test_a_grey_picture_gives_what_three_equal_channels_give(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision.models.shufflenet_v2_x0_5(weights=None).eval()
    publish("shufflenet_v2_x0_5", server, monkeypatch, theirs.state_dict())
    grey = torch.randn(2, 1, 64, 64)
    for channels in (1, 4):
        model = create_model(
            "shufflenet_v2_x0_5",
            in_channels=channels,
            image_size=64,
            stem="paper",
            weights="torchvision",
        ).eval()
        found = model(grey.expand(-1, channels, -1, -1))
        torch.testing.assert_close(found, theirs(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_other_classes_keep_a_fresh_head(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In DenseNet's file the layers have the names of 2017."""
    theirs = torchvision.models.densenet121(weights=None)
    nn.init.normal_(theirs.features.get_parameter("norm5.weight"))
    old = {
        key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for key, value in theirs.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert old.keys() != theirs.state_dict().keys()
    publish("densenet121", server, monkeypatch, old)
    model = create_model("densenet121", num_classes=7, weights="torchvision").eval()
    assert model(torch.randn(1, 3, 96, 96)).shape == (1, 7)
    whole = create_model("densenet121", weights="torchvision").eval()
    images = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(whole(images), theirs.eval()(images), rtol=1e-4, atol=1e-5)
    model.fc = whole.fc = nn.Identity()
    torch.testing.assert_close(model(images), whole(images))


def test_a_head_that_is_a_convolution_stays_fresh_too(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision.models.squeezenet1_1(weights=None)
    publish("squeezenet1_1", server, monkeypatch, theirs.state_dict())
    model = create_model("squeezenet1_1", num_classes=3, image_size=100, weights="torchvision")
    assert model(torch.randn(1, 3, 100, 100)).shape == (1, 3)
    first, published = next(model.parameters()), next(theirs.parameters())
    assert torch.equal(first, published)


def test_a_file_that_lacks_a_weight_is_refused(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torchvision.models.squeezenet1_1(weights=None).state_dict()
    weights.pop("features.0.weight")
    publish("squeezenet1_1", server, monkeypatch, weights)
    with pytest.raises(InputError, match="torchvision's published .* lacks features.0.weight"):
        create_model("squeezenet1_1", weights="torchvision")


def test_what_stays_fresh_besides_is_named(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision.models.resnet18(weights=None)
    publish("resnet18", server, monkeypatch, theirs.state_dict())
    with pytest.warns(
        UserWarning, match=r"only in part pretrained.* Fresh are: stem.conv.weight\."
    ):
        model = create_model("resnet18", num_classes=10, image_size=32, weights="torchvision")
    own = model.get_parameter("stage1.0.body.conv1.weight")
    assert torch.equal(own, theirs.get_parameter("layer1.0.conv1.weight"))


def test_inceptions_auxiliary_head_is_pretrained_too(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision.models.inception_v3(weights=None, init_weights=False)
    nn.init.normal_(theirs.get_parameter("AuxLogits.fc.bias"))
    publish("inception_v3", server, monkeypatch, theirs.state_dict())
    model = create_model("inception_v3", weights="torchvision", options={"auxiliary": True})
    theirs_bias = theirs.get_parameter("AuxLogits.fc.bias")
    assert torch.equal(model.get_parameter("auxiliary.fc.bias"), theirs_bias)


def test_timms_come_from_the_hub_as_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv1_100").eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")

    def download(hub: str, name: str) -> str:
        assert hub.startswith("timm/mobilenetv1_100")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    images = torch.randn(2, 3, 96, 96)
    model = create_model("mobilenet_v1", image_size=96, weights="timm").eval()
    torch.testing.assert_close(model(images), theirs(images), rtol=1e-4, atol=1e-5)

    def offline(_hub: str, _name: str) -> str:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        InputError, match="Cannot download timm/mobile.*ConnectionError.*again"
    ) as e:
        create_model("mobilenet_v1", weights="timm")
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="timm has seresnet101 but publishes no weights"):
        create_model("se_resnet101", weights="timm")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="need timm: pip install timm"):
        create_model("mobilenet_v1", weights="timm")


def test_weights_that_nobody_has() -> None:
    with pytest.raises(InputError, match="no source of weights 'keras'. Known: timm, torchvision"):
        create_model("resnet18", weights="keras")  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match="torchvision publishes no .* xception: use weights='timm'"
    ):
        create_model("xception", weights="torchvision")
    with pytest.raises(InputError, match="no weights for googlenet, nor does any other source"):
        create_model("googlenet", weights="torchvision")


def test_weights_of_another_form_are_refused(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torchvision.models.resnet18(weights=None)
    publish("resnet18", server, monkeypatch, theirs.state_dict())
    with pytest.raises(
        InputError, match="do not fit resnet18 with {'se': 16}: The networks differ"
    ):
        create_model("resnet18", weights="torchvision", options={"se": 16})


def test_weights_of_the_older_format_are_read(tmp_path: Path) -> None:
    """torchvision's oldest files are no zip."""
    state = create_model("lenet").state_dict()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = read_file(tmp_path / "old.pth")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
