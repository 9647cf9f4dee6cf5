"""Channels of which checkpoints hold the writes: whatever a thread does, they read as any other."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait_adapters.langgraph.channels import DeltaChannel
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import Command, Overwrite, Send, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
DURABILITIES: Any = ["sync", "async", "exit"]


def joined(old: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*old, *itertools.chain.from_iterable(writes)]


class Deltas(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=4)]
    fails: int


class Values(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    fails: int


def compiled(schema: Any, saver: Any, fails: set[str]) -> Any:
    """Sends beside a node, one that asks, and one that fails once where it is told to."""

    def ends(state: Any) -> Any:
        if fails:
            fails.clear()
            raise OSError("the first time")
        return {"log": ["end"]}

    builder: Any = StateGraph(schema)
    builder.add_node("a", lambda _: Command(goto=[Send("s", 1), Send("s", 2), "b"]))
    builder.add_node("s", lambda number: {"log": [f"s{number}"]})
    builder.add_node("b", lambda _: {"log": ["b", "b"]})
    builder.add_node("asks", lambda _: {"log": [interrupt("?")]})
    builder.add_node("ends", ends)
    builder.add_edge(START, "a")
    builder.add_edge("b", "asks")
    builder.add_edge("b", "ends")
    return builder.compile(checkpointer=saver)


words = st.sampled_from(["x", "y", "z"])
actions = st.lists(
    st.tuples(st.sampled_from(["input", "answer", "write", "fail", "back", "replace"]), words),
    max_size=6,
)


def act(app: Any, fails: set[str], action: str, word: str, durability: Any) -> None:
    """One thing that somebody does to the thread."""
    history = list(app.get_state_history(CONFIG))
    waiting = [state for state in history if state.next]
    if action == "write" or (action == "replace" and not history):
        app.update_state(CONFIG, {"log": [word]}, as_node="b")
        return
    if action == "fail":
        fails.add("ends")
    given: Any = {"log": Overwrite([word]) if action == "replace" else [word]}
    config = CONFIG
    if action == "answer" and waiting and waiting[0] is history[0]:
        given = Command(resume=word)
    elif action == "back" and waiting:
        config, given = waiting[-1].config, None
    try:
        app.invoke(given, config, durability=durability)
    except OSError:
        assert action == "fail"


@pytest.mark.parametrize("durability", DURABILITIES)
@settings(max_examples=40, deadline=None)
@given(script=actions)
def test_a_thread_reads_the_same_whatever_is_stored_of_it(durability: Any, script: Any) -> None:
    told = []
    for schema in (Deltas, Values):
        saver, fails = InMemorySaver(), set[str]()
        app = compiled(schema, saver, fails)
        for action, word in script:
            act(app, fails, action, word, durability)
        states = list(compiled(schema, saver, fails).get_state_history(CONFIG))
        told.append([(state.values.get("log") or [], state.next) for state in states if state.next])
    assert told[0] == told[1]


def chain(saver: Any) -> Any:
    builder: Any = StateGraph(Deltas)
    builder.add_sequence([(name, lambda _, name=name: {"log": [name]}) for name in "abc"])
    return builder.add_edge(START, "a").compile(checkpointer=saver)


def test_a_run_that_stores_at_its_end_stores_the_writes_and_not_the_value() -> None:
    saver = InMemorySaver()
    chain(saver).invoke({}, CONFIG, durability="exit")
    last, first = saver.list(CONFIG)
    assert "log" not in last.checkpoint["channel_values"]
    assert [value for _, _, value in first.pending_writes or ()] == [["a"], ["b"], ["c"]]


def test_the_value_is_stored_once_enough_has_been_written() -> None:
    saver = InMemorySaver()
    app = chain(saver)
    for _ in range(2):
        app.invoke({}, CONFIG, durability="exit")
    (last, *_) = saver.list(CONFIG)
    assert last.checkpoint["channel_values"]["log"].value == list("abcabc")


def test_writes_that_could_not_be_stored_leave_no_checkpoint_without_them() -> None:
    class Broken(InMemorySaver):
        def put_writes(self, *args: Any, **more: Any) -> None:
            raise OSError("disk full")

    saver = Broken()
    with pytest.raises(OSError, match="disk full"):
        chain(saver).invoke({}, CONFIG, durability="exit")
    assert all(not saved.checkpoint["channel_versions"] for saved in saver.list(CONFIG))


def messages_of(written: Any) -> Any:
    """What a channel that is not made for messages holds after a write."""
    pytest.importorskip("langchain_core.messages")

    class Held(TypedDict, total=False):
        held: Annotated[list[Any], DeltaChannel(joined)]

    builder: Any = StateGraph(Held)
    builder.add_node("writes", lambda _: {"held": written})
    app = builder.add_edge(START, "writes").compile(checkpointer=InMemorySaver())
    app.invoke({}, CONFIG)
    return app.get_state(CONFIG).values["held"]


@pytest.mark.parametrize("item", [{"type": "tool", "name": "x"}, {"role": "user", "content": "x"}])
def test_what_replaces_the_value_stays_as_it_is(item: Any) -> None:
    assert messages_of(Overwrite([item])) == [item]


def test_a_message_that_is_added_as_a_dict_has_its_id_before_it_is_stored() -> None:
    (message,) = messages_of([{"role": "user", "content": "x"}])
    assert (message.type, message.content, bool(message.id)) == ("human", "x", True)


def test_what_is_counted_is_stored_as_any_format_can_store_it() -> None:
    saver = InMemorySaver()
    app = chain(saver)
    app.invoke({}, CONFIG)
    for word in "de":
        app.update_state(CONFIG, {"log": [word]}, as_node="c")
    (last, *_) = saver.list(CONFIG)
    assert {**last.metadata}["counters_since_delta_snapshot"] == {"log": [1, 1]}


def test_going_on_from_an_earlier_checkpoint_is_no_update_of_what_it_had_updated() -> None:
    builder: Any = StateGraph(Deltas).add_node("a", lambda _: {"log": ["a"]})
    app = builder.add_edge(START, "a").compile(checkpointer=InMemorySaver())
    app.invoke({}, CONFIG)
    app.invoke(None, app.get_state(CONFIG).config)
    fork, last, *_ = app.get_state_history(CONFIG)
    counted = [each.metadata["counters_since_delta_snapshot"]["log"][0] for each in (last, fork)]
    assert (fork.metadata["source"], counted) == ("fork", [1, 1])
