"""What all commands share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """A command: its fields are its options, their texts the help."""

    debug: bool = False
    """On a failure, show the traceback too."""

    @abstractmethod
    def run(self) -> None:
        """Does it and prints the result."""
