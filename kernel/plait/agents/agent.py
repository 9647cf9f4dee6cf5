"""The protocol of agents: what one is made from, what it is called with, what it gives back.

::

    class Counter:
        def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
            self.least = resources.context["least"]

        async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
            words = task.payload.split()
            return AgentResult(
                content=len(words),
                quality=min(1.0, len(words) / self.least),
                how=f"{len(words)} words, at most {self.least} count",
            )

Time limits, repeated attempts, places, thresholds and records are not the agent's business:
`MonitoredAgent` sees to them, from the specification.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from plait.agents.pool import Reservation, ResourcePool
from plait.agents.specialization import Share
from plait.agents.specification import AgentSpecification, TaskRequirements

__all__ = ["Agent", "AgentClass", "AgentContext", "AgentResources", "AgentResult", "AgentTask"]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class AgentTask(_Record):
    """One piece of work for one agent."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    """What results and `depends_on` call it; unique in its queue."""
    requirements: TaskRequirements
    """What it asks of its agent."""
    payload: Any = None
    """What the work is about. Which types an agent takes, its class says."""
    depends_on: tuple[str, ...] = ()
    """Tasks whose results this one uses, and which end before it begins."""


class AgentResult(_Record):
    """What an agent found out or made."""

    content: Any
    """The work itself. Which type it has, the agent's class says."""
    quality: Share
    """How good it is, 0 to 1, by `how`: measured, never guessed."""
    how: Annotated[str, Field(min_length=1)]
    """How the quality was computed, with its numbers."""
    tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens of language models that it took, read and written."""
    cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Dollars that it took."""
    wanting: tuple[str, ...] = ()
    """What would make it better, a sentence each: the next iteration is told."""
    notes: tuple[str, ...] = ()
    """What a reader must know to trust it as far as it goes."""


async def _emit_nothing(value: Any) -> None:
    """Where nobody listens."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """The circumstances of one call of an agent."""

    agent_id: str = ""
    """The id of the agent that is called."""
    attempt: int = 1
    """The number of this attempt, from 1: attempts follow failures."""
    iteration: int = 1
    """The number of this call within the attempt, from 1: iterations improve a result."""
    previous: AgentResult | None = None
    """The result of the iteration before, which fell short of the quality aimed at."""
    before: Mapping[str, AgentResult] = field(default_factory=dict)
    """The results of the tasks on which this one depends, by their ids; failed ones lack."""
    reservation: Reservation | None = None
    """What is reserved for this call (`per_call`), to be settled; `None` without a pool."""
    idempotency_key: str = ""
    """Names this call, for services that can be told to do a thing once."""
    emit: Callable[[Any], Awaitable[None]] = _emit_nothing
    """Puts a value into the stream of the run, if there is one."""


@dataclass(frozen=True, slots=True)
class AgentResources:
    """What an agent is given when it is made."""

    pool: ResourcePool | None = None
    """Where it may reserve more, `within` its own reservation."""
    reservation: Reservation | None = None
    """What it holds until it is retired (`held`); `None` without a pool."""
    context: Any = None
    """What whoever asked for the agent gave along: folders, clients, settings."""


@runtime_checkable
class Agent(Protocol):
    """Something that carries out tasks. It may have an ``async def close()`` as well, which is
    called once when the agent is retired."""

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Carry out a task. It may be called for several tasks at the same time, and again for
        one task: after a failure, or to improve what it gave."""
        ...


AgentClass = Callable[[AgentSpecification, AgentResources], Agent]
"""A class of agents, or any other function that makes one."""
