"""Failures that a user can mend. Their text is one line that says what happened and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConvworksError(Exception):
    """Base of all of them; the command line prints the text and exits with 1."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.splitlines()))  # others' words in it may have several


class InputError(ConvworksError, ValueError):
    """A name, file, size or value that cannot be used."""


class UsageError(InputError):
    """An option outside its range, or options that contradict each other; exit code 2."""


class TrainingError(ConvworksError, RuntimeError):
    """Training cannot go on; what was saved before stays."""


class DivergedError(TrainingError):
    """The loss or a weight is no finite number any more."""


def first_line(error: BaseException) -> str:
    """What another's error says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> InputError:
    """The error for a `name` that is no known `kind`, with the nearest known name."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return InputError(f"There is no {kind} {name!r}{guess} {hint or 'Known: ' + ', '.join(names)}")
