"""Who wrote what: the writes to one channel of a thread, and what became of each.

A replay of the journal says so, by itself: what is in the state is in the deltas of the tree, and
what is not was named by a sync point or failed. A pure function; nothing is noted while running.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from .commands import Command, Finish, Notify
from .events import (
    BranchPath,
    ChannelName,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeName,
    RunStarted,
    StateUpdated,
    SyncPointOpened,
)
from .machine import INPUT, Machine
from .state import NodeWrites, Overwrite

__all__ = ["Blame", "Blamer", "Fate"]

Fate: TypeAlias = Literal["kept", "overwritten", "late", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Blame:
    """One write to a channel, and what became of it."""

    position: int
    """The position in the journal at which it was written, from 1."""
    node: NodeName
    """Which node wrote it, or in whose name an update did."""
    branch: BranchPath
    """In which branch; empty for an update of a finished thread."""
    attempt: int
    """In which attempt at the node, from 1; 0 for an input and an update."""
    value: Any
    """What was written, as its reducer was given it."""
    fate: Fate
    """``"kept"``: it is part of the channel's value (or was left out by its reducer alone);
    ``"overwritten"``: it was, until a later write replaced the value; ``"late"``, ``"cancelled"``,
    ``"failed"``: it was dropped with its branch, which came too late, was cancelled, or failed
    (or the run failed in the merge)."""


class _Fall:
    """A branch that was left behind, at a position: what it wrote may be void."""

    __slots__ = ("branch", "fate", "position")

    def __init__(self, position: int, branch: BranchPath, fate: Fate) -> None:
        self.position: Final = position
        self.branch: Final = branch
        self.fate: Final[Fate] = fate


class Blamer:
    """Watches a replay by a machine that keeps its delta, and says who wrote to one channel.

    Args:
        channel: the channel.
        exclusive: whether it has no reducer.
        start: the position behind which the replay begins.
    """

    def __init__(self, channel: ChannelName, *, exclusive: bool, start: int) -> None:
        self._channel = channel
        self._exclusive = exclusive
        self._start = start
        self._events: list[JournalEvent] = []
        self._kept: list[NodeWrites] = []  # in the order in which they are folded
        self._falls: list[_Fall] = []

    def note(self, machine: Machine, event: JournalEvent, commands: Sequence[Command]) -> None:
        """Take in an event that the machine has handled."""
        self._events.append(event)
        position = self._start + len(self._events)
        told = [command.event for command in commands if isinstance(command, Notify)]
        self._falls += _falls(position, event, told)
        if any(isinstance(command, Finish) for command in commands):
            self._kept += machine.delta
        elif isinstance(event, StateUpdated) and not event.branch:
            self._kept.append(NodeWrites(event.node, event.writes))

    def result(self, machine: Machine) -> tuple[Blame, ...]:
        """All writes to the channel in the events that were seen, oldest first."""
        channel = self._channel
        kept = [*self._kept, *machine.delta_so_far()]
        # A pair of channel and value is the same object wherever its write has gone.
        parts = [pair for entry in kept for pair in entry.writes if pair[0] == channel]
        replaced = _replaced(parts, exclusive=self._exclusive)
        fates: dict[int, Fate] = {
            id(pair): "overwritten" if place < replaced else "kept"
            for place, pair in enumerate(parts)
        }
        return tuple(
            [
                Blame(
                    position,
                    INPUT if isinstance(event, RunStarted) else event.node,
                    event.branch,
                    event.attempt if isinstance(event, NodeCompleted) else 0,
                    pair[1],
                    fates.get(id(pair)) or _why_dropped(position, event.branch, self._falls),
                )
                for position, event in enumerate(self._events, self._start + 1)
                if isinstance(event, (RunStarted, NodeCompleted, StateUpdated))
                for pair in event.writes
                if pair[0] == channel
            ]
        )


def _falls(position: int, event: JournalEvent, told: Iterable[Any]) -> Iterator[_Fall]:
    if isinstance(event, NodeFailed) and event.handling == "record":
        yield _Fall(position, event.branch, "failed")
    for each in told:
        if isinstance(each, SyncPointOpened):
            fates: tuple[tuple[Fate, Any], ...] = (
                ("failed", each.outcome.failed),
                ("late", each.outcome.late),
                ("cancelled", each.outcome.cancelled),
            )
            for fate, participants in fates:
                for participant in participants:
                    yield _Fall(position, participant.branch, fate)


def _replaced(parts: Sequence[tuple[ChannelName, Any]], *, exclusive: bool) -> int:
    """How many of the first writes the later ones have replaced."""
    if exclusive:
        return max(0, len(parts) - 1)
    last = [place for place, (_, value) in enumerate(parts) if type(value) is Overwrite]
    return last[-1] if last else 0


def _why_dropped(position: int, branch: BranchPath, falls: Sequence[_Fall]) -> Fate:
    """What was said of a branch, or one above it, first after it wrote, else last before that."""
    own = [fall for fall in falls if branch[: len(fall.branch)] == fall.branch]
    after = [fall for fall in own if fall.position >= position]
    if not own:  # it was being merged when the run failed of a conflict
        return "failed"
    return after[0].fate if after else own[-1].fate
