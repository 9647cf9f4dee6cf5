"""Several processes that want one thread: one of them has it, and what it has done stays done.

Each process has a store of its own on the same rows, and a clock that may be days off. It is
paused for longer than its lease lasts, its renewals fail, answers get lost; it tries again until
the thread is finished.

``python -m tests.faults.races --rounds 10000`` runs so many rounds and prints its figures.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import anyio

from plait import (
    END,
    START,
    Flow,
    Graph,
    InterruptError,
    Join,
    LeaseLost,
    NodeContext,
    StoreError,
    ThreadBusy,
    ThreadExists,
    ThreadNotFound,
    ThreadUnfinished,
    interrupt,
)
from plait.errors import StoreUnavailable
from plait.events import BranchPath, JournalEvent, NodeCompleted, RunStarted
from plait.plan import Plan
from plait.store import Durability
from plait.testing.memory_backend import MemoryBackend
from tests.kernel.build import Work
from tests.stores import Simulation

__all__ = ["Figures", "two_answers", "two_inputs", "two_owners"]

_TTL = 5.0
_DAY = 86_400.0
_DURABILITIES: tuple[Durability, ...] = ("sync", "sync", "async", "exit")


@dataclass
class Figures:
    """What was seen, over all rounds."""

    rounds: int = 0
    calls: int = 0
    overlapping: int = 0
    """Calls of a step that another process had begun and not finished."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """How processes were sent away or lost the thread."""
    wrong: list[str] = field(default_factory=list[str])


@cache
def plan_of(width: int) -> Plan:
    """Two nodes, a fork and one more node."""

    def node(name: str) -> Any:
        async def work(_state: Any, ctx: NodeContext) -> Any:
            contender: Contender = ctx.context
            contender.begin(ctx)
            await anyio.sleep(contender.rng.choice((0, 0.5, 2.0)))
            await contender.stand_still()
            return {"items": [f"{name}/{'.'.join(map(str, ctx.branch))}"]}

        return work

    graph = Graph(Work).add_sync_point("gather", Join())
    for name in ("a", "b", "z", *(f"w{n}" for n in range(width))):
        graph.add_node(name, node(name))
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("gather", "z").add_edge("z", END)
    for n in range(width):
        graph.add_edge("b", f"w{n}").add_edge(f"w{n}", "gather")
    return graph.plan()


class Round:
    """The rows, and what is known of them."""

    def __init__(self, seed: int, figures: Figures) -> None:
        random.seed(seed)  # for the kernel, which chooses how long to wait before it tries again
        self.rng = random.Random(seed)
        self.sim = Simulation()
        self.figures = figures
        self.begun: dict[tuple[BranchPath, str], int] = {}
        self.acted: list[str] = []
        self.plan = plan_of(self.rng.choice((2, 3, 4)))
        self.durability: Durability = self.rng.choice(_DURABILITIES)
        self.reader: Flow[Any] = Flow(self.plan, self.sim.store())

    async def finished(self) -> set[tuple[BranchPath, str]]:
        return {
            (event.branch, event.node)
            for event in await self.sim.events(self.reader)
            if isinstance(event, NodeCompleted)
        }

    def durable_now(self) -> set[tuple[BranchPath, str]]:
        """As ``finished``, without waiting."""
        try:
            self.finished().send(None)
        except StopIteration as stop:
            found: set[tuple[BranchPath, str]] = stop.value
            return found
        raise AssertionError("rows in memory are there at once")

    def epochs(self) -> list[int]:
        """The lease under which each event of the journal was stored."""
        thread = _tenant(self.sim.rows).threads.get("t")
        return [thread.events[p][0] for p in thread.positions] if thread is not None else []

    def check(self, states: Sequence[list[str]], runs: int = 1) -> None:
        thread = _tenant(self.sim.rows).threads["t"]
        if thread.positions != list(range(1, len(thread.positions) + 1)):
            self.wrong(f"gaps: {thread.positions}")
        epochs = self.epochs()
        if epochs != sorted(epochs):
            self.wrong(f"owners take turns: {epochs}")
        events = self.sim.run(self.sim.events(self.reader))
        done = Counter(
            (event.branch, event.node) for event in events if isinstance(event, NodeCompleted)
        )
        if max(done.values()) > 1:
            self.wrong(f"finished twice: {done}")
        begun = sum(isinstance(event, RunStarted) for event in events)
        if begun != runs:
            self.wrong(f"begun {begun} times, not {runs}")
        if any(state != states[-1] for state in states):
            self.wrong(f"processes disagree: {states}")
        if thread.status != "completed" or thread.holder is not None:
            self.wrong(f"the thread is left {thread.status}, held by {thread.holder}")

    def span(self) -> float:
        """Seconds from the first event to the last one, as they say."""
        events = self.sim.run(self.sim.events(self.reader))
        return events[-1].at - events[0].at

    def history(self) -> list[tuple[int, JournalEvent]]:
        """The journal: the lease under which each event was stored, and the event but for its
        times."""
        events = self.sim.run(self.sim.events(self.reader))
        return list(zip(self.epochs(), map(_timeless, events), strict=True))

    def wrong(self, what: str) -> None:
        self.figures.wrong.append(what)


def _timeless(event: Any) -> Any:
    times = {name: 0.0 for name in ("at", "started") if hasattr(event, name)}
    return event._replace(**times)


def _tenant(rows: MemoryBackend) -> Any:
    return rows._tenant


class Contender:
    """A process that wants to bring the thread to its end."""

    def __init__(
        self,
        round_: Round,
        number: int,
        *,
        calm: bool = False,
        skewed: bool = True,
        new: bool = True,
    ) -> None:
        self.round, self.number, self.calm, self.new = round_, number, calm, new
        self.rng = random.Random(repr((round_.rng.random(), number)))
        self.skew = skewed * self.rng.choice((0.0, _TTL, _DAY)) * self.rng.uniform(-3, 3)
        """Seconds by which its clock is wrong."""
        self.still_until = 0.0
        store = round_.sim.store(self.fault, lease_ttl=_TTL, patience=8.0)
        self.flow: Flow[Any] = Flow(round_.plan, store, durability=round_.durability)

    async def stand_still(self) -> None:
        """Wait until this process is no longer paused."""
        while (left := self.still_until - self.round.sim.clock.now) > 0:  # noqa: ASYNC110 - virtual
            await anyio.sleep(left)

    async def fault(self, method: str, when: Literal["before", "after"]) -> None:
        if self.calm:
            await anyio.sleep(self.rng.uniform(0, 0.2))
            return
        await self.stand_still()
        luck = self.rng.random()
        if luck < 0.06 and (method, when) != ("renew", "after"):
            self.still_until = self.round.sim.clock.now + self.rng.uniform(0.5, 3) * _TTL
            await self.stand_still()
        elif luck < 0.12:
            raise StoreUnavailable("the wire was cut")
        elif method == "renew" and luck < 0.5:
            raise StoreUnavailable("renewals do not come through")
        elif luck > 0.7:
            await anyio.sleep(self.rng.uniform(0, 0.3))

    def begin(self, ctx: NodeContext) -> None:
        round_, step = self.round, (ctx.branch, ctx.node)
        round_.figures.calls += 1
        round_.figures.overlapping += round_.begun.setdefault(step, self.number) != self.number
        # With "async" and "exit", a lost lease is heard of when something is stored.
        if round_.durability == "sync" and step in round_.durable_now():
            round_.wrong(f"{step} had finished, and is called again")

    async def strive(self) -> list[str]:
        """Try until the thread is finished; what it has written."""
        self.round.sim.skew.set(self.skew)
        await anyio.sleep(self.rng.uniform(0, 3))
        for _ in range(200):
            try:
                try:
                    result = await self.flow.resume("t", context=self)
                except ThreadNotFound:
                    result = await self.flow.run({}, "t", context=self, new=self.new)
                items: list[str] = result.state["items"]
                return items
            except (ThreadBusy, ThreadExists, ThreadUnfinished, LeaseLost, StoreError) as error:
                self.round.figures.refused[type(error).__name__] += 1
            await anyio.sleep(self.rng.uniform(0, 3))
        raise AssertionError("it never ended")


def two_owners(seed: int, figures: Figures, *, skewed: bool = True, new: bool = True) -> Round:
    """Two or three processes bring one thread to its end, whatever befalls them.

    Args:
        skewed: whether their clocks are wrong.
        new: whether they begin it only if it is new. One that has found no thread may be held up
            until another has been through the whole of the run.
    """
    round_ = Round(seed, figures)
    numbers = range(round_.rng.choice((2, 2, 3)))
    contenders = [Contender(round_, number, skewed=skewed, new=new) for number in numbers]

    async def main() -> list[list[str]]:
        tasks = [asyncio.ensure_future(contender.strive()) for contender in contenders]
        states = list(await asyncio.gather(*tasks))
        await anyio.sleep(3 * _TTL)  # a release that was not heard of
        states.append(await Contender(round_, 99, calm=True).strive())
        return states

    states = round_.sim.run(main())
    round_.check(states)
    figures.rounds += 1
    return round_


def two_inputs(seed: int, figures: Figures) -> None:
    """Two inputs at once for one thread, from one process or two: each is run once, after the
    other, and the one that has to wait is told."""
    round_ = Round(seed, figures)
    one = Contender(round_, 0, calm=True)
    other = one if round_.rng.random() < 0.3 else Contender(round_, 1, calm=True)

    async def give(contender: Contender, name: str, results: list[Any]) -> None:
        round_.sim.skew.set(contender.skew)
        while True:
            try:
                result = await contender.flow.run({"items": [name]}, "t", context=contender)
            except (ThreadBusy, ThreadUnfinished) as error:
                figures.refused[type(error).__name__] += 1
                await anyio.sleep(0.2 + round_.rng.random())
            else:
                results.append(result.state["items"])
                return

    async def main() -> list[list[str]]:
        results: list[list[str]] = []
        before = sum(figures.refused.values())
        async with anyio.create_task_group() as group:
            group.start_soon(give, one, "one", results)
            group.start_soon(give, other, "other", results)
        if sum(figures.refused.values()) == before:
            round_.wrong("nobody was sent away")
        return results

    first, second = round_.sim.run(main())
    if second[: len(first)] != first or {"one", "other"} - set(second):
        round_.wrong(f"an input is lost: {first}, {second}")
    round_.check([second], runs=2)
    figures.rounds += 1


@cache
def asking() -> Plan:
    """A node that asks, and one that does what the answer says."""

    async def ask(_state: Any) -> Any:
        return {"items": [interrupt("shall I?")]}

    async def act(state: Any, ctx: NodeContext) -> Any:
        contender: Contender = ctx.context
        contender.round.figures.calls += 1
        contender.round.acted.append(state["items"][-1])
        await anyio.sleep(contender.rng.uniform(0, 0.5))
        return {"items": ["done"]}

    graph = Graph(Work).add_node("ask", ask).add_node("act", act)
    return graph.add_edge(START, "ask").add_edge("ask", "act").add_edge("act", END).plan()


def two_answers(seed: int, figures: Figures) -> None:
    """Two answers at once to one question: one is taken and carried out, the other refused."""
    round_ = Round(seed, figures)
    round_.plan, round_.durability = asking(), round_.rng.choice(("sync", "async", "exit"))
    round_.reader = Flow(round_.plan, round_.sim.store())
    one = Contender(round_, 0, calm=True)
    other = one if round_.rng.random() < 0.3 else Contender(round_, 1, calm=True)

    async def answer(contender: Contender, what: str, name: str, taken: list[str]) -> None:
        round_.sim.skew.set(contender.skew)
        await anyio.sleep(round_.rng.choice((0, 0, round_.rng.random())))
        while True:
            try:
                await contender.flow.resume("t", {name: what}, context=contender)
            except ThreadBusy as error:
                figures.refused[type(error).__name__] += 1
                await anyio.sleep(0.1 + round_.rng.random())
            except InterruptError as error:
                figures.refused[type(error).__name__] += 1
                return
            else:
                taken.append(what)
                return

    async def main() -> list[str]:
        asked = await one.flow.run({}, "t", context=one)
        taken: list[str] = []
        async with anyio.create_task_group() as group:
            group.start_soon(answer, one, "yes", asked.interrupts[0].id, taken)
            group.start_soon(answer, other, "no", asked.interrupts[0].id, taken)
        return taken

    taken = round_.sim.run(main())
    if len(taken) != 1 or round_.acted != taken:
        round_.wrong(f"taken: {taken}, carried out: {round_.acted}")
    round_.check([[*taken, "done"]])
    figures.rounds += 1


EXPERIMENTS: dict[str, Callable[[int, Figures], object]] = {
    "two owners": two_owners,
    "two inputs": two_inputs,
    "two answers": two_answers,
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Several processes want one thread.")
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    options = parser.parse_args(arguments)
    failed = False
    for name, experiment in EXPERIMENTS.items():
        figures = Figures()
        began = time.perf_counter()
        for seed in range(options.seed, options.seed + options.rounds):
            known = len(figures.wrong)
            try:
                experiment(seed, figures)
            except Exception as error:  # it belongs to the figures
                figures.wrong.append(f"{type(error).__name__}: {error}")
            figures.wrong[known:] = [f"seed {seed}: {each}" for each in figures.wrong[known:]]
        seconds = time.perf_counter() - began
        refused = ", ".join(f"{kind} {count:,}" for kind, count in sorted(figures.refused.items()))
        print(
            f"{name}: {figures.rounds:,} rounds, {figures.calls:,} calls of nodes "
            f"({figures.overlapping:,} begun elsewhere), {refused}; wrong: {len(figures.wrong)}; "
            f"{seconds:.0f} s"
        )
        for line in figures.wrong[:20]:
            print("   ", line)
        failed = failed or bool(figures.wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
