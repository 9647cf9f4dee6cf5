"""Allocation: which branch does which task, in which order, and with what.

Tasks are sent by priority; of one priority, first the one behind which the longest way lies: what
it is expected to take itself, and what waits for it (the *upward rank* of HEFT: Topcuoglu, Hariri
and Wu, IEEE Transactions on Parallel and Distributed Systems 13(3), 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.brief import Brief, Task
from plait.orchestration.performance import PerformanceTracker
from plait.orchestration.settings import Settings

__all__ = ["Allocation", "QueuedTask", "allocate"]

URGENCY = {"high": 0, "medium": 1, "low": 2}
"""The order of priorities."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class QueuedTask(_Record):
    """A task that is to be done in the next round."""

    task: str
    """The id of the task."""
    branch: str
    """The branch that is to do it."""
    why: str
    """Why this one."""
    depth: Annotated[int, Field(ge=1)] = 1
    """How thoroughly: 1, and one more for each result that was not good enough."""


class Allocation(_Record):
    """A task as it is sent off, and what it is given."""

    task: str
    """The id of the task."""
    branch: str
    """The branch that does it."""
    why: str
    """Why this one."""
    round: Annotated[int, Field(ge=0)]
    """0, or the number of the revision."""
    depth: Annotated[int, Field(ge=1)]
    """How thoroughly."""
    after: tuple[str, ...]
    """The tasks of this round for which it waits."""
    sync_point: str
    """The sync point of the brief at which it meets others; empty for none but the last."""
    size: Annotated[int, Field(ge=0)]
    """Bytes of its sources."""
    expected: Annotated[float, Field(ge=0)]
    """How many seconds it is expected to take."""
    expected_how: str
    """Where that is from."""
    rank: Annotated[float, Field(ge=0)]
    """Seconds of the longest way that begins with it, over what waits for it."""
    places: Annotated[int, Field(ge=1)] = 1
    """Places of its branch's pool that it takes while it is at work."""
    of_places: Annotated[int, Field(ge=1)]
    """How many that pool has."""
    seconds: Annotated[float, Field(gt=0)] | None
    """How long it is given: the shorter of its own deadline and its sync points' timeouts."""


def allocate(
    brief: Brief,
    queue: Sequence[QueuedTask],
    sizes: Mapping[str, int],
    tracker: PerformanceTracker,
    settings: Settings,
    round_: int,
) -> tuple[Allocation, ...]:
    """Allot the tasks of one round, in the order in which they are to be sent.

    Args:
        brief: what the tasks are.
        queue: which of them, and to whom.
        sizes: bytes of sources by task.
        tracker: what is known of how long things take.
        settings: pools and timeouts.
        round_: 0, or the number of the revision.
    """
    tasks = {task.id: task for task in brief.tasks}
    queued = {each.task: each for each in queue}
    expected = {
        name: tracker.expect(name, each.branch, sizes.get(name, 0), tasks[name].complexity)
        for name, each in queued.items()
    }
    ranks = _ranks(
        {name: [other for other in tasks[name].depends_on if other in queued] for name in queued},
        {name: each.seconds for name, each in expected.items()},
    )
    place = {task.id: i for i, task in enumerate(brief.tasks)}
    order = sorted(
        queued, key=lambda name: (URGENCY[tasks[name].priority], -ranks[name], place[name])
    )
    return tuple(
        Allocation(
            task=name,
            branch=queued[name].branch,
            why=queued[name].why,
            round=round_,
            depth=queued[name].depth,
            after=tuple(other for other in tasks[name].depends_on if other in queued),
            sync_point=brief.sync_point_of(name),
            size=sizes.get(name, 0),
            expected=expected[name].seconds,
            expected_how=expected[name].how,
            rank=ranks[name],
            of_places=settings.pool_of(queued[name].branch),
            seconds=_seconds_for(tasks[name], brief, settings),
        )
        for name in order
    )


def _seconds_for(task: Task, brief: Brief, settings: Settings) -> float | None:
    timeouts = [point.timeout for point in brief.sync_points if task.id in point.tasks]
    limits = [task.deadline, brief.join.timeout or settings.deadline, *timeouts]
    return min((limit for limit in limits if limit is not None), default=None)


def _ranks(needs: Mapping[str, Sequence[str]], seconds: Mapping[str, float]) -> Mapping[str, float]:
    """The longest way from each task through those that wait for it, in seconds."""
    waiting: dict[str, list[str]] = {name: [] for name in needs}
    for name, others in needs.items():
        for other in others:
            waiting[other].append(name)
    ranks: dict[str, float] = {}
    for start in needs:
        way = [start]
        while way:
            name = way[-1]
            unknown = [other for other in waiting[name] if other not in ranks]
            if unknown:
                way += unknown
                continue
            behind = max((ranks[other] for other in waiting[name]), default=0.0)
            ranks[name] = seconds[name] + behind
            way.pop()
    return ranks
