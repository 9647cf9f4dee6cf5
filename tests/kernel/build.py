"""Small graphs for tests, written in a line or two.

``build("START a gather END", "START b gather", gather=Join(), b=does(takes=60))`` is a graph of
two ways: a keyword gives a sync point its policy, or a node its function; a name without one is a
node that writes its own name to ``items``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, TypedDict

import anyio

from plait import (
    ANY,
    END,
    START,
    Flow,
    Graph,
    Join,
    NodeContext,
    Outcome,
    Participant,
    RunResult,
    Send,
    reducers,
)
from plait.testing import VirtualClock

Node = Callable[..., Any]
AsyncNode = Callable[[Any], Awaitable[Any]]


class Work(TypedDict):
    """A channel of each class: ordered, lattice, commutative, and two that take one writer."""

    items: Annotated[list[Any], reducers.append]
    seen: Annotated[set[Any], reducers.union]
    sum: Annotated[int, reducers.total]
    text: str
    other: str


def does(takes: float = 0.0, raises: Exception | None = None, **writes: Any) -> AsyncNode:
    """A node that takes so many seconds, and then raises or writes."""

    async def node(_state: Any) -> Any:
        if takes:
            await anyio.sleep(takes)
        if raises is not None:
            raise raises
        return writes

    return node


def build(*ways: str, **parts: Any) -> Graph:
    """A graph of these ways; see the module.

    Two names mean something else: ``schema``, and ``forks``, which names those of sync points.
    """
    graph = Graph(parts.pop("schema", Work), "example")
    forks: Mapping[str, str] = parts.pop("forks", {})
    seen = {"START", "END"}
    edges: set[tuple[str, str]] = set()
    for way in ways:
        names = way.split()
        for name in names:
            if name in seen:
                continue
            seen.add(name)
            part = parts.get(name, does(items=[name]))
            if isinstance(part, Join):
                graph.add_sync_point(name, part, fork=forks.get(name))
            else:
                graph.add_node(name, part)
        for edge in itertools.pairwise(names):
            if edge not in edges:
                edges.add(edge)
                graph.add_edge(*(vertex(name) for name in edge))
    return graph


def vertex(name: str) -> str:
    return {"START": START, "END": END}.get(name, name)


def fan(
    join: Join,
    *branches: float | Exception,
    weights: Iterable[float] = (),
    then: str = "merge END",
    **parts: Node,
) -> Graph:
    """START sends branches b0, b1, ... to ``work``; each takes so many seconds, or raises.

    Each writes its number to ``items`` and ``seen``. They meet at ``gather``; ``then`` it goes on.
    """
    shares = [*weights] or [1.0] * len(branches)

    async def work(number: int) -> Any:
        branch = branches[number]
        if isinstance(branch, Exception):
            raise branch
        await anyio.sleep(branch)
        return {"items": [number], "seen": {number}}

    graph = build(f"gather {then}", **{"merge": does(), **parts, "gather": join})
    graph.add_node("work", work, on_error="record").add_edge("work", "gather")
    graph.add_conditional_edges(
        START,
        lambda _: [
            Send("work", number, id=f"b{number}", weight=share)
            for number, share in enumerate(shares)
        ],
        ["work"],
    )
    return graph


def run(graph: Graph | Flow[Any], given: Any = None, **options: Any) -> RunResult[Any]:
    """Run to the end in virtual time."""
    return timed(graph, given, **options)[0]


def timed(
    graph: Graph | Flow[Any], given: Any = None, **options: Any
) -> tuple[RunResult[Any], float]:
    """Run to the end, and say how many virtual seconds it took."""
    flow = graph.compile(**options) if isinstance(graph, Graph) else graph
    clock = VirtualClock()
    return clock.run(flow.run(given)), clock.now


def outcome_of(graph: Graph, **options: Any) -> Outcome:
    """Run, and return what the sync point ``gather`` reported at last."""
    return run(graph, **options).outcomes["gather"].latest


def ids(participants: Iterable[Participant]) -> list[str | None]:
    """The branches as their Sends (or else their first nodes) name them."""
    return [each.id or each.node for each in participants]


def sizes(outcome: Outcome) -> tuple[int, int, int, int, int]:
    """How many arrived, failed, were late, were cancelled, went another way."""
    return (
        len(outcome.arrived),
        len(outcome.failed),
        len(outcome.late),
        len(outcome.cancelled),
        len(outcome.dead),
    )


def other_tasks() -> set[asyncio.Task[Any]]:
    """All tasks but the one that asks."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


class Log:
    """Notes what nodes did, with the virtual time; and what they saw."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, float]] = []
        self.saw: dict[str, Any] = {}

    def node(self, name: str, takes: float = 0.0, **writes: Any) -> Node:
        """A node that notes when it began, and the state that it was given."""

        async def node(state: Any) -> Any:
            self.entries.append((name, anyio.current_time()))
            self.saw[name] = state
            await anyio.sleep(takes)
            return writes

        return node

    def outcome(self, name: str = "outcome", **writes: Any) -> Node:
        """A node that keeps the outcome it was given."""

        async def node(_state: Any, ctx: NodeContext) -> Any:
            self.saw[name] = ctx.outcome
            return writes

        return node

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.entries]


def sends_once(*names: str) -> Callable[[Any], list[Send]]:
    """A router that sends one branch to each name, with the state."""
    return lambda _: [Send(name) for name in names]


FIRST = Join(quorum=ANY)
