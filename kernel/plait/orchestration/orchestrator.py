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

import inspect
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread

from plait import (
    END,
    START,
    Flow,
    Graph,
    Interrupt,
    MemoryStore,
    NodeContext,
    Outcome,
    PlaitError,
    Retry,
    RunStream,
    Send,
    Store,
    ThreadExists,
)
from plait.agents import AgentFactory
from plait.orchestration.allocation import QueuedTask, allocate
from plait.orchestration.balancing import BalancingMetrics, LoadBalancer, Rebalancing, Shortage
from plait.orchestration.branches import BRANCHES, branch_for, node_of
from plait.orchestration.brief import Brief
from plait.orchestration.crew import Crew, Run, key_of
from plait.orchestration.errors import DeadlineError, is_permanent
from plait.orchestration.gathering import decide, join_of, progress_of, quorum_met, shortages_of
from plait.orchestration.merge import Absence, Merged, absences_of, gathering_of, merge
from plait.orchestration.performance import BranchRecord, NodeRecord, wall_time
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report, in_order_of
from plait.orchestration.resources import Machine, measure_machine, memory_of_process
from plait.orchestration.results import BranchResult
from plait.orchestration.settings import Settings
from plait.orchestration.sizes import sizes_of
from plait.orchestration.specialists import Specialist, work_on
from plait.orchestration.state import (
    Message,
    SyncPointRecord,
    TimelineEntry,
    WorkflowState,
    current_results,
)
from plait.orchestration.task_analysis import complexity_of, decide_mode, interdependency_of
from plait.orchestration.templates import (
    dynamic_specialist,
    keep_performance,
    recall_performance,
    specialist_factory,
)
from plait.orchestration.validation import Verdict, validate

__all__ = ["GATHER", "GRAPH", "NODES", "Carried", "Node", "ParallelOrchestrator"]

GRAPH: Final = "orchestrate"
"""The name of the graph, by which a store knows its threads."""

GATHER: Final = "gather"
"""The sync point at which the branches of all tasks meet."""

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

Node: TypeAlias = Callable[[WorkflowState, NodeContext], Awaitable[Any]]
"""What may take the place of a node: it gets the state, and returns a mapping of writes."""


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

    @property
    def report(self) -> Report | None:
        """The report, once there is one."""
        return self.state.report


class ParallelOrchestrator:
    """Carries out briefs. One orchestrator may carry out several at once: they share its pools.

    Args:
        settings: thresholds, limits, pools.
        nodes: what takes the place of nodes, by the names in `NODES`.
        specialists: who does the tasks of a branch (`technical`, `market`, `competitive`,
            `primary`, `secondary`), in place of the bundled ones.
        merge_results: makes one whole of results and absences.
        validate_whole: says whether that is good enough.
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
        merge_results: Callable[[Sequence[BranchResult], Sequence[Absence]], Merged] = merge,
        validate_whole: Callable[[Merged, Sequence[BranchResult]], Verdict] = validate,
        balancer: LoadBalancer | None = None,
        measure: Callable[[], Machine] = measure_machine,
        store: Store | str | None = None,
        interrupt_before: Collection[str] = (),
        types: Sequence[type] = (),
        agents: AgentFactory | None = None,
    ) -> None:
        _check_known("node", nodes or {}, NODES)
        _check_known("branch", specialists or {}, BRANCHES)
        self.settings = settings or Settings()
        if agents is None and self.settings.agents == "dynamic":
            agents = specialist_factory()
        self.agents = agents
        own = work_on if agents is None else dynamic_specialist(agents)
        self.crew = Crew(self.settings, dict.fromkeys(BRANCHES, own) | dict(specialists or {}))
        self.balancer = balancer or LoadBalancer(self.settings)
        self.store: Store | str = MemoryStore() if store is None else store
        self._nodes = dict(nodes or {})
        self._merge = merge_results
        self._validate = validate_whole
        self._measure = measure
        self._interrupt_before = tuple(interrupt_before)
        self._types = tuple(types)

    # -- the graph ----------------------------------------------------------------------------

    def graph(self, brief: Brief) -> Graph[WorkflowState]:
        """The graph for a brief: its policies and its sync points are those of the brief."""
        settings = self.settings
        graph = Graph(WorkflowState, name=GRAPH)
        self._add(graph, "task_analyzer", self._analyze)
        self._add(graph, "parallel_coordinator", self._coordinate)
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
            graph.add_node(arrived, self._arrived)
            graph.add_edge(point.name, arrived)
            graph.add_edge(arrived, GATHER)
        graph.add_sync_point(GATHER, join_of(brief.join, settings), fork="parallel_coordinator")
        self._add(graph, "sync_point_manager", self._manage)
        self._add(graph, "load_balancer", self._balance)
        self._add(graph, "branch_merger", self._merge_branches)
        self._add(graph, "quality_validator", self._validate_whole)
        self._add(graph, "final_integrator", self._integrate)
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
        stream = flow.stream(await self._with_history(flow, self.given(brief, folder)), thread_id)
        async with self._remembering_agents(flow.store):
            return await self._follow(stream, progress or Progress(brief), told)

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
            ThreadBusy: somebody else runs the thread.
            GraphChanged: another version of Plait began it; says what differs.
            PlaitError: the run cannot go to its end.
        """
        flow = self.flow(brief)
        stream = flow.resume_stream(thread_id, answers, migrate=migrate)
        async with self._remembering_agents(flow.store):
            return await self._follow(stream, progress or Progress(brief), told)

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
        stream: RunStream[WorkflowState],
        progress: Progress,
        told: Callable[[str], None] | None,
    ) -> Carried:
        async with stream as events:
            async for event in events:
                line = progress.take(event)
                if line and told:
                    told(line)
        result = stream.result
        assert result is not None, "the stream ended without an error"
        return Carried(result.thread_id, result.status, result.state, tuple(result.interrupts))

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

    # -- the nodes ----------------------------------------------------------------------------

    async def _analyze(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Score the tasks, measure the machine, choose the mode, and queue every task."""
        brief = state.brief
        sizes, machine = await anyio.to_thread.run_sync(
            self._look, brief, Path(state.folder), abandon_on_cancel=True
        )
        decision = decide_mode(
            complexity_of(brief.tasks, sizes, self.settings),
            interdependency_of(brief.tasks),
            machine,
            self.crew.free_places(),
            self.settings,
        )
        queue = []
        for task in brief.tasks:
            branch, why = branch_for(task)
            queue.append(QueuedTask(task=task.id, branch=branch, why=why))
        return {
            "workflow_id": ctx.thread_id,
            "workflow_mode": decision,
            "sizes": dict(sizes),
            "task_queue": queue,
            "round": 0,
            "messages": [_said(ctx, f"mode {decision.mode}: {decision.why}")],
        }

    def _look(self, brief: Brief, folder: Path) -> tuple[Mapping[str, int], Machine]:
        return sizes_of(brief.tasks, folder, lambda: None), self._measure()

    async def _coordinate(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Allot the queued tasks: order, places, time; `send_off` then sends them."""
        run = self.crew.run_of(ctx.thread_id, state)
        allocations = allocate(
            state.brief, state.task_queue, state.sizes, run.tracker, self.settings, state.round
        )
        now = wall_time()
        return {
            "allocations": {each.task: each for each in allocations},
            "branch_dependencies": {each.task: each.after for each in allocations},
            "active_branches": {each.task: each.branch for each in allocations},
            "forked_at": now,
            "messages": [_said(ctx, f"round {state.round}: {len(allocations)} tasks sent off")],
            "execution_timeline": [
                TimelineEntry(at=now, what="forked", subject=ctx.node, round=state.round)
            ],
        }

    def _branch(self, branch: str) -> Node:
        async def work(state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
            return await self.crew.work(branch, state, ctx)

        return work

    async def _arrived(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Note how a named sync point of the brief opened."""
        outcome = ctx.outcome
        assert outcome is not None, "this node follows a sync point"
        name = outcome.sync_point
        point = next(point for point in state.brief.sync_points if point.name == name)
        required = [task for task in state.brief.tasks if task.id in point.tasks]
        arrived = {result.task for result in state.results}
        met, asked = quorum_met(point.quorum, required, arrived, self.settings)
        progress = progress_of(required, arrived)
        shortages = [each for each in shortages_of(outcome) if each.task not in arrived]
        record = SyncPointRecord(
            name=name,
            round=state.round,
            status=outcome.status,
            required=tuple(task.id for task in required),
            arrived=tuple(task.id for task in required if task.id in arrived),
            progress=progress,
            decision="proceed" if progress == 1.0 else "conditional",
            why=asked if met else f"{asked}; it does not hold up the rest any longer",
            waited=outcome.waited,
            opened=state.forked_at + outcome.waited,
            shortages=tuple(shortages),
        )
        return {"sync_points": {key_of(name, state.round): record}}

    async def _manage(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Decide what follows the sync point at which all tasks meet."""
        outcome = ctx.outcome
        assert outcome is not None, "this node follows a sync point"
        brief, run = state.brief, self.crew.run_of(ctx.thread_id, state)
        arrived = {result.task for result in state.results}
        short = {each.task: each for each in shortages_of(outcome) if each.task not in arrived}
        known = {each.task: each for each in state.shortages}
        missing = {
            task.id: short.get(task.id) or known[task.id]
            for task in brief.tasks
            if task.id in short or (task.id in known and task.id not in arrived)
        }
        depths = _depths(state)
        tasks = {task.id: task for task in brief.tasks}
        recoverable = [
            each
            for each in missing.values()
            if self.balancer.hopeless(each, tasks[each.task], depths.get(each.task, 1)) is None
        ]
        decision, why = decide(
            brief,
            arrived,
            outcome,
            self.settings,
            rounds_left=self.settings.max_revisions - state.round,
            recoverable=len(recoverable),
        )
        opened = state.forked_at + outcome.waited
        record = SyncPointRecord(
            name=GATHER,
            round=state.round,
            status=outcome.status,
            required=tuple(task.id for task in brief.tasks),
            arrived=tuple(task.id for task in brief.tasks if task.id in arrived),
            progress=progress_of(brief.tasks, arrived),
            decision=decision,
            why=why,
            waited=outcome.waited,
            opened=opened,
            shortages=tuple(missing.values()),
        )
        absences = {absence.task: absence for absence in (*state.absences, *absences_of(outcome))}
        return {
            "sync_points": {key_of(GATHER, state.round): record},
            "gatherings": [gathering_of(outcome)],
            "shortages": tuple(missing.values()),
            "to_redo": tuple(missing.values()) if decision == "recover" else (),
            "absences": tuple(absences[name] for name in missing),
            "branch_performance": self._records(state, run, _statuses(outcome), opened),
            "active_branches": {},
            "task_queue": [],
            "load_balancing_metrics": self._metrics(state, run),
            "failure": why if decision == "fail" else "",
            "messages": [_said(ctx, f"{outcome.status}, {decision}: {why}")],
            "execution_timeline": [
                TimelineEntry(at=opened, what="opened", subject=GATHER, round=state.round)
            ],
        }

    def _records(
        self, state: WorkflowState, run: Run, statuses: Mapping[str, str], opened: float
    ) -> dict[str, BranchRecord]:
        """What each task of the round took, with how long it waited for the others."""
        records: dict[str, BranchRecord] = {}
        for name, allocation in state.allocations.items():
            key = key_of(name, state.round)
            record = state.branch_performance.get(key) or run.tracker.record_of(name, state.round)
            if record is None:
                # Cancelled while it was at work, or it was at work in a process that died.
                record = BranchRecord(
                    task=name,
                    branch=allocation.branch,
                    round=state.round,
                    status="cancelled",
                    ready=run.ready.get((name, state.round)),
                    began=run.began.get((name, state.round)),
                    ended=opened if (name, state.round) in run.began else None,
                    size=allocation.size,
                )
                record = record.model_copy(update={"status": statuses.get(name, "cancelled")})
                run.tracker.note(record)
            elif record.status != "arrived" or statuses.get(name) != "arrived":
                record = record.model_copy(update={"status": statuses.get(name, record.status)})
            met_at = state.sync_points.get(key_of(allocation.sync_point, state.round))
            over = met_at.opened if met_at is not None else opened
            if record.status == "arrived" and record.ended is not None:
                record = record.model_copy(update={"waited": max(0.0, over - record.ended)})
            records[key] = record
        return records

    def _metrics(self, state: WorkflowState, run: Run, *rounds: Rebalancing) -> BalancingMetrics:
        places, pools = run.places, self.crew.pools.pools
        before = state.load_balancing_metrics
        return BalancingMetrics(
            width=places.width.limit,
            width_lowest=places.width.lowest,
            width_highest=places.width.highest,
            at_work_peak=places.peak,
            overloads=run.overloads,
            limits={branch: limit.limit for branch, limit in places.limits.items()},
            pools={branch: pool.size for branch, pool in pools.items()},
            peaks={branch: pool.peak for branch, pool in pools.items()},
            rounds=(*(before.rounds if before else ()), *rounds),
        )

    async def _balance(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Reallot what is missing or wanting, for one more round."""
        run = self.crew.run_of(ctx.thread_id, state)
        round_ = state.round + 1
        missing = all(each.kind == "missing" for each in state.to_redo)
        decided = self.balancer.reallot(
            state.to_redo,
            {task.id: task for task in state.brief.tasks},
            tuple(state.branch_performance.values()),
            _depths(state),
            run.tracker,
            round_,
            "timeout recovery" if missing else "a revision that the validation asks for",
        )
        queue = [*decided.queue, *_dependents(state, decided.queue)]
        text = f"round {round_}, {decided.reason}: " + (
            ", ".join(f"{each.task} to {each.branch}" for each in queue) or "nothing to be done"
        )
        return {
            "round": round_ if queue else state.round,
            "task_queue": queue,
            "load_balancing_metrics": self._metrics(state, run, decided),
            "messages": [_said(ctx, text)],
            "execution_timeline": [
                TimelineEntry(at=wall_time(), what="reallotted", subject=each.task, round=round_)
                for each in queue
            ],
        }

    async def _merge_branches(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Weigh what has arrived, and name what has not."""
        return {
            "integration_result": self._merge(current_results(state.results), state.absences),
            "messages": [_said(ctx, f"{len(state.results)} results merged")],
        }

    async def _validate_whole(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Hold the whole against the rules, and say what is wanting of which task."""
        whole = state.integration_result
        assert whole is not None, "the merger ran before"
        results = current_results(state.results)
        verdict = self._validate(whole, results)
        if state.failure:
            verdict = Verdict(
                status="critical_failure", wanting=(f"{state.failure}.", *verdict.wanting)
            )
        return {
            "verdict": verdict,
            "to_redo": tuple(self._wanting(state, verdict, results)),
            "messages": [_said(ctx, verdict.status.replace("_", " "))],
        }

    def _wanting(
        self, state: WorkflowState, verdict: Verdict, results: Sequence[BranchResult]
    ) -> Iterable[Shortage]:
        """What a revision would do again; nothing where there is to be none."""
        if verdict.status != "needs_revision" or state.round >= self.settings.max_revisions:
            return
        tasks, depths = {task.id: task for task in state.brief.tasks}, _depths(state)
        missing = {each.task: each for each in state.shortages}
        for name, reason in _wanting_of(verdict, results):
            shortage = missing.get(name) or Shortage(task=name, kind="wanting", reason=reason)
            if self.balancer.hopeless(shortage, tasks[name], depths.get(name, 1)) is None:
                yield shortage

    async def _integrate(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Put all of it into one record."""
        assert state.integration_result is not None, "the merger ran before"
        assert state.verdict is not None, "the validation ran before"
        failed = state.verdict.status == "critical_failure" and bool(state.failure)
        report = Report(
            title=state.brief.title,
            status="failed" if failed else "completed",
            reason=f"{state.failure}." if failed else "",
            tasks={task.id: task.heading for task in state.brief.tasks},
            gathering=state.gatherings[-1] if state.gatherings else None,
            verdict=state.verdict,
            merged=state.integration_result,
            results=in_order_of(state.brief, current_results(state.results)),
        )
        self.crew.forget(ctx.thread_id)
        return {"report": report}

    def _add(self, graph: Graph[WorkflowState], name: str, own: Node) -> None:
        graph.add_node(name, _measured(self._nodes.get(name, own)))


async def _records_of(flow: Flow[WorkflowState], thread_id: str) -> Iterable[BranchRecord]:
    """What an earlier thread has measured; nothing if it cannot be read any more."""
    try:
        return (await flow.state(thread_id)).state.branch_performance.values()
    except PlaitError:  # another version wrote it, or somebody has deleted it meanwhile
        return ()


_LONG = 20_000
"""Events beyond which an earlier thread is not read for what it has measured."""


# -- ways on --------------------------------------------------------------------------------------


def send_off(state: WorkflowState) -> list[Send]:
    """One branch for each task of the round, in the order of its allocation."""
    weights = {task.id: task.weight for task in state.brief.tasks}
    return [
        Send(
            node_of(each.branch, each.sync_point),
            id=each.task,
            after=each.after,
            weight=weights[each.task],
        )
        for each in state.allocations.values()
    ]


def after_the_sync_point(state: WorkflowState) -> str:
    """Recovery, or on to the merge."""
    record = state.sync_points.get(key_of(GATHER, state.round))
    recover = record is not None and record.decision == "recover"
    return "load_balancer" if recover else "branch_merger"


def after_balancing(state: WorkflowState) -> str:
    """The next round, unless there is nothing to do in it."""
    return "parallel_coordinator" if state.task_queue else "branch_merger"


def after_validation(state: WorkflowState) -> str:
    """A revision, if one is asked for and there is something to do in it; else the end."""
    assert state.verdict is not None, "the validation ran before"
    again = state.verdict.status == "needs_revision" and state.to_redo
    return "load_balancer" if again else "final_integrator"


# -- what they hang on ----------------------------------------------------------------------------


def _measured(node: Node) -> Node:
    """The node, with a record of what each call took."""

    async def measured(state: WorkflowState, ctx: NodeContext) -> Any:
        began, cpu = wall_time(), time.process_time()
        takes_context = len(inspect.signature(node).parameters) > 1
        writes = await (node(state, ctx) if takes_context else node(state))  # type: ignore[call-arg]
        if writes is not None and not isinstance(writes, Mapping):
            return writes  # a Command, or what the kernel will refuse
        record = NodeRecord(
            node=ctx.node,
            round=state.round,
            began=began,
            ended=wall_time(),
            cpu_seconds=time.process_time() - cpu,
            memory=memory_of_process(),
        )
        return {**(writes or {}), "monitoring_metrics": {key_of(ctx.node, state.round): record}}

    return measured


def _said(ctx: NodeContext, text: str) -> Message:
    return Message(node=ctx.node, text=text)


def _may_go_better(error: Exception) -> bool:
    """Whether a task is worth another attempt in the same branch."""
    return not isinstance(error, DeadlineError) and not is_permanent(error)


def _depths(state: WorkflowState) -> dict[str, int]:
    """How thoroughly each task was done last."""
    depths = {name: each.depth for name, each in state.allocations.items()}
    metrics = state.load_balancing_metrics
    for done in metrics.rounds if metrics else ():
        depths |= {each.task: max(each.depth, depths.get(each.task, 1)) for each in done.queue}
    return depths


def _dependents(state: WorkflowState, queue: Sequence[QueuedTask]) -> list[QueuedTask]:
    """What had to do without a result that may come now, and so is done again behind it."""
    absent = {each.task for each in state.shortages}
    again = {each.task for each in queue}
    found: list[QueuedTask] = []
    changed = True
    while changed:
        changed = False
        for task in state.brief.tasks:
            lacked = [name for name in task.depends_on if name in again and name in absent]
            if task.id in again or not lacked or task.id not in state.allocations:
                continue
            before = state.allocations[task.id]
            found.append(
                QueuedTask(
                    task=task.id,
                    branch=before.branch,
                    why=f"again: {', '.join(lacked)} had no result when it was done",
                    depth=before.depth,
                )
            )
            again.add(task.id)
            absent.add(task.id)
            changed = True
    return found


def _wanting_of(verdict: Verdict, results: Sequence[BranchResult]) -> list[tuple[str, str]]:
    """The tasks of which something is wanting, each with what it is."""
    return [
        (result.task, "found nothing" if result.empty else f"quality {result.quality:.2f}")
        for result in results
        if result.empty or result.quality < 0.25
    ]


def _statuses(outcome: Outcome) -> dict[str, str]:
    """What became of each task at a sync point."""
    return {
        one.id or one.node: status
        for status in ("arrived", "failed", "late", "cancelled", "dead")
        for one in getattr(outcome, status)
    }


def _check_known(what: str, given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}; there are {', '.join(known)}")
