"""An agent at work: held to its specification, measured, and retired.

What the specification says is seen to here, around whatever the agent's class does: places, time
limits, repeated attempts, thresholds, resources, and the records that the next selection of an
agent goes by.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import anyio

from plait import Retry
from plait.agents.agent import Agent, AgentContext, AgentResult, AgentTask
from plait.agents.errors import (
    AgentError,
    AgentOverloadedError,
    AgentQualityError,
    AgentTimeoutError,
    AgentUnfitError,
    ReservationDeadlock,
    ResourceUnavailableError,
)
from plait.agents.performance import Performance, TaskRecord
from plait.agents.pool import Reservation, ResourcePool
from plait.agents.selection import Selection
from plait.agents.specification import AgentSpecification

__all__ = ["MonitoredAgent"]

_CLOSING = 5.0
"""Seconds that an agent's `close` may take; what it holds is given back in any case."""


@dataclass(slots=True)
class _Tally:
    """What one task has taken so far."""

    began: float
    queued: float
    waited: float = 0.0
    attempts: int = 0
    iterations: int = 0
    tokens: int = 0
    cost: float = 0.0
    failures: list[str] = field(default_factory=list)


class MonitoredAgent:
    """One agent and all that it is held to. Made by `AgentFactory`; retired by leaving its block.

    ::

        async with await factory.generate_agent_for_task(requirements) as agent:
            result = await agent.run(task)

    Attributes:
        id: names this agent, and no other one ever.
        specification: what it is held to.
        agent: what its class made.
        selection: why its type was chosen; ``None`` for one that was asked for by type.
        records: its latest tasks, as many as its specification keeps.
        performance: its own record.
    """

    def __init__(
        self,
        id_: str,
        specification: AgentSpecification,
        agent: Agent,
        *,
        retry: Retry | None = None,
        pool: ResourcePool | None = None,
        reservation: Reservation | None = None,
        selection: Selection | None = None,
        on_record: Callable[[TaskRecord], None] | None = None,
        on_retired: Callable[[MonitoredAgent], None] | None = None,
    ) -> None:
        self.id = id_
        self.specification = specification
        self.agent = agent
        self.selection = selection
        self.records: deque[TaskRecord] = deque(maxlen=specification.monitoring.keep)
        self.performance: Performance = Performance()
        self._retry = replace(retry or Retry(), attempts=specification.retry_attempts)
        self._pool = pool
        self._reservation = reservation
        self._places = anyio.CapacityLimiter(specification.max_concurrent_tasks)
        self._on_record = on_record
        self._on_retired = on_retired
        self._at_work = 0
        self._retired = False
        self._closed = False

    # -- at work ------------------------------------------------------------------------------

    async def run(self, task: AgentTask, context: AgentContext | None = None) -> AgentResult:
        """Carry out a task, as often as it takes and the specification allows.

        Returns:
            The best result, with the tokens and dollars of all calls that gave one.

        Raises:
            AgentUnfitError: its success rate has fallen below its target; nothing was done.
            AgentTimeoutError: the last attempt took too long.
            AgentQualityError: no iteration reached the least quality that is accepted.
            ResourceUnavailableError: the pool will never have what a call takes.
            AgentError: it is retired; or what its class returned is no result.
            and what the agent raised in the last attempt.
        """
        if self._retired:
            raise AgentError(f"agent {self.id!r} is retired: ask the factory for another one")
        self._check_fitness()
        arrived = anyio.current_time()
        self._at_work += 1
        place = object()
        try:
            await self._places.acquire_on_behalf_of(place)
            try:
                now = anyio.current_time()
                return await self._carry_out(
                    task, context or AgentContext(), _Tally(now, now - arrived)
                )
            finally:
                self._places.release_on_behalf_of(place)
        finally:
            self._at_work -= 1
            await self._close_when_over()

    def _check_fitness(self) -> None:
        targets, own = self.specification.performance_targets, self.performance
        if own.tasks >= targets.after_tasks and own.success_rate < targets.success_rate:
            raise AgentUnfitError(self.id, own.success_rate, targets.success_rate, own.tasks)

    async def _carry_out(
        self, task: AgentTask, context: AgentContext, tally: _Tally
    ) -> AgentResult:
        try:
            result = await self._attempts(task, context, tally)
        except Exception:
            self._record(task, "failed", tally, None)
            raise
        except BaseException:
            self._record(task, "cancelled", tally, None)
            raise
        self._record(task, "done", tally, result)
        return result

    async def _attempts(self, task: AgentTask, context: AgentContext, tally: _Tally) -> AgentResult:
        while True:
            tally.attempts += 1
            try:
                return await self._attempt(task, context, tally)
            except Exception as error:
                tally.failures.append(f"{type(error).__name__}: {error}")
                if tally.attempts >= self._retry.attempts or not self._repeats(error):
                    raise
                delay = self._retry.delay(tally.attempts, random.random)
                if isinstance(error, AgentOverloadedError):
                    delay = max(delay, error.retry_after or 0.0)
            await anyio.sleep(delay)

    def _repeats(self, error: Exception) -> bool:
        if isinstance(error, ReservationDeadlock):
            return True  # others give back what they hold meanwhile
        if isinstance(error, (AgentQualityError, ResourceUnavailableError)):
            return False  # the iterations are used up; the pool will never have it
        return self._retry.repeats(error)

    async def _attempt(self, task: AgentTask, context: AgentContext, tally: _Tally) -> AgentResult:
        """One attempt: iterations, until the result is as good as is aimed at."""
        aims = self.specification.specialization
        left = self.specification.timeout_seconds
        best: AgentResult | None = None
        previous: AgentResult | None = None
        for iteration in range(1, aims.iteration_limit + 1):
            call = replace(
                context,
                agent_id=self.id,
                attempt=tally.attempts,
                iteration=iteration,
                previous=previous,
            )
            try:
                result, seconds = await self._call(task, call, left, tally)
            except Exception as error:
                if best is None or best.quality < self.specification.quality_thresholds.accept:
                    raise
                tally.failures.append(f"{type(error).__name__}: {error}")
                failed = f"Iteration {iteration} failed: {type(error).__name__}: {error}"
                best = best.model_copy(update={"notes": (*best.notes, failed)})
                break
            left -= seconds
            if best is None or result.quality > best.quality:
                best = result
            previous = result
            if best.quality >= aims.quality_threshold or self._is_late(tally):
                break
        assert best is not None, "there is at least one iteration"
        return self._accepted(task, best, tally)

    async def _call(
        self, task: AgentTask, context: AgentContext, limit: float, tally: _Tally
    ) -> tuple[AgentResult, float]:
        """Call the agent once. Returns what it gave, and how many seconds it took."""
        needed = self.specification.resource_requirements.per_call
        if self._pool is None or not needed:
            return await self._call_within(task, context, limit, tally)
        asked = anyio.current_time()
        async with self._pool.reserve(needed, within=self._reservation) as reservation:
            tally.waited += anyio.current_time() - asked
            return await self._call_within(
                task, replace(context, reservation=reservation), limit, tally
            )

    async def _call_within(
        self, task: AgentTask, context: AgentContext, limit: float, tally: _Tally
    ) -> tuple[AgentResult, float]:
        began = anyio.current_time()
        result: Any = None
        with anyio.move_on_after(max(0.0, limit)) as scope:
            if self._reservation is None or context.reservation is not None:
                result = await self.agent.run(task, context)
            else:
                with self._reservation.inside():
                    result = await self.agent.run(task, context)
        if scope.cancelled_caught:
            raise AgentTimeoutError(self.id, task.id, self.specification.timeout_seconds)
        if not isinstance(result, AgentResult):
            raise AgentError(
                f"agent {self.id!r} returned {type(result).__name__} for task {task.id!r}; "
                "expected an AgentResult"
            )
        tally.iterations += 1
        tally.tokens += result.tokens
        tally.cost += result.cost
        return result, anyio.current_time() - began

    def _accepted(self, task: AgentTask, best: AgentResult, tally: _Tally) -> AgentResult:
        thresholds = self.specification.quality_thresholds
        if best.quality < thresholds.accept:
            raise AgentQualityError(self.id, task.id, best.quality, thresholds.accept, best.how)
        notes = best.notes
        if best.quality < thresholds.warn:
            below = f"Its quality is {best.quality:.2f}; below {thresholds.warn:.2f}, this is said."
            notes = (*notes, below)
        return best.model_copy(update={"notes": notes, "tokens": tally.tokens, "cost": tally.cost})

    def _is_late(self, tally: _Tally) -> bool:
        target = self.specification.specialization.response_time_target
        return target is not None and anyio.current_time() - tally.began > target

    def _record(
        self, task: AgentTask, outcome: Any, tally: _Tally, result: AgentResult | None
    ) -> None:
        monitoring = self.specification.monitoring
        if not monitoring.enabled:
            return
        target = self.specification.specialization.response_time_target
        record = TaskRecord(
            task=task.id,
            agent=self.id,
            type=self.specification.type,
            outcome=outcome,
            seconds=anyio.current_time() - tally.began,
            waited=tally.waited,
            queued=tally.queued,
            attempts=tally.attempts,
            iterations=tally.iterations,
            failures=tuple(tally.failures),
            quality=None if result is None else result.quality,
            tokens=tally.tokens,
            cost=tally.cost,
            on_time=None if target is None else not self._is_late(tally),
        )
        self.records.append(record)
        self.performance = self.performance.then(Performance.of(record, monitoring.smoothing))
        if self._on_record is not None:
            self._on_record(record)

    # -- retirement ---------------------------------------------------------------------------

    async def retire(self) -> None:
        """Give it nothing more to do, and give back what it holds: at once, or when the tasks at
        which it is have ended. A second time does nothing."""
        self._retired = True
        await self._close_when_over()

    async def _close_when_over(self) -> None:
        if not self._retired or self._at_work or self._closed:
            return
        self._closed = True
        try:
            close = getattr(self.agent, "close", None)
            if close is not None:
                with anyio.move_on_after(_CLOSING, shield=True):
                    await close()
        finally:
            if self._reservation is not None:
                self._reservation.release()
            if self._on_retired is not None:
                self._on_retired(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.retire()

    def __repr__(self) -> str:
        return f"<MonitoredAgent {self.id}{', retired' if self._retired else ''}>"
