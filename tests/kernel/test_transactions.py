"""A node's own statements and the record of its completion: committed together, or not at all."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import anyio
import pytest

from plait import END, START, Graph, Join, NodeContext, NodeError, Retry, StoreError, interrupt
from plait.durable import DurableStore
from plait.errors import StoreUnavailable
from plait.events import NodeCompleted
from plait.flow import Flow
from plait.testing import VirtualClock
from plait.testing.memory_backend import MemoryBackend


class State(TypedDict, total=False):
    done: Annotated[list[str], operator.add]


Fault = Callable[[str, str], None]


class Bench:
    """A flow with one node that writes a row of its own, over rows that can be looked at."""

    def __init__(self, fault: Fault | None = None, **options: Any) -> None:
        self.clock = VirtualClock()
        self.calls = 0
        self.raises: list[Exception] = []
        self.rows = MemoryBackend(clock=lambda: self.clock.now)
        self.fault = fault
        graph = Graph(State)
        graph.add_node("pay", self.pay, **options)
        graph.add_edge(START, "pay")
        graph.add_edge("pay", END)
        self.graph = graph

    async def pay(self, state: State, ctx: NodeContext) -> State:
        self.calls += 1
        table = await ctx.transaction()
        assert await ctx.transaction() is table
        table[f"{ctx.idempotency_key}/{self.calls}"] = "paid"
        if self.raises:
            raise self.raises.pop()
        return {"done": ["pay"]}

    def flow(self) -> Flow[State]:
        async def fault(method: str, when: str) -> None:
            if self.fault is not None:
                self.fault(method, when)

        return self.graph.compile(DurableStore(self.rows.view(fault=fault), patience=5))

    def run(self) -> Any:
        return self.clock.run(self.flow().run({}, thread_id="t"))

    def resume(self) -> Any:
        return self.clock.run(self.flow().resume("t"))


def test_what_a_node_wrote_is_there_once_with_its_completion() -> None:
    bench = Bench()
    assert bench.run().state == {"done": ["pay"]}
    assert dict(bench.rows.table) == {"t:0:1/1": "paid"}


def test_it_is_rolled_back_when_the_node_raises() -> None:
    bench = Bench(retry=Retry(attempts=2, initial=1))
    bench.raises = [OSError("no")]
    bench.run()
    assert dict(bench.rows.table) == {"t:0:1/2": "paid"}


def test_it_is_rolled_back_when_the_last_attempt_fails() -> None:
    bench = Bench()
    bench.raises = [OSError("no")]
    with pytest.raises(NodeError):
        bench.run()
    assert not bench.rows.table
    bench.resume()
    assert list(bench.rows.table) == ["t:0:1/2"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_in_doubt_is_looked_into(when: str) -> None:
    faults = [StoreUnavailable("cut")]

    def cut(method: str, at: str) -> None:
        if (method, at) == ("commit", when) and faults:
            raise faults.pop()

    bench = Bench(cut)
    assert bench.run().state == {"done": ["pay"]}
    assert bench.calls == (2 if when == "before" else 1)
    assert len(bench.rows.table) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_the_commit_leaves_both_or_neither(when: str) -> None:
    class Died(BaseException):
        pass

    def crash(method: str, at: str) -> None:
        if (method, at) == ("commit", when):
            raise Died

    bench = Bench(crash)
    with pytest.raises(Died):
        bench.run()
    bench.fault = None
    bench.clock.run(anyio.sleep(60))
    bench.resume()
    assert bench.calls == (2 if when == "before" else 1)
    assert len(bench.rows.table) == 1


def test_other_branches_wait_and_nothing_is_lost() -> None:
    clock = VirtualClock()

    async def slow_commit(method: str, when: str) -> None:
        if method == "commit":
            await anyio.sleep(5)

    async def pay(state: State, ctx: NodeContext) -> State:
        (await ctx.transaction())[ctx.idempotency_key] = "paid"
        return {"done": ["pay"]}

    async def quick(state: State) -> State:
        await anyio.sleep(1)
        return {"done": ["quick"]}

    rows = MemoryBackend(clock=lambda: clock.now, fault=slow_commit)
    graph = Graph(State)
    graph.add_node(pay)
    graph.add_node(quick)
    graph.add_sync_point("gather", Join())
    for name in ("pay", "quick"):
        graph.add_edge(START, name)
        graph.add_edge(name, "gather")
    graph.add_edge("gather", END)
    flow = graph.compile(DurableStore(rows))
    result = clock.run(flow.run({}, thread_id="t"))
    assert result.state == {"done": ["pay", "quick"]}
    order = [
        snapshot.event.node
        for snapshot in clock.run(_all(flow))
        if isinstance(snapshot.event, NodeCompleted)
    ]
    assert order == ["quick", "pay"]  # newest first


async def _all(flow: Flow[State]) -> list[Any]:
    return [snapshot async for snapshot in flow.history("t")]


def test_a_branch_that_is_cut_off_leaves_nothing() -> None:
    clock = VirtualClock()
    rows = MemoryBackend(clock=lambda: clock.now)

    async def pay(state: State, ctx: NodeContext) -> State:
        (await ctx.transaction())["late"] = "paid"
        await anyio.sleep(60)
        return {"done": ["pay"]}

    async def quick(state: State) -> State:
        return {"done": ["quick"]}

    graph = Graph(State)
    graph.add_node(pay)
    graph.add_node(quick)
    graph.add_sync_point("gather", Join(quorum=1))
    for name in ("pay", "quick"):
        graph.add_edge(START, name)
        graph.add_edge(name, "gather")
    graph.add_edge("gather", END)
    result = clock.run(graph.compile(DurableStore(rows)).run({}, thread_id="t"))
    assert result.state == {"done": ["quick"]}
    assert not rows.table


def test_an_interrupt_rolls_it_back_and_the_answer_does_it_once() -> None:
    clock = VirtualClock()
    rows = MemoryBackend(clock=lambda: clock.now)

    async def pay(state: State, ctx: NodeContext) -> State:
        table = await ctx.transaction()
        table[ctx.idempotency_key] = interrupt("how much?")
        return {"done": ["pay"]}

    graph = Graph(State)
    graph.add_node(pay)
    graph.add_edge(START, "pay")
    graph.add_edge("pay", END)
    flow = graph.compile(DurableStore(rows))
    asked = clock.run(flow.run({}, thread_id="t"))
    assert asked.status == "suspended"
    assert not rows.table
    clock.run(flow.resume("t", {asked.interrupts[0].id: 12}))
    assert dict(rows.table) == {"t:0:1": 12}


async def test_a_store_in_memory_says_that_it_has_none() -> None:
    bench = Bench()
    with pytest.raises(NodeError, match="PostgreSQL") as caught:
        await bench.graph.compile().run({})
    assert isinstance(caught.value.__cause__, StoreError)
