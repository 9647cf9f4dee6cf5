"""Changed code: what a journal asks of the graph that goes on with it, and what is told."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated, Any, TypedDict

import pytest

import plait.durable
from plait import (
    ALL,
    ANY,
    END,
    START,
    Flow,
    Graph,
    GraphChanged,
    Join,
    NodeError,
    Send,
    StoreError,
    reducers,
)
from plait.events import GraphAdopted
from plait.fingerprint import describe, differences, fingerprint_of, rebuild
from tests.kernel.build import Log, Work, build, does
from tests.stores import Simulation


@pytest.fixture
def sim() -> Simulation:
    return Simulation()


def changes(old: Graph, new: Graph) -> list[str]:
    return differences(describe(old.plan()), describe(new.plan()))


class More(Work):
    more: str


class Less(TypedDict):
    items: Annotated[list[Any], reducers.append]
    seen: Annotated[set[Any], reducers.union]
    sum: Annotated[int, reducers.total]
    text: str


class Other(Work):
    other: Annotated[list[str], reducers.append]  # type: ignore[misc]


BASE = ("START a gather z END", "START b gather")


def base(**parts: Any) -> Graph:
    return build(*BASE, **{"gather": Join(), **parts})


# -- differences ------------------------------------------------------------------------------


CHANGES: dict[str, tuple[Graph, Graph, str]] = {
    "a node": (base(), build("START a gather END", "START b gather", gather=Join()), "node 'z' is"),
    "an edge": (
        build("START a END", "a b END"),
        build("START a END", "START b END"),
        "the edge 'a' -> 'b' is gone",
    ),
    "a channel": (base(), base(schema=Less), "channel 'other' is gone"),
    "a type": (base(), base(schema=Other), "channel 'other' was str and is list"),
    "a reducer": (base(), base(schema=Other), "channel 'other' had no reducer and has the reducer"),
    "a policy": (
        base(),
        base(gather=Join(quorum=ANY, timeout=3)),
        "sync point 'gather' had quorum='(default)' and has {'word': 'any'}",
    ),
    "an option": (
        base(gather=Join(timeout=3)),
        base(gather=Join(timeout=4)),
        "sync point 'gather' had timeout=3 and has 4",
    ),
    "an order": (
        base(),
        build("START b gather z END", "START a gather", gather=Join()),
        "the edges behind START are in another order",
    ),
    "a place": (
        base(),
        build("START new END", *BASE, gather=Join()),
        "the edges behind START are in another order, or new ones come before them",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_run_would_miss_is_told_in_a_sentence(name: str) -> None:
    old, new, sentence = CHANGES[name]
    found = changes(old, new)
    assert any(each.startswith(sentence) for each in found), found


def with_router(*targets: str) -> Graph:
    graph = Graph(Work).add_node("a", does()).add_node("b", does()).add_edge(START, "a")
    graph.add_edge("b", END)
    return graph.add_conditional_edges("a", lambda _: END, list(targets))


def test_a_router_that_may_choose_less_is_told() -> None:
    found = changes(with_router("b", END), with_router(END, "b", "a"))
    assert found == []
    open_ = Graph(Work).add_node("a", does()).add_node("b", does()).add_edge(START, "a")
    open_.add_conditional_edges("a", lambda _: END).add_edge("b", END)
    assert changes(with_router("b", END), open_) == []
    only = Graph(Work).add_node("a", does()).add_node("b", does()).add_edge(START, "a")
    only.add_conditional_edges("a", lambda _: END, [END]).add_edge("b", END).add_edge(START, "b")
    assert "the router behind 'a' may no longer choose 'b'" in changes(with_router("b", END), only)


def test_a_failure_that_is_handled_otherwise_is_told() -> None:
    def graph(on_error: str) -> Graph:
        graph = Graph(Work).add_node("a", does(), on_error=on_error)
        return graph.add_edge(START, "a").add_edge("a", END)

    assert changes(graph("raise"), graph("record")) == [
        "node 'a' had on_error='raise' and has 'record'"
    ]


def test_additions_are_no_differences() -> None:
    more = build(
        *BASE, "a new gather", "START last END", gather=Join(), schema=More, forks={"gather": START}
    )
    assert changes(base(), more) == []


def test_code_and_times_of_nodes_are_no_part_of_a_graph() -> None:
    assert describe(base().plan()) == describe(base(a=does(takes=60, text="other")).plan())


def test_every_quorum_is_described_and_built_again() -> None:
    quorums: list[Any] = [ALL, ANY, 2, 0.5, 1.0, {"a": 0.5, "b": 0.5}, len]
    for quorum in quorums:
        plan = base(gather=Join(quorum=quorum)).plan()
        again = rebuild(describe(plan), plan.schema)
        assert describe(again) == describe(plan), quorum
        spec = again.vertices["gather"].sync_point
        assert spec is not None
        assert type(spec.join.quorum) is type(quorum) or callable(spec.join.quorum)


def test_names_of_any_alphabet_have_a_fingerprint() -> None:
    plan = build("START naïve🧵 \ud800x END").plan()
    assert len(fingerprint_of(describe(plan))) == 16
    assert describe(rebuild(describe(plan), plan.schema)) == describe(plan)


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "from tests.kernel.test_fingerprint import base; "
        "from plait.fingerprint import describe, fingerprint_of; "
        "print(fingerprint_of(describe(base().plan())))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    assert ran.stdout.split() == [fingerprint_of(describe(base().plan()))]


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"{}", b'{"format":2}', b"[1]", b'{"format":1}']
)
def test_what_is_no_description_is_a_store_error(data: bytes) -> None:
    with pytest.raises(StoreError):
        rebuild(data, base().plan().schema)


# -- resuming on a changed graph --------------------------------------------------------------


class Fails:
    """A node that fails the first time."""

    def __init__(self, log: Log | None = None) -> None:
        self.calls = 0

    async def __call__(self, _state: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("boom")
        return {"items": ["b"]}


def begun(sim: Simulation, graph: Graph) -> None:
    """A thread whose run has failed."""
    with pytest.raises(NodeError):
        sim.run(graph.compile(sim.store()).run({}, thread_id="t"))


def rows(sim: Simulation) -> list[Any]:
    return list(sim.run(sim.read()))


def test_a_run_is_refused_by_a_graph_that_lacks_something_and_nothing_is_stored(
    sim: Simulation,
) -> None:
    begun(sim, build("START a b c END", b=Fails()))
    log = Log()
    changed = build("START a b END", b=log.node("b")).compile(sim.store())
    before = rows(sim)
    with pytest.raises(GraphChanged, match=r"migrate=True") as raised:
        sim.run(changed.resume("t"))
    gone = ("node 'c'", "the edge 'b' -> 'c'", "the edge 'c' -> END")
    assert raised.value.differences == tuple(f"{each} is gone" for each in gone)
    assert (rows(sim), log.order) == (before, [])
    row = sim.run(sim.thread())
    assert row is not None
    assert (row.holder, row.status) == (None, "running")


def test_a_run_goes_on_with_a_graph_that_only_adds(sim: Simulation) -> None:
    begun(sim, build("START a b END", b=Fails()))
    more = build("START a b END", "b new END").compile(sim.store())
    assert sim.run(more.resume("t")).state["items"] == ["a", "b", "new"]
    events = sim.run(sim.events(more))
    assert [type(event) for event in events].count(GraphAdopted) == 1
    assert sim.run(more.state("t")).state["items"] == ["a", "b", "new"]


def test_the_graph_that_began_it_goes_on_without_a_word(sim: Simulation) -> None:
    begun(sim, base(z=Fails()))
    again = base().compile(sim.store())
    assert sim.run(again.resume("t")).state["items"] == ["a", "b", "z"]
    assert GraphAdopted not in [type(event) for event in sim.run(sim.events(again))]


def test_a_caller_may_insist(sim: Simulation) -> None:
    begun(sim, build("START a b c END", b=Fails()))
    changed = build("START a b END").compile(sim.store())
    assert sim.run(changed.resume("t", migrate=True)).state["items"] == ["a", "b"]
    assert sim.run(changed.state("t")).status == "completed"


def test_what_cannot_be_replayed_is_refused_though_the_caller_insists(sim: Simulation) -> None:
    begun(sim, build("START a b c END", b=Fails()))
    before = rows(sim)
    changed = build("START b c END", b=does()).compile(sim.store())
    with pytest.raises(GraphChanged, match="cannot be replayed on this graph") as raised:
        sim.run(changed.resume("t", migrate=True))
    assert "branch 0 stands at 'b', not at 'a'" in raised.value.differences[-1]
    assert rows(sim) == before


def test_branches_that_would_change_places_are_refused_though_the_caller_insists(
    sim: Simulation,
) -> None:
    begun(sim, build("START a END", "START x b END", b=Fails()))
    changed = build("START x b END", "START a END", b=does()).compile(sim.store())
    with pytest.raises(GraphChanged, match="in another order") as raised:
        sim.run(changed.resume("t", migrate=True))
    assert "branch 0.0 stands at 'x', not at 'a'" in raised.value.differences[-1]


def test_a_graph_on_which_the_run_would_have_failed_is_refused(sim: Simulation) -> None:
    class One(Work):
        items: str  # type: ignore[misc]

    writes = {"a": does(items="a"), "x": does(items="x")}
    old = build("START a gather b END", "START x gather", gather=Join(), b=Fails(), **writes)
    begun(sim, old)
    ways = ("START a gather b END", "START x gather")
    new = build(*ways, gather=Join(), b=does(), schema=One, **writes).compile(sim.store())
    with pytest.raises(GraphChanged, match=r"the run has failed: .*'items' was written conc"):
        sim.run(new.resume("t", migrate=True))


def test_a_run_that_was_adopted_twice_is_read_by_all_who_added(sim: Simulation) -> None:
    fails = Fails()
    begun(sim, build("START a b END", b=fails))
    fails.calls = 0
    second = build("START a b END", "b c END", b=fails)
    with pytest.raises(NodeError):
        sim.run(second.compile(sim.store()).resume("t"))
    third = build("START a b END", "b c END", "b d END").compile(sim.store())
    assert sim.run(third.resume("t")).state["items"] == ["a", "b", "c", "d"]
    for graph in (second, build("START a b END")):
        assert sim.run(graph.compile(sim.store()).state("t")).state["items"] == ["a", "b", "c", "d"]


def test_earlier_runs_are_replayed_on_the_graphs_that_carried_them_out(sim: Simulation) -> None:
    graphs = [
        base(),
        build("START a END"),
        build("START x gather y END", "START w gather", gather=Join(quorum=ANY)),
        Graph(Work)
        .add_node("s", lambda n: {"items": [n]})
        .add_conditional_edges(START, lambda _: [Send("s", n) for n in range(3)], ["s"])
        .add_edge("s", END),
    ]
    flows = [graph.compile(sim.store()) for graph in graphs]
    states = [sim.run(flow.run({}, thread_id="t")).state for flow in flows]
    reader = build("START nothing END").compile(sim.store())
    ends = [each for each in sim.run(history(reader)) if each.status == "completed"]
    assert [each.state for each in reversed(ends)] == states


async def history(flow: Flow[Any]) -> list[Any]:
    return [snapshot async for snapshot in flow.history("t")]


def test_a_graph_that_the_store_has_lost_is_named(sim: Simulation) -> None:
    begun(sim, build("START a b END", b=Fails()))
    (name,) = sim.rows._tenant.plans
    sim.rows._tenant.plans.clear()
    other = build("START x END").compile(sim.store())
    with pytest.raises(StoreError, match=f"graph {name}, and the store does not have its"):
        sim.run(other.state("t"))
    sim.rows._tenant.plans[name] = describe(build("START y END").plan())
    with pytest.raises(StoreError, match=f"description of graph {name} is that of another"):
        sim.run(other.state("t"))


# -- together with snapshots ------------------------------------------------------------------


def looping(fails_at: int, **more: Any) -> Graph:
    """A loop of 100 turns behind a fork, in which one call fails."""
    calls: list[int] = []

    async def count(state: Any) -> Any:
        if state["sum"] + 1 == fails_at and not calls:
            calls.append(1)
            raise ValueError("boom")
        return {"sum": 1, "text": "x" * 100}

    graph = Graph(Work, "loop").add_node("count", count).add_edge(START, "count")
    targets = ["count", "fork" if more else END]
    for name, part in more.items():
        if isinstance(part, Join):
            graph.add_sync_point(name, part).add_edge(name, END)
        else:
            graph.add_node(name, part)
    if "fork" in more:
        graph.add_edge("fork", "p").add_edge("fork", "q").add_edge("p", "met").add_edge("q", "met")
    return graph.add_conditional_edges("count", lambda s: targets[s["sum"] == 100], targets)


ADDED: dict[str, Any] = {"fork": does(), "p": does(items=["p"]), "q": does(items=["q"])}


@pytest.mark.parametrize("fails_at", [50, 99])
def test_a_graph_with_a_new_sync_point_goes_on_behind_a_snapshot(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    monkeypatch.setattr(plait.durable, "_FIRST_SNAPSHOT", 2_000)
    old = looping(fails_at)
    begun(sim, old)
    assert sim.rows._tenant.threads["t"].snapshots
    new = looping(0, **ADDED, met=Join())
    flow = new.compile(sim.store())
    with pytest.raises(GraphChanged, match="may no longer choose END"):
        sim.run(flow.resume("t"))
    assert sim.run(flow.resume("t", migrate=True)).state["items"] == ["p", "q"]
    snapshot = sim.run(flow.state("t"))
    assert (snapshot.state["sum"], snapshot.status) == (100, "completed")
    assert len(sim.run(history(flow))) == snapshot.position


def test_what_was_pruned_before_another_graph_took_over_stays_readable(sim: Simulation) -> None:
    fails = Fails()
    begun(sim, build("START a b END", b=fails))
    more = build("START a b END", "b c END").compile(sim.store())
    sim.run(more.resume("t"))
    length = len(rows(sim))
    before = {at: sim.run(more.state("t", at)).state for at in range(1, length + 1)}
    first = sim.run(more.prune("t", keep=length - 2))
    assert first == 2
    assert {at: sim.run(more.state("t", at)).state for at in range(2, length + 1)} == {
        at: state for at, state in before.items() if at >= 2
    }


def test_a_pruned_run_goes_on_with_a_graph_that_only_adds(sim: Simulation) -> None:
    begun(sim, build("START a b END", b=Fails()))
    old = build("START a b END").compile(sim.store())
    sim.run(old.prune("t", keep=0))
    more = build("START a b END", "b c END").compile(sim.store())
    assert sim.run(more.resume("t")).state["items"] == ["a", "b", "c"]
    assert sim.run(more.state("t")).state["items"] == ["a", "b", "c"]


def test_a_pruned_run_is_refused_by_a_graph_with_other_sync_points(sim: Simulation) -> None:
    begun(sim, build("START a b END", b=Fails()))
    sim.run(build("START a b END").compile(sim.store()).prune("t", keep=0))
    new = build("START a b END", "b p met END", "b q met", met=Join()).compile(sim.store())
    with pytest.raises(GraphChanged, match="taken on a graph with other sync points"):
        sim.run(new.resume("t"))
