"""How well the agents of a type have done, and how that survives in a store.

Averages are exponentially weighted, and kept as decayed sums: those of two stretches of work one
after the other combine into those of both, in an operation that is associative. So a channel of
``dict[str, Performance]`` with the reducer ``merge_performance`` keeps the history of branches,
runs and threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from plait import END, START, Flow, Graph, MemoryStore, Store, ThreadNotFound, reducers
from plait.agents.specialization import Share

__all__ = ["Performance", "PerformanceThread", "TaskRecord", "merge_performance"]

_Seconds = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class TaskRecord(_Record):
    """What it took an agent to do one task."""

    task: str
    """The task's id."""
    agent: str
    """The agent's id."""
    type: str
    """The type of its template."""
    outcome: Literal["done", "failed", "cancelled"]
    """``cancelled`` is no fault of the agent, and does not count in its averages."""
    seconds: _Seconds
    """From when the agent had a place for the task to its end."""
    waited: _Seconds = 0.0
    """Seconds of these that went by waiting for the pool."""
    queued: _Seconds = 0.0
    """Seconds before these in which the agent had no place for the task."""
    attempts: _Count = 1
    """How many attempts there were."""
    iterations: _Count = 0
    """How many results the agent gave, over all attempts."""
    failures: tuple[str, ...] = ()
    """Why attempts failed, in order: the type of each error and what it said."""
    quality: Share | None = None
    """The quality of the result; ``None`` if there is none."""
    tokens: _Count = 0
    """Tokens over all attempts that gave a result."""
    cost: Annotated[float, Field(ge=0)] = 0.0
    """Dollars over all attempts that gave a result."""
    on_time: bool | None = None
    """Whether it was done within the response time target; ``None`` without one."""


class Performance(_Record):
    """The record of a type of agent: totals, and averages in which the newest counts most."""

    tasks: _Count = 0
    """Tasks that were done or failed."""
    failures: _Count = 0
    """Those of them that failed."""
    retries: _Count = 0
    """Attempts beyond the first of each task."""
    tokens: _Count = 0
    """Tokens in all."""
    cost: Annotated[float, Field(ge=0)] = 0.0
    """Dollars in all."""
    decay: Share = 1.0
    """What is left of the weight of whatever came before all this."""
    weight: Annotated[float, Field(ge=0)] = 0.0
    """The sum of the weights of the tasks; the newest has 1."""
    successes: Annotated[float, Field(ge=0)] = 0.0
    """The sum of the weights of those that were done."""
    seconds: _Seconds = 0.0
    """The weighted sum of their seconds, those of failures too."""
    quality: Annotated[float, Field(ge=0)] = 0.0
    """The weighted sum of the qualities of those that were done."""

    @classmethod
    def of(cls, record: TaskRecord, smoothing: float) -> Performance:
        """The record of a single task.

        Args:
            smoothing: the weight of the newest task in an average, above 0 and below 1.
        """
        if record.outcome == "cancelled":
            return cls()
        done = record.outcome == "done"
        return cls(
            tasks=1,
            failures=0 if done else 1,
            retries=max(0, record.attempts - 1),
            tokens=record.tokens,
            cost=record.cost,
            decay=1 - smoothing,
            weight=1.0,
            successes=1.0 if done else 0.0,
            seconds=record.seconds,
            quality=record.quality or 0.0,
        )

    def then(self, later: Performance) -> Performance:
        """The record of this and of what came after it."""
        fade = later.decay
        return Performance(
            tasks=self.tasks + later.tasks,
            failures=self.failures + later.failures,
            retries=self.retries + later.retries,
            tokens=self.tokens + later.tokens,
            cost=self.cost + later.cost,
            decay=self.decay * fade,
            weight=self.weight * fade + later.weight,
            successes=self.successes * fade + later.successes,
            seconds=self.seconds * fade + later.seconds,
            quality=self.quality * fade + later.quality,
        )

    @property
    def success_rate(self) -> float:
        """The weighted share of tasks that were done, 0 to 1.

        One success is supposed before the first task, and its weight decays like any other's. So
        what was never tried has the rate 1, and is tried.
        """
        return min(1.0, (self.successes + self.decay) / (self.weight + self.decay))

    @property
    def mean_seconds(self) -> float | None:
        """The weighted mean of the seconds for a task; ``None`` before the first."""
        return self.seconds / self.weight if self.weight else None

    @property
    def mean_quality(self) -> float | None:
        """The weighted mean quality of those that were done; ``None`` if none was."""
        return min(1.0, self.quality / self.successes) if self.successes else None


def _merge(
    before: Mapping[str, Performance], later: Mapping[str, Performance]
) -> dict[str, Performance]:
    return {**before, **{k: before[k].then(v) if k in before else v for k, v in later.items()}}


merge_performance: reducers.Reducer[dict[str, Performance]] = reducers.declare(
    _merge, associative=True, identity=dict
)
"""The reducer of a channel ``dict[str, Performance]``: a write is what came after."""


class _History(BaseModel):
    """The state of the thread in which a history is kept."""

    performance: Annotated[dict[str, Performance], merge_performance] = {}
    """By the type of the agents."""


async def _keep(state: _History) -> None:
    """The history is the state; there is nothing to do."""


_KEPT_EVENTS = 100
"""How many additions are kept one by one before older ones become a snapshot."""


class PerformanceThread:
    """A history of performance, kept in any store as a thread of its own.

    ::

        kept = PerformanceThread(store)
        factory = AgentFactory(pool, performance=await kept.load())
        ...
        await kept.add(factory.take_news())

    Args:
        store: where it is kept.
        thread_id: the id of its thread.
    """

    def __init__(self, store: Store, thread_id: str = "plait-agents-performance") -> None:
        graph = Graph(_History, name="agent-performance").add_node("keep", _keep)
        graph.add_edge(START, "keep").add_edge("keep", END)
        self.flow: Flow[_History] = graph.compile(store=store)
        self.thread_id = thread_id

    async def load(self) -> dict[str, Performance]:
        """The history so far, by type; empty on a new store."""
        try:
            return dict((await self.flow.state(self.thread_id)).state.performance)
        except ThreadNotFound:
            return {}

    async def add(self, news: Mapping[str, Performance]) -> None:
        """Append what came after the history so far.

        Raises:
            ThreadBusy: somebody else is adding at this moment.
            StoreError: the store cannot keep it.
        """
        if not news:
            return
        given = {"performance": dict(news)}
        try:
            snapshot = await self.flow.update(self.thread_id, given)
        except ThreadNotFound:
            await self.flow.run(given, self.thread_id)
            return
        if snapshot.position % _KEPT_EVENTS == 0 and not isinstance(self.flow.store, MemoryStore):
            await self.flow.prune(self.thread_id, keep=0)
