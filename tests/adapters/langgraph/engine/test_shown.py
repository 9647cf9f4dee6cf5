"""What graphs show of themselves: schemas and drawings, as JSON."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

pytest.importorskip("langchain_core")

from langchain_core.runnables import RunnableLambda

from plait_adapters.langgraph.channels import EphemeralValue, LastValue
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.pregel import NodeBuilder, Pregel


class State(TypedDict):
    text: str


def loop(size: int) -> Any:
    """A ring of nodes that no condition leaves."""
    builder = StateGraph(State)
    names = [f"n{place}" for place in range(size)]
    for name, following in zip(names, names[1:] + names[:1], strict=True):
        builder.add_node(name, lambda state: state)
        builder.add_edge(name, following)
    return builder.add_edge(START, "n0").compile()


def kinds(app: Any, **options: Any) -> dict[str, str]:
    """The last part of the id of what each node calls."""
    nodes = app.get_graph(**options).to_json()["nodes"]
    return {node["id"]: node["data"]["id"][-1] for node in nodes if "data" in node}


def test_the_schema_of_one_channel_has_no_default() -> None:
    node = NodeBuilder().subscribe_only("in").do(lambda number: number + 1).write_to("out")
    app: Any = Pregel(
        nodes={"one": node},
        channels={"in": EphemeralValue(int), "out": LastValue(int)},
        input_channels="in",
        output_channels="out",
    )
    assert app.get_input_jsonschema() == {"title": "LangGraphInput", "type": "integer"}
    assert app.get_output_jsonschema() == {"title": "LangGraphOutput", "type": "integer"}


def test_a_drawing_names_what_its_nodes_call_as_langgraph_does() -> None:
    inner = StateGraph(State).add_node("leaf", lambda state: state).add_edge(START, "leaf")
    builder = StateGraph(State).add_node("inner", inner.compile())
    builder.add_node("lamp", RunnableLambda(lambda state: state)).add_edge(START, "inner")
    app = builder.compile()
    function = "RunnableCallable"
    assert kinds(app) == {
        START: function,
        "inner": "CompiledStateGraph",
        "lamp": "RunnableLambda",
    }
    assert kinds(app, xray=True)["inner:leaf"] == function


def test_a_node_that_only_passes_its_input_on_is_drawn_as_such() -> None:
    app: Any = Pregel(
        nodes={"one": NodeBuilder().subscribe_only("in").write_to("out")},
        channels={"in": EphemeralValue(int), "out": LastValue(int)},
        input_channels="in",
        output_channels="out",
    )
    assert kinds(app) == {"one": "RunnablePassthrough"}


@pytest.mark.parametrize(("size", "last"), [(2, "n1"), (3, "n0"), (5, "n4")])
def test_a_ring_is_drawn_with_an_end_where_the_walk_through_it_ends(size: int, last: str) -> None:
    ends = [edge for edge in loop(size).get_graph().edges if edge.target == "__end__"]
    assert [(edge.source, edge.conditional) for edge in ends] == [(last, True)]
