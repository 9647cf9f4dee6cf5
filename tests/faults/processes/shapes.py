"""Graphs of many shapes, for runs that are disturbed in every way.

A call notes itself as an effect, and writes its key when it is done. Most shapes end in a state
that depends on nothing but the seed; where a sync point does not wait for all, it is a matter of
time which of its branches arrive, and only their number is known.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypedDict

import anyio

from plait import END, START, Flow, Graph, Join, NodeContext, Retry, Send, interrupt
from plait.reducers import merge_dicts
from plait.store import Store
from tests.faults.processes import program
from tests.faults.processes.program import Effects, key_of

__all__ = ["KINDS", "SHAPES", "Around", "compiled", "is_timed", "kind_of"]

KINDS: Final = ("chain", "fork", "nested", "timeout", "quorum", "rounds", "payments", "questions")
SHAPES: Final = 3 * len(KINDS)


class Around(NamedTuple):
    """What nodes find as ``ctx.context``."""

    effects: Effects
    schema: str = ""
    """Where the table of payments is; empty: nobody pays."""
    seed: int = 0
    pace: float = 0.01
    """Seconds."""

    async def take_time(self, key: str) -> None:
        """Take a few milliseconds, or more; different for each call."""
        times = random.Random(f"{self.seed} {key}").choice((0, 0, 1, 3, 10))
        if times and self.pace:
            await anyio.sleep(times * self.pace)


class State(TypedDict, total=False):
    seed: int
    rounds: Annotated[int, operator.add]
    log: Annotated[list[str], operator.add]
    answers: Annotated[dict[str, str], merge_dicts]
    arrived: int
    missing: int


async def work(_: Any, ctx: NodeContext) -> Any:
    around: Around = ctx.context
    around.effects.note(ctx)
    await around.take_time(key_of(ctx))
    return {"log": [key_of(ctx)]}


async def flaky(state: Any, ctx: NodeContext) -> Any:
    done = await work(state, ctx)
    if ctx.attempt == 1:
        raise OSError("not yet")
    return done


async def broken(state: Any, ctx: NodeContext) -> Any:
    await work(state, ctx)
    raise ValueError(key_of(ctx))


async def late(state: Any, ctx: NodeContext) -> Any:
    done = await work(state, ctx)
    await anyio.sleep(40 * ctx.context.pace)
    return done


async def pay(state: Any, ctx: NodeContext) -> Any:
    around: Around = ctx.context
    done = await work(state, ctx)
    if around.schema:
        connection = await ctx.transaction()
        await connection.execute(
            f"insert into {around.schema}.payments values ($1, $2)", ctx.thread_id, key_of(ctx)
        )
    return done


async def ask(state: Any, ctx: NodeContext) -> Any:
    answer = interrupt(key_of(ctx))
    return {**await work(state, ctx), "answers": {key_of(ctx): answer}}


async def turn(state: Any, ctx: NodeContext) -> Any:
    return {**await work(state, ctx), "rounds": 1}


async def count(state: Any, ctx: NodeContext) -> Any:
    assert ctx.outcome is not None
    arrived, missing = len(ctx.outcome.arrived), len(ctx.outcome.missing)
    return {**await work(state, ctx), "arrived": arrived, "missing": missing}


def kind_of(number: int) -> str:
    return KINDS[number % len(KINDS)]


def is_timed(number: int) -> bool:
    """Whether it is a matter of time which branches arrive."""
    return kind_of(number) in {"timeout", "quorum"}


def _fan(graph: Graph[State], names: Mapping[str, Any], join: Join) -> None:
    """START, a fork to nodes, a sync point, END."""
    graph.add_node("first", work)
    graph.add_node(count)
    graph.add_sync_point("all", join)
    graph.add_edge(START, "first")
    for name, fn in names.items():
        graph.add_node(
            name,
            fn,
            retry=Retry(attempts=2, initial=0.01) if fn is flaky else None,
            on_error="record" if fn is broken else "raise",
        )
        graph.add_edge("first", name)
        graph.add_edge(name, "all")
    graph.add_edge("all", "count")
    graph.add_edge("count", END)


def _chain(graph: Graph[State], length: int, *fns: Any) -> None:
    names = [f"step{number}" for number in range(length)]
    for number, name in enumerate(names):
        fn = fns[number % len(fns)]
        graph.add_node(name, fn, retry=Retry(attempts=2, initial=0.01) if fn is flaky else None)
    for source, target in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(source, target)


def _rounds(graph: Graph[State], width: int) -> None:
    for name, fn in (("plan", work), ("item", work), ("turn", turn)):
        graph.add_node(name, fn)
    graph.add_sync_point("gather", Join())

    def items(state: Any) -> list[Send]:
        return [Send("item", n) for n in range(1 + (state["seed"] + width) % 4)]

    def again(state: Any) -> str:
        return "plan" if state["rounds"] < 2 + state["seed"] % 3 else END

    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", items, ["item"])
    graph.add_edge("item", "gather")
    graph.add_edge("gather", "turn")
    graph.add_conditional_edges("turn", again, ["plan", END])


def compiled(number: int, store: Store) -> Flow[Any]:
    """The shape of this number, on a store."""
    chance = random.Random(number)
    kind, size = kind_of(number), chance.randint(3, 6)
    if kind == "nested":
        return program.graph().compile(store)
    graph: Graph[State] = Graph(State, f"shape{number}")
    if kind == "chain":
        _chain(graph, size + 2, work, flaky)
    elif kind == "fork":
        fns = {f"node{n}": chance.choice((work, flaky, broken)) for n in range(size)}
        _fan(graph, {**fns, "sound": work}, Join())
    elif kind == "timeout":
        fns = {f"node{n}": chance.choice((work, late)) for n in range(size)}
        _fan(graph, {**fns, "sound": work}, Join(timeout=0.3, minimum=0))
    elif kind == "quorum":
        fns = {f"node{n}": chance.choice((work, late)) for n in range(size)}
        stragglers = "detach" if chance.random() < 0.5 else "cancel"
        _fan(graph, fns, Join(quorum=size - 1, grace=0.02, stragglers=stragglers))  # type: ignore[arg-type]
    elif kind == "rounds":
        _rounds(graph, size)
    elif kind == "payments":
        _fan(graph, {f"node{n}": chance.choice((work, pay)) for n in range(size)}, Join())
        graph.add_node("tip", pay)
        graph.add_edge("first", "tip")
        graph.add_edge("tip", "all")
    else:
        _fan(graph, {f"node{n}": chance.choice((work, ask)) for n in range(size)}, Join())
        graph.add_node("question", ask)
        graph.add_edge("first", "question")
        graph.add_edge("question", "all")
    return graph.compile(store)
