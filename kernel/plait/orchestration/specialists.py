"""The specialists: what is done for one task, in a worker thread, and how it is stopped.

Reading, searching and computing block, so they run in a thread and leave the event loop free. A
thread cannot be cancelled from outside; it is told to stop, and heeds that between two pieces of
work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from plait.orchestration.analysis import analyse
from plait.orchestration.brief import Task
from plait.orchestration.errors import DeadlineError
from plait.orchestration.research import research
from plait.orchestration.results import BranchResult
from plait.orchestration.sources import Checkpoint, read_documents
from plait.orchestration.tables import read_table

__all__ = ["carry_out"]


class _Unwanted(Exception):
    """Raised in the thread whose work nobody waits for any more."""


async def carry_out(task: Task, folder: Path, before: Sequence[BranchResult]) -> BranchResult:
    """Do one task.

    Args:
        task: what to do.
        folder: what globs in its sources are relative to.
        before: the results that there are of the tasks that it depends on.

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
            return await anyio.to_thread.run_sync(
                _SPECIALISTS[task.type], task, folder, before, check, abandon_on_cancel=True
            )
    finally:
        unwanted.set()
    raise DeadlineError(task.deadline or 0.0)


_Specialist = Callable[[Task, Path, Sequence[BranchResult], Checkpoint], BranchResult]


def _research(
    task: Task, folder: Path, before: Sequence[BranchResult], check: Checkpoint
) -> BranchResult:
    """Quote what answers the question, and nothing that was quoted by a task before this one."""
    started = time.perf_counter()
    documents = [doc for source in task.sources for doc in read_documents(source, folder, check)]
    already = [finding.quote for result in before for finding in result.findings]
    answer = research(task.question, documents, check, focus=task.focus, already=already)
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
        notes=(*answer.notes, *_notes_on(task, before)),
    )


def _analysis(
    task: Task, folder: Path, before: Sequence[BranchResult], check: Checkpoint
) -> BranchResult:
    """Compute on the tables, and tell distributions apart by what tasks before this one quoted."""
    started = time.perf_counter()
    quoted = {
        result.task: frozenset(finding.document for finding in result.findings)
        for result in before
        if result.type == "research"
    }
    table = read_table(task.sources, folder, check, quoted)
    assert task.analysis_type is not None, "a brief without it is refused"
    insight = analyse(task.analysis_type, table, check, columns=task.columns)
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
        notes=(*insight.notes, *_notes_on(task, before)),
    )


def _notes_on(task: Task, before: Sequence[BranchResult]) -> list[str]:
    absent = [name for name in task.depends_on if name not in {result.task for result in before}]
    return [f"It depends on {name}, which gave no result." for name in absent]


_SPECIALISTS: dict[str, _Specialist] = {"research": _research, "analysis": _analysis}
