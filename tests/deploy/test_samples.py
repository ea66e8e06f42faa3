"""The pictures that the demo offers: of the test part, and fit for the networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import convworks as cw
from convworks.data.folder import decode
from convworks.data.splits import Data
from convworks.deploy.demo import draw_samples, find_samples
from convworks.deploy.predict import open_network
from convworks.deploy.shipped import batches


def test_samples_are_pictures_of_the_test_part_with_their_labels(
    digits: Data, tmp_path: Path
) -> None:
    samples = draw_samples(digits, 1, 28, tmp_path)
    assert [label for _, label in samples] == [str(i) for i in range(10)]
    read = list(batches(digits.test, 28))
    pixels, labels = (np.concatenate(part) for part in zip(*read, strict=True))
    for path, label in samples:
        (place,) = (pixels == decode(path, 1, 28).numpy()).all((1, 2, 3)).nonzero()[0]
        assert digits.classes[labels[place]] == label


def test_samples_of_few_classes(digit_pictures: Path, tmp_path: Path) -> None:
    data = cw.load_data(digit_pictures, image_size=20)
    count = min(4, len(data.test) // 3)
    labels = [label for _, label in draw_samples(data, 1, 20, tmp_path)]
    assert labels == [name for name in ("digit0", "digit1", "digit2") for _ in range(count)]


def test_samples_are_fit_for_the_network_that_sees_most(tmp_path: Path) -> None:
    """Of a small grey one and a large one in colour, whose photographs a lack of pixels shows.

    The data of the first that is asked for are gone.
    """
    rng = np.random.default_rng(0)
    for label in ("fine", "coarse"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, (96, 96, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    networks = []
    for name, channels, side in (("gone", 1, 28), ("small", 1, 28), ("large", 3, 96)):
        data = cw.load_data(tmp_path / "photos", image_size=side)
        data = replace(
            data,
            channels=channels,
            mean=data.mean[:channels],
            std=data.std[:channels],
            **{p: replace(getattr(data, p), channels=channels) for p in ("train", "val", "test")},
        )
        model = cw.create_model("lenet", num_classes=2, in_channels=channels, image_size=side)
        config = cw.TrainConfig(epochs=1, out=tmp_path / name, device="cpu")
        cw.fit(model, data, config, progress=False)
        networks.append(open_network(tmp_path / name))
    text = (tmp_path / "gone" / "config.json").read_text()
    (tmp_path / "gone" / "config.json").write_text(text.replace("photos", "elsewhere"))
    samples, missing = find_samples(networks, None, tmp_path)
    assert missing == ""
    assert len(samples) == 4
    expected, _ = next(batches(data.test, 96))
    for path, _ in samples:
        assert (expected == decode(path, 3, 96).numpy()).all((1, 2, 3)).sum() == 1
    samples, missing = find_samples(networks[:1], None, tmp_path)
    assert samples == []
    assert missing.startswith("No samples")
