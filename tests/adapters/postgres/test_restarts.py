"""A run of many branches goes on by itself when its server goes away and comes back."""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

import anyio
import pytest
from structlog.testing import capture_logs

from plait import END, START, Flow, Graph, Join, NodeContext, Send
from plait.events import NodeCompleted
from plait.store import Durability
from plait_adapters.postgres import PostgresStore
from tests.postgres.server import Server

Mode = Literal["fast", "immediate"]

BRANCHES = 50
STEPS = ("one", "two", "three")
COMPLETIONS = 1 + BRANCHES * len(STEPS) + 1


class Work(TypedDict):
    items: Annotated[list[str], operator.add]


class Calls:
    """What nodes note when they are called: ``ctx.context``."""

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        self.is_over = False
        self.restarts = 0
        self._more = anyio.Event()

    async def wait_for(self, number: int) -> None:
        """Wait until so many calls have begun."""
        while self.keys.total() < number:
            await self._more.wait()

    async def node(self, ctx: NodeContext) -> None:
        self.keys[ctx.idempotency_key] += 1
        self._more.set()
        self._more = anyio.Event()
        await anyio.sleep(0.01 * (1 + self.keys.total() % 4))


async def step(_: Any, ctx: NodeContext) -> Any:
    await ctx.context.node(ctx)
    return {"items": [ctx.idempotency_key]}


def graph() -> Graph[Work]:
    """A fork of many branches, each of some nodes, and a node behind them."""
    made: Graph[Work] = Graph(Work, "branches")
    for name in ("plan", *STEPS, "last"):
        made.add_node(name, step)
    made.add_sync_point("gather", Join())
    made.add_edge(START, "plan")
    made.add_conditional_edges("plan", lambda _: [Send("one") for _ in range(BRANCHES)], ["one"])
    for before, after in itertools.pairwise((*STEPS, "gather", "last", END)):
        made.add_edge(before, after)
    return made


async def restart_at(numbers: Sequence[int], calls: Calls, server: Server, mode: Mode) -> None:
    """Stop the server, and start it again, when so many calls have begun."""
    for number in numbers:
        await calls.wait_for(number)
        await anyio.to_thread.run_sync(server.stop, mode)
        await anyio.sleep(0.2)
        assert not calls.is_over  # the run is waiting, whatever of its nodes has been called
        await anyio.to_thread.run_sync(server.start)
        calls.restarts += 1


async def completions(flow: Flow[Any], thread_id: str) -> Counter[tuple[Any, str]]:
    """How often each node of each branch is completed in the journal, which has no gap."""
    past = await flow.store.past(thread_id, flow._past.format, whole=True)
    assert past is not None
    return Counter((e.branch, e.node) for e in past.events if isinstance(e, NodeCompleted))


@pytest.mark.parametrize(
    ("mode", "durability", "numbers"),
    [
        ("fast", "sync", (25, 75, 125)),
        ("immediate", "sync", (25, 75, 125)),
        ("immediate", "async", (25,)),  # nodes do not wait, so all are called before it is back
    ],
)
async def test_a_run_of_fifty_branches_outlives_its_server(
    schema: str, mode: Mode, durability: Durability, numbers: Sequence[int]
) -> None:
    calls = Calls()
    with Server() as server, capture_logs() as logs:
        async with PostgresStore(server.url, schema=schema, timeout=2) as store:
            flow = graph().compile(store, durability=durability)
            await store.threads()  # the tables are there
            async with anyio.create_task_group() as group:
                group.start_soon(restart_at, numbers, calls, server, mode)
                await flow.run({}, thread_id="t", context=calls)
                calls.is_over = True
            done = await completions(flow, "t")
            state = (await flow.state("t")).state
            row = await store.thread("t")
    assert calls.restarts == len(numbers)
    assert "store unavailable" in {entry["event"] for entry in logs}
    # No node is called twice; each completion is in the journal once, and in the state once.
    assert (len(calls.keys), calls.keys.total()) == (COMPLETIONS, COMPLETIONS)
    assert (len(done), done.total()) == (COMPLETIONS, COMPLETIONS)
    assert Counter(state["items"]) == calls.keys
    assert row is not None
    assert (row.status, row.holder) == ("completed", None)
