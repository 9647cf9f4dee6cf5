"""What the report says of how the work was done: mode, branches, sync points, load, rounds."""

from __future__ import annotations

from collections.abc import Iterable

from plait.orchestration.balancing import BalancingMetrics
from plait.orchestration.branches import branch_for
from plait.orchestration.performance import BranchRecord
from plait.orchestration.report import Section
from plait.orchestration.state import WorkflowState
from plait.orchestration.task_analysis import ModeDecision

__all__ = ["sections_of"]


def sections_of(state: WorkflowState) -> tuple[Section, ...]:
    """The sections of a run that is at its end."""
    return tuple(
        section
        for section in (
            _mode(state.workflow_mode),
            _branches(state),
            _sync_points(state),
            _load(state.load_balancing_metrics),
            _rounds(state.load_balancing_metrics),
        )
        if section is not None
    )


def _mode(decision: ModeDecision | None) -> Section | None:
    if decision is None:
        return None
    machine = decision.machine
    memory = "not known" if machine.memory is None else f"{machine.memory / 2**30:.1f} GiB"
    carries = f"it carries {decision.machine_limit} branches at once"
    most = "" if decision.most == decision.width else f", {decision.most} at most later on"
    return Section(
        title="How it was carried out",
        lines=(
            f"Mode {decision.mode}, {decision.width} branches at once{most}: {decision.why}.",
            f"Complexity: {decision.complexity.how}.",
            f"Interdependency: {decision.interdependency.how}.",
            f"Machine: {machine.cores} cores, free memory {memory}, by {machine.how}; {carries}.",
        ),
    )


def _branches(state: WorkflowState) -> Section | None:
    records = sorted(state.branch_performance.values(), key=lambda record: record.round)
    if not records:
        return None
    first = [
        f"`{task.id}` to {branch}: {why}."
        for task in state.brief.tasks
        for branch, why in [branch_for(task)]
        if task.id not in state.allocations
    ]
    allotted = [
        f"`{each.task}` to {each.branch}: {each.why}; {each.expected:.2f} s expected "
        f"({each.expected_how})."
        for each in state.allocations.values()
    ]
    what = (
        "Queue is the time until a place was free, wait that from its end until its sync point "
        "opened; CPU is that of its own thread, memory that of the whole process."
    )
    return Section(
        title="What each branch took",
        lines=(*first, *allotted, what),
        head=(
            "Task",
            "Branch",
            "Round",
            "Status",
            "Queue s",
            "Seconds",
            "Wait s",
            "Attempts",
            "Results/s",
            "Quality",
            "CPU s",
            "Memory MiB",
        ),
        rows=tuple(_row(record) for record in records),
    )


def _row(record: BranchRecord) -> tuple[str, ...]:
    memory = None if record.memory is None else record.memory / 2**20
    return (
        record.task,
        record.branch,
        str(record.round),
        record.status,
        _shown(record.queued),
        _shown(record.seconds),
        _shown(record.waited),
        str(record.attempts),
        _shown(record.throughput),
        _shown(record.quality),
        _shown(record.cpu_seconds),
        "-" if memory is None else f"{memory:.0f}",
    )


def _sync_points(state: WorkflowState) -> Section | None:
    if not state.sync_points:
        return None
    records = sorted(state.sync_points.values(), key=lambda record: record.opened)
    return Section(
        title="How the sync points opened",
        head=("Sync point", "Round", "Status", "Progress", "Waited s", "Decision", "Why"),
        rows=tuple(
            (
                record.name,
                str(record.round),
                record.status,
                f"{record.progress:.2f}",
                f"{record.waited:.2f}",
                record.decision,
                record.why,
            )
            for record in records
        ),
    )


def _load(metrics: BalancingMetrics | None) -> Section | None:
    if metrics is None:
        return None
    told = (
        f"At most {metrics.at_work_peak} branches were at work at once; the width was between "
        f"{metrics.width_lowest} and {metrics.width_highest}, and {metrics.width} at the end. "
        f"An overload made a limit smaller {metrics.overloads} times."
    )
    return Section(
        title="How the load was spread",
        lines=(told,),
        head=("Branch", "Places", "Limit at the end", "Most in use"),
        rows=tuple(
            (branch, str(size), str(metrics.limits[branch]), str(metrics.peaks[branch]))
            for branch, size in metrics.pools.items()
        ),
    )


def _rounds(metrics: BalancingMetrics | None) -> Section | None:
    lines = tuple(_told(metrics)) if metrics is not None else ()
    return Section(title="Rounds of recovery and revision", lines=lines) if lines else None


def _told(metrics: BalancingMetrics) -> Iterable[str]:
    for done in metrics.rounds:
        yield f"Round {done.round}: {done.reason}."
        for each in done.queue:
            yield f"`{each.task}` to {each.branch}, depth {each.depth}: {each.why}."
        for given in done.given_up:
            yield f"`{given.task}` was not done again: {given.why}."


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
