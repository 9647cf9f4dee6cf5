"""A run whose thread another process has taken over."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import anyio
import pytest

from plait import END, START, Graph, Join, Retry, StoreError
from plait.durable import DurableStore
from plait.errors import LeaseLost, StoreUnavailable
from plait.testing import VirtualClock
from plait.testing.memory_backend import MemoryBackend


class State(TypedDict, total=False):
    done: Annotated[list[str], operator.add]


def side_by_side(count: int, takes: float) -> Graph[State]:
    """Branches that end at the same instant, and meet where some might be cancelled."""
    graph: Graph[State] = Graph(State)
    graph.add_node("last", lambda _: None)
    graph.add_sync_point("all", Join(timeout=60))
    graph.add_edge("all", "last")
    graph.add_edge("last", END)
    for number in range(count):

        async def work(_: State, name: str = f"node{number}") -> State:
            await anyio.sleep(takes)
            return {"done": [name]}

        graph.add_node(f"node{number}", work)
        graph.add_edge(START, f"node{number}")
        graph.add_edge(f"node{number}", "all")
    return graph


async def take_over(rows: MemoryBackend) -> None:
    """Be another process, later than the lease lasts."""
    await anyio.sleep(2)
    await rows.acquire("t", "another", 60.0, "")


def test_branches_that_wait_for_one_commit_are_told_by_one_error() -> None:
    clock = VirtualClock()
    rows = MemoryBackend(clock=lambda: clock.now)
    asleep = True

    async def fault(method: str, when: str) -> None:
        if method == "renew" and asleep:
            await anyio.sleep(100)

    async def main() -> Any:
        flow = side_by_side(3, 5).compile(DurableStore(rows.view(fault=fault), lease_ttl=1))
        async with anyio.create_task_group() as group:
            group.start_soon(take_over, rows)
            with pytest.raises(LeaseLost, match="taken over by another process"):
                await flow.run({}, "t")

    clock.run(main())


def test_no_call_begins_under_a_lease_that_may_have_expired() -> None:
    clock = VirtualClock()
    rows = MemoryBackend(clock=lambda: clock.now)
    calls = 0

    async def fault(method: str, when: str) -> None:
        if (method, when) == ("renew", "before") and clock.now < 10:
            await anyio.sleep(10)  # as if the process had been stopped

    async def work(_: State) -> None:
        nonlocal calls
        calls += 1
        raise OSError("not yet")

    async def main() -> Any:
        graph: Graph[State] = Graph(State)
        graph.add_node(work, retry=Retry(attempts=2, initial=5, jitter=False))
        graph.add_edge(START, "work")
        graph.add_edge("work", END)
        flow = graph.compile(DurableStore(rows.view(fault=fault), lease_ttl=1))
        async with anyio.create_task_group() as group:
            group.start_soon(take_over, rows)
            with pytest.raises(LeaseLost):
                await flow.run({}, "t")

    clock.run(main())
    assert calls == 1


def test_a_lease_that_nobody_has_taken_over_is_renewed_before_a_call() -> None:
    clock = VirtualClock()
    renewals: list[float] = []

    async def fault(method: str, when: str) -> None:
        if (method, when) == ("renew", "before"):
            renewals.append(clock.now)
            if len(renewals) == 1:
                raise StoreUnavailable("not now")

    async def main() -> Any:
        store = DurableStore(MemoryBackend(clock=lambda: clock.now).view(fault=fault), lease_ttl=30)
        return await side_by_side(3, 35).compile(store).run({}, "t")

    assert len(clock.run(main()).state["done"]) == 3


def test_branches_that_wait_for_a_store_that_is_gone_are_told_by_one_error() -> None:
    clock = VirtualClock()
    gone = False

    async def fault(method: str, when: str) -> None:
        if gone:
            raise StoreUnavailable("gone")

    rows = MemoryBackend(clock=lambda: clock.now)

    async def main() -> Any:
        nonlocal gone
        flow = side_by_side(3, 5).compile(DurableStore(rows.view(fault=fault), patience=3))
        async with anyio.create_task_group() as group:

            @group.start_soon
            async def disappear() -> None:
                nonlocal gone
                await anyio.sleep(2)
                gone = True

            with pytest.raises(StoreError, match="durable up to position 1"):
                await flow.run({}, "t")

    clock.run(main())
