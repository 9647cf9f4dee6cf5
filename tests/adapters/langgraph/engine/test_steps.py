"""Supersteps: what runs when, and what it sees."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

from plait_adapters.langgraph.channels import EphemeralValue, Topic
from plait_adapters.langgraph.errors import (
    GraphRecursionError,
    InvalidUpdateError,
    ParentCommand,
)
from plait_adapters.langgraph.graph import END, START, StateGraph
from plait_adapters.langgraph.managed import IsLastStep, RemainingSteps
from plait_adapters.langgraph.types import Command, Overwrite, Send


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    number: int


class Part(TypedDict):
    number: int


def says(word: str) -> Any:
    return lambda state: {"log": [word]}


def graph(
    *edges: tuple[Any, str], schema: Any = State, **nodes: Any
) -> StateGraph[Any, Any, Any, Any]:
    """A graph of nodes that say their names, unless they are given."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema)
    names = {
        name for edge in edges for name in ([*edge[0]] if isinstance(edge[0], list) else [edge[0]])
    }
    names |= {end for _, end in edges}
    for name in sorted(names - {START, END} - nodes.keys()):
        builder.add_node(name, says(name))
    for name, node in nodes.items():
        builder.add_node(name, node)
    for start, end in edges:
        builder.add_edge(start, end)
    return builder


async def test_writes_of_a_step_come_in_the_order_of_names_whoever_was_first() -> None:
    app = graph((START, "b"), (START, "a"), ("a", "c"), ("b", "c")).compile()
    assert await app.ainvoke({"log": []}) == {"log": ["a", "b", "c"]}


def test_nothing_of_a_step_is_visible_within_it() -> None:
    seen: list[Any] = []

    def look(state: State) -> None:
        seen.append(state.get("number"))

    app = graph(
        (START, "write"), (START, "look"), write=lambda _: {"number": 2}, look=look
    ).compile()
    assert app.invoke({"number": 1})["number"] == 2
    assert seen == [1]


def test_an_edge_from_several_nodes_waits_for_all_of_them() -> None:
    app = graph((START, "a"), (START, "b"), ("b", "c"), (["a", "c"], "d")).compile()
    assert app.invoke({"log": []})["log"] == ["a", "b", "c", "d"]


def test_an_edge_from_each_of_several_nodes_runs_its_end_for_each_length_of_way() -> None:
    app = graph((START, "a"), (START, "b"), ("b", "c"), ("a", "d"), ("c", "d")).compile()
    assert app.invoke({"log": []})["log"] == ["a", "b", "c", "d", "d"]


def test_a_deferred_node_runs_when_nothing_else_is_left() -> None:
    builder = graph((START, "a"), (START, "b"), ("b", "c"))
    builder.add_node("last", says("last"), defer=True)
    builder.add_edge("a", "last").add_edge("c", "last")
    assert builder.compile().invoke({"log": []})["log"] == ["a", "b", "c", "last"]


def test_two_writers_of_a_key_without_a_reducer_are_an_error_that_names_the_key() -> None:
    nodes: Any = {"a": lambda _: {"number": 1}, "b": lambda _: {"number": 2}}
    app = graph((START, "a"), (START, "b"), **nodes).compile()
    with pytest.raises(InvalidUpdateError, match=r"'number'.*only one value per step"):
        app.invoke({"log": []})


async def test_sends_come_behind_edges_in_the_order_in_which_they_were_given() -> None:
    builder = graph((START, "z"), x=lambda arg: {"log": [arg]})
    builder.add_conditional_edges(START, lambda _: [Send("x", "2"), Send("x", "1")])
    assert (await builder.compile().ainvoke({"log": []}))["log"] == ["z", "2", "1"]


def test_a_condition_sees_its_nodes_own_writes_and_no_siblings() -> None:
    seen: list[Any] = []

    def choose(state: State) -> str:
        seen.append(state["log"])
        return END

    builder = graph((START, "a"), (START, "b"))
    builder.add_conditional_edges("a", choose)
    builder.compile().invoke({"log": ["in"]})
    assert seen == [["in", "a"]]


def test_a_condition_sees_what_its_node_returned_beside_the_state() -> None:
    builder = graph((START, "a"), a=lambda _: {"log": ["a"], "hint": "go"})
    builder.add_node("go", says("gone"))
    builder.add_conditional_edges("a", lambda state: state["hint"], ["go", END])
    assert builder.compile().invoke({"log": []})["log"] == ["a", "gone"]


def test_a_path_map_translates_what_a_condition_returns() -> None:
    builder = graph((START, "a"))
    builder.add_node("yes", says("yes"))
    builder.add_conditional_edges("a", lambda _: True, {True: "yes", False: END})
    assert builder.compile().invoke({"log": []})["log"] == ["a", "yes"]


def test_a_command_writes_and_chooses_in_one() -> None:
    def choose(state: State) -> Command[Literal["b"]]:
        return Command(update={"log": ["chose"]}, goto=["b", Send("c", None)])

    builder = graph((START, "a"), a=choose)
    builder.add_node("b", says("b")).add_node("c", says("c"))
    assert builder.compile().invoke({"log": []})["log"] == ["chose", "b", "c"]


def test_a_command_for_a_parent_that_is_not_there_comes_out() -> None:
    app = graph((START, "a"), a=lambda _: Command(graph=Command.PARENT, goto="x")).compile()
    with pytest.raises(ParentCommand):
        app.invoke({"log": []})


def test_a_run_that_is_not_done_within_its_limit_says_so() -> None:
    app = graph((START, "a"), ("a", "a")).compile()
    with pytest.raises(GraphRecursionError, match="GRAPH_RECURSION_LIMIT"):
        app.invoke({"log": []}, {"recursion_limit": 3})


def test_managed_values_tell_how_many_steps_are_left() -> None:
    class Counted(TypedDict, total=False):
        log: Annotated[list[Any], operator.add]
        last: IsLastStep
        left: RemainingSteps

    app = graph(
        (START, "a"),
        ("a", "b"),
        schema=Counted,
        a=lambda state: {"log": [(state["left"], state["last"])]},
        b=lambda state: {"log": [(state["left"], state["last"])]},
    ).compile()
    assert app.invoke({"log": []}, {"recursion_limit": 3})["log"] == [(2, False), (1, True)]


def test_an_overwrite_replaces_past_the_reducer() -> None:
    app = graph((START, "a"), ("a", "b"), b=lambda _: {"log": Overwrite(["new"])}).compile()
    assert app.invoke({"log": ["old"]})["log"] == ["new"]


def test_two_overwrites_in_a_step_are_refused() -> None:
    nodes: Any = dict.fromkeys("ab", lambda _: {"log": Overwrite(["x"])})
    with pytest.raises(InvalidUpdateError, match="only one Overwrite"):
        graph((START, "a"), (START, "b"), **nodes).compile().invoke({"log": []})


def test_channels_as_annotations_keep_their_own_rules() -> None:
    class Channels(TypedDict, total=False):
        topic: Annotated[list[str], Topic(str, accumulate=True)]
        brief: Annotated[str, EphemeralValue]
        seen: Annotated[list[Any], operator.add]

    def look(state: Channels) -> Any:
        return {"seen": [(state.get("topic"), state.get("brief"))]}

    app = graph(
        (START, "a"),
        ("a", "b"),
        ("b", "c"),
        schema=Channels,
        a=lambda _: {"topic": "t", "brief": "now"},
        b=look,
        c=look,
    ).compile()
    assert app.invoke({"topic": ["s"]})["seen"] == [(["s", "t"], "now"), (["s", "t"], None)]


def test_a_dataclass_or_a_model_is_given_to_nodes_as_such() -> None:
    @dataclass
    class Data:
        number: int = 0

    class Model(BaseModel):
        number: int = 0

    for schema in (Data, Model):
        seen: list[Any] = []
        app = graph(
            (START, "a"), schema=schema, a=lambda state, seen=seen: seen.append(state)
        ).compile()
        assert app.invoke(schema(number=3)) == {"number": 3}
        assert seen == [schema(number=3)]


def test_a_node_sees_the_part_of_the_state_that_its_annotation_names() -> None:
    seen: list[Any] = []

    def look(state: Part) -> None:
        seen.append(state)

    graph((START, "a"), a=look).compile().invoke({"number": 1, "log": ["x"]})
    assert seen == [{"number": 1}]


def test_input_and_output_have_schemas_of_their_own() -> None:
    class In(TypedDict):
        word: str

    class Out(TypedDict):
        log: list[str]

    builder: Any = StateGraph(State, input_schema=In, output_schema=Out)
    builder.add_node("a", lambda state: {"log": [state["word"]], "number": 1}, input_schema=In)
    builder.add_edge(START, "a")
    assert builder.compile().invoke({"word": "w", "number": 9}) == {"log": ["w"]}


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: graph().compile(), "entrypoint"),
        (lambda: graph((START, "a")).add_edge("a", "nowhere").compile(), "unknown node `nowhere`"),
        (lambda: graph((START, "a")).add_node("a", says("a")), "already present"),
        (lambda: graph((START, "a")).add_node("a:b", says("a")), "reserved character"),
        (lambda: graph((START, "a")).add_edge(END, "a"), "END cannot be a start node"),
        (lambda: graph((START, "a")).compile(interrupt_before=["x"]), "`x` not found"),
        (lambda: graph((START, "a")).add_sync_point("s").compile(), "mode='branches'"),
    ],
)
def test_what_is_wrong_with_a_graph_is_said_when_it_is_built(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


async def test_nodes_that_wait_begin_together_however_busy_the_event_loop_is() -> None:
    turns, begun = 0, list[int]()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def waits(number: int) -> None:
        begun.append(turns)
        await anyio.sleep(0.01)

    builder: Any = StateGraph(State)
    builder.add_node("waits", waits)
    builder.add_conditional_edges(START, lambda _: [Send("waits", n) for n in range(50)])
    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await builder.compile().ainvoke({})
        group.cancel_scope.cancel()
    assert begun[-1] - begun[0] <= 5
