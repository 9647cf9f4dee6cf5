"""The state of a run: a channel for all that its nodes tell each other.

Whatever branches write side by side has a reducer; what has none is written by one node at a time,
by the branch that forks and gathers the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from plait import NodeContext, reducers
from plait.orchestration.allocation import Allocation, QueuedTask
from plait.orchestration.balancing import BalancingMetrics, Shortage
from plait.orchestration.brief import Brief
from plait.orchestration.merge import Absence, Gathering, IntegrationResult
from plait.orchestration.performance import BranchRecord, NodeRecord
from plait.orchestration.report import Report
from plait.orchestration.results import BranchResult, Share
from plait.orchestration.review import Review
from plait.orchestration.settings import Settings
from plait.orchestration.task_analysis import ModeDecision
from plait.orchestration.validation import Verdict

__all__ = [
    "CompletedBranch",
    "Decision",
    "Message",
    "Node",
    "NodeWithContext",
    "SyncPointRecord",
    "TimelineEntry",
    "WorkflowState",
    "current_results",
    "with_context",
]

Decision: TypeAlias = Literal["proceed", "conditional", "recover", "fail"]
"""What follows a sync point: on to the merge, on to it without some, recovery, or the end."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Message(_Record):
    """What a node has to say, in one sentence."""

    node: str
    """The node."""
    text: str
    """The sentence."""


class CompletedBranch(_Record):
    """A task that a branch has done."""

    task: str
    """The id of the task."""
    branch: str
    """The branch."""
    round: Annotated[int, Field(ge=0)]
    """0, or the number of the revision."""


class TimelineEntry(_Record):
    """Something that happened, and when."""

    at: float
    """Seconds since the epoch."""
    what: Literal["forked", "began", "ended", "opened", "reallotted"]
    """What happened."""
    subject: str
    """The task, the sync point, or the node that it happened to."""
    branch: str = ""
    """The branch, where it happened in one."""
    round: Annotated[int, Field(ge=0)] = 0
    """0, or the number of the revision."""


class SyncPointRecord(_Record):
    """How a sync point opened, and what was decided."""

    name: str
    """The sync point."""
    round: Annotated[int, Field(ge=0)]
    """0, or the number of the revision."""
    status: Literal["complete", "partial", "quorum", "timeout"]
    """Why it opened."""
    required: tuple[str, ...]
    """The tasks that it is for."""
    arrived: tuple[str, ...]
    """Those of them that have a result by now."""
    progress: Share
    """Arrived over required, by the weights of the tasks."""
    decision: Decision
    """What follows."""
    why: str
    """The reason, with the numbers that it hangs on."""
    waited: Annotated[float, Field(ge=0)]
    """Seconds from the fork until it opened."""
    opened: float
    """When it opened, in seconds since the epoch."""
    shortages: tuple[Shortage, ...] = ()
    """Those that have no result, and why."""


class WorkflowState(BaseModel):
    """The state of a run."""

    brief: Brief
    """What is asked for."""
    folder: str
    """What globs in sources are relative to."""
    settings: Settings = Settings()
    """The settings of the run, so that it goes on with those it began with."""
    workflow_id: str = ""
    """The id of the thread."""
    messages: Annotated[list[Message], reducers.append] = []
    """What the nodes have to say, in order."""
    workflow_mode: ModeDecision | None = None
    """How the brief is carried out, and why."""
    sizes: dict[str, int] = {}
    """Bytes of the sources of each task."""
    history: tuple[BranchRecord, ...] = ()
    """Records of earlier threads, from which expectations were learnt; the oldest first."""
    round: Annotated[int, Field(ge=0)] = 0
    """0, or the number of the revision that goes on."""
    task_queue: list[QueuedTask] = []
    """What is to be done in this round."""
    branch_dependencies: dict[str, tuple[str, ...]] = {}
    """The tasks for which each task of this round waits."""
    allocations: dict[str, Allocation] = {}
    """The tasks of this round, in the order of sending, each with what it is given."""
    forked_at: float = 0.0
    """When the tasks of this round were sent off, in seconds since the epoch."""
    active_branches: dict[str, str] = {}
    """The branch of each task that was sent off and not gathered."""
    completed_branches: Annotated[list[CompletedBranch], reducers.append] = []
    """What branches have done, in all rounds."""
    results: Annotated[list[BranchResult], reducers.append] = []
    """What they found out, in all rounds; `current_results` has the best for each task."""
    branch_performance: Annotated[dict[str, BranchRecord], reducers.merge_dicts] = {}
    """What each task took, by `TASK#ROUND`."""
    execution_timeline: Annotated[list[TimelineEntry], reducers.append] = []
    """What happened when, as far as branches that arrived have told."""
    monitoring_metrics: Annotated[dict[str, NodeRecord], reducers.merge_dicts] = {}
    """What each of the other nodes took, by `NODE#ROUND`."""
    sync_points: Annotated[dict[str, SyncPointRecord], reducers.merge_dicts] = {}
    """How sync points opened, by `NAME#ROUND`."""
    gatherings: Annotated[list[Gathering], reducers.append] = []
    """How the last sync point opened in each round."""
    absences: tuple[Absence, ...] = ()
    """The tasks that have no result, and why."""
    shortages: tuple[Shortage, ...] = ()
    """The same, as the load balancer sees it."""
    to_redo: tuple[Shortage, ...] = ()
    """What the load balancer is to deal with."""
    load_balancing_metrics: BalancingMetrics | None = None
    """How the load was spread."""
    integration_result: IntegrationResult | None = None
    """The whole."""
    verdict: Verdict | None = None
    """Whether it is good enough."""
    reviews: Annotated[list[Review], reducers.append] = []
    """What persons have said, where the run is under review."""
    failure: str = ""
    """Why the run ends without a result that is worth it; empty if it does not."""
    report: Report | None = None
    """All of it, for a reader."""


NodeWithContext: TypeAlias = Callable[[WorkflowState, NodeContext], Awaitable[Any]]
"""A node that also gets its context."""

Node: TypeAlias = NodeWithContext | Callable[[WorkflowState], Awaitable[Any]]
"""What may take the place of a node: it gets the state, and returns a mapping of writes."""


def with_context(node: Node) -> NodeWithContext:
    """The node as one that takes a context too, whether or not it does."""
    call: Callable[..., Awaitable[Any]] = node
    if len(inspect.signature(node).parameters) > 1:
        return call
    return lambda state, ctx: call(state)


def current_results(results: list[BranchResult]) -> list[BranchResult]:
    """The best result for each task, in the order in which the tasks first came.

    Better is of more quality, and then sooner done: a revision that made it worse does not count.
    """
    best: dict[str, BranchResult] = {}
    for result in results:
        known = best.get(result.task)
        if known is None or (result.quality, -result.seconds) > (known.quality, -known.seconds):
            best[result.task] = result
    return list(best.values())
