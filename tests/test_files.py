"""Files written whole or not at all."""

import os
from pathlib import Path

import pytest

from convworks.deploy.place import put_in_place
from convworks.files import make_folder, write_file


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system is asked for, in order."""
    calls: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        there = Path(f"/proc/self/fd/{descriptor}").resolve()
        calls.append(f"flush {there.name}: {there.read_text() if there.is_file() else 'names'}")
        sync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        calls.append(f"{self.name} becomes {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    return calls


proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names files by /proc")


@proc
def test_a_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(asked: list[str]) -> None:
    """Else a power cut may leave an empty one; and the name is there when the call is over."""
    Path("there").mkdir()
    write_file(Path("there/a.txt"), "new")
    assert asked == ["flush .a.txt.tmp: new", ".a.txt.tmp becomes a.txt", "flush there: names"]


@proc
def test_a_new_folder_stays_after_a_power_cut(asked: list[str]) -> None:
    Path("runs").mkdir()
    make_folder(Path("runs/a/b"))
    assert asked == ["flush a: names", "flush runs: names"]
    make_folder(Path("runs/a/b"), exist_ok=True)
    assert len(asked) == 2
    with pytest.raises(FileExistsError):
        make_folder(Path("runs/a/b"))


@proc
def test_several_files_are_on_the_disk_before_any_takes_its_place(asked: list[str]) -> None:
    for folder in ("made", "there"):
        Path(folder).mkdir()
    for name in "ab":
        Path("made", name).write_text(f"new {name}")
        Path("there", name).write_text("old")
    put_in_place(Path("made"), Path("there"))
    flushed = ["flush a: new a", "flush b: new b"]
    assert asked == [*flushed, "a becomes a", "b becomes b", "flush there: names"]
