"""Batches from files: their order, and the decoded pictures that are kept."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from convworks.data import kept
from convworks.data.folder import cut, decode, squeeze
from convworks.data.loader import Loader, open_loader
from convworks.data.sources import load_data
from convworks.data.splits import FileImages
from convworks.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_the_workers(digit_pictures: Path, workers: int) -> None:
    data = load_data(digit_pictures, image_size=28)

    def batches(workers: int, crop: bool, start: int = 0) -> list[torch.Tensor]:
        loader = open_loader(
            data.train,
            batch_size=8,
            image_size=28,
            device=CPU,
            workers=workers,
            shuffle=True,
            crop=crop,
        )
        return [pixels for pixels, _ in loader.epoch(seed=5, start=start)]

    for crop in (False, True):
        expected = batches(2, crop)
        assert len(expected) == 3  # of 27 pictures three fill no batch
        found = batches(workers, crop)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        entered = batches(workers, crop, start=2)
        assert len(entered) == 1
        assert torch.equal(entered[0], expected[2])


@pytest.fixture
def photographs(tmp_path: Path) -> FileImages:
    """Eight of uneven sizes, in colour."""
    paths = []
    for name, picture in zip(("china", "flower"), load_sample_images().images, strict=True):
        for i in range(4):
            paths.append(tmp_path / f"{name}{i}.jpg")
            Image.fromarray(picture[30 * i :, : 300 + 80 * i]).save(paths[-1])
    return FileImages(tuple(paths), torch.tensor([0] * 4 + [1] * 4), 3)


def small_loader(images: FileImages, *, crop: bool, workers: int) -> Loader:
    return open_loader(
        images,
        batch_size=4,
        image_size=48,
        device=CPU,
        workers=workers,
        shuffle=crop,
        crop=crop,
        keeping=True,
    )


def epochs(images: FileImages, count: int, *, crop: bool, workers: int) -> list[torch.Tensor]:
    loader = small_loader(images, crop=crop, workers=workers)
    return [torch.cat([x for x, _ in loader.epoch(seed)]) for seed in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("crop", [True, False])
def test_pictures_are_decoded_once(
    photographs: FileImages, crop: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second epoch on the files could as well be gone; and the pixels are the same."""
    monkeypatch.setattr(kept, "free_memory", lambda: 0)
    expected = epochs(photographs, 3, crop=crop, workers=workers)
    monkeypatch.undo()
    loader = small_loader(photographs, crop=crop, workers=workers)
    found = []
    for seed in range(3):
        found.append(torch.cat([x for x, _ in loader.epoch(seed)]))
        for path in photographs.paths:
            path.unlink(missing_ok=True)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found[0], found[1]) != crop


def test_what_is_kept_is_bounded(
    photographs: FileImages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A set beyond the bound is decoded every time, straight to its size."""
    assert kept.keep(10, 3, 64) is not None
    assert kept.keep(10**6, 3, 64) is None
    monkeypatch.setattr(kept, "LARGEST", 1000)
    (found,) = epochs(photographs, 1, crop=False, workers=1)
    for picture, path in zip(found, photographs.paths, strict=True):
        assert torch.equal(picture, decode(path, 3, 48))
    photographs.paths[0].unlink()
    with pytest.raises(InputError, match="china0"):
        epochs(photographs, 1, crop=False, workers=1)


def test_a_containers_files_in_memory_count_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system gives them up for it; and the processes of torchrun share what is free."""
    monkeypatch.setattr(kept, "GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000")
    (tmp_path / "memory.current").write_text("900000")
    (tmp_path / "memory.stat").write_text("anon 200000\ninactive_file 700000\n")
    assert kept.free_memory() == 800_000
    assert kept.keep(20, 1, 100) is not None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert kept.keep(20, 1, 100) is None
    (tmp_path / "memory.max").write_text("max")
    assert kept.free_memory() > 1_000_000
    job = tmp_path / "memory" / "slurm" / "job7"  # of a cluster, by the older kind of group
    job.mkdir(parents=True)
    monkeypatch.setattr(kept, "OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text("5:memory:/slurm/job7/step\n0::/\n")
    (job / "memory.limit_in_bytes").write_text("500000")
    (job / "memory.usage_in_bytes").write_text("400000")
    (job / "memory.stat").write_text("cache 3\ntotal_inactive_file 200000\n")
    assert kept.free_memory() == 300_000
    monkeypatch.setattr(kept, "MACHINE", tmp_path / "none")  # as on other systems than Linux
    assert kept.free_memory() > 2**28


def test_a_squeezed_picture_is_cut_as_a_whole_one(photographs: FileImages) -> None:
    """The same place in the picture, up to sampling."""
    for path in photographs.paths:
        pixels, size = squeeze(path, 3, 300)
        for seed in (None, 1, 2):
            part = cut(Image.fromarray(pixels), size, 64, seed).float()
            whole = decode(path, 3, 64, seed).float()
            assert (part - whole).abs().mean() < 8
            elsewhere = decode(path, 3, 64, 77).float()
            assert (part - whole).abs().mean() < 0.5 * (part - elsewhere).abs().mean()


def test_pictures_read_once_are_not_kept(photographs: FileImages) -> None:
    loader = open_loader(photographs, batch_size=4, image_size=48, device=CPU)
    for _ in loader.epoch():
        pass
    photographs.paths[0].unlink()
    with pytest.raises(InputError, match="china0"):
        list(loader.epoch())
