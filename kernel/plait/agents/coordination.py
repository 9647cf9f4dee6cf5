"""The coordinator: accounts for every task of a queue, and allots again what can be done yet."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from plait.agents.agent import AgentContext, AgentResources, AgentResult, AgentTask
from plait.agents.errors import AgentError
from plait.agents.specialization import Share
from plait.agents.specification import AgentSpecification

__all__ = ["Coordination", "CoordinationAgent", "CoordinationRequest", "FailedTask"]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class FailedTask(_Record):
    """A task without a result."""

    task: str
    """The task's id."""
    reason: str
    """Why, in a sentence."""
    untried: tuple[str, ...] = ()
    """The types of agent that could do it and have not tried, best first."""


class CoordinationRequest(_Record):
    """How a queue of tasks stands: the payload of a coordinator's task."""

    tasks: tuple[str, ...]
    """The ids of all tasks."""
    qualities: dict[str, Share] = {}
    """The quality of each result that there is, by task."""
    failed: tuple[FailedTask, ...] = ()
    """The tasks that failed."""
    rounds_left: Annotated[int, Field(ge=0)] = 0
    """How many more rounds there may be."""


class Coordination(_Record):
    """What is to be done next."""

    again: dict[str, str] = {}
    """The type of agent that is to try, by task; nothing when all is done that can be."""
    given_up: dict[str, str] = {}
    """Why there will be no result, by task."""
    unaccounted: tuple[str, ...] = ()
    """Tasks with neither a result nor a failure: there should be none."""


class CoordinationAgent:
    """Coordinates. The payload of its tasks is a `CoordinationRequest`, the content of its results
    a `Coordination`; the quality is the share of tasks that have a result."""

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        self.specification = specification

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Decide what is to be done next."""
        request = task.payload
        if not isinstance(request, CoordinationRequest):
            raise AgentError(
                f"task {task.id!r} gives a coordinator {type(request).__name__}: give its payload "
                "as a CoordinationRequest"
            )
        again: dict[str, str] = {}
        given_up: dict[str, str] = {}
        for failed in request.failed:
            if failed.untried and request.rounds_left:
                again[failed.task] = failed.untried[0]
            else:
                why = "no round is left" if failed.untried else "no other agent could do it"
                given_up[failed.task] = f"{failed.reason}; {why}"
        known = {*request.qualities, *again, *given_up}
        done, tasks = len(request.qualities), len(request.tasks)
        return AgentResult(
            content=Coordination(
                again=again,
                given_up=given_up,
                unaccounted=tuple(name for name in request.tasks if name not in known),
            ),
            quality=done / tasks if tasks else 1.0,
            how=f"{done} of {tasks} tasks have a result",
        )
