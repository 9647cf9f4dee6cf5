"""A graph's methods as a protocol: what is one, and what a class that derives from it must have."""

from typing import Any, TypedDict

import pytest

from plait_adapters.langgraph.func import entrypoint
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.pregel.protocol import PregelProtocol, StreamChunk, StreamProtocol


class State(TypedDict):
    number: int


def builder() -> StateGraph[State]:
    return StateGraph(State).add_node("one", lambda _: {"number": 1}).add_edge(START, "one")


def answer(graph: PregelProtocol[State, None, State, State]) -> Any:
    """Type checkers take a compiled graph for one: this module is checked, too."""
    return graph.invoke({"number": 0})


def test_a_compiled_graph_is_one() -> None:
    graph = builder().compile()
    assert isinstance(graph, PregelProtocol)
    assert answer(graph) == {"number": 1}


def test_a_workflow_is_one() -> None:
    @entrypoint()
    def workflow(given: int) -> int:
        return given + 1

    assert isinstance(workflow, PregelProtocol)


def test_a_graph_that_is_not_compiled_is_none() -> None:
    assert not isinstance(builder(), PregelProtocol)


def test_a_class_that_derives_from_it_must_have_all_of_its_methods() -> None:
    class Half(PregelProtocol[State, None, State, State]):
        def invoke(self, *args: Any, **kwargs: Any) -> Any:
            return None

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


def test_langgraphs_own_graphs_are_one() -> None:
    theirs = pytest.importorskip("langgraph.graph")
    graph = theirs.StateGraph(State).add_node("one", lambda _: {}).add_edge(START, "one").compile()
    assert isinstance(graph, PregelProtocol)


def test_a_sink_is_called_with_chunks_and_knows_its_modes() -> None:
    heard: list[StreamChunk] = []
    sink = StreamProtocol(heard.append, {"values"})
    sink(((), "values", 1))
    assert heard == [((), "values", 1)]
    assert sink.modes == {"values"}
