"""Who wrote what: the writes to a channel, oldest first, and what became of each."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import (
    ANY,
    Blame,
    Flow,
    Graph,
    Join,
    NodeContext,
    NodeError,
    Overwrite,
    Retry,
    ThreadNotFound,
    interrupt,
    reducers,
)
from plait.blame import Blamer
from plait.events import JournalEvent, NodeFailed
from plait.machine import Machine
from plait.plan import Plan
from plait.state import Schema
from plait.testing import VirtualClock
from tests.kernel.build import Work, build, does
from tests.properties.drive import TRACE, Run, drive, prepare, traced
from tests.properties.programs import CHANNELS, Features, Program, programs

T = TypeVar("T")


def blamed(plan: Plan, events: Sequence[JournalEvent], channel: str) -> tuple[Blame, ...]:
    machine = Machine(plan, keep_delta=True)
    blamer = Blamer(channel, exclusive=channel in plan.schema.exclusive, start=0)
    for event in events:
        blamer.note(machine, event, machine.handle(event))
    return blamer.result(machine)


class Thread:
    """A thread of a flow in virtual time."""

    def __init__(self, graph: Graph) -> None:
        self.flow: Flow[Any] = graph.compile()
        self.clock = VirtualClock()

    def await_(self, what: Coroutine[Any, Any, T]) -> T:
        return self.clock.run(what)

    def run(self, given: Any = None) -> Any:
        return self.await_(self.flow.run(given, thread_id="t"))

    def blame(self, channel: str, at: int | None = None) -> tuple[Blame, ...]:
        return self.await_(self.flow.blame("t", channel, at))

    def fates(self, channel: str, at: int | None = None) -> list[tuple[str, Any, str]]:
        return [(each.node, each.value, each.fate) for each in self.blame(channel, at)]


def test_each_write_has_its_node_branch_attempt_and_position() -> None:
    failures = iter([OSError(), None])

    async def flaky(_state: Any) -> Any:
        if error := next(failures):
            raise error
        return {"items": ["x"]}

    graph = Graph(Work).add_node("a", flaky, retry=Retry(2)).add_node("b", does(items=["y", "z"]))
    thread = Thread(graph.add_edge("__start__", "a").add_edge("a", "b").add_edge("b", "__end__"))
    thread.run({"items": ["given"]})
    assert thread.blame("items") == (
        Blame(1, "the input", (0,), 0, ["given"], "kept"),
        Blame(3, "a", (0,), 2, ["x"], "kept"),
        Blame(4, "b", (0,), 1, ["y", "z"], "kept"),
    )


def test_of_an_exclusive_channel_only_the_last_write_is_kept() -> None:
    thread = Thread(build("START a b END", a=does(text="a"), b=does(text="b")))
    thread.run({"text": "given"})
    assert thread.fates("text") == [
        ("the input", "given", "overwritten"),
        ("a", "a", "overwritten"),
        ("b", "b", "kept"),
    ]
    thread.run({})
    assert [fate for _, _, fate in thread.fates("text")] == ["overwritten"] * 3 + [
        "overwritten",
        "kept",
    ]


def test_an_overwrite_replaces_what_was_there() -> None:
    thread = Thread(build("START a b END", a=does(items=Overwrite(["new"]))))
    thread.run({"items": ["given"]})
    assert [fate for _, _, fate in thread.fates("items")] == ["overwritten", "kept", "kept"]


def test_it_is_oldest_first_and_not_in_path_order() -> None:
    thread = Thread(build("START a END", "START b END", a=does(2, items=["a"])))
    assert thread.run().state["items"] == ["a", "b"]
    assert [node for node, _, _ in thread.fates("items")] == ["b", "a"]


def test_what_a_failed_branch_wrote_is_named() -> None:
    graph = Graph(Work).add_node("a", does(items=["a"])).add_node("b", does(items=["b"]))
    graph.add_node("fail", does(raises=ValueError("no")), on_error="record")
    for way in (("__start__", "a"), ("__start__", "b"), ("a", "fail"), ("b", "__end__")):
        graph.add_edge(*way)
    thread = Thread(graph.add_edge("fail", "__end__"))
    thread.run()
    assert sorted(thread.fates("items")) == [("a", ["a"], "failed"), ("b", ["b"], "kept")]


def test_what_a_cancelled_branch_wrote_is_named() -> None:
    graph = build(
        "START a gather END", "START b c gather", gather=Join(quorum=ANY), a=does(5), c=does(60)
    )
    thread = Thread(graph)
    thread.run()
    assert thread.fates("items") == [("b", ["b"], "cancelled")]


def test_what_came_late_is_named() -> None:
    join = Join(quorum=ANY, stragglers="detach")
    thread = Thread(build("START a gather END", "START b gather", gather=join, b=does(5, sum=1)))
    thread.run()
    assert thread.fates("sum") == [("b", 1, "late")]


def test_late_writes_that_were_merged_are_kept() -> None:
    join = Join(quorum=ANY, stragglers="detach", late="merge")
    late = does(5, seen={"b"}, items=["b"])
    thread = Thread(build("START a gather m END", "START b gather", gather=join, b=late, m=does(9)))
    assert thread.run().state["seen"] == {"b"}
    assert thread.fates("seen") == [("b", {"b"}, "kept")]
    assert thread.fates("items") == [("a", ["a"], "kept"), ("b", ["b"], "late")]


def test_at_an_earlier_position_it_says_what_was_then() -> None:
    thread = Thread(build("START a b END", a=does(text="a"), b=does(text="b")))
    thread.run()
    assert thread.fates("text", at=2) == [("a", "a", "kept")]
    assert thread.fates("text", at=0) == []


def test_what_a_suspended_run_has_written_is_kept_so_far() -> None:
    async def asks(_state: Any) -> Any:
        return {"items": [interrupt("?")]}

    thread = Thread(build("START a END", "START b END", a=asks))
    thread.run()
    assert thread.fates("items") == [("b", ["b"], "kept")]
    thread.await_(thread.flow.resume("t", {"0.0:0:0": "answer"}))
    assert thread.fates("items") == [("b", ["b"], "kept"), ("a", ["answer"], "kept")]


def test_what_a_failed_run_has_written_is_kept_so_far() -> None:
    thread = Thread(build("START a b END", b=does(raises=ValueError("no"))))
    with pytest.raises(NodeError):
        thread.run()
    assert thread.fates("items") == [("a", ["a"], "kept")]


def test_live_writes_are_kept_even_if_their_branch_is_not() -> None:
    class State(Work):
        live: Any

    State.__annotations__["live"] = reducers_live()

    async def writes(_state: Any, _ctx: NodeContext) -> Any:
        return {"live": {"b"}}

    graph = build(
        "START a gather END",
        "START b c gather",
        schema=State,
        gather=Join(quorum=ANY),
        a=does(5),
        b=writes,
        c=does(60),
    )
    thread = Thread(graph)
    assert thread.run().state["live"] == {"b"}
    assert thread.fates("live") == [("b", {"b"}, "kept")]


def reducers_live() -> Any:
    from typing import Annotated

    return Annotated[set, reducers.live(reducers.union)]


def test_what_is_not_there_cannot_be_blamed() -> None:
    thread = Thread(build("START a END"))
    with pytest.raises(ThreadNotFound):
        thread.blame("items")
    thread.run()
    with pytest.raises(ValueError, match="no channel 'itms'; it has 'items'"):
        thread.blame("itms")
    with pytest.raises(ValueError, match="positions 0 to 2, not 3"):
        thread.blame("items", at=3)


# -- for any program --------------------------------------------------------------------------

schedules = st.lists(st.integers(0, 20), max_size=30)
law = settings(max_examples=100, deadline=None)


def replayed(run: Run, at: int) -> Machine:
    machine = Machine(run.case.plan)
    for event in run.journal[:at]:
        machine.handle(event)
    return machine


def _related(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


@law
@given(programs(Features()), schedules, st.integers(1, 2), st.data())
def test_what_is_kept_is_what_is_in_the_state_and_the_rest_is_explained(
    program: Program, schedule: list[int], runs: int, data: st.DataObject
) -> None:
    run = drive(prepare(traced(program)), schedule, runs=runs)
    at = data.draw(st.integers(0, len(run.journal)), "position")
    schema: Schema = run.case.plan.schema
    machine = replayed(run, at)
    found = machine.current_values()
    failed = [event.branch for event in run.journal[:at] if isinstance(event, NodeFailed)]
    for channel in (TRACE, *(each.name for each in CHANNELS)):
        if channel not in schema.channels:
            continue
        parts = blamed(run.case.plan, run.journal[:at], channel)
        for part in parts:
            if part.fate == "failed" and machine.failure is None:
                assert any(_related(part.branch, branch) for branch in failed)
        kept = [part.value for part in parts if part.fate == "kept"]
        if channel in schema.exclusive:
            assert kept in ([], [found.get(channel)])
        elif channel == TRACE:
            items = [item for value in kept for item in value]
            assert sorted(map(repr, items)) == sorted(map(repr, found[TRACE]))
