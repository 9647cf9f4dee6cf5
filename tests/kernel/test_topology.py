"""Reachability and dominators, against their definitions."""

import itertools
import random

import pytest

from plait.topology import immediate_dominators, predecessors, reachable, reaching

DIAMOND = {"s": ["a", "b"], "a": ["j"], "b": ["j"], "j": ["e"], "e": []}
LOOP = {"s": ["a"], "a": ["b"], "b": ["a", "e"], "e": []}


def dominators_by_definition(graph: dict[str, list[str]], root: str) -> dict[str, str]:
    """Remove each vertex in turn: what cannot be reached any more is what it dominates."""
    everything = reachable(graph, [root])
    lost = {
        each: everything - {each} - reachable(graph, [root], avoiding=each) for each in everything
    }
    above = {vertex: [each for each in everything if vertex in lost[each]] for vertex in everything}
    return {
        vertex: max(found, key=lambda each: len(above[each]), default=vertex)
        for vertex, found in above.items()
    }


def test_predecessors_turn_every_edge_round() -> None:
    assert predecessors(DIAMOND) == {"s": [], "a": ["s"], "b": ["s"], "j": ["a", "b"], "e": ["j"]}


def test_reachable_includes_the_sources_and_follows_cycles_once() -> None:
    assert reachable(LOOP, ["a"]) == {"a", "b", "e"}


def test_nothing_is_reached_through_what_is_avoided() -> None:
    assert reachable(LOOP, ["s"], avoiding="b") == {"s", "a"}
    assert reachable(LOOP, ["b"], avoiding="b") == {"b"}


def test_a_vertex_reaches_itself_only_on_a_cycle() -> None:
    assert reaching(predecessors(LOOP), "a", avoiding="none") == {"s", "a", "b"}
    assert reaching(predecessors(LOOP), "a", avoiding="b") == {"s"}


@pytest.mark.parametrize(
    ("graph", "dominators"),
    [
        (DIAMOND, {"s": "s", "a": "s", "b": "s", "j": "s", "e": "j"}),
        (LOOP, {"s": "s", "a": "s", "b": "a", "e": "b"}),
    ],
)
def test_the_immediate_dominator_is_the_last_vertex_that_every_way_runs_through(
    graph: dict[str, list[str]], dominators: dict[str, str]
) -> None:
    assert immediate_dominators(graph, "s") == dominators


@pytest.mark.parametrize("seed", range(50))
def test_dominators_are_those_of_the_definition_on_random_graphs(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.randint(2, 9)
    names = [f"v{number}" for number in range(size)]
    graph = {name: draw.sample(names, draw.randint(0, min(3, size))) for name in names}
    assert immediate_dominators(graph, "v0") == dominators_by_definition(graph, "v0")


def test_a_chain_of_thousands_does_not_overflow_the_stack() -> None:
    names = [f"v{number}" for number in range(5000)]
    graph: dict[str, list[str]] = {names[-1]: []}
    graph.update({first: [second] for first, second in itertools.pairwise(names)})
    assert immediate_dominators(graph, "v0")["v4999"] == "v4998"
