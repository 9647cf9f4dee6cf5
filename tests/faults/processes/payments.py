"""Nodes that pay in the transaction in which their completion is recorded, killed all the time.

    python -m tests.faults.processes.payments [--kills N] [--seed S]

Half of the kills are at a commit (before, within or after it), half at any instant. In the end
there is one payment for each node that was to pay: none is missing, none is there twice.
PostgreSQL only. Prints what was found, and exits with 1 if that is not so.
"""

from __future__ import annotations

import argparse
import operator
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypedDict, get_args

import anyio
import asyncpg

from plait import END, START, Flow, Graph, Join, NodeContext
from plait.errors import ThreadNotFound
from plait.flow import RunResult
from plait.store import Durability, Store
from tests.faults.processes.family import Being
from tests.faults.processes.life import Death, Life, When
from tests.faults.processes.program import World, key_of
from tests.faults.processes.sweep import Place, opened

__all__ = ["Paid", "kill_while_paying"]

_BRANCHES: Final = 3
_PAYMENTS: Final = 2 * _BRANCHES + 2


class State(TypedDict, total=False):
    paid: Annotated[list[str], operator.add]


class _Till:
    """What nodes find as ``ctx.context``."""

    def __init__(self, schema: str, world: World) -> None:
        self.schema = schema
        self.world = world


async def pay(_: object, ctx: NodeContext) -> State:
    till: _Till = ctx.context
    await till.world.take_time(key_of(ctx))
    connection = await ctx.transaction()
    await connection.execute(
        f"insert into {till.schema}.payments values ($1, $2, $3)",
        ctx.thread_id,
        key_of(ctx),
        till.world.effects.life,
    )
    return {"paid": [key_of(ctx)]}


def compiled(store: Store, durability: Durability) -> Flow[State]:
    """Branches that pay side by side, one payment after the other in each."""
    graph: Graph[State] = Graph(State, "payments")
    graph.add_node("first", pay)
    graph.add_node("last", pay)
    graph.add_sync_point("all", Join())
    graph.add_edge(START, "first")
    for number in range(_BRANCHES):
        graph.add_node(f"pay{number}", pay)
        graph.add_node(f"tip{number}", pay)
        graph.add_edge("first", f"pay{number}")
        graph.add_edge(f"pay{number}", f"tip{number}")
        graph.add_edge(f"tip{number}", "all")
    graph.add_edge("all", "last")
    graph.add_edge("last", END)
    return graph.compile(store, durability=durability)


async def pay_up(flow: Flow[Any], life: Life, world: World) -> RunResult[Any]:
    """Bring the thread to its end."""
    till = _Till(life.options["schema"], world)
    try:
        return await flow.resume(life.thread_id, context=till)
    except ThreadNotFound:
        return await flow.run({}, life.thread_id, context=till)


@dataclass
class Paid:
    """What was found."""

    threads: int = 0
    kills: int = 0
    payments: int = 0
    missing: int = 0
    """Payments that a thread's state has and the table has not, or that neither has."""
    doubled: int = 0
    unwarranted: int = 0
    """Payments that the table has and the state has not."""
    stuck: int = 0

    @property
    def faults(self) -> Mapping[str, int]:
        """What must be 0, and is not."""
        names = ("missing", "doubled", "unwarranted", "stuck")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def count(self, rows: Counter[str], state: Any) -> None:
        """Add a thread that has ended."""
        self.threads += 1
        self.payments += rows.total()
        self.doubled += sum(count - 1 for count in rows.values())
        if state is None:
            self.stuck += 1
            return
        self.missing += _PAYMENTS - len(rows.keys() & set(state["paid"]))
        self.unwarranted += len(rows.keys() - set(state["paid"]))

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in vars(self).items())


async def kill_while_paying(kills: int, seed: int, jobs: int = 2) -> Paid:
    """So many kills."""
    found = Paid()
    chance = random.Random(seed)
    async with opened("postgres", compiled) as place:
        schema = place.options["schema"]
        await place.store.threads()  # makes the schema
        pool = await asyncpg.create_pool(place.url, min_size=1, max_size=jobs)
        try:
            await pool.execute(
                f"create table {schema}.payments (thread_id text, key text, life text)"
            )

            async def work() -> None:
                while found.kills < kills:
                    thread_id = f"payments-{next(place.numbers)}"
                    state = await _one_thread(place, thread_id, chance, found)
                    query = f"select key from {schema}.payments where thread_id = $1"
                    rows = await pool.fetch(query, thread_id)
                    found.count(Counter(row["key"] for row in rows), state)

            async with anyio.create_task_group() as group:
                for _ in range(jobs):
                    group.start_soon(work)
        finally:
            await pool.close()
    return found


async def _one_thread(place: Place, thread_id: str, chance: random.Random, found: Paid) -> Any:
    """Kill whoever runs a thread some times; its final state, ``None`` if it has none."""
    report = None
    for number in range(1, 7):
        death = None
        if number < 6 and chance.random() < 0.5:
            death = Death(chance.randint(1, 5), chance.choice(get_args(When)))
        life = place.life(
            f"life {number}", thread_id, compile=compiled, job=pay_up, death=death, seed=number
        )
        async with Being(life) as being:
            await being.wait_until_ready()
            if number < 6 and death is None:
                with anyio.move_on_after(chance.uniform(0, 0.15)):
                    report = await being.wait()
                if report is None:
                    being.kill()
            report = report or await being.wait()
        if report is not None:
            break
        found.kills += 1
    return report.state if report is not None and report.status == "completed" else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill processes whose nodes pay.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args()
    began = time.monotonic()
    found = anyio.run(kill_while_paying, options.kills, options.seed, options.jobs)
    print(f"seed {options.seed}: {found}; {time.monotonic() - began:.1f} s")
    if found.faults:
        print(f"broken: {found.faults}")
    return bool(found.faults)


if __name__ == "__main__":
    sys.exit(main())
