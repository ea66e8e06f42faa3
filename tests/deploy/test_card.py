"""The model card: what it says is true, and its way to read pictures is ours."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import nn

import convworks as cw
from convworks.data.folder import decode
from convworks.data.splits import Data
from convworks.deploy.card import reading
from convworks.deploy.export import export
from convworks.deploy.interval import wilson
from convworks.deploy.runtime import open_deployed
from convworks.train.initial import hash_of


def test_reading_a_picture_is_as_in_training(tmp_path: Path) -> None:
    """What the card says about picture files gives the pixels of the loader."""
    rng = np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6  # by 90°, as cameras write it
    for channels, shape in ((1, (40, 31)), (3, (25, 60, 3)), (3, (30, 30, 4))):  # 4: see-through
        picture = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        picture.save(tmp_path / "photo.png", exif=turned)
        text = reading((channels, 20, 20)).replace("photo.jpg", str(tmp_path / "photo.png"))
        space: dict[str, np.ndarray] = {"np": np}  # type: ignore[dict-item]
        exec(text, space)
        assert space["images"].dtype == np.uint8
        expected = decode(tmp_path / "photo.png", channels, 20).numpy()
        np.testing.assert_array_equal(space["images"][0], expected)


def test_what_fine_tuned_weights_began_as_travels_with_them(digits: Data, tmp_path: Path) -> None:
    """Published ones by the option and from Python, and a run's, without where those lie."""

    def lenet(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return cw.create_model("lenet_bn", num_classes=10, in_channels=1, image_size=28)

    def said(model: nn.Module, name: str, init: Path | None = None) -> tuple[str, str, object]:
        config = cw.TrainConfig(epochs=1, out=tmp_path / name, init=init)
        found = export(cw.fit(model, digits, config, progress=False), data=digits)
        notes = open_deployed(found.path).metadata
        return notes["licence"], Path(f"{found.path}.md").read_text(), notes["began_with"]

    licence, card, began = said(lenet(0), "first")
    assert "The weights were learned from digits: its licence says" in licence
    assert "| began with | weights drawn at random |" in card
    assert began is None
    licence, card, began = said(lenet(1), "second", tmp_path / "first")
    digest = hash_of(tmp_path / "first")
    assert began == {"source": "the run first", "sha256": digest}
    assert "The weights began as the run first and learned further from digits" in licence
    assert f"| began with | the run first, SHA-256 {digest} |" in card
    assert str(tmp_path) not in licence + card
    published = lenet(2)
    published.published = "torchvision's resnet18"  # type: ignore[assignment]
    licence, card, began = said(published, "third")
    assert "The weights began as torchvision's resnet18 and learned further" in licence
    assert "| began with | torchvision's resnet18 |" in card


def test_the_card_says_what_was_done_and_what_came_of_it(
    digit_pictures: Path, tmp_path: Path
) -> None:
    """Of a training that was cut short, on pictures some of which are damaged or there twice."""
    (digit_pictures / "digit0" / "000.png").write_bytes(b"no picture")
    data = cw.load_data(digit_pictures, image_size=20)
    files = {part: getattr(data, part).paths for part in ("train", "test")}
    shutil.copy(files["train"][-1], files["test"][-1])
    torch.manual_seed(0)
    model = cw.create_model("lenet", num_classes=3, in_channels=1, image_size=20)
    config = cw.TrainConfig(
        epochs=9, patience=1, lr=1e-30, class_weights="balanced", out=tmp_path / "run"
    )
    run = cw.fit(model, data, config, progress=False)
    assert run.summary is not None
    assert run.summary.epochs == 2
    found = cw.export(run)
    card = Path(f"{found.path}.md").read_text()
    low, high = wilson(found.test_accuracy, found.test_images)
    count = int((data.train.labels == 0).sum())
    mean = f"{run.preparation.mean[0]:.4g}"
    for line in (
        f"| normalisation | in the network: mean {mean}, deviation ",
        f" | digit0 ({count}), digit1 ({count}), digit2 ({count}) |",
        f"| data | pictures: {len(data.train)} pictures to train with, {len(data.val)} to choose",
        "| left out, or in two parts | 1 cannot be read; 1 to test are nearly training pictures |",
        f"| test accuracy | {found.test_accuracy:.4f} of this file (95 % interval {low:.4f} to"
        f" {high:.4f}), {found.run_accuracy:.4f} of the network",
        f"| recipe | modern: {run.summary.epochs} epochs of 9 (--patience), the weights of epoch"
        f" {run.summary.best_epoch}, batch ",
        "adamw, learning rate 1e-30, weight decay 0.05, augmentation flip-crop, seed 0,"
        " class weights balanced |",
        f"| written by | convworks {cw.__version__}, PyTorch {torch.__version__}, onnx"
        f" {onnx.__version__}, onnxruntime {onnxruntime.__version__} |",
        "## Limits\n\nIt was tested on pictures that come from the same source",
        "## Licence\n\nconvworks is MIT-licensed. The weights were learned from pictures",
    ):
        assert line in card
