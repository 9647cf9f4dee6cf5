"""What is going on in a run of the main job, told from the events of its stream.

It outlives the run, so that after Ctrl-C or a failure it says what was finished by then; and it
can be told what was finished before, of a run that is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from plait.events import (
    BranchForked,
    Emitted,
    Event,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    Outcome,
    SyncPointOpened,
    format_path,
)
from plait.orchestration.branches import branch_of
from plait.orchestration.brief import Brief
from plait.orchestration.crew import Began
from plait.orchestration.merge import Absence, Gathering, absences_of, gathering_of, reason_of
from plait.orchestration.report import Report, partial_report
from plait.orchestration.results import BranchResult
from plait.orchestration.settings import Settings
from plait.orchestration.state import current_results
from plait.orchestration.timeline import Timeline

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
    by: str = ""
    """Who does it: `technical`, `primary`, ..."""
    remark: str = ""
    """The result in a few words, or the reason why there is none."""
    started: float | None = None
    """When its specialist began, in seconds since the epoch."""
    seconds: float | None = None
    """How long its specialist took, once it has ended; nothing where that is not known."""

    def elapsed(self) -> float | None:
        """Seconds since the specialist began, or that it took."""
        if self.status != "working" or self.started is None:
            return self.seconds
        return max(0.0, time.time() - self.started)


@dataclass(slots=True)
class Progress:
    """How far a brief is."""

    brief: Brief
    """What is being carried out."""
    settings: Settings = field(default_factory=Settings)
    """The settings of the run."""
    tasks: dict[str, TaskProgress] = field(default_factory=dict)
    """Every task, by id, in the order of the brief."""
    results: list[BranchResult] = field(default_factory=list)
    """What is finished: the best result of each task, in the order in which they came."""
    gathering: Gathering | None = None
    """How the sync point opened, once it has."""
    timeline: Timeline | None = None
    """What happened when, once the run was cut off."""
    _branches: dict[str, str] = field(default_factory=dict)
    """The task of each branch, by the branch's path as people write it."""

    def __post_init__(self) -> None:
        for task in self.brief.tasks:
            waits = f"after {', '.join(task.depends_on)}" if task.depends_on else ""
            self.tasks[task.id] = TaskProgress(task.id, remark=waits)

    def recall(
        self,
        results: Iterable[BranchResult],
        journal: Iterable[JournalEvent],
        outcome: Outcome | None,
    ) -> None:
        """Take in what was finished before a run is resumed.

        Args:
            results: what is finished.
            journal: the events of the thread, which say who did what, and what failed.
            outcome: what the sync point reported last, if it has opened.
        """
        for event in journal:
            if isinstance(event, NodeCompleted):
                self._sent(event)
            elif isinstance(event, NodeFailed):
                self._failed(event)
        for result in results:
            self._took(result, result.seconds)
        if outcome is not None:
            self._gathered(outcome)

    def take(self, event: Event) -> str | None:
        """Take in one event; a line about it, if it is worth one."""
        match event:
            case BranchForked():
                return self._forked(event)
            case Emitted(value=Began() as began):
                return self._began(began)
            case NodeCompleted():
                return self._completed(event)
            case NodeFailed():
                return self._failed(event)
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
            timeline=self.timeline,
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
            self._belongs(format_path(child.branch), child.id, child.node)
        return f"{event.node}: {len(known)} branches" if known else None

    def _sent(self, event: NodeCompleted) -> None:
        """Who does what, from the journal: children are numbered in the order of their targets."""
        sent = [target.id for target in event.targets if target.id in self.tasks]
        if event.node != "parallel_coordinator" or not sent:
            return
        first = len({name for name in self._branches if name.count(".") == len(event.branch)})
        for i, target in enumerate(event.targets):
            if target.id in self.tasks:
                self._belongs(format_path((*event.branch, first + i)), target.id, target.node)

    def _belongs(self, branch: str, name: str, node: str) -> None:
        self._branches[branch] = name
        task = self.tasks[name]
        task.branch, task.by = branch, branch_of(node) or ""
        if task.status != "waiting":  # it is done again
            task.status, task.started, task.seconds = "waiting", None, None

    def _task_of(self, event: NodeCompleted | NodeFailed) -> TaskProgress | None:
        name = self._branches.get(format_path(event.branch))
        return None if name is None else self.tasks[name]

    def _began(self, began: Began) -> str:
        task = self.tasks[began.task]
        task.status, task.remark, task.started = "working", "", began.at
        return f"{task.task}: begins (branch {task.branch}, {task.by})"

    def _completed(self, event: NodeCompleted) -> str | None:
        if branch_of(event.node) is not None:
            return self._finished(event)
        if event.node not in ("task_analyzer", "sync_point_manager", "load_balancer"):
            return None
        for name, wrote in event.writes:
            if name == "messages":
                return f"{event.node}: {wrote[0].text}"
        return None

    def _finished(self, event: NodeCompleted) -> str:
        (result,) = (
            result for channel, wrote in event.writes if channel == "results" for result in wrote
        )
        task = self.tasks[result.task]
        return self._took(result, event.at - (task.started or event.started))

    def _took(self, result: BranchResult, seconds: float) -> str:
        self.results[:] = current_results([*self.results, result])
        found = (
            f"{len(result.findings)} findings"
            if result.type == "research"
            else f"{len(result.measures)} numbers"
        )
        remark = f"{found}, quality {result.quality:.2f}"
        return self._ended(self.tasks[result.task], "done", remark, seconds)

    def _failed(self, event: NodeFailed) -> str | None:
        task = self._task_of(event)
        if task is None:
            return None
        seconds = None if task.started is None else event.at - task.started
        return self._ended(task, "failed", reason_of(event.error), seconds)

    def _ended(self, task: TaskProgress, status: Status, remark: str, seconds: float | None) -> str:
        task.status, task.remark, task.seconds = status, remark, seconds
        after = "" if seconds is None else f" after {seconds:.2f} s"
        return f"{task.task}: {status}{after}: {remark}"

    def _opened(self, event: SyncPointOpened) -> str:
        gathering = self._gathered(event.outcome)
        return (
            f"{event.sync_point}: {gathering.status}, {gathering.arrived} of {gathering.activated} "
            f"branches after {gathering.waited:.2f} s"
        )

    def _gathered(self, outcome: Outcome) -> Gathering:
        gathering = self.gathering = gathering_of(outcome)
        for absence in absences_of(outcome):
            task = self.tasks[absence.task]
            if task.status in ("waiting", "working"):
                self._ended(task, absence.status, absence.reason, task.elapsed())
        return gathering


_ENDED = {"interrupted": "was interrupted", "failed": "failed"}
