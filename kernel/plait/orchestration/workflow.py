"""The graph of the main job, on nothing but the public face of Plait.

A run is a thread of a store, from which it goes on when its process has died: its brief is in its
state, so a thread is resumed by its id alone.

One branch for each task, gathered at the sync point `gather`:

    START -> plan -> take_research -> research -> gather -> merge -> validate -> report -> END
                  -> take_analysis -> analysis ->
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

from plait import (
    ALL,
    ANY,
    END,
    START,
    Flow,
    Graph,
    Join,
    MemoryStore,
    NodeContext,
    RunStream,
    Send,
    Store,
    ThreadExists,
    reducers,
)
from plait.events import format_path
from plait.orchestration.brief import Brief, JoinPolicy, Task
from plait.orchestration.merge import Gathering, IntegrationResult, absences_of, gathering_of, merge
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report, make_report
from plait.orchestration.results import BranchResult
from plait.orchestration.specialists import carry_out
from plait.orchestration.timeline import timeline_of
from plait.orchestration.validation import Verdict, validate

__all__ = [
    "GATHER",
    "GRAPH",
    "State",
    "build_flow",
    "build_graph",
    "join_of",
    "orchestrate",
    "recall",
    "resume",
]

GRAPH = "orchestrate"
"""The name of the graph, by which a store knows its threads."""

GATHER = "gather"
"""The sync point at which the branches of all tasks meet."""


class State(BaseModel):
    """The state of a run."""

    brief: Brief
    """What is asked for."""
    folder: str
    """What globs in sources are relative to."""
    assigned: Annotated[dict[str, Task], reducers.merge_dicts] = {}
    """Which task each branch carries out, by the path of the branch."""
    results: Annotated[list[BranchResult], reducers.append] = []
    """What the branches found out."""
    gathering: Gathering | None = None
    """How the sync point opened."""
    merged: IntegrationResult | None = None
    """The whole."""
    verdict: Verdict | None = None
    """Whether it is good enough."""
    report: Report | None = None
    """All of it, for a reader."""


async def plan(state: State) -> None:
    """Where the branches fork; the brief itself is the plan."""


def send_off(state: State) -> list[Send]:
    """One branch for each task: by priority, and then the longest expected first."""
    urgency = {"high": 0, "medium": 1, "low": 2}
    tasks = sorted(state.brief.tasks, key=lambda task: (urgency[task.priority], -task.complexity))
    return [
        Send(f"take_{task.type}", task, id=task.id, after=task.depends_on, weight=task.weight)
        for task in tasks
    ]


async def take(task: Task, ctx: NodeContext) -> dict[str, Any]:
    """Note which task this branch has.

    A node that is sent an argument gets that in place of the state. The specialist is a node of its
    own, so that it sees the state, and in it what the tasks before it have found.
    """
    return {"assigned": {branch_key(ctx): task}}


async def specialist(state: State, ctx: NodeContext) -> dict[str, Any]:
    """Carry out the task of this branch."""
    task = state.assigned[branch_key(ctx)]
    before = [result for result in state.results if result.task in task.depends_on]
    return {"results": [await carry_out(task, Path(state.folder), before)]}


def branch_key(ctx: NodeContext) -> str:
    """The path of a branch, as a key."""
    return format_path(ctx.branch)


async def merge_branches(state: State, ctx: NodeContext) -> dict[str, Any]:
    """Weigh what has arrived, and name what has not."""
    outcome = ctx.outcome
    assert outcome is not None, "this node follows a sync point"
    return {
        "gathering": gathering_of(outcome),
        "merged": merge(state.results, absences_of(outcome)),
    }


async def validate_whole(state: State) -> dict[str, Any]:
    """Hold the whole against the rules."""
    assert state.merged is not None, "the merger ran before"
    return {"verdict": validate(state.merged, state.results)}


async def write_report(state: State) -> dict[str, Any]:
    """Put all of it into one record."""
    assert state.merged is not None, "the merger ran before"
    assert state.verdict is not None, "the validation ran before"
    report = make_report(
        state.brief,
        state.results,
        state.merged,
        state.verdict,
        gatherings=() if state.gathering is None else (state.gathering,),
    )
    return {"report": report}


def join_of(policy: JoinPolicy) -> Join:
    """The `[join]` table of a brief as the policy of a sync point."""
    words = {"all": ALL, "any": ANY}
    quorum = policy.quorum
    return Join(
        quorum=words[quorum] if isinstance(quorum, str) else quorum,
        grace=policy.grace,
        timeout=policy.timeout,
        on_timeout=policy.on_timeout,
        minimum=policy.minimum,
    )


def build_graph(policy: JoinPolicy) -> Graph:
    """The graph for a brief with this policy."""
    graph = Graph(State, name=GRAPH)
    graph.add_node("plan", plan)
    for kind in ("research", "analysis"):
        graph.add_node(f"take_{kind}", take)
        graph.add_node(kind, specialist, on_error="record")
        graph.add_edge(f"take_{kind}", kind)
        graph.add_edge(kind, GATHER)
    graph.add_sync_point(GATHER, join_of(policy))
    graph.add_node("merge", merge_branches)
    graph.add_node("validate", validate_whole)
    graph.add_node("report", write_report)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", send_off, ["take_research", "take_analysis"])
    graph.add_edge(GATHER, "merge")
    graph.add_edge("merge", "validate")
    graph.add_edge("validate", "report")
    graph.add_edge("report", END)
    return graph


def build_flow(policy: JoinPolicy, store: Store | None = None) -> Flow[State]:
    """The compiled graph for a brief with this policy; its input is `brief` and `folder`."""
    return build_graph(policy).compile(store=store)


async def orchestrate(
    brief: Brief,
    folder: Path,
    progress: Progress,
    told: Callable[[str], None] | None = None,
    *,
    store: Store | None = None,
    thread_id: str | None = None,
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

    Raises:
        ThreadExists: there is a thread with this id: `resume` goes on with it.
        PlaitError: the run cannot go to its end (too few branches at the sync point, say).
    """
    store = MemoryStore() if store is None else store
    if thread_id is not None and await store.thread(thread_id) is not None:
        raise ThreadExists(thread_id, "exists: resume it, or give the new one another id")
    flow = build_flow(brief.join, store)
    given = {"brief": brief, "folder": str(folder)}
    return await _follow(flow, flow.stream(given, thread_id), progress, told)


async def recall(thread_id: str, store: Store) -> Progress:
    """How far a thread is that may be resumed.

    Raises:
        ThreadNotFound: there is no such thread.
        StoreError: the thread is not one of this graph, or cannot be read.
    """
    # A journal is replayed on the graph that wrote it, so any policy will do to read it.
    flow = build_flow(JoinPolicy(), store)
    journal = await flow.journal(thread_id)
    thread = await flow.state(thread_id)
    progress = Progress(thread.state.brief)
    outcomes = thread.outcomes.get(GATHER)
    progress.recall(
        thread.state.assigned,
        thread.state.results,
        journal.events,
        outcomes.latest if outcomes else None,
    )
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
    flow = build_flow(progress.brief.join, store)
    stream = flow.resume_stream(thread_id, migrate=migrate)
    return await _follow(flow, stream, progress, told)


async def _follow(
    flow: Flow[State],
    stream: RunStream[State],
    progress: Progress,
    told: Callable[[str], None] | None,
) -> Report:
    async with stream as events:
        async for event in events:
            line = progress.take(event)
            if line and told:
                told(line)
    assert stream.result is not None, "the stream ended without an error"
    report = stream.result.state.report
    assert report is not None, "the last node wrote it"
    # No node can tell of the end of its own run, and the journal has all of it.
    timeline = timeline_of(await flow.trace(stream.result.thread_id))
    return report.model_copy(update={"timeline": timeline})
