"""What is going on in a run of the main job, told from the events of its stream.

It outlives the run, so that after Ctrl-C or a failure it says what was finished by then; and it
can be told what was finished before, of a run that is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from plait.events import (
    BranchForked,
    Event,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Outcome,
    SyncPointOpened,
    format_path,
)
from plait.orchestration.brief import Brief, Task
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
    tasks: dict[str, TaskProgress] = field(default_factory=dict)
    """Every task, by id, in the order of the brief."""
    results: list[BranchResult] = field(default_factory=list)
    """What is finished, in the order in which it was."""
    gathering: Gathering | None = None
    """How the sync point opened, once it has."""
    _branches: dict[str, str] = field(default_factory=dict)
    """The task of each branch, by the branch's path as people write it."""

    def __post_init__(self) -> None:
        for task in self.brief.tasks:
            waits = f"after {', '.join(task.depends_on)}" if task.depends_on else ""
            self.tasks[task.id] = TaskProgress(task.id, remark=waits)

    def recall(
        self,
        assigned: Mapping[str, Task],
        results: Iterable[BranchResult],
        journal: Iterable[JournalEvent],
        outcome: Outcome | None,
    ) -> None:
        """Take in what was finished before a run is resumed.

        Args:
            assigned: the task of each branch, by the branch's path as people write it.
            results: what is finished.
            journal: the events of the thread, which say what failed.
            outcome: what the sync point reported, if it has opened.
        """
        self._assign(assigned)
        for result in results:
            self._took(result, result.seconds)
        for event in journal:  # what a branch wrote that failed is in no state
            if isinstance(event, NodeCompleted):
                self._assign(_assigned(event))
            elif isinstance(event, NodeFailed):
                self._failed(event)
        if outcome is not None:
            self._gathered(outcome)

    def take(self, event: Event) -> str | None:
        """Take in one event; a line about it, if it is worth one."""
        match event:
            case BranchForked():
                return self._forked(event)
            case NodeStarted(node="research" | "analysis"):
                return self._began(event)
            case NodeCompleted(node="take_research" | "take_analysis"):
                # A fork has told of it before, but not to a run that was cut off after that.
                self._assign(_assigned(event))
                return None
            case NodeCompleted(node="research" | "analysis"):
                return self._finished(event)
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
            self._belongs(format_path(child.branch), child.id)
        return f"{event.node}: {len(known)} branches" if known else None

    def _assign(self, assigned: Mapping[str, Task]) -> None:
        for branch, task in assigned.items():
            self._belongs(branch, task.id)

    def _belongs(self, branch: str, name: str) -> None:
        self._branches[branch] = name
        self.tasks[name].branch = branch

    def _task_of(self, event: NodeStarted | NodeCompleted | NodeFailed) -> TaskProgress | None:
        name = self._branches.get(format_path(event.branch))
        return None if name is None else self.tasks[name]

    def _began(self, event: NodeStarted) -> str:
        task = self._task_of(event)
        assert task is not None, "its branch was assigned a task"
        task.status, task.remark, task.started = "working", "", event.at
        return f"{task.task}: begins (branch {task.branch})"

    def _finished(self, event: NodeCompleted) -> str:
        (result,) = (
            result for channel, wrote in event.writes if channel == "results" for result in wrote
        )
        return self._took(result, event.at - event.started)

    def _took(self, result: BranchResult, seconds: float) -> str:
        self.results.append(result)
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


def _assigned(event: NodeCompleted) -> Mapping[str, Task]:
    assigned: Mapping[str, Task] = dict(event.writes).get("assigned", {})
    return assigned


_ENDED = {"interrupted": "was interrupted", "failed": "failed"}
