"""What can go wrong with a brief, with its sources and with its specialists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait.errors import PlaitError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BriefError",
    "DeadlineError",
    "MissingSourceError",
    "ResearchError",
    "ReviewError",
    "SpecialistError",
    "TableError",
]


class BriefError(PlaitError):
    """A brief that cannot be carried out.

    `path` names the file, `faults` has one line for each fault, each beginning with its place.
    """

    def __init__(self, path: str, faults: Sequence[str]) -> None:
        self.path = path
        self.faults: tuple[str, ...] = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        super().__init__(f"{path} has {count}:{lines}")


class ReviewError(PlaitError):
    """What a person said of a run cannot be understood; the message says what can be said."""


class SpecialistError(PlaitError):
    """A specialist could not do its task; its branch fails, and the report names it."""


class MissingSourceError(SpecialistError):
    """A source of a task matches nothing that can be read. `source` is as the brief has it."""

    def __init__(self, source: str, why: str) -> None:
        self.source = source
        super().__init__(f'source "{source}": {why}')


class TableError(SpecialistError):
    """A table has not what an analysis needs; the message says what is wanting."""


class ResearchError(SpecialistError):
    """A search that cannot be done on this machine, or for this question."""


class DeadlineError(SpecialistError):
    """A task was not done within its deadline. `seconds` is that deadline."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"not done within its deadline of {seconds:g} s")
