"""The parallel orchestrator: a graph in which tasks are analysed, allotted, done side by side,
gathered, merged, validated and, where that helps, done again.

    START -> task_analyzer -> parallel_coordinator
          => research_technical, research_market, research_competitive,
             analysis_primary, analysis_secondary              (one branch for each task)
          -> [named sync points of the brief] -> gather -> sync_point_manager
          -> branch_merger -> quality_validator -> final_integrator -> END

    sync_point_manager, quality_validator -> load_balancer -> parallel_coordinator

Each round is one generation of `gather`. All of it uses the public face of Plait alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio

from plait import (
    END,
    START,
    Flow,
    Graph,
    Interrupt,
    MemoryStore,
    NodeContext,
    PlaitError,
    Retry,
    RunStream,
    Store,
    ThreadExists,
)
from plait.agents import AgentFactory
from plait.orchestration.asking import check_answers, reviewed
from plait.orchestration.balancing import LoadBalancer
from plait.orchestration.branches import BRANCHES, node_of
from plait.orchestration.brief import Brief
from plait.orchestration.control import (
    GATHER,
    Control,
    after_balancing,
    after_the_sync_point,
    after_validation,
    measured,
    send_off,
)
from plait.orchestration.crew import Crew
from plait.orchestration.errors import DeadlineError, is_permanent
from plait.orchestration.gathering import join_of
from plait.orchestration.merge import Merger
from plait.orchestration.performance import BranchRecord
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report
from plait.orchestration.resources import Machine, measure_machine
from plait.orchestration.review import REVIEWED
from plait.orchestration.settings import Settings
from plait.orchestration.specialists import Specialist, work_on
from plait.orchestration.state import Node, WorkflowState
from plait.orchestration.templates import (
    dynamic_specialist,
    keep_performance,
    recall_performance,
    specialist_factory,
)
from plait.orchestration.timeline import Timeline, timeline_of
from plait.orchestration.validation import QualityValidator

__all__ = ["GATHER", "GRAPH", "NODES", "Carried", "ParallelOrchestrator"]

GRAPH: Final = "orchestrate"
"""The name of the graph, by which a store knows its threads."""

_KEEPING = 5.0
"""Seconds that it may take, at the end of a run, to keep how its agents have done."""

NODES: Final = (
    "task_analyzer",
    "parallel_coordinator",
    *(node_of(branch) for branch in BRANCHES),
    "sync_point_manager",
    "load_balancer",
    "branch_merger",
    "quality_validator",
    "final_integrator",
)
"""The nodes, each of which can be replaced."""


@dataclass(frozen=True, slots=True)
class Carried:
    """How far a brief was carried."""

    thread_id: str
    """The thread."""
    status: str
    """`completed`, or `suspended` if somebody is asked something."""
    state: WorkflowState
    """The state of the run."""
    interrupts: tuple[Interrupt, ...] = ()
    """What is asked."""
    timeline: Timeline | None = None
    """What has happened when."""

    @property
    def report(self) -> Report | None:
        """The report, once there is one; with the timeline, since no node can tell of the end of
        its own run."""
        report = self.state.report
        return report and report.model_copy(update={"timeline": self.timeline})


class ParallelOrchestrator:
    """Carries out briefs. One orchestrator may carry out several at once: they share its pools.

    Args:
        settings: thresholds, limits, pools.
        nodes: what takes the place of nodes, by the names in `NODES`.
        specialists: who does the tasks of a branch (`technical`, `market`, `competitive`,
            `primary`, `secondary`), in place of the bundled ones.
        merger: makes one whole of results and absences.
        validator: says whether that is good enough.
        balancer: who does again what is missing or not good enough.
        measure: measures the machine; called in a worker thread.
        store: where threads are kept, or its URL; by default in memory.
        interrupt_before: nodes before which a run waits for a person.
        types: what specialists and nodes of yours write that a durable store must know.
        agents: makes an agent for each task; by default, if the settings say `dynamic`, a factory
            of the bundled templates. How its agents have done is kept in the store.

    Raises:
        ValueError: there is no such node or branch.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        nodes: Mapping[str, Node] | None = None,
        specialists: Mapping[str, Specialist] | None = None,
        merger: Merger | None = None,
        validator: QualityValidator | None = None,
        balancer: LoadBalancer | None = None,
        measure: Callable[[], Machine] = measure_machine,
        store: Store | str | None = None,
        interrupt_before: Collection[str] = (),
        types: Sequence[type] = (),
        agents: AgentFactory | None = None,
    ) -> None:
        _check_known("node", nodes or {}, NODES)
        _check_known("branch", specialists or {}, BRANCHES)
        self.settings: Settings = settings or Settings()
        if agents is None and self.settings.agents == "dynamic":
            agents = specialist_factory()
        self.agents: AgentFactory | None = agents
        own = work_on if agents is None else dynamic_specialist(agents)
        self.crew: Crew = Crew(
            self.settings, dict.fromkeys(BRANCHES, own) | dict(specialists or {})
        )
        self.control: Control = Control(
            self.settings,
            self.crew,
            balancer or LoadBalancer(self.settings),
            merger or Merger(),
            validator or QualityValidator(),
            measure,
        )
        self.store: Store | str = MemoryStore() if store is None else store
        self._nodes = dict(nodes or {})
        self._interrupt_before = tuple(interrupt_before)
        self._types = tuple(types)

    # -- the graph ----------------------------------------------------------------------------

    def graph(self, brief: Brief) -> Graph[WorkflowState]:
        """The graph for a brief: its policies and its sync points are those of the brief."""
        settings, control = self.settings, self.control
        graph = Graph(WorkflowState, name=GRAPH)
        self._add(graph, "task_analyzer", control.analyze)
        self._add(graph, "parallel_coordinator", control.coordinate)
        retry = Retry(attempts=settings.attempts, initial=settings.retry_after, on=_may_go_better)
        working: list[str] = []
        for name in ("", *(point.name for point in brief.sync_points)):
            for branch in BRANCHES:
                node = node_of(branch, name)
                body = self._nodes.get(node_of(branch), self._branch(branch))
                graph.add_node(node, body, retry=retry, on_error="record")
                graph.add_edge(node, name or GATHER)
                working.append(node)
        for point in brief.sync_points:
            arrived = f"arrived@{point.name}"
            graph.add_sync_point(point.name, join_of(point, settings), fork="parallel_coordinator")
            graph.add_node(arrived, control.note_arrival)
            graph.add_edge(point.name, arrived)
            graph.add_edge(arrived, GATHER)
        graph.add_sync_point(GATHER, join_of(brief.join, settings), fork="parallel_coordinator")
        self._add(graph, "sync_point_manager", control.manage)
        self._add(graph, "load_balancer", control.balance)
        self._add(graph, "branch_merger", control.merge)
        self._add(graph, "quality_validator", control.validate)
        self._add(graph, "final_integrator", control.integrate)
        graph.add_edge(START, "task_analyzer")
        graph.add_edge("task_analyzer", "parallel_coordinator")
        graph.add_conditional_edges("parallel_coordinator", send_off, working)
        graph.add_edge(GATHER, "sync_point_manager")
        graph.add_conditional_edges(
            "sync_point_manager", after_the_sync_point, ["branch_merger", "load_balancer"]
        )
        graph.add_conditional_edges(
            "load_balancer", after_balancing, ["parallel_coordinator", "branch_merger"]
        )
        graph.add_edge("branch_merger", "quality_validator")
        graph.add_conditional_edges(
            "quality_validator", after_validation, ["load_balancer", "final_integrator"]
        )
        graph.add_edge("final_integrator", END)
        return graph

    def flow(self, brief: Brief) -> Flow[WorkflowState]:
        """The compiled graph for a brief; its input is `given(brief, folder)`."""
        return self.graph(brief).compile(
            store=self.store, types=self._types, interrupt_before=self._interrupt_before
        )

    def given(self, brief: Brief, folder: Path) -> dict[str, Any]:
        """The input of a run.

        Args:
            brief: what to do.
            folder: what globs in sources are relative to.
        """
        return {"brief": brief, "folder": str(folder), "settings": self.settings}

    # -- runs ---------------------------------------------------------------------------------

    async def run(
        self,
        brief: Brief,
        folder: Path,
        *,
        thread_id: str | None = None,
        progress: Progress | None = None,
        told: Callable[[str], None] | None = None,
    ) -> Carried:
        """Carry out a brief on a new thread.

        Args:
            brief: what to do.
            folder: what globs in sources are relative to.
            thread_id: the id of the thread; by default made up.
            progress: is kept up to date; of use when this is cancelled or fails.
            told: called with a line of text whenever something has happened.

        Raises:
            ThreadExists: there is a thread with this id: `resume` goes on with it.
            PlaitError: the run cannot go to its end.
        """
        flow = self.flow(brief)
        if thread_id is not None and await flow.store.thread(thread_id) is not None:
            raise ThreadExists(thread_id, "exists: resume it, or give the new one another id")
        given = await self._with_history(flow, self.given(brief, folder))
        stream = flow.stream(given, thread_id, new=True)
        async with self._remembering_agents(flow.store):
            return await self._follow(flow, thread_id, stream, progress or Progress(brief), told)

    async def resume(
        self,
        thread_id: str,
        brief: Brief,
        answers: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        told: Callable[[str], None] | None = None,
        migrate: bool = False,
    ) -> Carried:
        """Go on with a run that waits for an answer, failed, was cancelled, or whose process died.

        Args:
            thread_id: the thread.
            brief: that of the run.
            answers: to what is asked, by the ids of the interrupts.
            progress: how far it is, by `recall`; it is kept up to date.
            told: called with a line of text whenever something has happened.
            migrate: go on although another version of Plait, with another graph, began the run.

        Raises:
            ReviewError: an answer is no decision; nothing was done.
            ThreadBusy: somebody else runs the thread.
            GraphChanged: another version of Plait began it; says what differs.
            PlaitError: the run cannot go to its end.
        """
        flow = self.flow(brief)
        if answers:
            check_answers((await flow.state(thread_id)).interrupts, answers)
        stream = flow.resume_stream(thread_id, answers, migrate=migrate)
        async with self._remembering_agents(flow.store):
            return await self._follow(flow, thread_id, stream, progress or Progress(brief), told)

    @asynccontextmanager
    async def _remembering_agents(self, store: Store) -> AsyncIterator[None]:
        """Begin with how agents have done in earlier runs, and keep how they do in this one."""
        if self.agents is None:
            yield
            return
        await recall_performance(self.agents, store)
        try:
            yield
        finally:
            with anyio.move_on_after(_KEEPING, shield=True):
                await keep_performance(self.agents, store)

    async def _follow(
        self,
        flow: Flow[WorkflowState],
        thread_id: str | None,
        stream: RunStream[WorkflowState],
        progress: Progress,
        told: Callable[[str], None] | None,
    ) -> Carried:
        try:
            async with stream as events:
                async for event in events:
                    line = progress.take(event)
                    if line and told:
                        told(line)
        except BaseException:
            if thread_id is not None:
                progress.timeline = await _timeline_so_far(flow, thread_id)
            raise
        result = stream.result
        assert result is not None, "the stream ended without an error"
        begun = [
            (record.task, record.began)
            for record in result.state.branch_performance.values()
            if record.began is not None
        ]
        timeline = timeline_of(await flow.trace(result.thread_id), begun)
        return Carried(
            result.thread_id, result.status, result.state, tuple(result.interrupts), timeline
        )

    async def _with_history(
        self, flow: Flow[WorkflowState], given: dict[str, Any]
    ) -> dict[str, Any]:
        """The input, with what earlier threads of the store have measured."""
        records: list[BranchRecord] = []
        if self.settings.history:
            rows = await flow.store.threads(limit=10 * self.settings.history)
            known = [row for row in rows if row.graph == GRAPH and row.status == "completed"]
            for row in reversed(known[: self.settings.history]):
                if row.position <= _LONG:
                    records += await _records_of(flow, row.thread_id)
        return given | {"history": tuple(records)}

    def _branch(self, branch: str) -> Node:
        async def work(state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
            return await self.crew.work(branch, state, ctx)

        return work

    def _add(self, graph: Graph[WorkflowState], name: str, own: Node) -> None:
        node = measured(self._nodes.get(name, own))
        for asked in REVIEWED:
            if name == asked:
                node = reviewed(asked, node, self.control.validator)
        graph.add_node(name, node)


async def _timeline_so_far(flow: Flow[WorkflowState], thread_id: str) -> Timeline | None:
    """What happened until a run was cut off, if its store still says so."""
    with anyio.move_on_after(_PATIENCE, shield=True):
        try:
            return timeline_of(await flow.trace(thread_id))
        except PlaitError:
            return None
    return None


_PATIENCE: Final = 2.0
"""Seconds for which the end of a run that was cut off is held up to say what happened when."""


async def _records_of(flow: Flow[WorkflowState], thread_id: str) -> Iterable[BranchRecord]:
    """What an earlier thread has measured; nothing if it cannot be read any more."""
    try:
        return (await flow.state(thread_id)).state.branch_performance.values()
    except PlaitError:  # another version wrote it, or somebody has deleted it meanwhile
        return ()


_LONG = 20_000
"""Events beyond which an earlier thread is not read for what it has measured."""


def _may_go_better(error: Exception) -> bool:
    """Whether a task is worth another attempt in the same branch."""
    return not isinstance(error, DeadlineError) and not is_permanent(error)


def _check_known(what: str, given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}; there are {', '.join(known)}")
