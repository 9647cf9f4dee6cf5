"""What cannot be stored is the failure of the node that returned it; what is not as it was stored
is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

import plait.durable
from plait import END, START, Graph, Join, NodeError, Retry, Send, StoreError
from plait.codec import EncodingError, TypeRegistry, ValueTooLarge
from plait.durable import Limits
from plait.events import NodeFailed, RunStarted
from plait.store import Durability
from tests.kernel.build import Log, Work, build, does
from tests.stores import Simulation


class Unknown:
    """A class that no registry has."""

    def __repr__(self) -> str:
        return "<Unknown>"


@pytest.fixture
def sim() -> Simulation:
    return Simulation()


every_durability = pytest.mark.parametrize("durability", ["sync", "async", "exit"])


# -- what cannot be stored --------------------------------------------------------------------


@every_durability
def test_a_value_that_cannot_be_stored_is_its_nodes_failure(
    sim: Simulation, durability: Durability
) -> None:
    log = Log()
    bad = does(items=[{"deep": (1, Unknown())}])
    graph = build("START a b c END", b=bad, c=log.node("c"))
    with pytest.raises(NodeError) as raised:
        sim.run(graph.compile(sim.store(), durability=durability).run({}, thread_id="t"))
    cause = raised.value.__cause__
    assert isinstance(cause, EncodingError)
    assert (cause.node, cause.channel) == ("b", "items")
    text = str(cause)
    assert text.startswith("node 'b' wrote items[0]['deep'][1] of type tests.kernel.")
    assert "Unknown, which cannot be stored: register it" in text
    assert log.order == []
    assert len(sim.run(sim.read())) == 3  # the input, a, and that b failed


def test_on_error_applies_to_it(sim: Simulation) -> None:
    graph = build("START b gather END", "START a gather", gather=Join())
    graph.add_node("bad", does(items=[Unknown()]), on_error="record")
    graph.add_edge(START, "bad").add_edge("bad", "gather")
    result = sim.run(graph.compile(sim.store()).run({}, thread_id="t"))
    assert result.state["items"] == ["b", "a"]
    (failed,) = result.outcomes["gather"].latest.failed
    assert "Unknown" in str(failed.error)


def test_it_is_not_tried_again(sim: Simulation) -> None:
    log = Log()
    graph = Graph(Work).add_edge(START, "bad").add_edge("bad", END)
    graph.add_node("bad", log.node("bad", items=[Unknown()]), retry=Retry(5, initial=1))
    with pytest.raises(NodeError, match="failed in attempt 1"):
        sim.run(graph.compile(sim.store()).run({}, thread_id="t"))
    assert log.order == ["bad"]


def test_an_argument_that_cannot_be_stored_is_the_failure_of_the_node_that_sends_it(
    sim: Simulation,
) -> None:
    graph = Graph(Work).add_node("a", does()).add_node("b", does()).add_edge(START, "a")
    graph.add_edge("b", END)
    graph.add_conditional_edges("a", lambda _: [Send("b", Unknown())], ["b"])
    with pytest.raises(NodeError, match="the argument of 'b'") as raised:
        sim.run(graph.compile(sim.store()).run({}, thread_id="t"))
    assert raised.value.node == "a"


def test_an_input_that_cannot_be_stored_is_refused_before_anything_runs(sim: Simulation) -> None:
    log = Log()
    flow = build("START a END", a=log.node("a")).compile(sim.store())
    with pytest.raises(EncodingError, match="the input"):
        sim.run(flow.run({"items": [Unknown()]}, thread_id="t"))
    assert (log.order, sim.run(sim.thread())) == ([], None)


def test_a_value_that_is_too_large_is_named_with_its_size(sim: Simulation) -> None:
    store = sim.store(limits=Limits(max_value_bytes=1_000))
    flow = build("START a b END", b=does(text="x" * 2_000)).compile(store)
    with pytest.raises(NodeError) as raised:
        sim.run(flow.run({}, thread_id="t"))
    cause = raised.value.__cause__
    assert isinstance(cause, ValueTooLarge)
    assert "node 'b' wrote text of type str" in str(cause)
    assert "it takes 2,003 bytes, and a value may take 1,000" in str(cause)


def test_several_values_of_one_node_may_be_larger_together(sim: Simulation) -> None:
    store = sim.store(limits=Limits(max_value_bytes=1_000))
    flow = build("START b END", b=does(text="x" * 900, other="y" * 900)).compile(store)
    assert sim.run(flow.run({}, thread_id="t")).status == "completed"


def test_the_limit_of_a_value_does_not_bound_the_state(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plait.durable, "_FIRST_SNAPSHOT", 500)
    flow = build("START a b c d END", **{n: does(text="x" * 900) for n in "abcd"}).compile(
        sim.store(limits=Limits(max_value_bytes=1_000))
    )
    for _ in range(3):
        sim.run(flow.run({"items": ["y" * 900]}, thread_id="t"))
    sim.run(flow.prune("t", keep=0))
    assert len(sim.run(flow.state("t")).state["items"]) == 3


def test_an_error_that_cannot_be_stored_is_stored_as_its_facts(sim: Simulation) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            return "odd \ud800"

    flow = build("START a END", a=does(raises=Odd(Unknown()))).compile(sim.store())
    with pytest.raises(NodeError):
        sim.run(flow.run({}, thread_id="t"))
    events = sim.run(sim.events(flow))
    assert [type(event) for event in events] == [RunStarted, NodeFailed]


def test_two_graphs_may_share_a_registry(sim: Simulation) -> None:
    registry = TypeRegistry()
    for name in ("t", "u"):
        flow = build("START a END").compile(sim.store(), types=registry)
        assert sim.run(flow.run({}, thread_id=name)).status == "completed"


# -- what is not as it was stored -------------------------------------------------------------


def begun(sim: Simulation) -> Any:
    flow = build("START a b c END").compile(sim.store())
    sim.run(flow.run({}, thread_id="t"))
    return flow


def thread(sim: Simulation) -> Any:
    return sim.rows._tenant.threads["t"]


@pytest.mark.parametrize(("missing", "found"), [(1, "but has 2"), (2, "but has 3"), (4, "")])
def test_a_gap_is_refused_by_name_at_both_ends_too(
    sim: Simulation, missing: int, found: str
) -> None:
    flow = begun(sim)
    thread(sim).positions.remove(missing)
    for job in (flow.state, flow.resume, lambda name: flow.run({}, thread_id=name)):
        with pytest.raises(StoreError, match=f"thread 't' has no event {missing}.*{found}"):
            sim.run(job("t"))
    row = sim.run(sim.thread())
    assert row is not None
    assert row.holder is None


def test_a_damaged_event_is_refused_by_name(sim: Simulation) -> None:
    flow = begun(sim)
    epoch, data = thread(sim).events[3]
    thread(sim).events[3] = (epoch, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match="event 3 of thread 't' cannot be read"):
        sim.run(flow.state("t"))


def test_events_that_have_changed_places_are_refused_by_name(sim: Simulation) -> None:
    flow = begun(sim)
    events = thread(sim).events
    events[2], events[3] = events[3], events[2]
    with pytest.raises(StoreError, match="event 2 of thread 't' does not follow"):
        sim.run(flow.state("t"))


def test_an_event_that_is_there_twice_is_refused_by_name(sim: Simulation) -> None:
    flow = begun(sim)
    thread(sim).events[3] = thread(sim).events[2]
    with pytest.raises(StoreError, match=r"event 3 .* stands at 'b', not at 'a'"):
        sim.run(flow.state("t"))


def test_a_run_within_a_run_is_refused_by_name(sim: Simulation) -> None:
    flow = begun(sim)
    thread(sim).events[3] = thread(sim).events[1]
    with pytest.raises(StoreError, match=r"event 3 .* a run has not ended"):
        sim.run(flow.state("t"))


def test_a_journal_that_is_pruned_or_deleted_while_it_is_read_is_read_again(
    sim: Simulation,
) -> None:
    flow = build("START a b c END").compile(sim.store())
    for _ in range(3):
        sim.run(flow.run({}, thread_id="t"))
    step: list[str] = []

    async def meanwhile(method: str, when: str) -> None:
        if (method, when) == ("read", "before") and not step:
            step.append(method)
            await flow.prune("t", keep=2)

    reader = flow.with_store(sim.store(meanwhile))
    assert sim.run(reader.state("t")).position == 12
    assert step == ["read"]
