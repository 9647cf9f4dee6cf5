"""A run whose thread another process has taken over."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import anyio
import pytest

from plait import END, START, Graph, Join, StoreError
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
