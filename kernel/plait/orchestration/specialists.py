"""The specialists: what is done for one task, in a worker thread, and how it is stopped.

Reading, searching and computing block, so they run in a thread and leave the event loop free. A
thread cannot be cancelled from outside; it is told to stop, and heeds that between two pieces of
work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread

from plait.orchestration.analysis import analyse
from plait.orchestration.branches import LENSES
from plait.orchestration.brief import Task
from plait.orchestration.errors import DeadlineError
from plait.orchestration.research import research
from plait.orchestration.results import BranchResult
from plait.orchestration.sources import Checkpoint, read_documents
from plait.orchestration.tables import read_table

__all__ = ["Meter", "Specialist", "Work", "carry_out", "work_on"]


@dataclass(slots=True)
class Meter:
    """What a task used, as far as its specialist can tell."""

    cpu_seconds: float | None = None
    """CPU time of its own threads; None where it has none, or cannot tell."""


@dataclass(frozen=True, slots=True)
class Work:
    """One task for a specialist, and all that it may want to know."""

    task: Task
    """What to do."""
    folder: Path
    """What globs in its sources are relative to."""
    branch: str
    """The branch that it is done in: `technical`, `primary`, ..."""
    before: tuple[BranchResult, ...] = ()
    """The results that there are of the tasks that it depends on."""
    round: int = 0
    """0, or the number of the revision."""
    depth: int = 1
    """How thoroughly: 1, and one more for each result that was not good enough."""
    attempt: int = 1
    """The number of the attempt in this round, from 1."""
    idempotency_key: str = ""
    """Names this piece of work, for whoever is told of it; the same for every attempt, and for the
    repetition after a crash."""
    meter: Meter = field(default_factory=Meter)
    """Where the specialist notes what it used."""


Specialist: TypeAlias = Callable[[Work], Awaitable[BranchResult]]
"""Does one task. It raises what it cannot do: `ThrottledError` if it was asked too much, one of the
other `SpecialistError`s if nobody could do it, anything else if it may go better the next time."""


class _Unwanted(Exception):
    """Raised in the thread whose work nobody waits for any more."""


async def work_on(work: Work) -> BranchResult:
    """Do one task as the bundled specialists do: quote passages, or compute on tables.

    The branches `market` and `competitive` prefer passages that have the words of their lenses.
    Raises what `carry_out` raises.
    """
    return await carry_out(
        work.task,
        work.folder,
        work.before,
        lens=sorted(LENSES.get(work.branch, ())),
        depth=work.depth,
        meter=work.meter,
    )


async def carry_out(
    task: Task,
    folder: Path,
    before: Sequence[BranchResult],
    *,
    lens: Sequence[str] = (),
    depth: int = 1,
    meter: Meter | None = None,
    most: int = 3,
    confidence: float | None = 0.95,
) -> BranchResult:
    """Do one task.

    Args:
        task: what to do.
        folder: what globs in its sources are relative to.
        before: the results that there are of the tasks that it depends on.
        lens: words that research prefers in a passage beside those of the task's focus.
        depth: how thoroughly to search; see `plait.orchestration.research`.
        meter: where to note the CPU time that it took.
        most: how many passages research may quote at a depth of 1.
        confidence: the level of the intervals of an analysis; `None` for no intervals.

    Raises:
        SpecialistError: the task cannot be done: a missing source, a table without the columns that
            are wanted, or its deadline (`DeadlineError`).
    """
    unwanted = threading.Event()

    def check() -> None:
        if unwanted.is_set():
            raise _Unwanted

    try:
        with anyio.move_on_after(task.deadline):
            # The loop does not wait for the thread, which soon hears that it is unwanted.
            result, cpu_seconds = await anyio.to_thread.run_sync(
                _timed,
                _SPECIALISTS[task.type],
                _Job(task, folder, before, check, lens, depth, most, confidence),
                abandon_on_cancel=True,
            )
            if meter is not None:
                meter.cpu_seconds = cpu_seconds
            return result
    finally:
        unwanted.set()
    raise DeadlineError(task.deadline or 0.0)


@dataclass(frozen=True, slots=True)
class _Job:
    task: Task
    folder: Path
    before: Sequence[BranchResult]
    check: Checkpoint
    lens: Sequence[str]
    depth: int
    most: int
    confidence: float | None


def _timed(specialist: Callable[[_Job], BranchResult], job: _Job) -> tuple[BranchResult, float]:
    """What a specialist found, and the CPU time that its thread took."""
    before = time.thread_time()
    return specialist(job), time.thread_time() - before


def _research(job: _Job) -> BranchResult:
    """Quote what answers the question, and nothing that was quoted by a task before this one."""
    started = time.perf_counter()
    task, check = job.task, job.check
    documents = [
        document
        for source in task.sources
        for document in read_documents(source, job.folder, check)
    ]
    answer = research(
        task.question,
        documents,
        check,
        focus=" ".join((task.focus, *job.lens)),
        already=[finding.quote for result in job.before for finding in result.findings],
        depth=job.depth,
        most=job.most,
    )
    return BranchResult(
        task=task.id,
        type="research",
        heading=task.heading,
        findings=answer.findings,
        quality=answer.quality,
        quality_how=answer.how,
        seconds=time.perf_counter() - started,
        read=answer.read,
        sources=answer.shares,
        notes=(*answer.notes, *_notes_on(task, job.before)),
    )


def _analysis(job: _Job) -> BranchResult:
    """Compute on the tables, and tell distributions apart by what tasks before this one quoted."""
    started = time.perf_counter()
    task, check = job.task, job.check
    quoted = {
        result.task: frozenset(finding.document for finding in result.findings)
        for result in job.before
        if result.type == "research"
    }
    table = read_table(task.sources, job.folder, check, quoted)
    assert task.analysis_type is not None, "a brief without it is refused"
    insight = analyse(
        task.analysis_type, table, check, columns=task.columns, confidence=job.confidence
    )
    return BranchResult(
        task=task.id,
        type="analysis",
        heading=task.heading,
        measures=insight.measures,
        quality=insight.quality,
        quality_how=insight.how,
        seconds=time.perf_counter() - started,
        read=insight.read,
        sources=tuple((name, count / table.rows) for name, count in table.origins if count),
        notes=(*insight.notes, *_notes_on(task, job.before)),
    )


def _notes_on(task: Task, before: Sequence[BranchResult]) -> list[str]:
    absent = [name for name in task.depends_on if name not in {result.task for result in before}]
    return [f"It depends on {name}, which gave no result." for name in absent]


_SPECIALISTS: dict[str, Callable[[_Job], BranchResult]] = {
    "research": _research,
    "analysis": _analysis,
}
