"""A program with all that can be cut short, and the table in which its nodes note their calls.

Its final state depends on nothing but its seed: not on when nodes end, and not on how often its
process has died. Every node that completes writes its key into the state, so the state says which
calls count, and the table of effects says which were made.
"""

from __future__ import annotations

import operator
import random
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import anyio

from plait import END, START, Flow, Graph, Join, NodeContext, Retry, Send, interrupt
from plait.events import Interrupt, ThreadId
from plait.reducers import merge_dicts
from plait.store import Durability, Store

__all__ = ["Effect", "Effects", "World", "answers_to", "compiled", "input_of", "key_of"]


class State(TypedDict, total=False):
    seed: int
    rounds: Annotated[int, operator.add]
    log: Annotated[list[str], operator.add]
    """The key of each node that completed, in path order."""
    answers: Annotated[dict[str, str], merge_dicts]
    missing: int


class Effect(NamedTuple):
    """A row of the table of effects: a call that was made."""

    life: str
    """The name of the process's life in which it was made."""
    key: str
    """The idempotency key, without the thread."""
    note: str
    """What the node says of itself: its name, and what it was told."""
    attempt: int
    at: float
    """Seconds since the epoch."""


class Effects:
    """The outside world: a table in a file of its own, in which each row is a commit of its own.

    Args:
        path: of the file.
        life: what this process is called in it.
    """

    def __init__(self, path: Path | str, life: str = "") -> None:
        self.life = life
        self.path = str(path)
        self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        # Processes die here, not machines.
        self._connection.execute("pragma synchronous = off")

    @classmethod
    def make(cls, path: Path | str) -> Effects:
        """A new file."""
        effects = cls(path)
        effects._connection.execute("pragma journal_mode = wal")
        effects._connection.execute(
            "create table effects (thread_id, life, key, note, attempt, at)"
        )
        effects._connection.execute("create index by_thread on effects (thread_id)")
        return effects

    def note(self, ctx: NodeContext, note: str = "") -> None:
        """What a node does to the world."""
        self._connection.execute(
            "insert into effects values (?, ?, ?, ?, ?, ?)",
            (ctx.thread_id, self.life, key_of(ctx), note or ctx.node, ctx.attempt, time.time()),
        )

    def of(self, thread_id: ThreadId) -> Sequence[Effect]:
        """The calls of a thread, in the order in which they were made."""
        rows = self._connection.execute(
            "select life, key, note, attempt, at from effects where thread_id = ? order by rowid",
            (thread_id,),
        )
        return [Effect(*row) for row in rows]

    def close(self) -> None:
        self._connection.close()

    @classmethod
    @contextmanager
    def opened(cls, path: Path | str, life: str) -> Iterator[Effects]:
        """A file that is there, closed in the end."""
        effects = cls(path, life)
        try:
            yield effects
        finally:
            effects.close()


class World(NamedTuple):
    """What nodes find as ``ctx.context``."""

    effects: Effects
    seed: int
    pace: float = 0.001
    """Seconds: what nodes take is a small multiple of it."""

    async def take_time(self, key: str) -> None:
        """Take as long as this node takes in every life."""
        times = random.Random(f"{self.seed} {key}").choice((0, 0, 1, 2, 4))
        if times:
            await anyio.sleep(times * self.pace)


def key_of(ctx: NodeContext) -> str:
    """The idempotency key, without the thread."""
    return ctx.idempotency_key.removeprefix(f"{ctx.thread_id}:")


def input_of(seed: int) -> Mapping[str, Any]:
    """What a run begins with."""
    return {"seed": seed}


def answers_to(interrupts: Sequence[Interrupt]) -> Mapping[str, str]:
    """What is answered, always the same."""
    return {each.id: f"yes to {each.value}" for each in interrupts}


async def work(_: Any, ctx: NodeContext) -> Any:
    """Note the call, take some time, and say that it was done."""
    world: World = ctx.context
    world.effects.note(ctx)
    await world.take_time(key_of(ctx))
    return {"log": [key_of(ctx)]}


async def turn(state: State, ctx: NodeContext) -> Any:
    return {**await work(state, ctx), "rounds": 1}


async def flaky(state: State, ctx: NodeContext) -> Any:
    done = await work(state, ctx)
    if ctx.attempt == 1:
        raise OSError("not yet")
    return done


async def broken(state: State, ctx: NodeContext) -> Any:
    await work(state, ctx)
    raise ValueError(key_of(ctx))


async def slow(_: Any, ctx: NodeContext) -> Any:
    ctx.context.effects.note(ctx)
    await anyio.sleep_forever()


async def ask(_: Any, ctx: NodeContext) -> Any:
    world: World = ctx.context
    world.effects.note(ctx)
    await world.take_time(key_of(ctx))
    answer = interrupt(key_of(ctx))
    world.effects.note(ctx, f"told {answer}")
    return {"log": [key_of(ctx)], "answers": {key_of(ctx): answer}}


async def finish(state: State, ctx: NodeContext) -> Any:
    assert ctx.outcome is not None
    return {**await work(state, ctx), "missing": len(ctx.outcome.missing)}


def graph() -> Graph[State]:
    """Forks within forks, in rounds; a quorum; failures that are recorded; questions."""
    made: Graph[State] = Graph(State, "doomed")
    for name in ("plan", "item", "left", "right", "paired", "vote", "quick", "decided", "calm"):
        made.add_node(name, work)
    made.add_node("swift", work)
    made.add_node(turn)
    made.add_node(flaky, retry=Retry(attempts=2, initial=0.001))
    made.add_node(broken, on_error="record")
    made.add_node(slow)
    made.add_node("ask", ask)
    made.add_node("wonder", ask)
    made.add_node(finish)
    made.add_sync_point("pair", Join(timeout=60))
    made.add_sync_point("gather", Join())
    made.add_sync_point("enough", Join(quorum=2))
    made.add_sync_point("all", Join())

    def items(state: Any) -> list[Send]:
        last = 1 + (state["seed"] + state.get("rounds", 0)) % 2
        return [
            Send("item", id=str(n), after=(str(n - 1),) if n == 2 else ()) for n in range(last + 1)
        ]

    def again(state: Any) -> str:
        return "plan" if state["rounds"] < 1 + state["seed"] % 2 else "vote"

    made.add_edge(START, "plan")
    made.add_conditional_edges("plan", items, ["item"])
    for side in ("left", "right"):
        made.add_edge("item", side)
        made.add_edge(side, "pair")
    made.add_edge("pair", "paired")
    made.add_edge("paired", "gather")
    made.add_edge("gather", "turn")
    made.add_conditional_edges("turn", again, ["plan", "vote"])
    for voter in ("slow", "quick", "swift"):
        made.add_edge("vote", voter)
        made.add_edge(voter, "enough")
    made.add_edge("enough", "decided")
    for last in ("ask", "wonder", "flaky", "broken", "calm"):
        made.add_edge("decided", last)
        made.add_edge(last, "all")
    made.add_edge("all", "finish")
    made.add_edge("finish", END)
    return made


def compiled(store: Store, durability: Durability) -> Flow[State]:
    """The program on a store."""
    return graph().compile(store, durability=durability)
