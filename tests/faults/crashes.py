"""A crash at every call of the store: what was finished stays finished, and nothing is done twice.

A process runs a program with everything in it, and dies before a call of its store, within it
(what was asked for happens, and nobody hears of it) or just after it. Later processes go on, and
may die as well. Nodes have effects outside, in a table with a row for each idempotency key.

``python -m tests.faults.crashes --points 10000`` runs so many points and prints its figures.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypedDict

import anyio

from plait import END, START, Flow, Graph, Join, NodeContext, Retry, Send, interrupt, reducers
from plait.commands import RunNode
from plait.errors import PlaitError
from plait.events import BranchPath, JournalEvent, NodeCompleted
from plait.machine import Machine
from plait.plan import Plan
from plait.store import Durability
from plait.testing import Crashed
from tests.stores import Simulation

__all__ = ["DURABILITIES", "MOMENTS", "Figures", "Point", "points", "run_point"]

DURABILITIES: Final[tuple[Durability, ...]] = ("sync", "async", "exit")
Moment = Literal["before", "within", "after"]
MOMENTS: Final[tuple[Moment, ...]] = ("before", "within", "after")

_TTL = 20.0
_MOST_PROCESSES = 12


class State(TypedDict):
    log: Annotated[list[str], reducers.append]
    sum: Annotated[int, reducers.total]
    seen: Annotated[set[str], reducers.union]
    round: int


@dataclass(frozen=True)
class Point:
    """Where the first process dies, and what the world is like.

    Attributes:
        call: which call of its store, from 0; ``None``: nowhere.
        again: the chance that a later process dies, at a call that the seed chooses.
    """

    seed: int
    durability: Durability = "sync"
    call: int | None = None
    moment: Moment = "before"
    again: float = 0.25

    @property
    def calm(self) -> bool:
        """Whether every schedule gives the same state: all sync points wait for all."""
        return self.seed % 3 == 0

    @property
    def prunes(self) -> bool:
        """Whether histories are cut short between the processes."""
        return self.seed % 4 == 1


@dataclass
class Figures:
    """What was seen."""

    points: int = 0
    crashes: int = 0
    calls: int = 0
    """How often a node's function was called."""
    again: int = 0
    """How often it was for a step that an earlier process had begun."""
    finished_again: int = 0
    """How often although its completion was durable."""
    completions: int = 0
    lost: int = 0
    """Completions without their effect."""
    doubled: int = 0
    """Effects, in transactions, that were there twice."""
    wrong: list[str] = field(default_factory=list[str])


# -- one process after another ----------------------------------------------------------------


def chance_of(*what: object) -> random.Random:
    """Luck that is the same for the same things."""
    return random.Random(repr(what))


class World:
    """What outlives a process: rows, a clock, and what nodes have done outside."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.sim = Simulation()
        self.effects: dict[str, list[int]] = {}
        """By idempotency key, the processes that had the effect."""
        self.keys: dict[tuple[BranchPath, int], str] = {}
        self.begun: dict[tuple[BranchPath, int], int] = {}
        """By call, the last process that began it."""
        self.archive: dict[int, bytes] = {}
        """All rows that ever were durable, by position."""
        self.figures = Figures()

    def chance(self, *what: object) -> random.Random:
        return chance_of(self.point.seed, *what)

    async def keep_rows(self) -> None:
        for row in await self.sim.read():
            before = self.archive.setdefault(row.position, row.data)
            if before != row.data:
                self.figures.wrong.append(f"row {row.position} has changed")


class Process:
    """One life of the program.

    Attributes:
        dies_at: the call of its store at which it dies.
        seen: what it asked of its store.
    """

    def __init__(
        self, world: World, number: int, dies_at: int | None, moment: Moment = "before"
    ) -> None:
        self.world, self.number = world, number
        self.dies_at, self.moment = dies_at, moment
        self.dead = False
        self.scope = anyio.CancelScope()
        self.seen: list[str] = []
        self.durable: set[tuple[BranchPath, int]] = set()
        store = world.sim.store(self.fault, lease_ttl=_TTL)
        self.flow: Flow[Any] = Flow(
            plan_of(world.point.seed), store, durability=world.point.durability
        )

    async def fault(self, method: str, when: Literal["before", "after"]) -> None:
        self.check_alive()
        if when == "before":
            self.seen.append(method)
            call = len(self.seen) - 1
            delay = self.world.chance("latency", self.number, call).choice((0, 0, 0.01, 0.3))
            if delay:
                await anyio.sleep(delay)
                self.check_alive()
            if call == self.dies_at and self.moment == "before":
                self.die()
        elif len(self.seen) - 1 == self.dies_at:
            if self.moment == "within":
                self.die()
            asyncio.get_running_loop().call_soon(self.end)

    def end(self) -> None:
        self.dead = True
        self.scope.cancel()

    def die(self) -> None:
        self.end()
        self.check_alive()

    def check_alive(self) -> None:
        if self.dead:
            raise Crashed("this process has died")

    # -- what nodes do --

    def begin(self, ctx: NodeContext) -> None:
        self.check_alive()
        world, step = self.world, (ctx.branch, ctx.step)
        figures = world.figures
        if world.keys.setdefault(step, ctx.idempotency_key) != ctx.idempotency_key:
            figures.wrong.append(f"{step} had another key before than {ctx.idempotency_key}")
        if ctx.attempt == 1:
            figures.calls += 1
            figures.again += world.begun.get(step, self.number) != self.number
            world.begun[step] = self.number
        if step in self.durable:
            figures.finished_again += 1
            figures.wrong.append(f"{ctx.node} of {step} had finished, and is called again")

    async def pass_time(self, ctx: NodeContext, what: str) -> None:
        chance = self.world.chance(what, ctx.branch, ctx.step, ctx.attempt, self.number)
        await anyio.sleep(chance.choice((0, 0.1, 1.0, 2.5)))
        self.check_alive()

    def have_effect(self, ctx: NodeContext) -> None:
        self.check_alive()
        self.world.effects.setdefault(ctx.idempotency_key, []).append(self.number)

    # -- its life --

    async def live(self) -> Any:
        """Run or resume the thread to its end; ``None`` if it dies before."""
        try:
            with self.scope:
                return await self._live()
        except (Crashed, BaseExceptionGroup):
            if not self.dead:
                raise
        except PlaitError:
            if not self.dead:
                raise
        return None

    async def _live(self) -> Any:
        flow, rows = self.flow, await self.world.sim.read()
        if rows or self.world.archive:
            machine = replay(flow.plan, await self._events())
            self.durable = machine.finished
            result = await flow.resume("t", context=self)
        else:
            result = await flow.run({"round": 0}, thread_id="t", context=self)
        while result.status == "suspended":
            name = result.interrupts[-1].id
            result = await flow.resume("t", {name: f"answer to {name}"}, context=self)
        return result

    async def _events(self) -> list[JournalEvent]:
        codec = self.flow._past.format.codec
        assert codec is not None
        await self.world.keep_rows()
        return [codec.decode_event(data) for _, data in sorted(self.world.archive.items())]


# -- the program ------------------------------------------------------------------------------


def writes_of(node: str, branch: BranchPath, step: int, seen: Any) -> dict[str, Any]:
    """What a node writes: it depends on all that it sees, so that a stale view shows."""
    name = f"{node}/{'.'.join(map(str, branch))}/{step}"
    total = len(seen["log"]) + 3 * len(seen["seen"]) + seen["sum"] % 101
    writes: dict[str, Any] = {"log": [name], "sum": total, "seen": {node}}
    if node == "judge":
        writes["round"] = seen["round"] + 1
    return writes


@lru_cache(maxsize=4)
def plan_of(seed: int) -> Plan:
    """Nested forks in a loop, a quorum, deadlines, retries, failures, dependents, questions."""

    def chance(*what: object) -> random.Random:
        return chance_of(seed, *what)

    def node(name: str) -> Any:
        async def work(state: Any, ctx: NodeContext) -> Any:
            process: Process = ctx.context
            process.begin(ctx)
            await process.pass_time(ctx, "before")
            luck = chance("luck", name, ctx.branch, ctx.step).random()
            if name == "left" and ctx.attempt <= int(3 * luck):
                raise ConnectionError(f"{name} has bad luck")
            if name in {"right", "combine"} and luck < 0.25:
                raise ValueError(f"{name} is broken")
            answer = interrupt(f"what does {name} do?") if name in {"ask", "vote"} else ""
            if name == "settle":
                table = await ctx.transaction()
                key = f"{ctx.idempotency_key}#{len(table)}"
                table[key] = process.number
            else:
                process.have_effect(ctx)
            await process.pass_time(ctx, "after")
            written = writes_of(name, ctx.branch, ctx.step, state)
            if answer:
                written["seen"] |= {answer}
            return written

        return work

    calm = Point(seed).calm
    outer = Join()
    if not calm:
        outer = Join(
            quorum=2,
            grace=chance("grace").choice((0, 0.5)),
            timeout=chance("timeout").choice((1.5, 6.0, 60.0)),
            minimum=0,
            stragglers=chance("stragglers").choice(("cancel", "detach")),
        )
    ballot = Join() if calm else Join(quorum=lambda arrivals: len(arrivals) == 2)
    graph = Graph(State)
    for name in ("plan", "work", "judge", "mend", "ask", "vote", "pass", "settle", "end"):
        graph.add_node(name, node(name))
    graph.add_node("left", node("left"), retry=Retry(4, initial=0.5, jitter=False), timeout=60)
    graph.add_node("right", node("right"), on_error="record")
    graph.add_node("combine", node("combine"), on_error="mend")
    graph.add_sync_point("inner", Join(minimum=0))
    graph.add_sync_point("outer", outer)
    graph.add_sync_point("ballot", ballot)
    sends = [Send("work", id="a"), Send("work", id="b"), Send("work", id="c", after="a")]
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: sends, ["work"])
    for name in ("left", "right"):
        graph.add_edge("work", name).add_edge(name, "inner")
    graph.add_edge("inner", "combine").add_edge("combine", "outer").add_edge("mend", "outer")
    graph.add_edge("outer", "judge")
    graph.add_conditional_edges(
        "judge", lambda s: "plan" if s["round"] < 2 else "settle", ["plan", "settle"]
    )
    for name in ("ask", "vote", "pass"):
        graph.add_edge("settle", name).add_edge(name, "ballot")
    return graph.add_edge("ballot", "end").add_edge("end", END).plan()


# -- what must hold ---------------------------------------------------------------------------


@dataclass
class Replayed:
    """What a journal says."""

    machine: Machine
    finished: set[tuple[BranchPath, int]]
    """The calls that have come to their ends."""
    expected: set[tuple[BranchPath, int]]
    """The calls that are to be made next."""


def replay(plan: Plan, events: Sequence[JournalEvent]) -> Replayed:
    """Replay a journal, and do again what its nodes did: it must be that of an undisturbed run.

    Each completion must be of a call that was under way, and hold what its node writes when it
    sees what its branch sees there.
    """
    machine = Machine(plan)
    finished: set[tuple[BranchPath, int]] = set()
    for event in events:
        if isinstance(event, NodeCompleted):
            branch = machine.branches[event.branch]
            assert branch.place == event.node
            step = (event.branch, branch.step)
            assert step not in finished, f"{step} has finished twice"
            finished.add(step)
            seen = machine.view(branch)
            expected = writes_of(event.node, event.branch, branch.step, seen)
            written = dict(event.writes)
            if event.node in {"ask", "vote"}:
                (answer,) = written["seen"] - expected["seen"]
                assert answer.startswith("answer to "), answer
                expected["seen"] |= {answer}
            assert written == expected, f"{step} saw something else"
        machine.handle(event)
    outstanding = [each for each in machine.outstanding() if isinstance(each, RunNode)]
    return Replayed(machine, finished, {(each.branch, each.step) for each in outstanding})


def run_point(point: Point) -> tuple[Figures, Any, list[str]]:
    """Let the processes live one after another.

    Returns:
        What was seen, the final state, and what the first process asked of its store.
    """
    random.seed(repr(point))  # for the kernel, which chooses how long to wait
    world = World(point)

    async def main() -> tuple[Any, list[str]]:
        dies_at, moment = point.call, point.moment
        asked: list[str] = []
        for number in range(_MOST_PROCESSES):
            process = Process(world, number, dies_at, moment)
            result = await process.live()
            asked = asked or process.seen
            await world.keep_rows()
            await check_after(world, process)
            if result is not None:
                await check_at_end(world, process, result)
                return result.state, asked
            world.figures.crashes += 1
            await anyio.sleep(_TTL + 1)
            if point.prunes and world.archive:
                await prune(world)
            chance = world.chance("dies", number)
            dies = chance.random() < point.again and number < _MOST_PROCESSES - 2
            dies_at = chance.randrange(30) if dies else None
            moment = chance.choice(MOMENTS)
        raise AssertionError("it never ended")

    state, asked = world.sim.run(main())
    world.figures.points += 1
    return world.figures, state, asked


async def prune(world: World) -> None:
    """Give up what lies behind, as somebody may at any time."""
    flow = Process(world, -1, None).flow
    await flow.prune("t", keep=world.chance("keep", len(world.archive)).randrange(10))


async def check_after(world: World, process: Process) -> None:
    """Whatever has happened: no gap, and no task of the process lives on."""
    positions = sorted(world.archive)
    if positions != list(range(1, len(positions) + 1)):
        world.figures.wrong.append(f"the journal has gaps: {positions}")
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        world.figures.wrong.append(f"tasks live on: {tasks}")


async def check_at_end(world: World, process: Process, result: Any) -> None:
    figures = world.figures
    replayed = replay(process.flow.plan, await process._events())
    if replayed.machine.running or replayed.machine.values != result.state:
        figures.wrong.append("the journal says something else than the result")
    table = Counter(key.rpartition("#")[0] for key in world.sim.rows.table)
    figures.doubled += sum(count - 1 for count in table.values())
    figures.completions += len(replayed.finished)
    for step in replayed.finished:
        key = world.keys[step]
        figures.lost += key not in world.effects and key not in table
    names = result.state["log"]
    if len(names) != len(set(names)):
        figures.wrong.append("a write is in the state twice")
    row = await world.sim.thread()
    if row is None or (row.status, row.holder) != ("completed", None):
        figures.wrong.append(f"the thread is left as {row}")


# -- many points ------------------------------------------------------------------------------


def points(count: int, first_seed: int = 0, every: int = 1) -> Iterator[tuple[Point, Any]]:
    """So many points, seed by seed: each call of an undisturbed run, in each of the moments.

    Second, the state that an undisturbed run comes to, where every schedule gives the same.

    Args:
        every: leave out all but every so-manieth, for more seeds in the same time.
    """
    made = seen = 0
    seed = first_seed
    while True:
        for durability in DURABILITIES:
            undisturbed = Point(seed, durability)
            _, state, asked = run_point(undisturbed)
            for call in range(len(asked)):
                for moment in MOMENTS:
                    seen += 1
                    if seen % every:
                        continue
                    if made == count:
                        return
                    made += 1
                    yield Point(seed, durability, call, moment), state
        seed += 1


def sweep(count: int, first_seed: int = 0, every: int = 1) -> tuple[Figures, list[Point]]:
    """Run so many points; also those at which something was wrong."""
    total = Figures()
    bad: list[Point] = []
    for point, undisturbed in points(count, first_seed, every):
        try:
            figures, state, _ = run_point(point)
        except Exception as error:  # it belongs to the figures
            total.points += 1
            total.wrong.append(f"{point}: {type(error).__name__}: {error}")
            bad.append(point)
            continue
        if point.calm and state != undisturbed:
            figures.wrong.append("the state is not that of an undisturbed run")
        total.points += figures.points
        total.crashes += figures.crashes
        total.calls += figures.calls
        total.again += figures.again
        total.finished_again += figures.finished_again
        total.completions += figures.completions
        total.lost += figures.lost
        total.doubled += figures.doubled
        total.wrong += [f"{point}: {each}" for each in figures.wrong]
        if figures.wrong or figures.lost or figures.doubled:
            bad.append(point)
    return total, bad


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Crash at every call of a durable store.")
    parser.add_argument("--points", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--every", type=int, default=1, help="leave out all but every n-th point")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    found, bad = sweep(options.points, options.seed, options.every)
    seconds = time.perf_counter() - began
    print(
        f"{found.points:,} points, {found.crashes:,} crashes, {found.calls:,} calls of nodes "
        f"({found.again:,} again), {found.completions:,} completions, {seconds:.0f} s "
        f"({math.floor(found.points / seconds):,} points a second)"
    )
    print(
        f"finished nodes called again: {found.finished_again}; effects lost: {found.lost}; "
        f"doubled: {found.doubled}; anything else wrong: {len(found.wrong)}"
    )
    for line in found.wrong[:20]:
        print("   ", line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
