"""What the writes that are stored with a checkpoint say of the tasks that made them.

A task that has finished has left at least one write that is none of the control writes; one that
has asked has left control writes only. The question that is open is the last one, while the task is
not finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ._constants import CONTROL_WRITES, ERROR, INTERRUPT, NULL_TASK_ID

PendingWrite = tuple[str, str, Any]


class Status(NamedTuple):
    """How far one task has come."""

    output: list[tuple[str, Any]]
    """What it wrote."""
    interrupts: list[Any]
    """What it asked last, answered or not."""
    error: BaseException | None
    """Why it failed."""

    @property
    def finished(self) -> bool:
        """Whether it has run to its end."""
        return bool(self.output)

    @property
    def open_interrupts(self) -> tuple[Any, ...]:
        """What it waits for."""
        return () if self.output else tuple(self.interrupts)


NOT_STARTED = Status([], [], None)


def statuses(pending: Iterable[PendingWrite]) -> dict[str, Status]:
    """The status of every task that has left writes, by its id."""
    found: dict[str, Status] = {}
    for tid, channel, value in pending:
        if tid == NULL_TASK_ID:
            continue
        status = found.get(tid)
        if status is None:
            status = found[tid] = Status([], [], None)
        if channel == INTERRUPT:
            many = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
            status.interrupts.extend(value if many else [value])
        elif channel == ERROR:
            if status.error is None:
                found[tid] = status._replace(error=value)
        elif channel not in CONTROL_WRITES:
            status.output.append((channel, value))
    return found


def open_interrupt_ids(pending: Iterable[PendingWrite]) -> set[str]:
    """The ids of the interrupts that nobody has answered."""
    return {each.id for status in statuses(pending).values() for each in status.open_interrupts}
