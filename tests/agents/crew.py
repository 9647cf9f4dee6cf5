"""Agents for tests: each does what its name says, and real time is not involved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio

from plait.agents import (
    AgentContext,
    AgentFactory,
    AgentResources,
    AgentResult,
    AgentSpecification,
    AgentTask,
    ResourcePool,
    TaskRequirements,
)
from plait.testing import VirtualClock

T = TypeVar("T")


class Worker:
    """Takes `seconds`, then gives back its payload; `quality` by iteration, the last one lasting.

    `fails` is how often it raises before it succeeds. All come with the context.
    """

    closed = 0

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        self.specification = specification
        self.resources = resources
        self.given: Mapping[str, Any] = resources.context or {}
        self.calls: list[AgentContext] = []
        self.now = self.peak = 0

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        self.calls.append(context)
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await anyio.sleep(self.given.get("seconds", 0))
        finally:
            self.now -= 1
        if len(self.calls) <= self.given.get("fails", 0):
            raise self.given.get("error", ConnectionError("no answer"))
        qualities = self.given.get("quality", [1.0])
        quality = qualities[min(context.iteration, len(qualities)) - 1]
        return AgentResult(
            content=task.payload, quality=quality, how="as told", tokens=10, cost=0.5
        )

    async def close(self) -> None:
        self.closed += 1


def factory(pool: ResourcePool | None = None, **options: Any) -> AgentFactory:
    """A factory of workers that can do research; the options are those of their template."""
    made = AgentFactory(pool)
    made.register_agent_template("worker", Worker, {"research"}, **options)
    return made


RESEARCH = TaskRequirements(capabilities=frozenset({"research"}))


def task(name: str = "t", payload: Any = None, **options: Any) -> AgentTask:
    """A task that asks for research."""
    return AgentTask(id=name, requirements=RESEARCH, payload=payload, **options)


def run(body: Callable[[], Awaitable[T]]) -> tuple[T, float]:
    """What a body returns in virtual time, and how many seconds it took."""
    clock = VirtualClock()

    async def main() -> T:
        return await body()

    return clock.run(main()), clock.now
