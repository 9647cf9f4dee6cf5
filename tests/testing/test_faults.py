"""Gate, FailAt and CrashAt, and the fixtures."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, TypedDict

import anyio
import pytest

from plait import (
    END,
    START,
    Command,
    Flow,
    Graph,
    MemoryStore,
    NodeContext,
    NodeError,
    Retry,
    Send,
    reducers,
)
from plait.events import JournalEvent
from plait.store import LeasedJournal
from plait.testing import CrashAt, Crashed, FailAt, Gate, InjectedFault, VirtualClock
from plait.testing.faults import WrappedJournal
from plait.testing.plugin import clock, gate

__all__ = ["clock", "gate"]  # fixtures, which pytest finds here


class State(TypedDict, total=False):
    items: Annotated[list[Any], reducers.append]


async def work(state: State) -> State:
    return {"items": ["done"]}


def one(node: Any, **options: Any) -> Graph:
    graph = Graph(State)
    graph.add_node("work", node, **options)
    return graph.add_edge(START, "work").add_edge("work", END)


# -- Gate -------------------------------------------------------------------------------------


async def test_a_gate_holds_a_node_until_it_is_opened(gate: Gate) -> None:
    flow = one(gate(work)).compile()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow.run, None, "t")
        await gate.wait_reached()
        assert (gate.reached, gate.waiting) == (1, 1)
        assert (await flow.state("t")).status == "running"
        gate.open()
    assert (await flow.state("t")).state == {"items": ["done"]}
    assert (gate.reached, gate.waiting) == (1, 0)


async def test_an_open_gate_holds_nobody_until_it_is_closed(gate: Gate) -> None:
    gate.open()
    await gate.hold()
    gate.close()
    with anyio.move_on_after(0.001) as scope:
        await gate.hold()
    assert scope.cancelled_caught
    assert (gate.reached, gate.waiting) == (2, 0)


async def test_a_gate_can_be_waited_for_until_several_have_come(gate: Gate) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(gate.hold)
        await gate.wait_reached(3)
        assert gate.waiting == 3
        gate.open()


def test_a_node_behind_a_gate_keeps_its_name_and_its_context(
    gate: Gate, clock: VirtualClock
) -> None:
    async def named(state: State, ctx: NodeContext) -> State:
        return {"items": [ctx.node]}

    gate.open()
    graph = Graph(State)
    graph.add_node(gate(named)).add_edge(START, "named").add_edge("named", END)
    assert clock.run(graph.compile().run()).state == {"items": ["named"]}


def test_a_node_in_a_thread_stays_there(gate: Gate, clock: VirtualClock) -> None:
    def plain(state: State) -> State:
        anyio.from_thread.check_cancelled()  # raises outside of a worker thread
        return {"items": ["thread"]}

    gate.open()
    assert clock.run(one(gate(plain)).compile().run()).state == {"items": ["thread"]}


def test_a_function_that_returns_an_awaitable_is_awaited(gate: Gate, clock: VirtualClock) -> None:
    gate.open()

    def later(state: State) -> Awaitable[State]:
        return work(state)

    node = gate(later)
    assert clock.run(one(node).compile().run()).state == {"items": ["done"]}


def test_the_targets_that_a_node_declares_are_still_read(gate: Gate) -> None:
    async def choose(state: State) -> "Command[Literal['work']]":
        return Command(goto="work")

    graph = Graph(State)
    graph.add_node(gate(choose)).add_node(work)
    graph.add_edge(START, "choose").add_edge("work", END)
    assert graph.compile().plan.vertices["choose"].goto == frozenset({"work"})


def test_annotations_that_cannot_be_read_are_left_alone(gate: Gate) -> None:
    async def odd(state: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        return None

    assert gate(odd).__annotations__ == odd.__annotations__


# -- FailAt -----------------------------------------------------------------------------------


def test_a_call_fails_and_the_next_does_not(clock: VirtualClock) -> None:
    flaky = FailAt(1)
    flow = one(flaky(work), retry=Retry(attempts=2)).compile()
    assert clock.run(flow.run()).state == {"items": ["done"]}
    assert flaky.calls == 2


def test_calls_are_counted_over_all_branches(clock: VirtualClock) -> None:
    graph = Graph(State)
    graph.add_node("work", FailAt(2)(work), on_error="record")
    graph.add_conditional_edges(START, lambda _: [Send("work", n) for n in "abc"], ["work"])
    result = clock.run(graph.add_edge("work", END).compile().run())
    assert result.state == {"items": ["done", "done"]}
    (failed,) = result.outcomes[END].latest.failed
    assert failed.error is not None
    assert isinstance(failed.error.__cause__, InjectedFault)


def test_a_node_may_fail_after_its_work_with_an_error_of_ones_own(clock: VirtualClock) -> None:
    done = []

    async def noted(state: State) -> None:
        done.append(1)

    with pytest.raises(NodeError, match="too bad") as caught:
        clock.run(one(FailAt(1, error=LookupError("too bad"), after=True)(noted)).compile().run())
    assert isinstance(caught.value.__cause__, LookupError)
    assert done == [1]


# -- CrashAt ----------------------------------------------------------------------------------


def chain(store: Any, calls: list[str]) -> Flow[Any]:
    async def first(state: State) -> State:
        calls.append("first")
        return {"items": ["first"]}

    async def second(state: State) -> State:
        calls.append("second")
        return {"items": ["second"]}

    graph = Graph(State)
    graph.add_node(first).add_node(second)
    graph.add_edge(START, "first").add_edge("first", "second").add_edge("second", END)
    return graph.compile(store=store)


@pytest.mark.parametrize("event", [2, 3])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_run_that_crashed_is_resumed(event: int, kept: bool) -> None:
    calls: list[str] = []
    flow = chain(CrashAt(MemoryStore(), event, kept=kept), calls)
    with pytest.raises(Crashed):
        await flow.run(thread_id="t")
    kept_events = event if kept else event - 1
    assert (await flow.state("t")).position == kept_events
    assert (await flow.resume("t")).state == {"items": ["first", "second"]}
    assert len(calls) == 2 + (not kept)


async def test_what_runs_in_a_dead_process_leaves_no_trace() -> None:
    store = MemoryStore()
    mortal = CrashAt(store, 1)
    async with mortal.lease("t") as journal:
        for _ in range(2):
            with pytest.raises(Crashed):
                journal.append(None)  # type: ignore[arg-type]
    assert mortal.crashed
    assert await store.read("t") == ()


class Slow(MemoryStore):
    """A store that is durable only after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[JournalEvent] = []

    @asynccontextmanager
    async def lease(self, thread_id: str, format_: Any = None) -> AsyncIterator[LeasedJournal]:
        async with super().lease(thread_id) as journal:
            yield SlowJournal(journal, self.kept)


class SlowJournal(WrappedJournal):
    def __init__(self, inner: LeasedJournal, kept: list[JournalEvent]) -> None:
        super().__init__(inner)
        self.kept = kept

    async def append(self, event: JournalEvent) -> None:
        await anyio.sleep(1)
        self.kept.append(event)


def test_the_last_event_is_durable_before_the_crash(clock: VirtualClock) -> None:
    store = Slow()
    with pytest.raises(Crashed, match="NodeCompleted"):
        clock.run(chain(CrashAt(store, 2, kept=True), []).run(thread_id="t"))
    assert len(store.kept) == 2
