"""`cw.reproduce`: the trainings of the source documents, taken up where they stand, and judged.

Beside `api.py` and not in it, so that whoever trains need not wait for all the figures' imports.
"""

from collections.abc import Sequence
from pathlib import Path

from convworks.api import create_model, fit, load, load_data, resume
from convworks.bench.claims import CLAIMS, SECTIONS, TRAINED, choose_sections
from convworks.bench.claims.claim import Judged, judge, judge_trained
from convworks.bench.claims.training import DATA, INITIALIZATION, unlike_printed
from convworks.errors import TrainingError
from convworks.nets.initialization import seeded
from convworks.train.checkpoint import LAST, SUMMARY
from convworks.train.config import TrainConfig
from convworks.train.recipes import BOOK
from convworks.train.run import Run


def reproduce(
    sections: str | Sequence[str] = (),
    *,
    quick: bool = False,
    epochs: int | None = None,
    runs: str | Path = "runs/reproduce",
    data_root: str | Path | None = None,
    progress: bool = True,
) -> list[Judged]:
    """The figures that the source documents print, beside ours; see docs/reproduced.md.

    `sections` is a name of `bench.claims.SECTIONS`, or several; none are all. Trainings are kept in
    folders below `runs`: what is complete there is read, what was stopped goes on, and without
    `quick` what is missing is trained, in hours on two cores. `epochs` shortens trainings that
    begin now. A folder with a run of other settings is left alone, and its figures are not run.
    Raises InputError for an unknown section.
    """
    chosen = choose_sections(sections)
    judged = [judge(one) for one in CLAIMS if one.section in chosen]
    trained: dict[str, Run | str] = {}
    for one in TRAINED:
        if one.section in chosen:
            if one.network not in trained:
                folder = Path(runs) / one.network
                trained[one.network] = (
                    _as_printed(one.network, folder)
                    if quick or (folder / SUMMARY).exists()
                    else _train_as_printed(one.network, folder, epochs, data_root, progress)
                )
            judged.append(judge_trained(one, trained[one.network]))
    order = {name: place for place, name in enumerate(SECTIONS)}
    return sorted(judged, key=lambda one: order[one.section])


def _as_printed(name: str, folder: Path) -> Run | str:
    """A run as the documents trained it, or why there is none."""
    if not (folder / SUMMARY).exists():
        return "left out by --quick" if not folder.exists() else f"{folder} is not complete"
    return unlike_printed(folder, name) or load(folder)


def _train_as_printed(
    name: str, folder: Path, epochs: int | None, root: str | Path | None, progress: bool
) -> Run | str:
    """The book's training of a network, with the initialization of the documents."""
    try:
        if (folder / LAST).exists():
            unlike = unlike_printed(folder, name)
            return unlike or resume(folder, data_root=root, progress=progress)
        return _begin_as_printed(name, folder, epochs, root, progress)
    except TrainingError as error:
        return str(error)


def _begin_as_printed(
    name: str, folder: Path, epochs: int | None, root: str | Path | None, progress: bool
) -> Run:
    data = load_data(DATA, image_size=BOOK[name].image_size, root=root)
    network = seeded(
        0,
        lambda: create_model(
            name,
            num_classes=10,
            in_channels=1,
            image_size=data.image_size,
            initialization=INITIALIZATION,
        ),
    )
    config = TrainConfig(recipe="book", epochs=epochs, out=folder)
    return fit(network, data, config, progress=progress)
