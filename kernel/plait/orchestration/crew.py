"""Branches at work: each does its task in a place, is measured, and adapts the limits.

What is kept here is of this process, and only makes the work go better: a run that goes on in
another process begins with what its thread says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from plait import NodeContext
from plait.errors import shorten
from plait.orchestration.allocation import Allocation
from plait.orchestration.brief import Task
from plait.orchestration.concurrency import AdaptiveLimit
from plait.orchestration.errors import DeadlineError, SpecialistError, is_overload, name_of_error
from plait.orchestration.performance import BranchRecord, PerformanceTracker, wall_time
from plait.orchestration.places import Place, Places, Pools
from plait.orchestration.resources import memory_of_process
from plait.orchestration.results import BranchResult
from plait.orchestration.settings import Settings
from plait.orchestration.specialists import Specialist, Work
from plait.orchestration.state import (
    CompletedBranch,
    TimelineEntry,
    WorkflowState,
    current_results,
)

__all__ = ["Began", "Crew", "Run", "key_of"]

_MOST_RUNS = 1_000
"""Runs of which something is remembered: those that failed are never taken back by anybody."""


@dataclass(frozen=True, slots=True)
class Began:
    """In a stream: a task has its place, and is worked on."""

    task: str
    """The id of the task."""
    branch: str
    """The branch that does it."""
    at: float
    """When, in seconds since the epoch."""
    queued: float
    """Seconds that it waited for its place."""


@dataclass(slots=True)
class Run:
    """What this process knows of one run."""

    places: Places
    """Where its branches work."""
    tracker: PerformanceTracker
    """What is known of the branches."""
    ready: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each task of each round could begin, in seconds since the epoch."""
    began: dict[tuple[str, int], float] = field(default_factory=dict)
    """When its last attempt began."""
    overloads: int = 0
    """How often a limit was made smaller."""


class Crew:
    """The branches of an orchestrator, over all of its runs.

    Args:
        settings: pools, and how limits adapt.
        specialists: who does the tasks of each branch.
    """

    def __init__(self, settings: Settings, specialists: Mapping[str, Specialist]) -> None:
        self.settings: Settings = settings
        self.specialists: Mapping[str, Specialist] = specialists
        self.pools: Pools = Pools({branch: settings.pool_of(branch) for branch in specialists})
        self._runs: OrderedDict[str, Run] = OrderedDict()

    def run_of(self, thread_id: str, state: WorkflowState) -> Run:
        """What is known of a run; at first, what its state says."""
        run = self._runs.get(thread_id)
        if run is None:
            run = self._runs[thread_id] = self._begin(state)
            while len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
        return run

    def forget(self, thread_id: str) -> None:
        """Forget a run, which is over."""
        self._runs.pop(thread_id, None)

    def free_places(self) -> dict[str, int]:
        """The free places of each pool."""
        return {branch: pool.free for branch, pool in self.pools.pools.items()}

    async def work(self, branch: str, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """The body of a branch's node: do the task that it was sent for.

        Raises what the specialist raises, and `DeadlineError`.
        """
        assert ctx.id is not None, "every task is sent by its id"
        run = self.run_of(ctx.thread_id, state)
        allocation = state.allocations[ctx.id]
        task = next(task for task in state.brief.tasks if task.id == ctx.id)
        key = task.id, allocation.round
        run.ready.setdefault(key, wall_time())
        work = Work(
            task=task,
            folder=Path(state.folder),
            branch=branch,
            before=tuple(
                result
                for result in current_results(state.results)
                if result.task in task.depends_on
            ),
            round=allocation.round,
            depth=allocation.depth,
            attempt=ctx.attempt,
            idempotency_key=ctx.idempotency_key,
        )
        try:
            async with run.places.place(branch) as place:
                return await self._work(run, place, work, allocation, ctx)
        except Exception as error:
            if is_overload(error):
                await run.places.rest(branch, getattr(error, "retry_after", None) or 0.0)
            raise

    async def _work(
        self, run: Run, place: Place, work: Work, allocation: Allocation, ctx: NodeContext
    ) -> dict[str, Any]:
        key = work.task.id, work.round
        began = run.began[key] = wall_time()
        await ctx.emit(Began(work.task.id, work.branch, began, began - run.ready[key]))
        try:
            result = await self._result_of(work)
        except Exception as error:
            run.tracker.note(self._record(run, work, allocation, began, error=error))
            if is_overload(error):
                run.overloads += run.places.refused(place)
            raise
        record = self._record(run, work, allocation, began, result=result)
        if self._was_slow(run, work.task, record):
            run.overloads += run.places.slow(place)
        else:
            run.places.succeeded(place)
        run.tracker.note(record)
        assert record.ended is not None, "it is done"
        entry: dict[str, Any] = {
            "subject": work.task.id,
            "branch": work.branch,
            "round": work.round,
        }
        return {
            "results": [result],
            "branch_performance": {key_of(*key): record},
            "completed_branches": [
                CompletedBranch(task=work.task.id, branch=work.branch, round=work.round)
            ],
            "execution_timeline": [
                TimelineEntry(at=began, what="began", **entry),
                TimelineEntry(at=record.ended, what="ended", **entry),
            ],
        }

    async def _result_of(self, work: Work) -> BranchResult:
        """What the specialist gives, within the deadline of the task."""
        with anyio.move_on_after(work.task.deadline):
            result: Any = await self.specialists[work.branch](work)
            if not isinstance(result, BranchResult) or result.task != work.task.id:
                raise SpecialistError(
                    f"the specialist of {work.branch!r} gave {shorten(result)}, and the "
                    f"BranchResult of task {work.task.id!r} is wanted"
                )
            done: BranchResult = result.model_copy(
                update={"branch": work.branch, "round": work.round}
            )
            return done
        raise DeadlineError(work.task.deadline or 0.0)

    def _record(
        self,
        run: Run,
        work: Work,
        allocation: Allocation,
        began: float,
        *,
        result: BranchResult | None = None,
        error: Exception | None = None,
    ) -> BranchRecord:
        found = 0 if result is None else len(result.findings) + len(result.measures)
        return BranchRecord(
            task=work.task.id,
            branch=work.branch,
            round=work.round,
            status="arrived" if result is not None else "failed",
            ready=run.ready[work.task.id, work.round],
            began=began,
            ended=wall_time(),
            attempts=work.attempt,
            size=allocation.size,
            results=found,
            quality=None if result is None else result.quality,
            cpu_seconds=work.meter.cpu_seconds,
            memory=memory_of_process(),
            error="" if error is None else f"{name_of_error(error)}: {error}",
        )

    def _was_slow(self, run: Run, task: Task, record: BranchRecord) -> bool:
        """Whether it took so much longer than was to be expected that something is overloaded."""
        settings, seconds = self.settings.adaption, record.seconds or 0.0
        if run.tracker.of(record.branch).runs < settings.warm_up or seconds < settings.least:
            return False
        expected = run.tracker.expect(task.id, record.branch, record.size, task.complexity)
        return seconds > settings.slow * max(expected.seconds, settings.least)

    def _begin(self, state: WorkflowState) -> Run:
        mode = state.workflow_mode
        first, most = (mode.width, mode.most) if mode is not None else (1, 1)
        known = state.load_balancing_metrics
        if known is not None:
            first = min(most, known.width)
        adaption = self.settings.adaption
        return Run(
            places=Places(self.pools, AdaptiveLimit(first, most, adaption), adaption),
            tracker=PerformanceTracker(
                (*state.history, *state.branch_performance.values()),
                bytes_per_second=self.settings.bytes_per_second,
            ),
        )


def key_of(name: str, round_: int) -> str:
    """`NAME#ROUND`: the key of a record of one round."""
    return f"{name}#{round_}"
