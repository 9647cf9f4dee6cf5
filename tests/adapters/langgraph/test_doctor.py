"""`plait doctor`: what it finds in a program, and what it leaves alone."""

import importlib
import operator
from typing import Annotated, Any, TypedDict

import pytest

from plait_adapters.langgraph.doctor import RULES, Finding, examine


class State(TypedDict, total=False):
    one: int
    total: Annotated[int, operator.add]


@pytest.fixture(params=["langgraph", "plait_adapters.langgraph"])
def library(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(f"{request.param}.graph.state")
    return importlib.import_module(f"{request.param}.graph")


async def writes_one(state: State) -> dict[str, Any]:
    return {"one": 1}


async def adds(state: State) -> dict[str, Any]:
    return {"total": 1}


def found(graph: Any, rule: str) -> list[Finding]:
    assert rule in RULES
    return [each for each in examine(graph) if each.rule == rule]


def graph_of(library: Any, edges: list[Any], **nodes: Any) -> Any:
    builder = library.StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for source, target in edges:
        builder.add_edge(source, target)
    return builder


def test_two_nodes_of_one_step_that_write_a_plain_key_are_found(library: Any) -> None:
    edges = [("__start__", "a"), ("__start__", "b"), ("a", "c"), ("b", "c")]
    graph = graph_of(library, edges, a=writes_one, b=writes_one, c=writes_one)
    (finding,) = found(graph, "parallel-writes")
    assert finding.places == ("a", "b")
    assert "'one'" in finding.says


def test_a_key_with_a_reducer_may_have_several_writers(library: Any) -> None:
    edges = [("__start__", "a"), ("__start__", "b")]
    assert not found(graph_of(library, edges, a=adds, b=adds), "parallel-writes")


def test_nodes_of_different_steps_may_write_one_key(library: Any) -> None:
    graph = graph_of(library, [("__start__", "a"), ("a", "b")], a=writes_one, b=writes_one)
    assert not found(graph, "parallel-writes")


def test_ways_of_one_router_exclude_each_other(library: Any) -> None:
    graph = graph_of(library, [("__start__", "r")], r=adds, a=writes_one, b=writes_one)
    graph.add_conditional_edges("r", lambda state: "a", ["a", "b"])
    assert not found(graph, "parallel-writes")


def test_sends_multiply_a_node_that_writes_a_plain_key(library: Any) -> None:
    types = importlib.import_module(library.__name__.replace(".graph", ".types"))
    Send = types.Send  # noqa: N806 - as programs call it

    def hand_out(state: State) -> list[Any]:
        return [Send("a", {}), Send("a", {})]

    graph = graph_of(library, [], a=writes_one)
    graph.add_conditional_edges("__start__", hand_out, ["a"])
    (finding,) = found(graph, "parallel-writes")
    assert finding.places == ("a",)


def test_a_join_that_waits_for_a_way_not_taken_is_found(library: Any) -> None:
    graph = graph_of(library, [("__start__", "a")], a=adds, b=adds, c=adds)
    graph.add_conditional_edges("__start__", lambda state: "b", ["b", "__end__"])
    graph.add_edge(["a", "b"], "c")
    (finding,) = found(graph, "dead-join")
    assert finding.places == ("a", "b")
    assert "'b' need not run" in finding.says


def test_a_join_of_nodes_that_always_run_is_left_alone(library: Any) -> None:
    graph = graph_of(library, [("__start__", "a"), ("__start__", "b")], a=adds, b=adds, c=adds)
    graph.add_edge(["a", "b"], "c")
    assert not found(graph, "dead-join")


def test_plain_edges_over_ways_of_different_length_are_found(library: Any) -> None:
    edges = [("__start__", "a"), ("__start__", "b"), ("b", "c"), ("a", "d"), ("c", "d")]
    (finding,) = found(graph_of(library, edges, a=adds, b=adds, c=adds, d=adds), "early-join")
    assert finding.places == ("a", "c")
    assert "add_edge(['a', 'c'], 'd')" in finding.remedy


def test_plain_edges_over_ways_of_one_length_are_left_alone(library: Any) -> None:
    edges = [("__start__", "a"), ("__start__", "b"), ("a", "c"), ("b", "c")]
    assert not found(graph_of(library, edges, a=adds, b=adds, c=adds), "early-join")


def test_a_sum_across_a_subgraphs_boundary_is_found(library: Any) -> None:
    inner = graph_of(library, [("__start__", "a")], a=adds).compile()
    (finding,) = found(graph_of(library, [("__start__", "in")], **{"in": inner}), "doubled-reducer")
    assert finding.places == ("in",)
    assert "'total'" in finding.says


def test_a_limit_that_holds_for_each_graph_by_itself_is_found(library: Any) -> None:
    inner = graph_of(library, [("__start__", "a")], a=adds).compile()
    outer = graph_of(library, [("__start__", "in")], **{"in": inner}).compile()
    assert not found(outer, "unbounded-concurrency")
    (finding,) = found(outer.with_config({"max_concurrency": 4}), "unbounded-concurrency")
    assert "16 nodes" in finding.says


def test_plain_functions_are_named_with_the_graph_they_are_in(library: Any) -> None:
    def plain(state: State) -> dict[str, Any]:
        return {}

    inner = graph_of(library, [("__start__", "a")], a=plain).compile()
    outer = graph_of(library, [("__start__", "in"), ("in", "b")], **{"in": inner}, b=adds)
    (finding,) = found(outer, "cannot-cancel")
    assert finding.places == ("in/a",)


def test_something_else_than_a_graph_is_refused() -> None:
    with pytest.raises(TypeError, match="a StateGraph is wanted"):
        examine(object())
