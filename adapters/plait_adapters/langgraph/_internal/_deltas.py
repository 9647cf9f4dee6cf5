"""What a run that stores nothing before its end has written to channels of which writes are stored.

At the end these writes go with the checkpoint at which the run began, under ids and paths of tasks
that sort as the writes were made: a reader folds them in that order, and finds what every step of
the run has added, though only its last checkpoint is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ._constants import NULL_TASK_ID
from ._ids import path_key
from ._pending import PendingWrite

Entries = list[tuple[str, Any]]


class _Write(NamedTuple):
    """One write, and when and by which task it was made."""

    step: int
    tid: str
    path: str
    channel: str
    value: Any


class DeltaWrites:
    """The writes of a run to some channels.

    Args:
        channels: the channels.
        loaded: the writes that the first checkpoint came with.
    """

    def __init__(self, channels: Collection[str], loaded: Iterable[PendingWrite]) -> None:
        self._channels: Collection[str] = channels
        self._loaded: set[tuple[str, str]] = {
            (tid, channel) for tid, channel, _ in loaded if tid != NULL_TASK_ID
        }
        self._given: list[tuple[str, Any]] = []
        self._first: int | None = None
        self._writes: list[_Write] = []

    @property
    def channels(self) -> set[str]:
        """The channels that have been written to."""
        return {write.channel for write in self._writes}

    def take_input(self, step: int, writes: Iterable[tuple[str, Any]]) -> None:
        """Note what the run was given."""
        self._writes.extend(
            _Write(step, NULL_TASK_ID, "", channel, value)
            for channel, value in writes
            if channel in self._channels
        )

    def take_command(self, writes: Iterable[tuple[str, Any]]) -> None:
        """Note what a command writes before the first step."""
        self._given.extend(write for write in writes if write[0] in self._channels)

    def take_step(
        self, step: int, pending: Iterable[PendingWrite], paths: Mapping[str, Any]
    ) -> None:
        """Note what the tasks of a step have written.

        Args:
            step: its number.
            pending: all writes that were made for it.
            paths: of its tasks, by their ids.
        """
        is_first = self._first is None
        if is_first:
            self._first = step
            self.take_input(step, self._given)
        for tid, channel, value in pending:
            if channel not in self._channels:
                continue
            if is_first and (tid == NULL_TASK_ID or (tid, channel) in self._loaded):
                continue  # it is stored with the checkpoint
            path = path_key(paths[tid]) if tid in paths else ""
            self._writes.append(_Write(step, tid, path, channel, value))

    def without(self, channels: Collection[str]) -> Sequence[tuple[str, str, Entries]]:
        """The writes to all but some channels: id and path of a task, and what to store for it."""
        found: dict[tuple[str, str], Entries] = {}
        for write in self._writes:
            if write.channel not in channels:
                entries = found.setdefault(self._place(write), [])
                entries.append((write.channel, write.value))
        return [(tid, path, entries) for (tid, path), entries in found.items()]

    def _place(self, write: _Write) -> tuple[str, str]:
        """Under which id and path a write is stored.

        Some savers sort by path and some by id, so both say the order. The writes of the first step
        keep their paths, to be among those that were loaded with the checkpoint; all others come
        after any task of that step. No id is a real task's: a run of which the last checkpoint is
        lost must not leave a task that looks as if it had finished.
        """
        step, tid, path = write.step, write.tid, write.path
        rest = tid[9:] if len(tid) == len(NULL_TASK_ID) else NULL_TASK_ID[9:]
        if tid == NULL_TASK_ID or step == self._first:
            early = f"{max(step, 0):08d}-{rest}"
            return (early if early != NULL_TASK_ID else f"{early[:-1]}1"), path
        return f"ffffffff-{step >> 16:04x}-{step & 0xFFFF:04x}-{rest[10:]}", f"~~{step:010d}{path}"


__all__ = ["DeltaWrites"]
