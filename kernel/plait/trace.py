"""What followed from what: for each event of a thread, the one without which it had not come then.

The machine says so, by itself: an event that lets a node be called, a timer start or a router be
asked is the cause of the event that reports it. A pure function of the journal; nothing is noted
while running. The chain of causes behind the last event is the critical path of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from .commands import (
    CancelBranch,
    Command,
    JudgeQuorum,
    Notify,
    RouteBranch,
    RunNode,
    StartTimer,
)
from .events import (
    BranchForked,
    BranchPath,
    InterruptId,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeName,
    NodeRetried,
    QuorumJudged,
    Routed,
    SyncPointOpened,
    TimerFired,
    TimerKey,
)
from .machine import Machine

__all__ = ["Step", "Tracer"]


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a journal, what it followed from, and what it let follow."""

    position: int
    """Its position in the journal, from 1."""
    event: JournalEvent
    cause: int | None
    """The position of the event without which it had not come at that time: the completion that let
    its node be called, what started its timer, what asked the question that it answers. It is below
    this position; ``None`` for what came from outside (a run that began, an update), and where
    the cause was pruned."""
    calls: tuple[tuple[BranchPath, NodeName], ...] = ()
    """The nodes that could be called from then on, each with its branch."""
    cancels: tuple[BranchPath, ...] = ()
    """The branches that were at work until then, and were cancelled."""
    told: tuple[BranchForked | SyncPointOpened, ...] = ()
    """The forks and openings of sync points that the event brought about."""


_Judged: TypeAlias = tuple[BranchPath, int, NodeName, int]
"""A quorum that was asked: owner, generation, sync point, and of how many arrivals."""


class Tracer:
    """Watches a replay, and says what followed from what.

    Args:
        start: the position behind which the replay begins.
    """

    def __init__(self, start: int) -> None:
        self._position = start
        self._at_branch: Final[dict[BranchPath, int]] = {}
        self._at_timer: Final[dict[TimerKey, int]] = {}
        self._at_judge: Final[dict[_Judged, int]] = {}
        self._asked: Final[dict[InterruptId, int]] = {}
        self.steps: Final[list[Step]] = []
        """What was seen so far, in order."""

    def note(self, machine: Machine, event: JournalEvent, commands: Sequence[Command]) -> None:
        """Take in an event that the machine has handled."""
        self._position += 1
        cause = self._cause_of(event)
        for command in commands:
            match command:
                case RunNode(branch=branch) | RouteBranch(branch=branch):
                    self._at_branch[branch] = self._position
                case StartTimer(timer=timer):
                    self._at_timer[timer] = self._position
                case JudgeQuorum(branch, generation, name, arrivals):
                    # Several may be asked of one sync point before the first has answered, and one
                    # of them again; the first time is when the answer could come.
                    asked = branch, generation, name, len(arrivals)
                    self._at_judge.setdefault(asked, self._position)
                case _:
                    pass
        if isinstance(event, NodeRetried):
            self._at_branch[event.branch] = self._position
        elif isinstance(event, (NodeInterrupted, NodeCompleted)):
            self._asked.update((each.id, self._position) for each in event.interrupts)
        self.steps.append(
            Step(
                self._position,
                event,
                cause,
                tuple([(c.branch, c.node) for c in commands if isinstance(c, RunNode)]),
                tuple([c.branch for c in commands if isinstance(c, CancelBranch)]),
                tuple([c.event for c in commands if isinstance(c, Notify)]),
            )
        )

    def _cause_of(self, event: JournalEvent) -> int | None:
        match event:
            case (
                NodeCompleted(branch=branch)
                | NodeRetried(branch=branch)
                | NodeFailed(branch=branch)
                | NodeInterrupted(branch=branch)
                | Routed(branch=branch)
            ):
                return self._at_branch.get(branch)
            case TimerFired(timer=timer):
                return self._at_timer.get(timer)
            case QuorumJudged(_, branch, generation, name, arrivals):
                return self._at_judge.get((branch, generation, name, arrivals))
            case InterruptsAnswered(answers=answers):
                # It could not come before the last of the questions that it answers.
                asked = [self._asked[name] for name, _ in answers if name in self._asked]
                return max(asked, default=None)
            case _:
                return None
