"""Pictures of a folder that cannot be read: left out and told of, up to a limit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from convworks.data.folder import UnreadableError, shown
from convworks.data.splits import Picture
from convworks.errors import InputError

FEW = 5
"""So many are put up with, whatever share of the pictures they are."""
NAMED = 3
"""So many are named in an error."""


@dataclass
class LeftOut:
    """Which pictures cannot be read, as they are found.

    In training another picture of the same class stands in, so that steps and classes' shares stay
    as they were planned; in tests they are left out.
    """

    reasons: dict[Picture, str] = field(default_factory=dict)
    tell: Callable[[UnreadableError], None] = lambda _: None
    """Hears of each once, when it is found."""

    def __contains__(self, path: Picture) -> bool:
        return path in self.reasons

    def add(self, error: UnreadableError) -> None:
        """Notes one."""
        if error.path not in self.reasons:
            self.reasons[error.path] = error.reason
            self.tell(error)


def none_left(path: Picture, reason: str) -> InputError:
    """The error for a class of which no training picture can be read, such as this one."""
    return InputError(
        f"No training picture of its class can be read, as {shown(path)} ({reason}): repair them,"
        " or remove that class's folder."
    )


def check_few(left_out: LeftOut, count: int, share: float, strict: bool) -> None:
    """InputError when, of so many pictures, more than that share (and FEW) cannot be read."""
    found = len(left_out.reasons)
    if not found or (not strict and found <= max(FEW, share * count)):
        return
    names = [f"{shown(path)} ({reason})" for path, reason in left_out.reasons.items()]
    more = f" and {found - NAMED:,} more" if found > NAMED else ""
    enough = ceil(100 * found / count) / 100
    way = f", or allow so many with --max-unreadable {enough:g}" if not strict else ""
    raise InputError(
        f"{found:,} of {count:,} pictures cannot be read: {', '.join(names[:NAMED])}{more}."
        f" Repair or remove them{way}."
    )
