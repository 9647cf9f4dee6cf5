"""Nested graphs in a run of events: when they begin and end, and what happens in them."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.errors import GraphDrained, GraphInterrupt
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.stream import (
    AsyncSubgraphRunStream,
    CustomTransformer,
    LifecycleTransformer,
    StreamTransformer,
    SubgraphRunStream,
    SubgraphTransformer,
)
from plait_adapters.langgraph.stream._mux import StreamMux
from plait_adapters.langgraph.stream._types import event_of
from plait_adapters.langgraph.types import Send, interrupt


class State(TypedDict):
    log: Annotated[list[str], operator.add]


START_WITH: Any = {"log": []}


def says(word: str) -> Any:
    return lambda _: {"log": [word]}


def fails(_: State) -> Any:
    raise KeyError("inner")


def graph(*steps: tuple[str, Any], **compiling: Any) -> Any:
    builder: Any = StateGraph(State)
    builder.add_sequence(list(steps))
    return builder.add_edge(START, steps[0][0]).compile(**compiling)


def nested(node: Any = None, **compiling: Any) -> Any:
    """A graph in a graph in a graph."""
    deep = graph(("node", node or says("deep")))
    return graph(("outer", graph(("inner", deep))), ("last", says("last")), **compiling)


def places(items: list[Any]) -> list[tuple[str, ...]]:
    """Without the ids of tasks."""
    return [tuple(part.partition(":")[0] for part in each["namespace"]) for each in items]


def test_nested_graphs_are_told_of_at_every_depth() -> None:
    told = list(nested().stream_events(START_WITH, version="v3").lifecycle)
    assert [each["event"] for each in told] == ["started", "started", "completed", "completed"]
    assert places(told) == [("outer",), ("outer", "inner"), ("outer", "inner"), ("outer",)]
    assert [each.get("graph_name") for each in told] == ["outer", "inner", None, None]
    assert told[0]["namespace"] == [f"outer:{told[0]['trigger_call_id']}"]


def test_they_are_in_the_log_too_and_tasks_are_not() -> None:
    events = list(nested().stream_events(START_WITH, version="v3"))
    assert [each["method"] for each in events].count("lifecycle") == 4
    assert {each["method"] for each in events} == {"lifecycle", "values"}


def test_a_nested_graph_has_all_that_a_run_has() -> None:
    run = nested().stream_events(START_WITH, version="v3")
    found = []
    for outer in run.subgraphs:
        assert isinstance(outer, SubgraphRunStream)
        for inner in outer.subgraphs:
            states = list(inner.values)
            found += [(inner.graph_name, states, inner.status)]
        found += [(outer.graph_name, outer.output, outer.status)]
    states = [{"log": ["deep"]}]  # what it began with was told before its first task
    assert found == [("inner", states, "completed"), ("outer", {"log": ["deep"]}, "completed")]
    assert run.output == {"log": ["deep", "last"]}


async def test_a_nested_graph_has_all_that_an_asynchronous_run_has() -> None:
    run = await nested().astream_events(START_WITH, version="v3")
    found = []
    async for outer in run.subgraphs:
        assert isinstance(outer, AsyncSubgraphRunStream)
        async for inner in outer.subgraphs:
            states = [each async for each in inner.values]
            found += [(inner.graph_name, states, inner.status)]
        found += [(outer.graph_name, await outer.output(), outer.status)]
    states = [{"log": ["deep"]}]  # as above
    assert found == [("inner", states, "completed"), ("outer", {"log": ["deep"]}, "completed")]
    assert await run.output() == {"log": ["deep", "last"]}


def test_reading_a_nested_graph_goes_no_further_than_its_end() -> None:
    app = graph(("one", graph(("a", says("a")))), ("two", graph(("b", says("b")))))
    handles = app.stream_events(START_WITH, version="v3").subgraphs
    found = [(handle.graph_name, handle.output) for handle in handles]
    assert found == [("one", {"log": ["a"]}), ("two", {"log": ["a", "b"]})]


def test_each_call_of_a_graph_is_one_of_its_own() -> None:
    inner = graph(("a", says("a")))
    builder: Any = StateGraph(State).add_node("inner", inner).add_node("fan", says("fan"))
    builder.add_edge(START, "fan")
    builder.add_conditional_edges("fan", lambda _: [Send("inner", START_WITH)] * 3, ["inner"])
    run = builder.compile().stream_events(START_WITH, version="v3")
    handles = list(run.subgraphs)
    assert [each.status for each in handles] == ["completed"] * 3
    assert len({each.path for each in handles}) == 3


def test_who_stops_listening_to_a_nested_graph_does_not_stop_the_run() -> None:
    app = graph(("one", graph(("a", says("a")))), ("two", graph(("b", says("b")))))
    run = app.stream_events(START_WITH, version="v3")
    for handle in run.subgraphs:
        if handle.graph_name == "one":
            with handle:
                pass
        else:
            assert list(handle.values) == [{"log": ["a", "b"]}]
    assert run.output == {"log": ["a", "a", "b"]}


def test_a_nested_graph_that_fails_says_so() -> None:
    run = nested(fails).stream_events(START_WITH, version="v3")
    handle = next(iter(run.subgraphs))
    with pytest.raises(RuntimeError, match="inner"):
        _ = handle.output
    assert (handle.status, handle.error) == ("failed", "'inner'")
    with pytest.raises(KeyError, match="inner"):
        _ = run.output


def test_a_nested_graph_that_asks_somebody_says_so() -> None:
    app = nested(lambda _: interrupt("?"), checkpointer=InMemorySaver())
    run = app.stream_events(START_WITH, {"configurable": {"thread_id": "1"}}, version="v3")
    lifecycle = iter(run.lifecycle)
    for handle in run.subgraphs:
        assert [each.value for each in handle.interrupts] == ["?"]
        assert handle.status == "interrupted"
    assert [each["event"] for each in lifecycle][-2:] == ["interrupted", "interrupted"]
    assert run.interrupted


def test_transformers_of_the_run_are_made_for_nested_graphs_too() -> None:
    app = nested(lambda _: {"log": ["x"]}, transformers=[CustomTransformer])
    for handle in app.stream_events(START_WITH, version="v3").subgraphs:
        assert handle.custom is handle.extensions["custom"]
        assert list(handle.custom) == []


def test_events_of_a_nested_graph_are_numbered_by_the_outermost() -> None:
    seen: list[Any] = []

    class Keeps(StreamTransformer):
        def init(self) -> dict[str, Any]:
            return {}

        def process(self, event: Any) -> bool:
            if self.scope:
                seen.append((event, "seq" in event))
            return True

    run = nested().stream_events(START_WITH, version="v3", transformers=[Keeps])
    events = list(run)
    assert not any(numbered for _, numbered in seen)
    values = [id(each) for each, _ in seen if each["method"] == "values"]
    assert set(values) <= {id(each) for each in events}


def test_an_error_of_a_nested_graphs_transformer_fails_the_run() -> None:
    class Breaks(StreamTransformer):
        def init(self) -> dict[str, Any]:
            return {}

        def process(self, event: Any) -> bool:
            return True

        def finalize(self) -> None:
            if self.scope:
                raise ValueError("nested")

    run = nested().stream_events(START_WITH, version="v3", transformers=[Breaks])
    with pytest.raises(ValueError, match="nested"):
        _ = run.output


def test_a_run_within_a_node_has_the_nodes_place() -> None:
    inner = graph(("a", graph(("b", says("b")))))
    found: dict[str, Any] = {}

    def node(state: State) -> Any:
        run = inner.stream_events(state, version="v3", transformers=[CustomTransformer])
        found["values"] = list(run.interleave("values", "lifecycle"))
        return run.output

    assert graph(("node", node)).invoke(START_WITH) == {"log": ["b"]}
    values = [item for name, item in found["values"] if name == "values"]
    assert values == [{"log": []}, {"log": ["b"]}]
    assert places([item for name, item in found["values"] if name == "lifecycle"]) == [
        ("node", "a"),
        ("node", "a"),
    ]


# -- agents, which langchain names in the metadata of their tasks -------------------------------


def task(name: str, *namespace: str, agent: str | None = None, **facts: Any) -> Any:
    """That a task begins; or ends, with ``result=``."""
    data: dict[str, Any] = {"id": name, "name": name, **facts}
    if agent is not None:
        data["metadata"] = {"lc_agent_name": agent}
    return event_of({"type": "tasks", "ns": namespace, "data": data})


def lifecycle(*events: Any) -> list[Any]:
    mux = StreamMux(factories=[LifecycleTransformer, SubgraphTransformer])
    told = iter(mux.extensions["lifecycle"])
    for event in events:
        mux.push(event)
    mux.close()
    return list(told)


CALL = {"name": "ask", "args": {}, "id": "call-1", "type": "tool_call"}


@pytest.mark.parametrize("given", [{"tool_call": CALL}, [CALL]], ids=["alone", "in a list"])
def test_an_agent_has_its_name_and_the_call_that_it_answers(given: Any) -> None:
    told = lifecycle(task("t1", input=given), task("m", "tools:t1", agent="weather"))
    assert told[0]["graph_name"] == "weather"
    assert told[0]["cause"] == {"type": "toolCall", "tool_call_id": "call-1"}


def test_a_graph_that_is_no_agent_has_neither() -> None:
    told = lifecycle(task("t1", input={"tool_call": CALL}), task("m", "tools:t1"))
    assert told[0]["graph_name"] == "tools"
    assert "cause" not in told[0]


@pytest.mark.parametrize(
    ("facts", "status", "said"),
    [
        ({}, "completed", None),
        ({"error": "broke"}, "failed", "broke"),
        ({"interrupts": [1]}, "interrupted", None),
        ({"error": "broke", "interrupts": [1]}, "interrupted", None),
    ],
    ids=["done", "error", "question", "both"],
)
def test_a_graph_ends_as_the_task_that_called_it(facts: Any, status: str, said: Any) -> None:
    told = lifecycle(task("m", "a:t1"), task("t1", result={}, **facts))
    assert told[-1]["event"] == status
    assert told[-1].get("error") == said


def test_a_graph_that_nothing_ends_ends_with_the_run() -> None:
    assert [each["event"] for each in lifecycle(task("m", "a:t1"))] == ["started", "completed"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GraphInterrupt(), "interrupted"),
        (GraphDrained("stop"), "drained"),
        (KeyError("broke"), "failed"),
    ],
    ids=["interrupt", "drained", "error"],
)
def test_a_graph_that_is_under_way_ends_as_the_run(error: Exception, status: str) -> None:
    mux = StreamMux(factories=[LifecycleTransformer, SubgraphTransformer])
    told, handles = iter(mux.extensions["lifecycle"]), iter(mux.extensions["subgraphs"])
    mux.push(task("m", "a:t1"))
    handle = next(handles)
    mux.fail(error)
    assert handle.status == status
    assert [next(told)["event"], next(told)["event"]] == ["started", status]
    with pytest.raises(type(error)):
        _ = handle.output


def test_what_has_ended_is_not_kept() -> None:
    mux = StreamMux(factories=[LifecycleTransformer, SubgraphTransformer])
    for number in range(100):
        mux.push(task(f"t{number}", input={"tool_call": CALL}))
        mux.push(task("m", f"a:t{number}", agent="weather"))
        mux.push(task(f"t{number}", result={}))
    found = mux.transformer_by_key("subgraphs")
    assert isinstance(found, SubgraphTransformer)
    assert not found._handles
    assert not found._open
    assert not found._tool_calls
