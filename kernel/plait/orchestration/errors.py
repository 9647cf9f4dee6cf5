"""What can go wrong with a brief, with its sources and with its specialists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait.agents.errors import AgentOverloadedError
from plait.codec import RecordedError
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
    "ThrottledError",
    "is_overload",
    "is_permanent",
    "name_of_error",
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


class ThrottledError(SpecialistError):
    """What a specialist calls upon is overloaded (HTTP 429, say).

    `retry_after` is the seconds that it asks to be left alone for, if it said so.
    """

    def __init__(self, said: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        wait = "" if retry_after is None else f"; it asks for {retry_after:g} s of rest"
        super().__init__(f"{said}{wait}")


_PERMANENT = (MissingSourceError, TableError, ResearchError)


def is_permanent(error: BaseException) -> bool:
    """Whether the same task would fail in the same way again, whoever does it.

    So it is with what the brief's sources have not. An exception that was read back from a journal
    is known by its name.
    """
    if isinstance(error, RecordedError):
        return name_of_error(error) in {type_.__name__ for type_ in _PERMANENT}
    return isinstance(error, _PERMANENT)


def is_overload(error: BaseException) -> bool:
    """Whether somebody was asked too much: a `ThrottledError`, `AgentOverloadedError`, or HTTP 429
    or 503.

    Clients of HTTP have that number at `status_code`, `status`, or those of `response`.
    """
    if isinstance(error, (ThrottledError, AgentOverloadedError)):
        return True
    if isinstance(error, RecordedError):
        return name_of_error(error) in {ThrottledError.__name__, AgentOverloadedError.__name__}
    for owner in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            if getattr(owner, name, None) in (429, 503):
                return True
    return False


def name_of_error(error: BaseException) -> str:
    """The name of an exception's class, without its module; also of one read from a journal."""
    if isinstance(error, RecordedError):
        return error.type.rpartition(".")[2]
    return type(error).__name__
