"""Stores that fail at random, stall or stay away; and callers that are cancelled meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import pytest

import tests.faults.test_cancellation as cancellation
from plait import Flow, Graph, NodeError, RunResult, StoreError, ThreadNotFound
from plait.durable import DurableStore
from plait.errors import StoreUnavailable
from plait.events import JournalEvent
from plait.store import Durability
from plait.testing.memory_backend import MemoryBackend
from tests.faults.crashes import DURABILITIES, Point, Process, World, check_after, check_at_end
from tests.faults.points import Calls, Points, StepClock, completions
from tests.kernel.build import Log, build, other_tasks
from tests.stores import Outage, Simulation, quiet_logs

When = Literal["before", "after"]
every_durability = pytest.mark.parametrize("durability", DURABILITIES)


# -- failing at random ------------------------------------------------------------------------


class Unlucky(Process):
    """A process whose store fails one time in four, is slow or stalls until its timeout."""

    failures = 0

    async def fault(self, method: str, when: When) -> None:
        chance = self.world.chance("fault", self.failures, method, when, self.world.sim.clock.now)
        luck = chance.random()
        if luck < 0.02:
            await anyio.sleep(5)  # the timeout of a call
        elif luck < 0.3:
            await anyio.sleep(chance.uniform(0, 0.5))
        if luck < 0.02 or luck > 0.75:
            self.failures += 1
            raise StoreUnavailable(f"{method} failed {when} its effect")


async def unlucky_run(world: World) -> Unlucky:
    process = Unlucky(world, 0, None)
    result = await process.live()
    await world.keep_rows()
    await check_after(world, process)
    await check_at_end(world, process, result)
    return process


@every_durability
def test_a_run_comes_to_its_end_unaided_though_its_store_fails_at_random(
    durability: Durability,
) -> None:
    failures = 0
    for seed in range(40):
        random.seed(seed)
        world = World(Point(seed, durability))
        process = world.sim.run(unlucky_run(world))
        figures = world.figures
        assert (figures.wrong, figures.finished_again, figures.lost) == ([], 0, 0), seed
        assert figures.doubled == 0
        failures += process.failures
    assert failures > 500


# -- gone for good ----------------------------------------------------------------------------


@every_durability
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_is_gone_is_an_error_by_the_deadline(
    durability: Durability, when: When
) -> None:
    """After what can be called without it, nothing is."""
    for tenth in range(1, 60, 3):
        sim, log = Simulation(), Log()
        gone_at = tenth / 10
        parts = {name: log.node(name, 0.7, items=[name]) for name in ("a", "b", "c", "d", "e")}
        ways = ("START a b c END", "a d e END")
        outage = Outage(sim.clock, gone_at, 1e9, when=when, takes=0.1)
        store = sim.store(outage, patience=10, lease_ttl=9)
        flow = build(*ways, **parts).compile(store, durability=durability)
        error: Exception | None = None
        try:
            sim.run(flow.run({}, thread_id="t"))
        except StoreError as raised:
            error = raised
        assert error is not None or gone_at > 2.1
        assert error is None or "is durable up to position" in str(error)
        assert not isinstance(error, StoreUnavailable)
        if durability == "sync":
            assert all(at <= gone_at for _, at in log.entries)
        assert sim.clock.now < max(gone_at, 2.1) + 10 + 10 + 1
        sim.clock.now += 100
        sim.run(go_on(flow.with_store(sim.store())))
        again = Counter(log.order)
        assert max(again.values()) <= 2


async def go_on(flow: Flow[Any]) -> RunResult[Any]:
    try:
        return await flow.resume("t")
    except ThreadNotFound:
        return await flow.run({}, thread_id="t")


METHODS = ("acquire", "append", "load_plan", "read", "release", "renew", "save_plan", "thread")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stall_of_any_method_is_bounded(method: str, when: When) -> None:
    """Each call of it takes its timeout of 4 s and fails; patience is 10 s."""
    sim, log = Simulation(), Log()
    outage = Outage(sim.clock, 0, 1e9, method, when=when, takes=4)
    store = sim.store(outage, patience=10, lease_ttl=30)
    graph = build("START a b END", a=log.node("a", 1), b=log.node("b", 1))
    flow = graph.compile(store)
    unneeded = {"renew", "release", "load_plan", "read", "thread"}
    if method in unneeded:
        assert sim.run(flow.run({}, thread_id="t")).status == "completed"
    else:
        with pytest.raises(StoreError, match="unavailable for 10 s"):
            sim.run(flow.run({}, thread_id="t"))
    assert sim.clock.now <= 2 + 10 + 2 * 4
    sim.clock.now = 100
    if method in {"thread", "read"}:
        with pytest.raises(StoreError, match="unavailable for 10 s"):
            sim.run(flow.state("t"))
        assert sim.clock.now <= 100 + 10 + 2 * 4


# -- cancelled at every await -----------------------------------------------------------------


@dataclass
class Left:
    """What a caller that was cancelled leaves."""

    task: asyncio.Task[Any]
    requests: int
    tasks: set[asyncio.Task[Any]]
    open: set[object]
    holder: str | None
    saved: list[JournalEvent]
    late: int
    again: list[tuple[str, tuple[int, ...]]]
    result: RunResult[Any]
    journal: list[JournalEvent]


class Experiment:
    """A program on a durable store whose methods take a moment, run anew for each cancellation."""

    def __init__(self, program: cancellation.Program, durability: Durability) -> None:
        self.program, self.durability = program, durability

    def start(self, *cancel_at: int) -> tuple[Calls, Points, MemoryBackend, Flow[Any]]:
        calls, points = Calls(StepClock()), Points(*cancel_at)
        rows = MemoryBackend(clock=lambda: calls.clock.now)

        async def moment(_method: str, _when: str) -> None:
            await anyio.sleep(0.001)

        graph: Graph = self.program(calls)
        flow = graph.compile(
            DurableStore(rows.view(fault=moment)), durability=self.durability, pools={"pool": 2}
        )
        return calls, points, rows, flow

    def undisturbed(self) -> tuple[RunResult[Any], list[JournalEvent], int]:
        calls, points, rows, flow = self.start()

        async def main() -> tuple[RunResult[Any], list[JournalEvent]]:
            result = await points.start(flow.run({}, thread_id="t"))
            return result, await events_of(flow, rows)

        with quiet_logs():
            result, journal = calls.clock.run(main())
        return result, journal, points.count

    def disturbed(self, *cancel_at: int) -> Left:
        """Cancel the caller at these points; then go on with another process."""
        calls, points, rows, flow = self.start(*cancel_at)

        async def main() -> Left:
            task = points.start(flow.run({}, thread_id="t"))
            await asyncio.wait([task])
            tasks, still_open = other_tasks(), set(calls.open)
            row = await rows.thread("t")
            before, begun = await events_of(flow, rows), len(calls.begun)
            await asyncio.sleep(100)  # less than any deadline
            late = len(await events_of(flow, rows)) - len(before)
            result = await go_on(flow.with_store(DurableStore(rows.view())))
            journal = await events_of(flow, rows)
            return Left(
                task,
                points.requests,
                tasks,
                still_open,
                row.holder if row is not None else None,
                before,
                late,
                calls.begun[begun:],
                result,
                journal,
            )

        try:
            with quiet_logs():
                return calls.clock.run(main())
        finally:
            calls.clock.release()


async def events_of(flow: Flow[Any], rows: MemoryBackend) -> list[JournalEvent]:
    codec = flow._past.format.codec
    assert codec is not None
    return [codec.decode_event(row.data) for row in await rows.read("t", 0, None, 100_000)]


def check(left: Left, undisturbed: RunResult[Any], journal: Sequence[JournalEvent]) -> None:
    """All that is promised, whatever the points."""
    assert left.task.cancelled() == (left.requests > 0)
    assert (left.tasks, left.open, left.holder, left.late) == (set(), set(), None, 0)
    assert left.result.state == undisturbed.state
    assert completions(left.journal) == completions(journal)
    missing = Counter(completions(journal)) - Counter(completions(left.saved))
    finished = set(completions(left.saved)) - set(missing)
    assert not finished & {(path, node) for node, path in left.again}


ONCE = ("chain", "nested_forks", "retries", "predicate", "loop", "deadline")


@every_durability
@pytest.mark.parametrize("name", ONCE)
def test_a_caller_may_be_cancelled_at_any_point_of_a_durable_run(
    name: str, durability: Durability
) -> None:
    experiment = Experiment(getattr(cancellation, name), durability)
    result, journal, count = experiment.undisturbed()
    assert count > 20
    for point in range(count):
        check(experiment.disturbed(point), result, journal)


def brief(calls: Calls) -> Graph:
    return build("START a c END", "START b END", a=calls.node(), b=calls.node(2), c=calls.node())


@every_durability
def test_a_caller_may_be_cancelled_again_at_any_point_while_a_durable_run_is_closed(
    durability: Durability,
) -> None:
    experiment = Experiment(brief, durability)
    result, journal, count = experiment.undisturbed()
    for first in range(0, count, 4):
        second = first + 1
        while True:
            left = experiment.disturbed(first, second)
            check(left, result, journal)
            if left.requests < 2:
                break
            second += 1


# -- what a failed run leaves -----------------------------------------------------------------


@every_durability
def test_a_failing_node_and_a_failing_store_at_once_leave_a_thread_that_goes_on(
    durability: Durability,
) -> None:
    sim = Simulation()
    outage = Outage(sim.clock, 0.9, 3)
    calls = Log()

    async def fails_once(_state: Any) -> Any:
        calls.entries.append(("b", sim.clock.now))
        await anyio.sleep(1)
        if len(calls.order) == 1:
            raise ValueError("boom")
        return {"items": ["b"]}

    flow = build("START b END", b=fails_once).compile(sim.store(outage), durability=durability)
    with pytest.raises(NodeError, match="boom"):
        sim.run(flow.run({}, thread_id="t"))
    assert sim.run(flow.resume("t")).state["items"] == ["b"]
