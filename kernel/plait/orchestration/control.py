"""The nodes around the branches: what analyses, allots, decides, reallots, merges and reports.

Each is a method that gets the state and returns writes; what they decide by are pure functions of
their own modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from plait import NodeContext, Outcome, Send
from plait.orchestration.allocation import QueuedTask, allocate
from plait.orchestration.balancing import BalancingMetrics, LoadBalancer, Rebalancing, Shortage
from plait.orchestration.branches import branch_for, node_of
from plait.orchestration.brief import Brief
from plait.orchestration.crew import Crew, Run, key_of
from plait.orchestration.gathering import decide, progress_of, quorum_met, shortages_of
from plait.orchestration.merge import Merger, absences_of, best_of_each, gathering_of
from plait.orchestration.performance import BranchRecord, NodeRecord, wall_time
from plait.orchestration.report import make_report
from plait.orchestration.resources import Machine, memory_of_process
from plait.orchestration.review import Review, last_review, obey
from plait.orchestration.sections import sections_of
from plait.orchestration.settings import Settings
from plait.orchestration.sizes import sizes_of
from plait.orchestration.state import (
    Decision,
    Message,
    Node,
    NodeWithContext,
    SyncPointRecord,
    TimelineEntry,
    WorkflowState,
    with_context,
)
from plait.orchestration.task_analysis import complexity_of, decide_mode, interdependency_of
from plait.orchestration.validation import QualityValidator, Shortfall, Verdict

__all__ = [
    "GATHER",
    "Control",
    "after_balancing",
    "after_the_sync_point",
    "after_validation",
    "measured",
    "send_off",
]

GATHER: Final = "gather"
"""The sync point at which the branches of all tasks meet."""


class Control:
    """The nodes around the branches.

    Args:
        settings: thresholds and limits.
        crew: the branches.
        balancer: who does again what is missing or not good enough.
        merger: makes one whole of results and absences.
        validator: says whether that is good enough.
        measure: measures the machine; called in a worker thread.
    """

    def __init__(
        self,
        settings: Settings,
        crew: Crew,
        balancer: LoadBalancer,
        merger: Merger,
        validator: QualityValidator,
        measure: Callable[[], Machine],
    ) -> None:
        self.settings = settings
        self.crew = crew
        self.balancer = balancer
        self.merger = merger
        self.validator = validator
        self._measure = measure

    async def analyze(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
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

    async def coordinate(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
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

    async def note_arrival(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
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

    async def manage(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
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
        again = tuple(missing.values()) if decision == "recover" else ()
        review = last_review(state.reviews, "sync_point_manager", state.round)
        if review is not None:
            decision, why, again = self._obeyed(state, review, decision, why, missing)
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
            "to_redo": again,
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

    def _obeyed(
        self,
        state: WorkflowState,
        review: Review,
        decision: Decision,
        why: str,
        missing: Mapping[str, Shortage],
    ) -> tuple[Decision, str, tuple[Shortage, ...]]:
        """What follows the sync point as a person decided, why, and what is to be done again."""
        why = f"{review.sentence.rstrip('.')} ({why})"
        if review.decision == "reject":
            return "fail", why, ()
        if review.decision == "approve":
            return "proceed" if decision == "proceed" else "conditional", why, ()
        if state.round >= self.settings.max_revisions:
            return "conditional", f"{why}; no round of revision is left", ()
        names = review.tasks or tuple(missing) or tuple(task.id for task in state.brief.tasks)
        again = tuple(
            missing.get(name) or Shortage(task=name, kind="wanting", reason=review.sentence)
            for name in names
        )
        return "recover", why, again

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

    async def balance(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
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

    async def merge(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Weigh what has arrived, and name what has not."""
        return {
            "integration_result": self.merger.merge(state.results, state.absences),
            "messages": [_said(ctx, f"{len(state.results)} results merged")],
        }

    async def validate(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Hold the whole against the rules, and say what is wanting of which task."""
        whole = state.integration_result
        assert whole is not None, "the merger ran before"
        results, _ = best_of_each(state.results)
        review = last_review(state.reviews, "quality_validator", state.round)
        verdict = obey(
            self.validator.validate(whole, results, state.brief.tasks),
            review,
            [task.id for task in state.brief.tasks],
        )
        if state.failure:
            wanting = Shortfall(
                rule="enough for the brief", sentence=f"{state.failure}.", critical=True
            )
            verdict = verdict.model_copy(
                update={
                    "status": "critical_failure",
                    "shortfalls": (wanting, *verdict.shortfalls),
                }
            )
        return {
            "verdict": verdict,
            "to_redo": tuple(self._wanting(state, verdict)),
            "messages": [_said(ctx, verdict.status.replace("_", " "))],
        }

    def _wanting(self, state: WorkflowState, verdict: Verdict) -> Iterable[Shortage]:
        """What a revision would do again; nothing where there is to be none.

        What is only missing is none of it: the sync point has decided to do without that.
        """
        if verdict.status != "needs_revision" or state.round >= self.settings.max_revisions:
            return
        tasks, depths = {task.id: task for task in state.brief.tasks}, _depths(state)
        missing = {each.task: each for each in state.shortages}
        reasons = {
            one.task: one.sentence
            for one in reversed(verdict.shortfalls)
            if one.task is not None and one.kind != "missing"
        }
        for name in (name for name in verdict.tasks if name in reasons):
            reason = reasons[name]
            shortage = missing.get(name) or Shortage(task=name, kind="wanting", reason=reason)
            if self.balancer.hopeless(shortage, tasks[name], depths.get(name, 1)) is None:
                yield shortage

    async def integrate(self, state: WorkflowState, ctx: NodeContext) -> dict[str, Any]:
        """Put all of it into one record."""
        assert state.integration_result is not None, "the merger ran before"
        assert state.verdict is not None, "the validation ran before"
        failed = state.verdict.status == "critical_failure"
        report = make_report(
            state.brief,
            state.results,
            state.integration_result,
            state.verdict,
            gatherings=state.gatherings,
            status="failed" if failed else "completed",
            reason=state.verdict.reason,
            sections=sections_of(state),
        )
        self.crew.forget(ctx.thread_id)
        return {"report": report}


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


def measured(node: Node) -> NodeWithContext:
    """The node, with a record of what each call took."""

    call = with_context(node)

    async def timed(state: WorkflowState, ctx: NodeContext) -> Any:
        began, cpu = wall_time(), time.process_time()
        writes = await call(state, ctx)
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

    return timed


def _said(ctx: NodeContext, text: str) -> Message:
    return Message(node=ctx.node, text=text)


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


def _statuses(outcome: Outcome) -> dict[str, str]:
    """What became of each task at a sync point."""
    return {
        one.id or one.node: status
        for status in ("arrived", "failed", "late", "cancelled", "dead")
        for one in getattr(outcome, status)
    }
