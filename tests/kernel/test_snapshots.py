"""When snapshots are taken, what they save, and what is done where one is of no use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

import plait.durable
import plait.snapshots
from plait import END, START, Flow, Graph, Join, StoreError, reducers
from plait.commands import RunNode
from plait.durable import Limits
from plait.errors import LimitError
from plait.events import NodeCompleted, RunStarted
from plait.machine import Machine
from plait.store import Durability
from plait.testing.memory_backend import MemoryBackend
from tests.kernel.build import Log, Work, build, does
from tests.stores import Outage, Simulation

FIRST = 2_000
"""Bytes of events before a first snapshot is tried, in these tests."""


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    monkeypatch.setattr(plait.durable, "_FIRST_SNAPSHOT", FIRST)
    return Simulation()


def loop(turns: int, node: Callable[..., Any] | None = None) -> Graph:
    """A node that runs so many times, and adds 1 to ``sum`` and a text that is replaced."""

    async def count(state: Any) -> Any:
        return {"sum": 1, "text": "x" * 100}

    graph = Graph(Work, "loop").add_node("count", node or count).add_edge(START, "count")
    return graph.add_conditional_edges("count", lambda s: END if s["sum"] % turns == 0 else "count")


def growing(turns: int) -> Graph:
    return loop(turns, does(sum=1, items=["x" * 100]))


def snapshots(rows: MemoryBackend, thread_id: str = "t") -> dict[int, bytes]:
    found: dict[int, bytes] = rows._tenant.threads[thread_id].snapshots
    return found


def size_of_events(rows: MemoryBackend, thread_id: str = "t") -> int:
    return sum(len(data) for _, data in rows._tenant.threads[thread_id].events.values())


# -- when -------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_snapshots_take_at_most_half_of_what_the_events_take(
    sim: Simulation, durability: Durability
) -> None:
    sim.run(loop(300).compile(sim.store(), durability=durability).run({}, thread_id="t"))
    taken, events = snapshots(sim.rows), size_of_events(sim.rows)
    assert len(taken) >= (5 if durability == "sync" else 1)
    assert sum(map(len, taken.values())) <= events / 2


def test_that_holds_over_many_short_runs_too(sim: Simulation) -> None:
    flow = loop(7).compile(sim.store())
    for _ in range(60):
        sim.run(flow.run({}, thread_id="t"))
    taken = snapshots(sim.rows)
    assert len(taken) > 5
    assert sum(map(len, taken.values())) <= size_of_events(sim.rows) / 2


def test_what_is_replayed_behind_the_last_snapshot_is_linear_in_its_size(sim: Simulation) -> None:
    sim.run(loop(500).compile(sim.store()).run({}, thread_id="t"))
    last = max(snapshots(sim.rows))
    rows = sim.run(sim.rows.read("t", last))
    assert sum(len(row.data) for row in rows) <= 2 * FIRST


def test_a_state_that_only_grows_is_never_worth_one(sim: Simulation) -> None:
    sim.run(growing(200).compile(sim.store()).run({}, thread_id="t"))
    assert snapshots(sim.rows) == {}


def test_a_fork_takes_snapshots_for_its_own_events_only(sim: Simulation) -> None:
    flow = loop(100).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    for number in range(5):
        sim.run(flow.fork("t", 90, f"f{number}"))
        sim.run(flow.resume(f"f{number}"))
        assert snapshots(sim.rows, f"f{number}") == {}


def test_a_short_thread_has_none(sim: Simulation) -> None:
    sim.run(loop(5).compile(sim.store()).run({}, thread_id="t"))
    assert snapshots(sim.rows) == {}


# -- what they save, and what they must not change --------------------------------------------


def test_a_resumed_run_reads_the_last_snapshot_and_what_came_after_it(sim: Simulation) -> None:
    log = Log()
    flow = loop(200).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    past = sim.run(flow.store.past("t", flow._past.format))
    assert past is not None
    assert (past.position > 100, past.position + len(past.events)) == (True, 201)
    assert past.snapshot is not None
    assert sim.run(flow.state("t")).state["sum"] == 200
    assert log.order == []


def test_every_position_says_the_same_with_snapshots_as_without(sim: Simulation) -> None:
    flow = loop(60).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    taken = dict(snapshots(sim.rows))
    with_them = [sim.run(flow.state("t", at)) for at in range(62)]
    snapshots(sim.rows).clear()
    assert taken
    assert [sim.run(flow.state("t", at)) for at in range(62)] == with_them


def test_history_has_every_position_whatever_snapshots_there_are(sim: Simulation) -> None:
    flow = loop(60).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))

    async def positions() -> list[int]:
        return [snapshot.position async for snapshot in flow.history("t")]

    assert snapshots(sim.rows)
    assert sim.run(positions()) == list(range(61, 0, -1))


def test_a_snapshot_is_saved_only_when_all_that_led_to_it_is_durable(sim: Simulation) -> None:
    """Else other events could come to stand in its place after a crash."""
    store, backend = sim.watched()
    backend.takes = 0.5
    early: list[tuple[int, int]] = []
    save = backend.inner.save_snapshot

    async def note(thread_id: str, epoch: int, position: int, data: bytes) -> bool:
        row = await sim.thread()
        if row is None or row.position < position:
            early.append((position, row.position if row is not None else 0))
        return await save(thread_id, epoch, position, data)

    backend.inner.save_snapshot = note  # type: ignore[method-assign]
    sim.run(loop(300).compile(store, durability="async").run({}, thread_id="t"))
    assert snapshots(sim.rows)
    assert early == []


# -- where one is of no use -------------------------------------------------------------------


class Tally:
    """What no codec knows."""

    def __init__(self, count: int = 0) -> None:
        self.count = count


def tally(old: Any, new: int) -> Tally:
    return Tally((old.count if isinstance(old, Tally) else old) + new)


class Tallied(TypedDict):
    tally: Annotated[Any, reducers.declare(tally)]
    sum: Annotated[int, reducers.total]


def test_a_state_that_cannot_be_stored_is_replayed_from_its_events(sim: Simulation) -> None:
    graph = Graph(Tallied, "tallied").add_node("count", does(tally=1, sum=1))
    graph.add_edge(START, "count")
    graph.add_conditional_edges("count", lambda s: END if s["sum"] == 100 else "count")
    flow = graph.compile(sim.store())
    assert sim.run(flow.run({}, thread_id="t")).state["tally"].count == 100
    assert snapshots(sim.rows) == {}
    assert sim.run(flow.state("t")).state["tally"].count == 100


@pytest.mark.parametrize("error", [StoreError("too large"), None])
def test_a_snapshot_that_cannot_be_saved_is_no_failure(
    sim: Simulation, error: Exception | None
) -> None:
    outage = Outage(sim.clock, 0, 1e9, "save_snapshot")
    store, backend = sim.watched(None if error else outage)

    async def refuse(thread_id: str, epoch: int, position: int, data: bytes) -> bool:
        raise StoreError("too large")

    if error is not None:
        backend.inner.save_snapshot = refuse  # type: ignore[method-assign]
    assert sim.run(loop(100).compile(store).run({}, thread_id="t")).state["sum"] == 100
    assert snapshots(sim.rows) == {}


def test_a_snapshot_of_another_plait_is_passed_over(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = loop(100).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    assert snapshots(sim.rows)
    monkeypatch.setattr(plait.snapshots, "_FORMAT", 999)
    assert sim.run(flow.state("t")).state["sum"] == 100


def test_where_history_was_pruned_a_snapshot_of_another_plait_is_refused_by_name(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = loop(100).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    sim.run(flow.prune("t", keep=10))
    monkeypatch.setattr(plait.snapshots, "_FORMAT", 999)
    with pytest.raises(StoreError, match=r"snapshot at position 91 of thread 't'.*the Plait that"):
        sim.run(flow.state("t"))


def test_a_damaged_snapshot_is_refused_by_name(sim: Simulation) -> None:
    flow = loop(100).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    last = max(snapshots(sim.rows))
    snapshots(sim.rows)[last] = snapshots(sim.rows)[last][:-1] + b"?"
    with pytest.raises(StoreError, match=f"snapshot at position {last} of thread 't' cannot be"):
        sim.run(flow.state("t"))


def test_a_deep_tree_is_taken_apart_without_recursion(sim: Simulation) -> None:
    """A loop that forks in each turn makes a tree as deep as it is long."""
    graph = Graph(Work, "deep").add_node("a", does(sum=1)).add_node("b", does(text="b"))
    graph.add_edge(START, "a").add_edge("b", END)
    graph.add_conditional_edges(
        "a", lambda s: END if s["sum"] == 300 else ["a", "b"][: 1 + (s["sum"] == 1)]
    )
    flow = graph.compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    assert sim.run(flow.prune("t", keep=100)) > 0
    assert sim.run(flow.state("t")).state["sum"] == 300


# -- pruning ----------------------------------------------------------------------------------


def test_what_is_kept_is_the_same_at_every_position(sim: Simulation) -> None:
    flow = build("START a gather m END", "START b gather", gather=Join()).compile(sim.store())
    for _ in range(4):
        sim.run(flow.run({"text": "x"}, thread_id="t"))
    before = [sim.run(flow.state("t", at)) for at in range(17)]
    first = sim.run(flow.prune("t", keep=9))
    assert first == 7
    for at in range(first, 17):
        kept = sim.run(flow.state("t", at))
        assert (kept.state, kept.branches, kept.status) == (
            before[at].state,
            before[at].branches,
            before[at].status,
        )
    with pytest.raises(StoreError, match=r"position 6 of thread 't' was pruned: .* is 7"):
        sim.run(flow.state("t", 6))


def test_a_pruned_thread_runs_and_is_pruned_again(sim: Simulation) -> None:
    flow = loop(20).compile(sim.store())
    for turn in range(1, 6):
        result = sim.run(flow.run({}, thread_id="t"))
        assert result.state["sum"] == 20 * turn
        assert sim.run(flow.prune("t", keep=3)) == 21 * turn - 3
    row = sim.run(sim.thread())
    assert row is not None
    assert (row.position, row.pruned, row.status) == (105, 102, "completed")


def test_a_run_that_was_cut_off_goes_on_from_where_it_was_pruned(sim: Simulation) -> None:
    fails = [True]

    async def b(_state: Any) -> Any:
        if fails:
            fails.pop()
            raise ValueError("boom")
        return {"items": ["b"]}

    flow = build("START a b END", b=b).compile(sim.store())
    with pytest.raises(plait.NodeError):
        sim.run(flow.run({}, thread_id="t"))
    assert sim.run(flow.prune("t", keep=0)) == 3
    row = sim.run(sim.thread())
    assert row is not None
    assert row.status == "running"
    assert sim.run(flow.resume("t")).state["items"] == ["a", "b"]


def test_a_budget_of_bytes_is_kept(sim: Simulation) -> None:
    flow = loop(50).compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    sim.run(flow.prune("t", keep_bytes=1_000))
    row = sim.run(sim.thread())
    assert row is not None
    assert 500 < row.size <= 1_000


# -- limits -----------------------------------------------------------------------------------


def completions(sim: Simulation, flow: Flow[Any]) -> int:
    return sum(isinstance(event, NodeCompleted) for event in sim.run(sim.events(flow)))


def test_a_thread_of_too_many_events_is_a_named_error_and_stays_as_it_is(sim: Simulation) -> None:
    log = Log()
    flow = loop(100, log.node("count", sum=1)).compile(
        sim.store(limits=Limits(max_history_events=10))
    )
    with pytest.raises(LimitError, match="has 10 events, and may have 10: prune it") as raised:
        sim.run(flow.run({}, thread_id="t"))
    assert raised.value.limit == "max_history_events"
    assert (completions(sim, flow), len(log.order)) == (9, 10)
    with pytest.raises(LimitError):  # early: before the node is called again
        sim.run(flow.resume("t"))
    assert len(log.order) == 10
    sim.run(flow.prune("t", keep=1))
    with pytest.raises(LimitError):
        sim.run(flow.resume("t"))
    assert completions(sim, flow) == 1 + 9


def test_a_thread_of_too_many_bytes_is_a_named_error_and_stays_as_it_is(sim: Simulation) -> None:
    flow = growing(100).compile(sim.store(limits=Limits(max_history_bytes=3_000)))
    with pytest.raises(LimitError, match="bytes of events, and may have 3,000") as raised:
        sim.run(flow.run({}, thread_id="t"))
    assert raised.value.limit == "max_history_bytes"
    row = sim.run(sim.thread())
    assert row is not None
    assert 2_700 < row.size <= 3_000
    assert (row.holder, row.status) == (None, "running")


def test_a_new_run_on_a_full_thread_is_refused_before_anything_runs(sim: Simulation) -> None:
    log = Log()
    flow = build("START a END", a=log.node("a")).compile(
        sim.store(limits=Limits(max_history_events=4))
    )
    for _ in range(2):
        sim.run(flow.run({}, thread_id="t"))
    with pytest.raises(LimitError):
        sim.run(flow.run({}, thread_id="t"))
    assert len(log.order) == 2
    assert sim.run(flow.resume("t")).status == "completed"


def test_a_branch_of_an_earlier_plait_arrives_at_its_next_sync_point_with_all_it_wrote() -> None:
    """Snapshots used to say where a branch waits even if it had not forked, and it kept that."""
    graph = build("START p s0 n s1 END", "START q s0", "START r s1", s0=Join(), s1=Join())
    machine = Machine(graph.compile().plan)
    todo = machine.handle(RunStarted(0.0, (0,), ()))
    while todo:
        command = todo.pop(0)
        if not isinstance(command, RunNode):
            continue
        vertex = machine.plan.vertices[command.node]
        assert vertex.targets is not None
        writes = (("items", [command.node]),)
        completed = NodeCompleted(0.0, command.branch, command.node, 1, writes, vertex.targets, 0.0)
        todo += machine.handle(completed)
        for branch in machine.branches.values():
            spec = machine.plan.vertices[branch.place].sync_point
            if branch.status == "waiting" and branch.leaves is None and spec is not None:
                branch.arrivals = {spec.bit: [branch], **(branch.arrivals or {})}
    assert machine.failure is None
    assert sorted(machine.values["items"]) == ["n", "p", "q", "r"]
