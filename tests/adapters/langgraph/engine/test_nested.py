"""Graphs in graphs."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.config import get_config
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import Command, interrupt

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    word: str


class Inner(TypedDict, total=False):
    word: str
    inner: Annotated[list[str], operator.add]


def graph(schema: Any, **nodes: Any) -> StateGraph[Any, Any, Any, Any]:
    """Nodes one after the other."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder


def only_task(app: Any) -> Any:
    """The one task of the next step, with the state within it."""
    (task,) = app.get_state(CONFIG, subgraphs=True).tasks
    return task


def asks(state: Inner) -> Any:
    return {"word": interrupt("word?")}


def test_a_graph_as_a_node_shares_the_keys_that_both_have() -> None:
    inner = graph(Inner, up=lambda state: {"word": state["word"].upper()}).compile()
    app = graph(State, inner=inner).compile()
    assert app.invoke({"word": "w", "log": ["x"]}) == {"word": "W", "log": ["x"]}


async def test_a_graph_called_in_a_node_belongs_to_its_run() -> None:
    inner = graph(Inner, up=lambda state: {"word": get_config()["metadata"]["who"]}).compile()

    async def calls(state: State) -> Any:
        return await inner.ainvoke({"word": "w"})

    app = graph(State, calls=calls).compile()
    assert (await app.ainvoke({"log": []}, {"metadata": {"who": "me"}}))["word"] == "me"


@pytest.mark.parametrize("keeps", [None, True])
def test_a_question_within_comes_out_and_the_answer_gets_in(keeps: Any) -> None:
    inner = graph(Inner, first=lambda _: {"inner": ["1"]}, asks=asks).compile(checkpointer=keeps)
    app = graph(State, inner=inner, last=lambda s: {"log": [s["word"]]}).compile(InMemorySaver())
    (asked,) = app.invoke({"log": []}, CONFIG)["__interrupt__"]
    task = only_task(app)
    assert (asked.value, task.name, task.state.next) == ("word?", "inner", ("asks",))
    assert task.state.values == {"inner": ["1"]}
    assert app.invoke(Command(resume="so"), CONFIG)["log"] == ["so"]


def test_the_state_within_can_be_written_from_outside() -> None:
    inner = graph(Inner, first=lambda _: {"word": "1"}, asks=asks).compile()
    app = graph(State, inner=inner).compile(InMemorySaver(), interrupt_before=[])
    app.invoke({"log": []}, CONFIG)
    task = only_task(app)
    app.update_state(task.state.config, {"inner": ["by hand"]}, as_node="first")
    task = only_task(app)
    assert task.state.values["inner"] == ["by hand"]


def test_a_graph_that_keeps_its_state_has_it_at_the_next_call() -> None:
    inner = graph(Inner, adds=lambda state: {"inner": ["x"]}).compile(checkpointer=True)

    def calls(state: State) -> Any:
        return {"log": ["".join(inner.invoke({"word": ""})["inner"])]}

    app = graph(State, calls=calls).compile(InMemorySaver())
    app.invoke({"log": []}, CONFIG)
    assert app.invoke({"log": []}, CONFIG)["log"] == ["x", "xx"]


def test_a_command_for_the_parent_goes_on_there() -> None:
    def leaves(state: Inner) -> Command[Any]:
        return Command(graph=Command.PARENT, update={"log": ["from within"]}, goto="other")

    builder = graph(State, inner=graph(Inner, leaves=leaves).compile())
    builder.add_node("other", lambda _: {"log": ["other"]})
    builder.nodes["inner"].ends = ("other",)
    assert builder.compile().invoke({"log": []})["log"] == ["from within", "other"]


def test_a_command_reaches_the_parent_through_a_graph_called_in_a_node() -> None:
    inner = graph(Inner, leaves=lambda _: Command(graph=Command.PARENT, goto="other")).compile()
    builder = graph(State, calls=lambda _: inner.invoke({"word": ""}))
    builder.add_node("other", lambda _: {"log": ["other"]})
    assert builder.compile().invoke({"log": []})["log"] == ["other"]


def test_going_back_begins_the_graph_within_where_it_was() -> None:
    seen: list[str] = []
    inner = graph(Inner, first=lambda _: seen.append("first"), asks=asks).compile()
    app = graph(State, inner=inner, last=lambda s: {"log": [s["word"]]}).compile(InMemorySaver())
    app.invoke({"log": []}, CONFIG)
    app.invoke(Command(resume="one"), CONFIG)
    before = next(each for each in app.get_state_history(CONFIG) if each.next == ("inner",))
    asked = app.invoke(None, before.config)["__interrupt__"]
    assert [each.value for each in asked] == ["word?"]
    assert app.invoke(Command(resume="two"), CONFIG)["log"] == ["two"]


def test_a_graph_within_can_be_found_by_its_name() -> None:
    inner = graph(Inner, up=lambda _: None).compile()
    app = graph(State, called=lambda _: inner.invoke({"word": ""}), plain=lambda _: None).compile()
    assert dict(app.get_subgraphs()) == {"called": inner}
