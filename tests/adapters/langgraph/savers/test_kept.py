"""What runs put into memory is kept as what has moved, and reads as if all had been stored."""

from __future__ import annotations

import itertools
import operator
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from plait.codec import EncodingError
from plait_adapters.langgraph.checkpoint._steps import Step
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from plait_adapters.langgraph.graph import END, START, StateGraph
from plait_adapters.langgraph.types import Command, interrupt

CHANNELS, NODES = "abcde", "xyz"
CONFIG: Any = {"configurable": {"thread_id": "t", "tenant": "one"}, "metadata": {"user": "u"}}
THREAD: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS | st.binary() | st.just("\ud800") | st.just({"\0d": 1}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner)
        | st.builds(bytearray, st.binary(max_size=3))
    ),
    max_leaves=4,
)
MOVES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(CHANNELS), VALUES, min_size=1),
        st.sets(st.sampled_from(CHANNELS)),
        st.sets(st.sampled_from(NODES)),
        st.lists(st.tuples(st.sampled_from([*CHANNELS, "__interrupt__"]), VALUES), max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


class Putting:
    """A run that puts the same into several savers."""

    def __init__(self, savers: list[InMemorySaver]) -> None:
        self.savers = savers
        self.versions: dict[str, str] = {}
        self.seen: dict[str, dict[str, str]] = {}
        self.last: str | None = None
        self.numbers = itertools.count()
        self.begin()

    def begin(self) -> None:
        found = [saver._line(CONFIG, "t", "") for saver in self.savers]
        self.lines = [line for line in found if line is not None]
        assert len(self.lines) == len(found)

    def step(self, values: dict[str, Any], moved: set[str], ran: set[str]) -> None:
        number = next(self.numbers)
        names = dict.fromkeys([*values, *sorted(moved)])
        for node in sorted(ran):
            self.seen.setdefault(node, {}).update(self.versions)
        self.versions.update(dict.fromkeys(names, f"{number:03}"))
        parent_id, self.last = self.last, f"{number:06}"
        about = {"source": "loop", "step": number, "parents": {}}
        moving = (self.versions, self.seen, names, sorted(ran), values)
        for line in self.lines:
            line.put(Step(self.last, parent_id, 1.5 + number, about, sorted(names), *moving))

    def write(self, writes: list[tuple[str, Any]]) -> None:
        task_id = f"task {next(self.numbers)}"
        for line in self.lines:
            line.put_writes(self.last or "", writes, task_id, "path")


def look(saver: InMemorySaver) -> Any:
    return [*saver.list(None)]


@given(MOVES)
def test_what_is_kept_reads_as_what_is_stored(moves: Any) -> None:
    kept, stored = InMemorySaver(), InMemorySaver()
    run = Putting([kept, stored])
    assert stored.storage == {}  # from now on it is to be there
    for values, moved, ran, writes, again in moves:
        if again:
            stored._keeping.is_over = False  # or it would take no steps
            run.begin()
            stored._keeping.is_over = True
        run.step(values, moved, ran)
        if writes:
            run.write(writes)

    assert look(kept) == look(stored)
    assert kept.get_tuple(THREAD) == stored.get_tuple(THREAD)
    only: Any = {"filter": {"step": 0, "user": "u", "tenant": "one"}}
    assert [*kept.list(None, **only)] == [*stored.list(None, **only)]
    assert kept._storage["t"][""] == {}
    assert kept.blobs.keys() == stored.blobs.keys()  # now it has settled
    assert look(kept) == look(stored)


class Log(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    count: int


def loop(saver: Any, turns: int) -> Any:
    async def turn(state: Log) -> Any:
        return {"log": [state["count"]], "count": state["count"] + 1}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Log)
    builder.add_node("turn", turn)
    builder.add_edge(START, "turn")
    builder.add_conditional_edges(
        "turn", lambda state: END if state["count"] % turns == 0 else "turn"
    )
    return builder.compile(checkpointer=saver)


async def test_what_is_kept_of_a_long_run_is_small_and_some_of_it_is_whole() -> None:
    saver = InMemorySaver()
    await loop(saver, 200).ainvoke({"log": [], "count": 0}, CONFIG)

    kept = saver._keeping.threads["t"][""]
    assert len(kept.steps) == 202
    assert sum(map(len, kept.steps.values())) < 202 * 300
    whole = [saver.serde.unpack(step)[0] for step in kept.steps.values()]  # type: ignore[attr-defined]
    assert 20 < sum(whole) < 150
    counts = [found.checkpoint["channel_values"].get("count") for found in look(saver)]
    assert counts[:201] == [*range(200, -1, -1)]


async def test_a_second_run_goes_on_from_what_is_kept() -> None:
    saver = InMemorySaver()
    graph = loop(saver, 3)
    await graph.ainvoke({"log": [], "count": 0}, CONFIG)
    final = await graph.ainvoke({"log": ["again"]}, CONFIG)

    assert final == {"log": [0, 1, 2, "again", 3, 4, 5], "count": 6}
    assert saver._storage["t"][""] == {}


async def test_who_looks_at_the_dicts_sees_all_there_is_and_what_comes() -> None:
    saver = InMemorySaver()
    graph = loop(saver, 3)
    await graph.ainvoke({"log": [], "count": 0}, CONFIG)
    before, seen = look(saver), saver.storage["t"][""]
    assert len(seen) == 5
    assert look(saver) == before

    await graph.ainvoke({"log": []}, CONFIG)
    assert len(seen) == 10
    assert {place[2] for place in saver.writes} <= seen.keys()
    assert saver._keeping.threads == {}


async def test_what_is_kept_is_deleted_copied_and_pruned() -> None:
    saver = InMemorySaver()
    graph = loop(saver, 3)
    await graph.ainvoke({"log": [], "count": 0}, CONFIG)
    saver.copy_thread("t", "copy")
    saver.prune(["t"])
    (left,) = saver.list(THREAD)
    assert left.checkpoint["channel_values"]["count"] == 3
    assert len([*saver.list({"configurable": {"thread_id": "copy"}})]) == 5

    await graph.ainvoke({"log": []}, CONFIG)
    saver.delete_thread("t")
    assert saver.get_tuple(THREAD) is None
    await graph.ainvoke({"log": [], "count": 0}, CONFIG)
    assert len([*saver.list(THREAD)]) == 5


async def test_who_keeps_a_value_and_changes_it_changes_nothing_that_is_stored() -> None:
    given = ["given"]

    async def node(state: Log) -> Any:
        return {"log": given}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Log)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    saver = InMemorySaver()
    graph = builder.compile(checkpointer=saver)
    await graph.ainvoke({"log": []}, CONFIG)
    given.append("later")
    found = saver.get_tuple(THREAD)
    assert found is not None
    found.checkpoint["channel_values"]["log"].append("here")
    found.checkpoint["channel_versions"].clear()

    assert (await graph.aget_state(THREAD)).values == {"log": ["given"]}
    assert [write[2] for found in look(saver)[1:2] for write in found.pending_writes] == [["given"]]


async def test_a_question_is_answered_from_what_is_kept() -> None:
    async def ask(state: Log) -> Any:
        return {"log": [interrupt("what?")]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Log)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    saver = InMemorySaver()
    graph = builder.compile(checkpointer=saver)
    asked = await graph.ainvoke({"log": []}, CONFIG)
    assert asked["__interrupt__"][0].value == "what?"

    assert await graph.ainvoke(Command(resume="this"), CONFIG) == {"log": ["this"]}
    assert saver._storage["t"][""] == {}


async def test_what_cannot_be_stored_is_refused_and_what_was_before_is_there() -> None:
    saver = InMemorySaver()
    run = Putting([saver])
    run.step({"a": 1}, set(), set())
    before = look(saver)
    with pytest.raises(EncodingError):
        run.step({"a": object()}, set(), set())
    with pytest.raises(EncodingError):
        run.write([("a", [object()])])
    assert look(saver) == before


class Spying(JsonPlusSerializer):
    """Makes bytes in a way of its own."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return super().dumps_typed(obj)


class Another(InMemorySaver):
    """May do more than its base."""


def test_nothing_is_kept_where_somebody_wants_to_see_what_is_put() -> None:
    replaced = InMemorySaver()
    replaced.put = replaced.put  # type: ignore[method-assign]
    for saver in (replaced, Another(), InMemorySaver(serde=Spying())):
        assert saver._line(CONFIG, "t", "") is None
