"""The critical path: what a run's time was spent on, from its start to its last event.

It is the chain of causes behind the last event (`Flow.trace`), so its segments lie end to end: they
add up to the makespan, and each follows from the one before it. A branch that is not on it could
have taken longer without delaying the run, up to what its sync point waited for others.
(The method is that of Kelley and Walker, "Critical-path planning and scheduling", 1959, applied to
what has happened in place of what is planned.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from plait.events import (
    BranchPath,
    GraphAdopted,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeRetried,
    QuorumJudged,
    Routed,
    RunStarted,
    StateUpdated,
    TimerFired,
)
from plait.trace import Step

__all__ = ["Segment", "SegmentKind", "critical_path", "last_run", "times_of"]

Seconds: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Seconds, 0 or more; on a timeline they are counted from the start of the run."""

SegmentKind: TypeAlias = Literal[
    "node", "attempt", "queue", "pause", "person", "grace", "deadline", "routing"
]
"""What time was spent on: a call that returned or failed (`node`), an attempt that did not
(`attempt`), waiting for a free place (`queue`), the pause before another attempt (`pause`), a
person's answer (`person`), a sync point's grace time or deadline, a router or a quorum that was
asked (`routing`)."""


class Segment(BaseModel):
    """A stretch of the critical path."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    kind: SegmentKind
    """What the time was spent on."""
    name: str
    """The node, or the sync point whose timer ran."""
    branch: str
    """The branch, as `labels` names it."""
    start: Seconds
    """When it began, in seconds from the start of the run."""
    end: Seconds
    """When it ended: where the next one begins."""
    cause: int
    """The position in the journal of the event that it followed from."""
    effect: int
    """The position in the journal of the event that ended it."""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.start


def last_run(steps: Sequence[Step]) -> Sequence[Step]:
    """The steps of the last run of a thread."""
    for place in range(len(steps) - 1, -1, -1):
        if isinstance(steps[place].event, RunStarted):
            return steps[place:]
    return steps


def times_of(steps: Sequence[Step]) -> dict[int, float]:
    """When each step was, in seconds from the first, by its position.

    A clock that was set back between two events would have an effect before its cause; the effect
    then counts as simultaneous.
    """
    times: dict[int, float] = {}
    zero = steps[0].event.at if steps else 0.0
    for step in steps:
        at = max(0.0, step.event.at - zero)
        times[step.position] = max(at, times.get(step.cause or 0, 0.0))
    return times


def critical_path(
    steps: Sequence[Step],
    labels: Mapping[BranchPath, str] | None = None,
    begun: Mapping[int, float] | None = None,
) -> tuple[Segment, ...]:
    """The critical path of the last run of a thread, in the order of time.

    Args:
        steps: what `Flow.trace` gives.
        labels: what to call branches; one without a label is called after its nearest parent
            that has one, else `run`.
        begun: for steps in which a node ended that waited for a place itself, by their positions:
            when its work began, in seconds from the first step.

    Returns:
        Segments from the start of the run to its last event, without a gap. Where the beginning was
        pruned, they begin with what is left.
    """
    steps = last_run(steps)
    times = times_of(steps)
    by_position = {step.position: step for step in steps}
    chain: list[Step] = []
    step = next((s for s in reversed(steps) if not isinstance(s.event, _OUTSIDE)), None)
    while step is not None:
        chain.append(step)
        step = by_position.get(step.cause) if step.cause is not None else None
    chain.reverse()
    found: list[Segment] = []
    for before, after in pairwise(chain):
        found += _between(before, after, times, labels or {}, (begun or {}).get(after.position))
    return tuple(found)


_OUTSIDE = (StateUpdated, GraphAdopted)


def _between(
    before: Step,
    after: Step,
    times: Mapping[int, float],
    labels: Mapping[BranchPath, str],
    begun: float | None,
) -> list[Segment]:
    start, end = times[before.position], times[after.position]
    event = after.event
    called = start
    cuts: list[tuple[SegmentKind, float, float]] = []
    if isinstance(before.event, NodeRetried):
        called = min(end, start + before.event.delay)
        cuts.append(("pause", start, called))
    began = called if begun is None else begun
    if isinstance(event, NodeCompleted):
        # `started` and `at` are of one clock; what lies before is the wait for a free place.
        began = max(began, end - (event.at - event.started))
    began = min(end, max(called, began))
    cuts.append(("queue", called, began))
    cuts.append((_kind_of(event), began, end))
    branch, name = _place_of(event, before)
    return [
        Segment(
            kind=kind,
            name=name,
            branch=label_of(branch, labels),
            start=low,
            end=high,
            cause=before.position,
            effect=after.position,
        )
        for kind, low, high in cuts
        if high > low or kind == "node"
    ]


def _kind_of(event: JournalEvent) -> SegmentKind:
    match event:
        case NodeCompleted() | NodeFailed() | NodeInterrupted():
            return "node"
        case NodeRetried():
            return "attempt"
        case InterruptsAnswered():
            return "person"
        case TimerFired(timer=timer):
            return timer.kind
        case _:
            return "routing"


def _place_of(event: JournalEvent, before: Step) -> tuple[BranchPath, str]:
    match event:
        case TimerFired(timer=timer):
            return timer.branch, timer.sync_point
        case QuorumJudged(branch=branch, sync_point=name):
            return branch, name
        case InterruptsAnswered():
            return _place_of(before.event, before)
        case NodeCompleted() | NodeFailed() | NodeInterrupted() | NodeRetried() | Routed():
            return event.branch, event.node
        case _:
            return (), ""


def label_of(branch: BranchPath, labels: Mapping[BranchPath, str]) -> str:
    """What to call a branch: its label, or that of its nearest parent."""
    for length in range(len(branch), 0, -1):
        if name := labels.get(branch[:length]):
            return name
    return "run"
