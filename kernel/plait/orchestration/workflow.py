"""The main job as functions: a brief is carried out on a thread, and reported.

A run is a thread of a store, from which it goes on when its process has died: its brief and its
settings are in its state, so a thread is resumed by its id alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plait import Flow, MemoryStore, Store
from plait.orchestration.brief import Brief, Task
from plait.orchestration.orchestrator import GATHER, GRAPH, Carried, ParallelOrchestrator
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report
from plait.orchestration.settings import Settings
from plait.orchestration.state import WorkflowState

__all__ = ["GATHER", "GRAPH", "build_flow", "orchestrate", "recall", "resume"]

_ANY_BRIEF = Brief(
    title="any", tasks=(Task(id="any", type="research", question="any", sources=("*",)),)
)


def build_flow(
    brief: Brief | None = None, store: Store | None = None, settings: Settings | None = None
) -> Flow[WorkflowState]:
    """The compiled graph for a brief.

    Without a brief it reads threads: a journal is replayed on the graph that wrote it.
    """
    return ParallelOrchestrator(settings, store=store).flow(brief or _ANY_BRIEF)


async def orchestrate(
    brief: Brief,
    folder: Path,
    progress: Progress,
    told: Callable[[str], None] | None = None,
    *,
    store: Store | None = None,
    thread_id: str | None = None,
    settings: Settings | None = None,
) -> Report:
    """Carry out a brief.

    Args:
        brief: what to do.
        folder: what globs in sources are relative to.
        progress: keeps what is going on and what is finished; of use when this is cancelled or
            fails.
        told: called with a line of text whenever something has happened.
        store: where the thread is kept; by default in memory, until the run is over.
        thread_id: the id of the thread, which must be a new one; by default made up.
        settings: thresholds, limits, pools.

    Raises:
        ThreadExists: there is a thread with this id: `resume` goes on with it.
        PlaitError: the run cannot go to its end.
    """
    orchestrator = ParallelOrchestrator(settings, store=store or MemoryStore())
    return _report(
        await orchestrator.run(brief, folder, thread_id=thread_id, progress=progress, told=told)
    )


async def recall(thread_id: str, store: Store) -> Progress:
    """How far a thread is that may be resumed.

    Raises:
        ThreadNotFound: there is no such thread.
        StoreError: the thread is not one of this graph, or cannot be read.
    """
    flow = build_flow(store=store)
    journal = await flow.journal(thread_id)
    thread = await flow.state(thread_id)
    progress = Progress(thread.state.brief, settings=thread.state.settings)
    outcomes = thread.outcomes.get(GATHER)
    progress.recall(thread.state.results, journal.events, outcomes.latest if outcomes else None)
    return progress


async def resume(
    thread_id: str,
    progress: Progress,
    told: Callable[[str], None] | None = None,
    *,
    store: Store,
    migrate: bool = False,
) -> Report:
    """Go on with a run that has failed, was cancelled, or whose process has died.

    No task is done again whose result is durable. A thread that is finished gives its report.

    Args:
        thread_id: the thread.
        progress: how far it is, by `recall`; it is kept up to date.
        told: called with a line of text whenever something has happened.
        store: where the thread is kept.
        migrate: go on although another version of Plait, with another graph, began the run.

    Raises:
        ThreadBusy: somebody else runs the thread.
        GraphChanged: another version of Plait began it; says what differs.
        PlaitError: the run cannot go to its end.
    """
    if told:
        told(f"{len(progress.results)} of {len(progress.tasks)} tasks were done before")
    orchestrator = ParallelOrchestrator(progress.settings, store=store)
    return _report(
        await orchestrator.resume(
            thread_id, progress.brief, progress=progress, told=told, migrate=migrate
        )
    )


def _report(carried: Carried) -> Report:
    assert carried.report is not None, "nothing is asked, and the last node wrote it"
    return carried.report
