"""Cancellation of the caller at every point of a run, once and twice (law 7, containment).

Whatever the point: no task lives on, pools are full again, nothing is appended to the journal
later, and the thread resumes to the state that the run would have reached, without calling
anything again whose completion is in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from plait import (
    END,
    START,
    Flow,
    Graph,
    Join,
    MemoryStore,
    NodeContext,
    Retry,
    RunResult,
    RunStream,
    Send,
)
from plait.events import BranchPath, JournalEvent
from plait.store import JournalFormat, LeasedJournal
from plait.testing.faults import WrappedJournal
from tests.faults.points import Calls, Points, completions, rows
from tests.kernel.build import Work, build, other_tasks

Program = Callable[[Calls], Graph]
Caller = Callable[[Flow[Any]], Any]

LATER = 100_000.0
"""Virtual seconds after which nothing can be left that has not happened."""


# -- programs ---------------------------------------------------------------------------------


def chain(calls: Calls) -> Graph:
    return build("START a b c END", a=calls.node(), b=calls.node(0, tidy=2), c=calls.node(tidy=2))


def gather_with_grace(calls: Calls) -> Graph:
    join = Join(quorum=2, grace=5)
    ways = ("START a gather merge END", "START b gather", "START slow gather")
    parts = {name: calls.node() for name in ("a", "merge")}
    slow = calls.node(100, tidy=1)
    return build(*ways, gather=join, b=calls.node(tidy=2), slow=slow, **parts)


def gather_with_detached(calls: Calls) -> Graph:
    join = Join(quorum=2, stragglers="detach")
    ways = ("START a gather merge END", "START b gather", "START slow gather")
    parts = {name: calls.node() for name in ("a", "b", "merge")}
    return build(*ways, gather=join, slow=calls.node(100, tidy=1), **parts)


def nested_forks(calls: Calls) -> Graph:
    ways = ("START a x inner d outer END", "a y inner", "START b outer", "START c END")
    parts: dict[str, Any] = {name: calls.node(tidy=1) for name in "abcdxy"}
    return build(*ways, inner=Join(), outer=Join(timeout=1000), **parts)


def retries(calls: Calls) -> Graph:
    graph = build("START a gather END", gather=Join(), a=calls.node(3))
    retry = Retry(attempts=3, initial=2, jitter=False)
    graph.add_node("b", calls.node(failures=2, tidy=1), retry=retry, timeout=60)
    return graph.add_edge(START, "b").add_edge("b", "gather")


def pools(calls: Calls) -> Graph:
    graph = Graph(Work).add_node("work", calls.node(tidy=1), pool="pool").add_sync_point("gather")
    graph.add_node("more", calls.node(), pool="pool").add_edge("work", "more")
    graph.add_edge("more", "gather").add_edge("gather", END)
    return graph.add_conditional_edges(START, lambda _: [Send("work")] * 4, ["work"])


def threads(calls: Calls) -> Graph:
    ways = ("START a thread gather END", "START b gather")
    parts = {"a": calls.node(0), "b": calls.node(2, tidy=1), "thread": calls.thread()}
    return build(*ways, gather=Join(), **parts)


def subgraph(calls: Calls) -> Graph:
    ways = ("START x gather z END", "START y gather")
    parts: dict[str, Any] = {name: calls.node(tidy=1) for name in "xyz"}
    inner = build(*ways, gather=Join(), **parts).compile()
    return build("START a sub b END", a=calls.node(), b=calls.node(), sub=inner)


def predicate(calls: Calls) -> Graph:
    join = Join(quorum=lambda arrivals: len(arrivals) == 2)
    ways = ("START a gather merge END", "START b gather", "START slow gather")
    parts = {name: calls.node() for name in ("a", "merge")}
    return build(*ways, gather=join, b=calls.node(2), slow=calls.node(100, tidy=1), **parts)


def dependents(calls: Calls) -> Graph:
    def route(_state: Any) -> list[Send]:
        return [Send("a", id="a"), Send("b", id="b", after="a"), Send("c", after=("a", "b"))]

    parts = {name: calls.node(tidy=1) for name in "abc"}
    graph = build("a gather END", "b gather", "c gather", gather=Join(), **parts)
    return graph.add_conditional_edges(START, route, ["a", "b", "c"])


def loop(calls: Calls) -> Graph:
    ways = ("START plan a gather", "plan b gather")
    parts = {name: calls.node() for name in "ab"}
    graph = build(*ways, gather=Join(), plan=calls.node(sum=1), **parts)

    async def again(state: Any) -> str:
        await anyio.sleep(1)
        return END if state["sum"] == 3 else "plan"

    return graph.add_conditional_edges("gather", again, ["plan", END])


def deadline(calls: Calls) -> Graph:
    join = Join(timeout=7, minimum=0, on_timeout="rescue")
    parts = {"slow": calls.node(1000, tidy=1), "stuck": calls.node(1e6), "rescue": calls.node()}
    ways = ("START slow gather END", "START stuck gather", "rescue END")
    return build(*ways, gather=join, **parts)


def talkative(calls: Calls) -> Graph:
    async def talk(_state: Any, ctx: NodeContext) -> Any:
        for number in range(4):
            await ctx.emit(number)
        return {"items": ["talk"]}

    return build("START a talk END", "START b END", a=calls.node(), b=calls.node(2), talk=talk)


def asking(calls: Calls) -> Graph:
    async def ask(_state: Any, ctx: NodeContext) -> Any:
        await anyio.sleep(1)
        first = ctx.interrupt("first")
        await anyio.sleep(1)
        return {"items": [first, ctx.interrupt("second")]}

    ways = ("START a gather merge END", "START ask gather", "START b END")
    parts = {name: calls.node(2, tidy=1) for name in ("a", "b", "merge")}
    return build(*ways, gather=Join(timeout=10), ask=ask, **parts)


PROGRAMS: tuple[Any, ...] = (
    asking,
    chain,
    gather_with_grace,
    gather_with_detached,
    nested_forks,
    retries,
    pools,
    threads,
    subgraph,
    predicate,
    dependents,
    loop,
    deadline,
    talkative,
)


# -- callers ----------------------------------------------------------------------------------


async def plain(flow: Flow[Any]) -> RunResult[Any]:
    return await answered(flow, await flow.run({}, thread_id="t"))


async def answered(flow: Flow[Any], result: RunResult[Any]) -> RunResult[Any]:
    """Answer whatever is asked, until the run is completed."""
    while result.status == "suspended":
        answers = {each.id: f"answer to {each.value}" for each in result.interrupts}
        result = await flow.resume("t", answers)
    return result


async def reader(flow: Flow[Any]) -> RunResult[Any]:
    """Reads a stream slowly, so that the run waits for it at times."""
    async with flow.stream({}, thread_id="t", buffer=1) as events:
        async for _ in events:
            await asyncio.sleep(0)
    assert events.result is not None
    return await answered(flow, events.result)


PLAIN = JournalFormat()


class SlowStore(MemoryStore):
    """A store whose rows take a moment to be safe, and are written in their order."""

    @asynccontextmanager
    async def lease(
        self, thread_id: str, format_: JournalFormat = PLAIN
    ) -> AsyncIterator[LeasedJournal]:
        async with super().lease(thread_id, format_) as journal:
            slow = SlowJournal(journal)
            try:
                yield slow
            finally:
                slow.write()


class SlowJournal(WrappedJournal):
    def __init__(self, rows: LeasedJournal) -> None:
        super().__init__(rows)
        self.events: list[JournalEvent] = []
        self._written = 0

    def append(self, event: JournalEvent) -> Awaitable[None]:
        self.events.append(event)
        return self._flush()

    async def _flush(self) -> None:
        await anyio.sleep(0.01)
        self.write()

    def write(self) -> None:
        for event in self.events[self._written :]:
            self.inner.append(event)
        self._written = len(self.events)


# -- the experiment ---------------------------------------------------------------------------


@dataclass
class Experiment:
    """One program, run anew for each way of cancelling its caller."""

    program: Program
    caller: Caller = plain
    store: type[MemoryStore] = MemoryStore
    max_concurrency: int | None = None

    def compile(self, calls: Calls) -> Flow[Any]:
        return self.program(calls).compile(
            self.store(), pools={"pool": 2}, max_concurrency=self.max_concurrency
        )

    def undisturbed(self) -> tuple[RunResult[Any], list[JournalEvent], int]:
        """What the run comes to, its journal, and the number of its points."""
        calls, points = Calls(), Points()
        flow = self.compile(calls)

        async def main() -> RunResult[Any]:
            return await points.start(self.caller(flow))

        return calls.clock.run(main()), rows(flow), points.count

    def disturbed(self, *cancel_at: int) -> Disturbed:
        """Cancel the caller at these points; then resume the thread."""
        calls, points = Calls(), Points(*cancel_at)
        flow = self.compile(calls)

        async def main() -> Disturbed:
            task = points.start(self.caller(flow))
            await asyncio.wait([task])
            left = Left(other_tasks(), borrowed(flow), set(calls.open))
            before, begun = rows(flow), len(calls.begun)
            for _ in range(20):
                await asyncio.sleep(0)
            after = rows(flow)
            result = await (flow.resume("t") if before else flow.run({}, thread_id="t"))
            result = await answered(flow, result)
            end = rows(flow)
            await asyncio.sleep(LATER)
            late = len(after) - len(before) + len(rows(flow)) - len(end)
            again = calls.begun[begun:]
            interrupted = calls.interrupted
            return Disturbed(task, points, left, before, late, again, interrupted, result, end)

        try:
            return calls.clock.run(main())
        finally:
            calls.clock.release()


@dataclass
class Left:
    """What is left when the caller has got its answer."""

    tasks: set[asyncio.Task[Any]]
    places: float
    open: set[object]


@dataclass
class Disturbed:
    task: asyncio.Task[Any]
    points: Points
    left: Left
    saved: list[JournalEvent]
    late: int
    """Rows that came after the run had returned."""
    again: list[tuple[str, BranchPath]]
    """What was called after the thread was resumed."""
    interrupted: list[tuple[str, BranchPath]]
    result: RunResult[Any]
    journal: list[JournalEvent]


def borrowed(flow: Flow[Any]) -> int:
    limiters = [pool for pool in flow.pools.values() if isinstance(pool, anyio.CapacityLimiter)]
    assert len(limiters) == len(flow.pools)
    return sum([limiter.borrowed_tokens for limiter in limiters])


def check(found: Disturbed, undisturbed: RunResult[Any], journal: Sequence[JournalEvent]) -> None:
    """All that is promised, whatever the points."""
    assert found.left == Left(set(), 0, set())
    assert found.late == 0
    assert found.task.cancelled() == (found.points.requests > 0)
    assert found.result.state == undisturbed.state
    assert completions(found.journal) == completions(journal)
    missing = Counter(completions(journal)) - Counter(completions(found.saved))
    finished = set(completions(found.saved)) - set(missing)
    assert not finished & {(path, node) for node, path in found.again}


EXPERIMENTS = {program.__name__: Experiment(program) for program in PROGRAMS}
for _program in (nested_forks, predicate, talkative, asking):
    _name = _program.__name__
    EXPERIMENTS[f"{_name}, read slowly"] = Experiment(_program, reader)
    EXPERIMENTS[f"{_name}, a slow store"] = Experiment(_program, store=SlowStore)
    EXPERIMENTS[f"{_name}, two at once"] = Experiment(_program, max_concurrency=2)

everywhere = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS.keys())


@everywhere
def test_a_caller_may_be_cancelled_at_any_point(experiment: Experiment) -> None:
    result, journal, count = experiment.undisturbed()
    for point in range(count):
        check(experiment.disturbed(point), result, journal)


@everywhere
def test_a_caller_may_be_cancelled_again_at_any_point_of_the_clean_up(
    experiment: Experiment,
) -> None:
    result, journal, count = experiment.undisturbed()
    for first in range(count):
        second = first + 1
        while True:
            found = experiment.disturbed(first, second)
            check(found, result, journal)
            if found.points.requests < 2:
                break
            second += 1


@everywhere
def test_shielded_clean_up_completes_wherever_the_caller_is_cancelled(
    experiment: Experiment,
) -> None:
    _, _, count = experiment.undisturbed()
    assert not any(experiment.disturbed(point).interrupted for point in range(count))


@everywhere
def test_the_points_of_a_run_are_always_the_same(experiment: Experiment) -> None:
    assert experiment.undisturbed()[2] == experiment.undisturbed()[2]


# -- single cases -----------------------------------------------------------------------------


def test_shielded_clean_up_completes_though_the_caller_is_cancelled_twice() -> None:
    calls = Calls()
    flow = build("START a END", a=calls.node(10, tidy=5)).compile()

    async def main() -> bool:
        task = asyncio.ensure_future(flow.run({}, thread_id="t"))
        for _ in range(2):
            await anyio.sleep(2)
            task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert calls.clock.run(main())
    assert (calls.clock.now, calls.interrupted) == (2 + 5, [])


def test_a_node_that_swallows_its_cancellation_does_not_hold_up_the_caller() -> None:
    async def swallow(_state: Any) -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await anyio.sleep(10)
        return {"items": ["swallowed"]}

    calls = Calls()
    flow = build("START a b END", a=swallow, b=calls.node(1000)).compile()

    async def main() -> None:
        async with asyncio.timeout(5):
            await flow.run({}, thread_id="t")

    with pytest.raises(TimeoutError):
        calls.clock.run(main())
    assert calls.clock.now == 5


def test_all_branches_are_cancelled_at_once_however_long_one_of_them_cleans_up() -> None:
    calls = Calls()
    parts = {"a": calls.node(10, tidy=50), "b": calls.node(3), "c": calls.node(3)}
    flow = build("START a END", "START b c END", **parts).compile()

    async def main() -> None:
        async with asyncio.timeout(1):
            await flow.run({}, thread_id="t")

    with pytest.raises(TimeoutError):
        calls.clock.run(main())
    assert [name for name, _ in calls.begun] == ["a", "b"]


@pytest.mark.parametrize("block", [True, False])
def test_a_reader_may_leave_its_stream_after_any_event(block: bool) -> None:
    calls = Calls()

    async def read(count: int) -> tuple[bool, int, set[Any], list[JournalEvent]]:
        flow = nested_forks(calls).compile()
        stream = flow.stream({}, thread_id="t", buffer=1)
        more = True
        if block:
            async with stream as events:
                more = await take(events, count)
        else:
            more = await take(stream, count)
            await stream.aclose()
        tasks, saved = other_tasks(), rows(flow)
        await asyncio.sleep(LATER)
        return more, len(rows(flow)) - len(saved), tasks, saved

    more, count = True, 0
    while more:
        more, late, tasks, _ = calls.clock.run(read(count))
        assert (late, tasks, calls.open) == (0, set(), set())
        count += 1
    assert count > 10


@pytest.mark.parametrize("count", range(1, 12))
def test_a_stream_that_is_forgotten_after_any_event_ends_its_run(count: int) -> None:
    calls = Calls()

    async def forget() -> tuple[set[Any], RunResult[Any]]:
        flow = nested_forks(calls).compile()
        await take(flow.stream({}, thread_id="t", buffer=1), count)
        gc.collect()
        await asyncio.sleep(10)  # for the clean-up, which nobody waits for
        return other_tasks(), await flow.resume("t")

    tasks, result = calls.clock.run(forget())
    assert (tasks, calls.open) == (set(), set())
    assert result.state["items"] == Experiment(nested_forks).undisturbed()[0].state["items"]


async def take(stream: RunStream[Any], count: int) -> bool:
    """Read so many events; whether there were as many."""
    for _ in range(count):
        if await anext(stream, None) is None:
            return False
    return True
