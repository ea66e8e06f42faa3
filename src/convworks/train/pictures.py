"""A look at a set's pictures before the first step: unreadable, uneven, in two parts at once.

Pictures in files are decoded once for it, and then kept for the epochs. A set too large to be kept
is not read beforehand unless unreadable pictures are to be refused: what cannot be read is found on
the way, to the same effect, and nothing is compared.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convworks.data.duplicates import count_same, find_alike
from convworks.data.folder import UnreadableError, passed_over, shown
from convworks.data.loader import FileLoader, Loader, open_loader
from convworks.data.share import Share
from convworks.data.splits import Data, FileImages, Images, MemoryImages, Picture, below, to_split
from convworks.data.unreadable import LeftOut, check_few, none_left
from convworks.train import checkpoint
from convworks.train.config import TrainConfig
from convworks.train.observer import Observer
from convworks.train.processes import Processes
from convworks.train.recipes import Recipe
from convworks.train.records import record

UNEVEN = 3
"""A class with so many times the pictures of another is told of."""
LISTED, PAIRS = 10, 3
"""So many files, and so many pairs, are named while training; a file has all."""
COMPARED = 10**9
"""So many pairs of pictures are compared at most, in about twenty seconds on two cores."""


@dataclass(frozen=True)
class _Listed:
    """What `pictures.json` says."""

    unreadable: dict[str, str]
    near_duplicates: dict[str, list[tuple[str, str, float]]]


@dataclass
class Pictures:
    """What was found, and what still is."""

    data: Data
    config: TrainConfig
    observers: Sequence[Observer]
    left_out: LeftOut = field(default_factory=LeftOut)
    duplicates: dict[str, list[tuple[str, str, float]]] = field(default_factory=dict)
    """By part: a picture, the one of the training part that it is like, their correlation."""
    path: Path | None = None
    """The run folder, once there is one."""

    def note(self, text: str) -> None:
        """Tells whoever watches."""
        for observer in self.observers:
            observer.note(text)

    def known(self, folder: Path) -> None:
        """Takes what the run already left out: that stays so, whatever the files are now."""
        if not (folder / checkpoint.PICTURES).exists():
            return
        file = folder / checkpoint.PICTURES
        listed = record(_Listed, checkpoint.read_json(file), file)
        self.duplicates = listed.near_duplicates
        for path in self._files():
            if (name := self._name(path)) in listed.unreadable:
                self.left_out.reasons[path] = listed.unreadable[name]

    def look(self, loaders: Sequence[Loader]) -> None:
        """Reads what is to be read: the parts' loaders, training first.

        InputError when too many pictures cannot be read.
        """
        self._uneven()
        self._untested()
        self._passed_over()
        files = [one for one in loaders if isinstance(one, FileLoader)]
        small: Sequence[Tensor] = ()
        if files and (self.config.strict or all(one.kept is not None for one in files)):
            small = self._read(files)
        elif files:
            self.note(
                "too many pictures to be kept in memory: they are not read beforehand, nor searched"
                " for copies in two parts"
            )
        self._enlarged(files)
        for path, reason in list(self.left_out.reasons.items())[:LISTED]:
            self.note(f"left out: {shown(path)} ({reason})")
        self._check()
        self._check_classes()
        self._alike(small)
        self._same()
        self.left_out.tell = self._found_late

    def write(self, path: Path) -> None:
        """Into the run folder: the parts, and what is to be said of pictures, if anything is."""
        self.path = path
        split = to_split(self.data)
        if split is not None and not (path / checkpoint.SPLIT).exists():
            checkpoint.write_json(path / checkpoint.SPLIT, asdict(split))
        if self.left_out.reasons or any(self.duplicates.values()):
            checkpoint.write_json(path / checkpoint.PICTURES, self.to_dict())
        more = len(self.left_out.reasons) - LISTED
        if more > 0:
            self.note(f"{more:,} more left out: {path / checkpoint.PICTURES} lists them")

    def to_dict(self) -> dict[str, Any]:
        """Plain values: names below the data's folder."""
        unreadable = {self._name(p): reason for p, reason in self.left_out.reasons.items()}
        return {"unreadable": unreadable, "near_duplicates": self.duplicates}

    def _read(self, files: Sequence[FileLoader]) -> list[Tensor]:
        before = [0, *accumulate(one.count for one in files)]

        def tell(offset: int, done: int) -> None:
            for observer in self.observers:
                observer.read(offset + done, before[-1])

        return [
            one.read(lambda done, offset=offset: tell(offset, done))  # type: ignore[misc]
            for one, offset in zip(files, before, strict=False)
        ]

    def _uneven(self) -> None:
        counts = torch.bincount(self.data.train.labels, minlength=len(self.data.classes))
        least, most = int(counts.argmin()), int(counts.argmax())
        if counts[most] < UNEVEN * counts[least]:
            return
        balanced = self.config.class_weights == "balanced"
        self.note(
            f"uneven classes: {counts[least]:,} ({shown(self.data.classes[least])}) to"
            f" {counts[most]:,} ({shown(self.data.classes[most])}) training pictures; "
            + ("each class counts alike" if balanced else "--class-weights balanced evens them out")
        )

    def _untested(self) -> None:
        counts = torch.bincount(self.data.test.labels, minlength=len(self.data.classes)).tolist()
        names = [shown(x) for x, n in zip(self.data.classes, counts, strict=True) if not n]
        if names:
            more = f" and {len(names) - PAIRS:,} more" if len(names) > PAIRS else ""
            self.note(
                f"no test pictures of {', '.join(names[:PAIRS])}{more}: accuracy will say nothing"
                " of them"
            )

    def _passed_over(self) -> None:
        folder = Path(self.data.spec.name)
        if not isinstance(self.data.train, FileImages) or not folder.is_dir():
            return
        for text in passed_over(folder):
            self.note(text)

    def _enlarged(self, files: Sequence[FileLoader]) -> None:
        """Pictures smaller than the network sees them, as far as they are kept."""
        side = self.data.image_size
        sizes = [one.kept.sizes.min(axis=1) for one in files if one.kept is not None]
        known = np.concatenate(sizes) if sizes else np.zeros(0)
        usual = int(np.median(known[known > 0])) if known.any() else side
        if usual <= side / 2:
            self.note(
                f"pictures of {usual} pixels are enlarged to {side}: --image-size {usual} would"
                f" take about a {side**2 // usual**2:,}th of the time"
            )

    def _alike(self, small: Sequence[Tensor]) -> None:
        """Validation and test against training."""
        for part, thumbnails in zip(("val", "test"), small[1:], strict=False):
            there, train = getattr(self.data, part), self.data.train
            if len(there) * len(train) > COMPARED:
                self.note(f"too many pictures to search {part} for copies of training pictures")
                continue
            found = find_alike(thumbnails, small[0])
            if not found or isinstance(there, MemoryImages) or isinstance(train, MemoryImages):
                continue
            pairs = [
                (self._name(there.paths[x.place]), self._name(train.paths[x.other]), x.correlation)
                for x in found
            ]
            self.duplicates[part] = pairs
            other = sum(bool(there.labels[x.place] != train.labels[x.other]) for x in found)
            few = "; ".join(f"{a} ≈ {b}" for a, b, _ in pairs[:PAIRS])
            self.note(
                f"{len(found):,} of {len(there):,} {part} pictures are nearly in the training part"
                + (f", {other:,} of them under another class" if other else "")
                + f": {few}{'; …' if len(pairs) > PAIRS else ''}. Accuracy there is flattered."
            )

    def _same(self) -> None:
        """Validation and test against training, for pictures in memory."""
        for part in ("val", "test"):
            there, train = getattr(self.data, part), self.data.train
            if isinstance(there, MemoryImages) and isinstance(train, MemoryImages):
                count = count_same(there, train)
                if count:
                    self.note(
                        f"{count:,} of {len(there):,} {part} pictures stand in the training part"
                        " too, to the last bit: accuracy there is flattered"
                    )

    def exchange(self, processes: Processes) -> None:
        """What any process could not read, all leave out, and count."""
        own = {self._name(path): reason for path, reason in self.left_out.reasons.items()}
        others = {
            name: reason
            for found in processes.every(own)
            for name, reason in found.items()
            if name not in own
        }
        for path in self._files() if others else ():
            if (reason := others.get(self._name(path))) is not None:
                self.left_out.add(UnreadableError(path, reason))

    def _found_late(self, error: UnreadableError) -> None:
        """While training: told, listed, and refused when they become too many."""
        if len(self.left_out.reasons) <= LISTED:
            self.note(f"left out: {shown(error.path)} ({error.reason})")
        if self.path is not None:
            checkpoint.write_json(self.path / checkpoint.PICTURES, self.to_dict())
        self._check()

    def _check(self) -> None:
        count = sum(map(len, (self.data.train, self.data.val, self.data.test)))
        check_few(self.left_out, count, self.config.max_unreadable, self.config.strict)

    def _check_classes(self) -> None:
        """InputError for a class of which nothing can be learned, before a run folder is made."""
        train, reasons = self.data.train, self.left_out.reasons
        if not isinstance(train, FileImages) or not reasons:
            return
        listed = list(zip(train.paths, train.labels.tolist(), strict=True))
        read = {label for path, label in listed if path not in reasons}
        for path, label in listed:
            if label not in read:
                raise none_left(path, reasons[path])

    def _files(self) -> list[Picture]:
        parts = (self.data.train, self.data.val, self.data.test)
        return [p for part in parts if isinstance(part, FileImages) for p in part.paths]

    def _name(self, path: Picture) -> str:
        """A printable name, as the file and the notes have it."""
        return shown(below(path, self.data.spec.name))


def gone_since(folder: Path, data: Data, config: TrainConfig) -> list[Picture]:
    """Files of a run's list that are no longer there, but for those that it left out itself."""
    pictures = Pictures(data, config, ())
    pictures.known(folder)
    listed = (path for path in pictures._files() if isinstance(path, Path))
    return [path for path in listed if path not in pictures.left_out and not path.exists()]


def open_parts(
    data: Data,
    config: TrainConfig,
    recipe: Recipe,
    device: torch.device,
    left_out: LeftOut,
    share: Share,
) -> tuple[Loader, Loader, Loader]:
    """The loaders of train, val and test."""

    def part(images: Images, **how: bool) -> Loader:
        return open_loader(
            images,
            batch_size=recipe.batch_size,
            image_size=data.image_size,
            device=device,
            workers=config.workers,
            keeping=True,
            share=share,
            left_out=left_out,
            **how,
        )

    train = part(data.train, shuffle=True, crop="crop" in recipe.augment)
    val = part(data.val)
    return train, val, val if data.test is data.val else part(data.test)


def balance(data: Data, device: torch.device) -> Tensor:
    """What a picture of each class counts: N/(classes·n) for a class with n of N (King and Zeng
    2001, scikit-learn's "balanced"), so that the mean over the training part is 1."""
    counts = torch.bincount(data.train.labels, minlength=len(data.classes))
    return (counts.sum() / (len(counts) * counts.clamp(min=1))).float().to(device)
