"""What is going on in a run of the main job, told from the events of its stream.

It outlives the run, so that after Ctrl-C or a failure it says what was finished by then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from plait.events import (
    BranchForked,
    BranchPath,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    SyncPointOpened,
    format_path,
)
from plait.orchestration.brief import Brief
from plait.orchestration.merge import Absence, Gathering, absences_of, gathering_of, reason_of
from plait.orchestration.report import Report, partial_report
from plait.orchestration.results import BranchResult

__all__ = ["Progress", "Status", "TaskProgress"]

Status: TypeAlias = Literal["waiting", "working", "done", "failed", "late", "cancelled", "dead"]


@dataclass(slots=True)
class TaskProgress:
    """How far one task is."""

    task: str
    """The id of the task."""
    status: Status = "waiting"
    """What its branch does, or what became of it."""
    branch: str = ""
    """The path of its branch, once there is one."""
    remark: str = ""
    """The result in a few words, or the reason why there is none."""
    started: float | None = None
    """When its specialist began, by `time.monotonic`."""
    seconds: float | None = None
    """How long its specialist took, once it has ended."""

    def elapsed(self) -> float | None:
        """Seconds since the specialist began, or that it took."""
        if self.seconds is not None or self.started is None:
            return self.seconds
        return time.monotonic() - self.started


@dataclass(slots=True)
class Progress:
    """How far a brief is."""

    brief: Brief
    """What is being carried out."""
    tasks: dict[str, TaskProgress] = field(default_factory=dict)
    """Every task, by id, in the order of the brief."""
    results: list[BranchResult] = field(default_factory=list)
    """What is finished, in the order in which it was."""
    gathering: Gathering | None = None
    """How the sync point opened, once it has."""
    _branches: dict[BranchPath, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for task in self.brief.tasks:
            waits = f"after {', '.join(task.depends_on)}" if task.depends_on else ""
            self.tasks[task.id] = TaskProgress(task.id, remark=waits)

    def take(self, event: Event) -> str | None:
        """Take in one event; a line about it, if it is worth one."""
        match event:
            case BranchForked():
                return self._forked(event)
            case NodeStarted(branch=branch, node="research" | "analysis"):
                return self._began(self._branches[branch])
            case NodeCompleted(branch=branch, node="research" | "analysis"):
                return self._finished(self._branches[branch], event)
            case NodeFailed(branch=branch) if branch in self._branches:
                task = self.tasks[self._branches[branch]]
                return self._ended(task, "failed", reason_of(event.error))
            case SyncPointOpened():
                return self._opened(event)
            case _:
                return None

    def stopped(self, *, status: Literal["interrupted", "failed"], reason: str) -> Report:
        """The report of a run that did not go to its end."""
        finished = {result.task for result in self.results}
        absences = [
            self._absence(task, status) for task in self.tasks.values() if task.task not in finished
        ]
        return partial_report(
            self.brief,
            self.results,
            absences,
            status=status,
            reason=reason,
            gathering=self.gathering,
        )

    def _absence(self, task: TaskProgress, status: Literal["interrupted", "failed"]) -> Absence:
        if task.status in ("failed", "late", "cancelled", "dead"):
            return Absence(task=task.task, status=task.status, reason=task.remark)
        was = "at work" if task.status == "working" else "not begun"
        return Absence(
            task=task.task, status="cancelled", reason=f"{was} when the run {_ENDED[status]}"
        )

    def _forked(self, event: BranchForked) -> str | None:
        known = [child for child in event.children if child.id in self.tasks]
        for child in known:
            assert child.id is not None, "it is among the tasks"
            self._branches[child.branch] = child.id
            self.tasks[child.id].branch = format_path(child.branch)
        return f"{event.node}: {len(known)} branches" if known else None

    def _began(self, name: str) -> str:
        task = self.tasks[name]
        task.status, task.remark, task.started = "working", "", time.monotonic()
        return f"{name}: begins (branch {task.branch})"

    def _finished(self, name: str, event: NodeCompleted) -> str:
        (result,) = (
            result for channel, wrote in event.writes if channel == "results" for result in wrote
        )
        self.results.append(result)
        found = (
            f"{len(result.findings)} findings"
            if result.type == "research"
            else f"{len(result.measures)} numbers"
        )
        return self._ended(self.tasks[name], "done", f"{found}, quality {result.quality:.2f}")

    def _ended(self, task: TaskProgress, status: Status, remark: str) -> str:
        task.seconds = task.elapsed() or 0.0
        task.status, task.remark = status, remark
        return f"{task.task}: {status} after {task.seconds:.2f} s: {remark}"

    def _opened(self, event: SyncPointOpened) -> str:
        gathering = self.gathering = gathering_of(event.outcome)
        for absence in absences_of(event.outcome):
            task = self.tasks[absence.task]
            if task.status in ("waiting", "working"):
                self._ended(task, absence.status, absence.reason)
        return (
            f"{event.sync_point}: {gathering.status}, {gathering.arrived} of {gathering.activated} "
            f"branches after {gathering.waited:.2f} s"
        )


_ENDED = {"interrupted": "was interrupted", "failed": "failed"}
