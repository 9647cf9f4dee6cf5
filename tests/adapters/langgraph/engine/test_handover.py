"""Threads and checkpoints that LangGraph has made, and that are gone on with here."""

from __future__ import annotations

import itertools
import operator
import subprocess
import sys
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph")

from plait_adapters.langgraph._internal import _ids
from plait_adapters.langgraph._internal._earlier import join_triggers
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from tests.adapters.langgraph.savers.programs import FACADE, LANGGRAPH, Engine

CONFIG: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def app_of(engine: Engine, saver: Any, calls: list[str]) -> Any:
    """Sends, a node and a nested graph side by side; the last two ask, twice and once."""

    def counted(name: str) -> Any:
        def node(state: Any) -> Any:
            calls.append(name)
            return {"log": [name]}

        return node

    def asks(*questions: str) -> Any:
        return lambda _: {"log": [engine.interrupt(question) for question in questions]}

    inner: Any = engine.graph(State)
    inner.add_sequence([("before", counted("before")), ("asks", asks("inner?"))])
    inner.add_edge("__start__", "before")
    outer: Any = engine.graph(State)
    outer.add_node("first", counted("first"))
    outer.add_node("sent", lambda number: counted(f"sent {number}")({}))
    outer.add_node("asks", asks("one?", "two?"))
    outer.add_node("inner", inner.compile())
    outer.add_node("last", counted("last"))
    outer.add_edge("__start__", "first")
    targets = [engine.send("sent", 1), engine.send("sent", 2), "asks", "inner"]
    outer.add_conditional_edges("first", lambda _: targets, ["sent", "asks", "inner"])
    outer.add_edge(["asks", "inner"], "last")
    return outer.compile(checkpointer=saver)


TURNS = list(itertools.product((LANGGRAPH,), (FACADE, LANGGRAPH), (FACADE, LANGGRAPH)))
"""LangGraph begins: it does not know the class of a Send that was stored here."""


@pytest.mark.parametrize("turns", TURNS, ids=lambda turns: " ".join(map(str, turns)))
def test_whoever_takes_over_goes_on_where_the_other_has_stopped(turns: Any) -> None:
    saver, calls = InMemorySaver(), list[str]()
    first, second, third = (app_of(engine, saver, calls) for engine in turns)
    asked = {each.value: each.id for each in first.invoke({"log": []}, CONFIG)["__interrupt__"]}
    answers = {asked["one?"]: "1", asked["inner?"]: "i"}
    again = second.invoke(turns[1].command(resume=answers), CONFIG)["__interrupt__"]
    assert [each.value for each in again] == ["two?"]
    done = third.invoke(turns[2].command(resume={again[0].id: "2"}), CONFIG)
    assert sorted(calls) == sorted(CALLED)
    assert done["log"] == LOG


CALLED = ["first", "before", "last", "sent 1", "sent 2"]
LOG = ["first", "1", "2", "first", "before", "i", "sent 1", "sent 2", "last"]


@pytest.mark.parametrize("way", [0, 1, 2])
def test_tasks_that_are_named_otherwise_are_recognised(
    way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread is moved to a machine with or without ``xxhash``."""
    known = _ids.known_ids()
    saver, calls = InMemorySaver(), list[str]()
    monkeypatch.setattr("plait_adapters.langgraph._internal._run.known_ids", lambda: known[way:])
    app = app_of(FACADE, saver, calls)
    asked = {each.value: each.id for each in app.invoke({"log": []}, CONFIG)["__interrupt__"]}
    monkeypatch.undo()
    answers = {asked["one?"]: "1", asked["inner?"]: "i"}
    again = app.invoke(FACADE.command(resume=answers), CONFIG)["__interrupt__"]
    done = app.invoke(FACADE.command(resume={again[0].id: "2"}), CONFIG)
    assert (done["log"], sorted(calls)) == (LOG, sorted(CALLED))


def test_without_xxhash_ids_are_made_all_the_same() -> None:
    program = (
        "import sys; sys.modules['xxhash'] = None\n"
        "from plait_adapters.langgraph._internal._ids import known_ids, is_interrupt_id\n"
        "(ids,) = known_ids(); assert is_interrupt_id(ids.interrupt('a:1'))\n"
        "assert len(ids.task('1ef', 'a')) == 36"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=True
    )


def earlier(versions: dict[str, int], values: dict[str, Any], seen: dict[str, Any]) -> Any:
    return {
        "v": 2,
        "channel_versions": versions,
        "channel_values": values,
        "versions_seen": seen,
    }


def test_what_triggered_a_node_in_earlier_formats_has_its_one_name() -> None:
    checkpoint = earlier(
        {"start:a": 2, "branch:a:cond:b": 3, "a": 4, "log": 4, "start:gone": 2},
        {"a": "a", "branch:a:cond:b": "a", "log": []},
        {"a": {"start:a": 2}, "b": {"branch:a:cond:b": 3, "a": 1}, "__interrupt__": {"a": 1}},
    )
    join_triggers(checkpoint, ["__start__", "a", "b"], {"a": ["b"]})
    assert checkpoint["channel_versions"] == {
        "branch:to:a": 2,
        "branch:to:b": 4,
        "log": 4,
        "start:gone": 2,
    }
    assert checkpoint["channel_values"] == {"branch:to:b": "a", "log": []}
    assert checkpoint["versions_seen"]["b"] == {"branch:to:b": 3}
    assert checkpoint["versions_seen"]["__interrupt__"] == {"branch:to:b": 1}
