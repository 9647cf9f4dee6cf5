"""Durable stores: what is stored when, in which commit, and what becomes of a run without it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Sequence
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

import plait.durable
from plait import (
    END,
    START,
    Flow,
    Graph,
    Join,
    LeaseLost,
    NodeError,
    Retry,
    RunResult,
    StoreError,
    ThreadBusy,
    ThreadExists,
    ThreadUnfinished,
)
from plait.backend import Row, ThreadRow
from plait.codec import TypeRegistry
from plait.durable import DurableStore
from plait.errors import StoreUnavailable, ThreadNotFound
from plait.events import NodeCompleted, RunStarted
from plait.store import JournalFormat, LeasedJournal
from plait.testing import Crashed, VirtualClock
from tests.kernel.build import Log, Work, build, does, fan, other_tasks
from tests.stores import Outage, Simulation

Durability = Literal["sync", "async", "exit"]
DURABILITIES: tuple[Durability, ...] = ("sync", "async", "exit")
every_durability = pytest.mark.parametrize("durability", DURABILITIES)
late_durabilities = pytest.mark.parametrize("durability", ["async", "exit"])


@pytest.fixture
def sim() -> Simulation:
    return Simulation()


def chain(*takes: float) -> Graph:
    """Nodes a, b, c ... in a row, each of which takes so many seconds."""
    names = "abcdefgh"[: len(takes)]
    parts = {name: does(takes=t, items=[name]) for name, t in zip(names, takes, strict=True)}
    return build(f"START {' '.join(names)} END", **parts)


# -- group commit -----------------------------------------------------------------------------


def test_branches_that_are_done_at_the_same_time_share_a_commit(sim: Simulation) -> None:
    store, backend = sim.watched()
    sim.run(fan(Join(), *[1.0] * 50).compile(store).run({}, thread_id="t"))
    assert [len(each) for each in backend.places()] == [1, 1, 50, 1]


def test_runs_that_are_ready_at_the_same_time_share_a_commit(sim: Simulation) -> None:
    store, backend = sim.watched()
    flow = chain(1.0, 1.0).compile(store)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(flow.run, {}, f"t{number}")

    sim.run(main())
    assert [len(commit) for commit in backend.commits] == [20, 20, 20]


def test_what_becomes_ready_during_a_commit_goes_into_the_next_one_together(
    sim: Simulation,
) -> None:
    store, backend = sim.watched()
    backend.takes = 1.0
    sim.run(fan(Join(), 0.1, 0.2, 0.3, 0.4).compile(store).run({}, thread_id="t"))
    assert [len(each) for each in backend.places()] == [1, 1, 1, 3, 1]


def test_records_are_stored_in_the_order_of_the_journal(sim: Simulation) -> None:
    store, backend = sim.watched()
    backend.takes = 0.25
    flow = fan(Join(), 3, 1, 2, 1, 0.5).compile(store)
    sim.run(flow.run({}, thread_id="t"))
    places = list(itertools.chain(*backend.places()))
    assert places == list(range(1, len(places) + 1))
    events = sim.run(sim.events(flow))
    finished = [event.branch for event in events if isinstance(event, NodeCompleted)]
    assert finished == [(0, 4), (0, 1), (0, 3), (0, 2), (0, 0), (0,)]


def test_a_commit_takes_no_more_than_it_may(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plait.durable, "_MOST_AT_ONCE", 8)
    store, backend = sim.watched()
    sim.run(fan(Join(), *[1.0] * 20).compile(store).run({}, thread_id="t"))
    assert [len(each) for each in backend.places()] == [1, 1, 8, 8, 4, 1]
    monkeypatch.setattr(plait.durable, "_MOST_BYTES_AT_ONCE", 1)
    backend.commits.clear()
    sim.run(fan(Join(), *[1.0] * 3).compile(store).run({}, thread_id="u"))
    assert [len(each) for each in backend.places("u")] == [1, 1, 1, 1, 1, 1]


def test_a_run_that_is_alone_has_stored_what_finished_when_it_is_cancelled_in_a_commit(
    sim: Simulation,
) -> None:
    store, backend = sim.watched()
    flow = chain(1.0, 1.0).compile(store)

    async def main() -> None:
        with anyio.move_on_after(1.5):
            async with anyio.create_task_group() as group:
                group.start_soon(flow.run, {}, "t")
                await anyio.sleep(0.5)
                backend.takes = 1.0  # from 1.0 to 2.0, node "a" is done and being stored

    sim.run(main())
    assert list(itertools.chain(*backend.places())) == [1, 2, 2]  # again, which does no harm
    assert len(sim.run(sim.read())) == 2
    assert sim.run(flow.resume("t")).state["items"] == ["a", "b"]


def test_whoever_waits_goes_on_when_the_leader_of_a_commit_is_cancelled(sim: Simulation) -> None:
    store, backend = sim.watched()
    backend.takes = 1.0
    flow = chain(0).compile(store)

    async def main() -> Any:
        leader = asyncio.ensure_future(flow.run({}, thread_id="leader"))
        follower = asyncio.ensure_future(flow.run({}, thread_id="follower"))
        await asyncio.sleep(0.5)  # the first commit, in the caller's own task, is under way
        leader.cancel()
        await asyncio.wait([leader])
        assert leader.cancelled()
        return await follower

    assert sim.run(main()).state["items"] == ["a"]
    assert len(sim.run(sim.read("follower"))) == 2


# -- what is at fault -------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreError("no room"), TypeError("a bug of the backend")])
def test_a_record_that_cannot_be_stored_fails_its_own_thread_only(
    sim: Simulation, error: Exception
) -> None:
    store, backend = sim.watched()
    flow = chain(1.0, 1.0).compile(store)
    results: dict[str, object] = {}

    def refuse(records: Sequence[Any]) -> Exception | None:
        bad = any(r.thread_id == "t1" and r.position == 2 for r in records)
        return error if bad else None

    async def run(name: str) -> None:
        try:
            results[name] = (await flow.run({}, thread_id=name)).state["items"]
        except StoreError as problem:
            results[name] = problem

    async def main() -> None:
        backend.refuse = refuse
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(run, f"t{number}")

    sim.run(main())
    assert results["t0"] == results["t2"] == ["a", "b"]
    problem = results["t1"]
    assert isinstance(problem, StoreError)
    assert str(error) in str(problem)
    assert "'t1' is durable up to position 1; the 1 events behind it may not be" in str(problem)


def test_what_a_failed_run_has_left_in_the_queue_troubles_nobody(sim: Simulation) -> None:
    store, backend = sim.watched()
    backend.refuse = lambda records: TypeError("a bug") if records[0].thread_id == "t" else None
    flow = chain(0, 0).compile(store)
    with pytest.raises(StoreError, match="a bug"):
        sim.run(flow.run({}, thread_id="t"))
    assert sim.run(flow.run({}, thread_id="u")).state["items"] == ["a", "b"]
    assert store.committer._queue == []


# -- what is durable when ---------------------------------------------------------------------


def durable_at_begin(sim: Simulation, durability: Durability, takes: float) -> dict[str, int]:
    """How many events were durable when each node began."""
    store, backend = sim.watched()
    backend.takes = takes
    found: dict[str, int] = {}

    def node(name: str) -> Any:
        async def work(_state: Any) -> Any:
            found[name] = len(await sim.read())
            await anyio.sleep(1)
            return {"items": [name]}

        return work

    graph = build("START a b c END", a=node("a"), b=node("b"), c=node("c"))
    sim.run(graph.compile(store, durability=durability).run({}, thread_id="t"))
    found["end"] = len(sim.run(sim.read()))
    return found


def test_sync_an_event_is_durable_before_anything_follows_from_it(sim: Simulation) -> None:
    assert durable_at_begin(sim, "sync", 2.5) == {"a": 1, "b": 2, "c": 3, "end": 4}


def test_async_an_event_is_durable_soon_and_all_are_at_the_end(sim: Simulation) -> None:
    assert durable_at_begin(sim, "async", 0.5) == {"a": 0, "b": 1, "c": 2, "end": 4}
    assert sim.clock.now == 3.5


def test_exit_nothing_is_durable_before_the_end(sim: Simulation) -> None:
    assert durable_at_begin(sim, "exit", 0.5) == {"a": 0, "b": 0, "c": 0, "end": 4}


def test_async_waits_when_the_store_is_far_behind(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plait.durable, "_BACKLOG", 5)
    store, backend = sim.watched()
    backend.takes = 1.0
    ahead: list[int] = []

    async def count(state: Any) -> Any:
        ahead.append(state["sum"] + 1 - len(await sim.read()))
        return {"sum": 1}

    graph = Graph(Work).add_node("count", count).add_edge(START, "count")
    graph.add_conditional_edges("count", lambda s: END if s["sum"] == 40 else "count")
    sim.run(graph.compile(store, durability="async").run({}, thread_id="t"))
    assert max(ahead) == 5
    assert len(backend.commits) > 5


@late_durabilities
def test_a_last_commit_that_fails_is_an_error_though_the_run_was_finished(
    sim: Simulation, durability: Durability
) -> None:
    store, backend = sim.watched()
    flow = chain(1.0, 1.0).compile(store, durability=durability)
    backend.refuse = lambda records: StoreError("full") if records[-1].position == 3 else None
    with pytest.raises(StoreError, match="full"):
        sim.run(flow.run({}, thread_id="t"))
    row = sim.run(sim.thread())
    assert row is None or (row.status, row.holder) == ("running", None)


@late_durabilities
def test_a_last_commit_that_fails_is_not_hidden_by_a_node_that_failed(
    sim: Simulation, durability: Durability
) -> None:
    store, backend = sim.watched()
    graph = build("START a b END", b=does(raises=ValueError("boom")))
    flow = graph.compile(store, durability=durability)
    backend.refuse = lambda records: StoreError("full") if records[-1].position == 3 else None
    with pytest.raises(StoreError, match="full") as raised:
        sim.run(flow.run({}, thread_id="t"))
    if durability == "exit":  # else the run is cancelled before it knows
        assert isinstance(raised.value.__context__, NodeError)


@every_durability
def test_what_has_finished_is_stored_when_the_caller_is_cancelled(
    sim: Simulation, durability: Durability
) -> None:
    flow = chain(1.0, 1.0, 100.0).compile(sim.store(), durability=durability)

    async def main() -> None:
        with anyio.move_on_after(10):
            await flow.run({}, thread_id="t")

    sim.run(main())
    names = [getattr(event, "node", None) for event in sim.run(sim.events(flow))]
    assert names == [None, "a", "b"]
    assert sim.run(flow.resume("t")).state["items"] == ["a", "b", "c"]


# -- leases -----------------------------------------------------------------------------------


def test_a_lease_is_renewed_for_as_long_as_a_run_takes(sim: Simulation) -> None:
    flow = chain(10_000.0).compile(sim.store(lease_ttl=30))
    other = chain(0).compile(sim.store())

    async def main() -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "t")
            for _ in range(20):
                await anyio.sleep(499)
                with pytest.raises(ThreadBusy):
                    await other.run({}, thread_id="t")
        return await sim.thread()

    row = sim.run(main())
    assert (row.status, row.holder) == ("completed", None)


def test_a_busy_thread_names_its_holder_and_when_its_lease_expires(sim: Simulation) -> None:
    flow = chain(100.0).compile(sim.store(lease_ttl=30))

    async def main() -> ThreadBusy:
        busy: BaseException | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "t")
            await anyio.sleep(15)
            with pytest.raises(ThreadBusy) as raised:
                await flow.resume("t")
            busy = raised.value
        assert isinstance(busy, ThreadBusy)
        return busy

    error = sim.run(main())
    host, process, _ = str(error.holder).rsplit(":", 2)
    assert (bool(host), process.isdecimal()) == (True, True)
    assert error.expires == 1e9 + 10 + 30  # the first renewal was at 10


@every_durability
def test_a_lease_is_renewed_while_the_last_commits_take_long(
    sim: Simulation, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plait.durable, "_MOST_AT_ONCE", 1)
    store, backend = sim.watched(lease_ttl=3)
    backend.takes = 2.0
    flow = fan(Join(), *[1.0] * 8).compile(store, durability=durability)
    other: Flow[Any] = Flow(flow.plan, sim.store())

    async def main() -> list[object]:
        found: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "t")
            while not found or found[-1] is ThreadBusy:
                await anyio.sleep(1)
                try:
                    found.append((await other.resume("t")).status)
                except (ThreadBusy, ThreadNotFound) as error:
                    found.append(type(error))
        return found

    found = sim.run(main())
    assert len(found) > 15
    assert found[-1] == "completed"


def test_a_failed_renewal_is_repeated_before_the_lease_expires(sim: Simulation) -> None:
    outage = Outage(sim.clock, 9, 12, "renew")
    flow = chain(100.0).compile(sim.store(outage, lease_ttl=30))

    async def main() -> float | None:
        row: ThreadRow | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "t")
            await anyio.sleep(14)
            row = await sim.thread()
        return row.expires if row is not None else None

    assert sim.run(main()) == 1e9 + 12 + 30
    assert outage.struck == 2


def steal(sim: Simulation, thread_id: str = "t") -> None:
    """Let the lease of a thread pass to somebody else, as after its expiry."""
    thread = sim.rows._tenant.threads[thread_id]
    sim.rows._rows.epoch += 1
    thread.epoch, thread.holder = sim.rows._rows.epoch, "elsewhere:1:thief"
    thread.expires = sim.rows._rows.clock() + 1000


@every_durability
def test_a_run_whose_lease_is_lost_is_cancelled_though_its_node_waits(
    sim: Simulation, durability: Durability
) -> None:
    log = Log()
    graph = build("START a b END", a=log.node("a", 1), b=log.node("b", 1000))
    flow = graph.compile(sim.store(lease_ttl=30), durability=durability)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "t")
            await anyio.sleep(15)
            steal(sim)

    with pytest.raises(BaseExceptionGroup) as raised:
        sim.run(main())
    assert raised.group_contains(LeaseLost, match="'t' was taken over")
    assert sim.clock.now == 20  # the next renewal
    row = sim.run(sim.thread())
    assert row is not None
    assert row.holder == "elsewhere:1:thief"


@every_durability
def test_nothing_is_stored_any_more_once_the_lease_is_lost(
    sim: Simulation, durability: Durability
) -> None:
    log = Log()
    names = {name: log.node(name, 1) for name in "abc"}
    flow = build("START a b c END", **names).compile(sim.store(), durability=durability)

    async def main() -> int:
        rows: Sequence[Row] = ()
        async with anyio.create_task_group() as group:

            async def run() -> None:
                with pytest.raises(LeaseLost):
                    await flow.run({}, thread_id="t")

            group.start_soon(run)
            await anyio.sleep(1.5)
            steal(sim)
            rows = await sim.read()
        return len(rows)

    stored = sim.run(main())
    assert len(sim.run(sim.read())) == stored
    assert log.order == (["a", "b"] if durability == "sync" else ["a", "b", "c"][: len(log.order)])


class Pause:
    """A process that stands still for a while: no method of its store comes to an end then."""

    def __init__(self, clock: VirtualClock, begin: float, end: float) -> None:
        self.clock, self.begin, self.end = clock, begin, end

    def __call__(self, method: str, when: str) -> Awaitable[None] | None:
        left = self.end - self.clock.now
        return anyio.sleep(left) if self.clock.now >= self.begin and left > 0 else None


async def taken_over(first: Flow[Any], second: Flow[Any], after: float) -> RunResult[Any]:
    """What a thread comes to that its first owner loses, and a second one resumes in time."""

    async def run() -> None:
        with pytest.raises(LeaseLost):
            await first.run({}, thread_id="t")

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.sleep(after)
        return await second.resume("t")
    raise AssertionError("the first owner is not cancelled")


def test_an_expired_lease_is_taken_over_and_the_paused_owner_is_fenced(sim: Simulation) -> None:
    paused = Log()
    names = {name: paused.node(name, 2, items=[name]) for name in "abc"}
    store = sim.store(Pause(sim.clock, 3, 100), lease_ttl=30)
    first = build("START a b c END", **names).compile(store)
    second = chain(2, 2, 2).compile(sim.store(lease_ttl=30))

    assert sim.run(taken_over(first, second, 50)).state["items"] == ["a", "b", "c"]
    assert paused.order == ["a", "b"]
    events = sim.run(sim.events(second))
    assert [type(event) for event in events] == [RunStarted, *[NodeCompleted] * 3]


def test_a_paused_owner_begins_nothing_before_it_knows_that_it_holds_the_thread(
    sim: Simulation,
) -> None:
    """The answer to its last append has come, and lies there while it is paused."""

    def pause(method: str, when: str) -> Awaitable[None] | None:
        now = sim.clock.now
        if now == 2 and (method, when) == ("append", "after"):
            return anyio.sleep(47)
        return anyio.sleep(50 - now) if 2 < now < 50 and method == "renew" else None

    log = Log()
    names = {name: log.node(name, 2, items=[name]) for name in "abc"}
    first = build("START a b c END", **names).compile(sim.store(pause, lease_ttl=10))
    second = chain(2, 2, 2).compile(sim.store(lease_ttl=10))

    assert sim.run(taken_over(first, second, 31)).state["items"] == ["a", "b", "c"]
    assert log.order == ["a"]


def test_two_leases_of_one_process_on_one_thread_do_not_share_a_fate(sim: Simulation) -> None:
    """The records of a lease that has expired come along with those of the next one."""
    store, backend = sim.watched(Outage(sim.clock, 0, 60, "renew"), lease_ttl=10)
    format_ = JournalFormat("example", store.make_codec(TypeRegistry))

    async def append(number: int, journal: LeasedJournal) -> None:
        durable = journal.append(RunStarted(1.0, (number,), ()))
        assert durable is not None
        await durable

    async def hold(seconds: float, number: int) -> None:
        async with store.lease("t", format_) as journal:
            await anyio.sleep(seconds)
            await append(number, journal)

    async def late() -> None:
        with pytest.raises(LeaseLost):
            await hold(20, 0)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(late)
            await anyio.sleep(19.5)
            await hold(0.5, 1)

    sim.run(main())
    assert [len(commit) for commit in backend.commits] == [2, 1, 1]
    assert len(sim.run(sim.read())) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_in_doubt_is_not_mistaken_for_that_of_a_process_that_was_there_meanwhile(
    sim: Simulation, when: Any
) -> None:
    """The one whose commit was in doubt is cut off until its lease has expired."""

    async def pay(_state: Any, ctx: Any) -> Any:
        table = await ctx.transaction()
        table[f"{ctx.idempotency_key} at {sim.clock.now:.0f}"] = True
        return {"items": ["paid"]}

    def cut_off(method: str, moment: str) -> Awaitable[None] | None:
        if method == "commit" and moment == when:
            raise StoreUnavailable("the wire was cut")
        away = method in {"acquire", "renew"} and 0 < sim.clock.now < 60
        return Outage(sim.clock, 0, 60)._strike() if away else None

    graph = build("START a pay z END", a=does(takes=1), pay=pay, z=does(takes=1, items=["z"]))
    first = graph.compile(sim.store(cut_off, lease_ttl=10, patience=100))
    second = first.with_store(sim.store(lease_ttl=10))

    assert sim.run(taken_over(first, second, 30)).state["items"] == ["paid", "z"]
    assert list(sim.rows.table) == ["t:0:2 at 1" if when == "after" else "t:0:2 at 30"]
    assert len(sim.run(sim.read())) == 4


def test_a_lease_is_given_back_whatever_has_happened(sim: Simulation) -> None:
    graph = build("START a END", a=does(takes=5, raises=ValueError("boom")))
    flow = graph.compile(sim.store())

    async def main() -> list[object]:
        found: list[object] = []
        with pytest.raises(NodeError):
            await flow.run({}, thread_id="failed")
        with anyio.move_on_after(1):
            await flow.run({}, thread_id="cancelled")
        with pytest.raises(plait.InputError):
            await flow.run({"nonsense": 1}, thread_id="refused")
        for name in ("failed", "cancelled", "refused"):
            row = await sim.thread(name)
            found.append(row and (row.holder, row.status))
        return found

    assert sim.run(main()) == [(None, "running"), (None, "running"), None]


def test_a_refused_run_leaves_the_status_of_the_thread_as_it_was(sim: Simulation) -> None:
    flow = chain(0).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    with pytest.raises(plait.InputError):
        sim.run(flow.run({"nonsense": 1}, thread_id="t"))
    with pytest.raises(ThreadExists):
        sim.run(flow.run({}, thread_id="t", new=True))
    row = sim.run(sim.thread())
    assert row is not None
    assert row.status == "completed"


@pytest.mark.parametrize("native", [True, False])
def test_a_lease_whose_grant_was_not_heard_of_is_given_back_on_cancellation(
    sim: Simulation, native: bool
) -> None:
    outage = Outage(sim.clock, 0, 1, "acquire", when="after", takes=0.1)
    flow = chain(0).compile(sim.store(outage))

    async def main() -> Any:
        if native:
            task = asyncio.ensure_future(flow.run({}, thread_id="t"))
            await asyncio.sleep(1.2)
            task.cancel()
            await asyncio.wait([task])
        else:
            with anyio.move_on_after(1.12):
                await flow.run({}, thread_id="t")
        assert outage.struck > 1
        return await sim.thread()

    row = sim.run(main())
    assert row is None or row.holder is None


def test_a_lease_that_comes_when_the_caller_has_gone_is_given_back(sim: Simulation) -> None:
    def slow(method: str, when: str) -> Awaitable[None] | None:
        return anyio.sleep(5) if (method, when) == ("acquire", "after") else None

    flow = chain(0).compile(sim.store(slow))

    async def main() -> Any:
        task = asyncio.ensure_future(flow.run({}, thread_id="t"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert not other_tasks()
        return await sim.thread()

    assert sim.run(main()) is None


def test_a_release_without_an_answer_is_repeated(sim: Simulation) -> None:
    outage = Outage(sim.clock, 0, 0.2, "release", when="before")
    flow = chain(0).compile(sim.store(outage, lease_ttl=1000))
    sim.run(flow.run({}, thread_id="t"))
    row = sim.run(sim.thread())
    assert row is not None
    assert (row.status, row.holder) == ("completed", None)
    assert outage.struck > 0


def test_a_run_is_finished_though_its_lease_cannot_be_given_back(sim: Simulation) -> None:
    flow = chain(0).compile(sim.store(Outage(sim.clock, 0, 1e6, "release"), patience=3))
    assert sim.run(flow.run({}, thread_id="t")).status == "completed"
    assert 3 <= sim.clock.now < 4
    row = sim.run(sim.thread())
    assert row is not None
    assert (row.position, row.holder is not None) == (2, True)


# -- a run that is begun once ------------------------------------------------------------------


async def begin_or_resume(flow: Flow[Any], **options: Any) -> RunResult[Any]:
    try:
        return await flow.resume("t")
    except ThreadNotFound:
        return await flow.run({}, "t", **options)


@pytest.mark.parametrize("new", [True, False])
def test_a_thread_that_somebody_else_has_begun_and_finished_meanwhile_is_no_longer_new(
    sim: Simulation, new: bool
) -> None:
    """One finds no thread, and does not hear that it has given the lease back."""
    outage = Outage(sim.clock, 0, 5, "release", when="after")
    first, second = (chain(1).compile(sim.store(fault)) for fault in (outage, None))

    async def finish() -> None:
        await anyio.sleep(1)
        await begin_or_resume(second, new=new)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(finish)
            if new:
                with pytest.raises(ThreadExists):
                    await begin_or_resume(first, new=new)
            await begin_or_resume(first, new=new)

    sim.run(main())
    assert outage.struck
    begun = [event for event in sim.run(sim.events(first)) if isinstance(event, RunStarted)]
    assert len(begun) == (1 if new else 2)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["save_plan", "acquire", "thread", "read", "append", "release"])
def test_a_run_is_begun_once_though_an_answer_to_its_beginning_is_lost(
    sim: Simulation, method: str, when: Any
) -> None:
    outage = Outage(sim.clock, 0, 0.1, method, when=when)
    flow = chain(0).compile(sim.store(outage))
    assert sim.run(begin_or_resume(flow, new=True)).state["items"] == ["a"]
    assert sim.run(begin_or_resume(flow, new=True)).state["items"] == ["a"]
    events = sim.run(sim.events(flow))
    assert [type(event) for event in events] == [RunStarted, NodeCompleted]
    assert outage.struck or method in {"thread", "read"}  # of a new thread there is nothing to read


# -- a store that is away ---------------------------------------------------------------------


@every_durability
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_comes_back_in_time_costs_a_run_nothing_but_time(
    sim: Simulation, durability: Durability, when: Any
) -> None:
    log = Log()
    names = {name: log.node(name, 1, items=[name]) for name in "abc"}
    outage = Outage(sim.clock, 0, 25, when=when)
    flow = build("START a b c END", **names).compile(sim.store(outage), durability=durability)
    assert sim.run(flow.run({}, thread_id="t")).state["items"] == ["a", "b", "c"]
    assert log.order == ["a", "b", "c"]
    assert [row.position for row in sim.run(sim.read())] == [1, 2, 3, 4]
    assert outage.struck > 4


def test_a_store_that_does_not_come_back_is_an_error_that_says_what_is_durable(
    sim: Simulation,
) -> None:
    log = Log()
    names = {name: log.node(name, 2) for name in "abc"}
    flow = build("START a b c END", **names).compile(sim.store(Outage(sim.clock, 3, 1e9)))
    with pytest.raises(StoreError) as raised:
        sim.run(flow.run({}, thread_id="t"))
    text = str(raised.value)
    assert "'t' is durable up to position 2; the 1 events behind it may not be stored" in text
    assert "unavailable for 30 s" in text
    assert "resume the thread" in text
    assert not isinstance(raised.value, StoreUnavailable)
    assert log.order == ["a", "b"]
    assert 4 + 30 <= sim.clock.now < 4 + 30 + 1


def test_each_run_has_patience_of_its_own(sim: Simulation) -> None:
    flow = chain(0, 0).compile(sim.store(Outage(sim.clock, 1, 1e9, "append"), patience=10))
    ends: dict[str, float] = {}

    async def run(name: str, after: float) -> None:
        await anyio.sleep(after)
        with pytest.raises(StoreError, match="unavailable for 10 s"):
            await flow.run({}, thread_id=name)
        ends[name] = sim.clock.now

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number, after in enumerate((2, 5, 9, 30)):
                group.start_soon(run, f"t{number}", after)

    sim.run(main())
    assert [round(end) for end in ends.values()] == [12, 15, 19, 40]


def test_no_node_begins_once_an_event_could_not_be_stored(sim: Simulation) -> None:
    """Neither in a branch whose own events are durable, nor in a task that had not begun."""
    store, backend = sim.watched()
    log = Log()

    def refuse(records: Sequence[Any]) -> Exception | None:
        if records[-1].position != 3:
            return None
        log.entries.append(("failed", sim.clock.now))
        return StoreError("full")

    async def x(_state: Any) -> None:
        for _ in range(10):
            await anyio.lowlevel.checkpoint()

    backend.refuse = refuse
    parts = {f"b{n}": log.node(f"b{n}", 1.0) for n in range(20)}
    ways = [f"a b{n} END" for n in range(20)]
    flow = build("START a", *ways, "START x END", x=x, a=does(), **parts).compile(store)
    with pytest.raises(StoreError, match="full"):
        sim.run(flow.run({}, thread_id="t"))
    assert log.order[-1] == "failed"
    assert 1 < len(log.order) < 20


def test_a_run_that_was_cut_off_by_an_outage_goes_on_afterwards(sim: Simulation) -> None:
    outage = Outage(sim.clock, 1.5, 100)
    flow = chain(1, 1, 1).compile(sim.store(outage))
    with pytest.raises(StoreError, match="durable up to position 2"):
        sim.run(flow.run({}, thread_id="t"))
    sim.clock.now = 200
    with pytest.raises(ThreadUnfinished):
        sim.run(flow.run({}, thread_id="t"))
    assert sim.run(flow.resume("t")).state["items"] == ["a", "b", "c"]


def test_looking_back_waits_for_a_store_that_is_away(sim: Simulation) -> None:
    flow = chain(0).compile(sim.store(Outage(sim.clock, 10, 30)))
    sim.run(flow.run({}, thread_id="t"))
    sim.clock.now = 15
    assert sim.run(flow.state("t")).position == 2
    assert 30 <= sim.clock.now < 33


def test_a_process_that_dies_in_a_commit_leaves_what_was_durable(sim: Simulation) -> None:
    def die(method: str, when: str) -> None:
        if (method, when) == ("append", "before") and sim.clock.now > 1.5:
            raise Crashed("the process has died")

    flow = chain(1, 1).compile(sim.store(die))
    with pytest.raises(Crashed):
        sim.run(flow.run({}, thread_id="t"))
    sim.clock.now += 60
    again = chain(1, 1).compile(sim.store())
    assert sim.run(again.resume("t")).state["items"] == ["a", "b"]


@pytest.mark.parametrize("method", ["acquire", "renew", "release"])
def test_a_process_that_dies_while_it_keeps_a_lease_ends_the_run(
    sim: Simulation, method: str
) -> None:
    def die(called: str, when: str) -> None:
        if (called, when) == (method, "before"):
            raise Crashed("the process has died")

    flow = chain(1, 20).compile(sim.store(die, lease_ttl=30))
    with pytest.raises(Crashed):
        sim.run(flow.run({}, thread_id="t"))
    assert sim.clock.now == {"acquire": 0, "renew": 10, "release": 21}[method]


# -- what the options may be ------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lease_ttl", "patience"])
def test_times_that_are_none_are_refused(sim: Simulation, name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name}=.* must be seconds above 0"):
        sim.store(**options)


async def test_a_store_is_closed_by_the_block_that_opened_it() -> None:
    sim = Simulation()
    async with sim.store() as store:
        assert await store.threads() == []
    with pytest.raises(StoreError, match="closed"):
        await store.threads()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_durable_store_runs_on_either_event_loop(anyio_backend: str) -> None:
    sim = Simulation()
    flow = build("START a END", "START b END").compile(sim.store())
    assert (await flow.run({}, thread_id="t")).state["items"] == ["a", "b"]
    assert (await flow.state("t")).position == 3


def test_a_retry_is_durable_before_the_next_attempt(sim: Simulation) -> None:
    log = Log()

    async def flaky(_state: Any, ctx: Any) -> Any:
        log.entries.append((f"{ctx.attempt}/{len(await sim.read())}", sim.clock.now))
        if ctx.attempt < 3:
            raise ValueError("not yet")

    graph = Graph(Work).add_node("a", flaky, retry=Retry(3, initial=1, jitter=False))
    sim.run(graph.add_edge(START, "a").add_edge("a", END).compile(sim.store()).run({}, "t"))
    assert log.order == ["1/1", "2/2", "3/3"]


def test_the_store_is_told_the_graphs_name(sim: Simulation) -> None:
    store: DurableStore = sim.store()
    sim.run(chain(0).compile(store).run({}, thread_id="t"))
    assert [(row.thread_id, row.graph) for row in sim.run(store.threads())] == [("t", "example")]


def test_a_thread_that_nobody_named_stays_in_a_store_that_is_durable(sim: Simulation) -> None:
    flow = chain(0).compile(sim.store())
    result = sim.run(flow.run({}))
    assert sim.run(flow.state(result.thread_id)).state["items"] == ["a"]
    assert [row.thread_id for row in sim.run(flow.store.threads())] == [result.thread_id]


def test_a_commit_does_not_wait_for_a_run_that_adds_events_without_a_pause(
    sim: Simulation,
) -> None:
    store, backend = sim.watched()
    graph = Graph(Work).add_node("count", does(sum=1)).add_edge(START, "count")
    graph.add_conditional_edges("count", lambda s: END if s["sum"] == 5_000 else "count")
    busy, quick = graph.compile(store, durability="exit"), chain(0, 0, 0).compile(store)
    ended: list[str] = []

    async def run(flow: Flow[Any], name: str) -> None:
        await flow.run({}, thread_id=name)
        ended.append(name)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run, busy, "busy")
            group.start_soon(run, quick, "quick")

    sim.run(main())
    assert ended == ["quick", "busy"]
    assert len(backend.commits) > 4
