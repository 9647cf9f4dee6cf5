"""Reachability and dominators of small directed graphs.

A graph here is a mapping from each vertex to its successors, in order; every successor is a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from .events import NodeName

__all__ = ["immediate_dominators", "predecessors", "reachable", "reaching"]

Successors: TypeAlias = Mapping[NodeName, Collection[NodeName]]


def predecessors(graph: Successors) -> dict[NodeName, list[NodeName]]:
    """The same graph with every edge turned round."""
    result: dict[NodeName, list[NodeName]] = {vertex: [] for vertex in graph}
    for vertex, successors in graph.items():
        for successor in successors:
            result[successor].append(vertex)
    return result


def reachable(
    graph: Successors, sources: Iterable[NodeName], *, avoiding: NodeName | None = None
) -> set[NodeName]:
    """All vertices on ways from ``sources``, themselves included, that do not pass ``avoiding``.

    ``avoiding`` is found only if it is a source, and is never gone through.
    """
    found = set(sources)
    todo = [vertex for vertex in found if vertex != avoiding]
    while todo:
        for successor in graph[todo.pop()]:
            if successor not in found and successor != avoiding:
                found.add(successor)
                todo.append(successor)
    return found


def reaching(backwards: Successors, target: NodeName, *, avoiding: NodeName) -> set[NodeName]:
    """All vertices from which an edge or more leads to ``target`` without passing ``avoiding``.

    ``backwards`` are the predecessors. ``target`` itself is among them only if it lies on a cycle.
    """
    found: set[NodeName] = set()
    todo = [target]
    while todo:
        for vertex in backwards[todo.pop()]:
            if vertex not in found and vertex != avoiding:
                found.add(vertex)
                todo.append(vertex)
    return found


def immediate_dominators(graph: Successors, root: NodeName) -> dict[NodeName, NodeName]:
    """For each vertex reachable from ``root``, the last one through which every way to it runs.

    ``root`` is its own. The algorithm is that of Cooper, Harvey and Kennedy, "A simple, fast
    dominance algorithm" (2001): iterate over the reverse postorder until nothing changes.
    """
    order = _reverse_postorder(graph, root)
    number = {vertex: position for position, vertex in enumerate(order)}
    backwards = predecessors(graph)
    dominator: dict[NodeName, NodeName] = {root: root}
    changed = True
    while changed:
        changed = False
        for vertex in order[1:]:
            best: NodeName | None = None
            for other in backwards[vertex]:
                if other in dominator:
                    best = other if best is None else _meet(dominator, number, other, best)
            assert best is not None  # in reverse postorder, one predecessor has been seen
            if dominator.get(vertex) != best:
                dominator[vertex] = best
                changed = True
    return dominator


def _meet(
    dominator: Mapping[NodeName, NodeName],
    number: Mapping[NodeName, int],
    first: NodeName,
    second: NodeName,
) -> NodeName:
    while first != second:
        while number[first] > number[second]:
            first = dominator[first]
        while number[second] > number[first]:
            second = dominator[second]
    return first


def _reverse_postorder(graph: Successors, root: NodeName) -> list[NodeName]:
    postorder: list[NodeName] = []
    seen = {root}
    stack = [(root, iter(graph[root]))]  # an explicit stack: chains may be thousands long
    while stack:
        vertex, successors = stack[-1]
        for successor in successors:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(graph[successor])))
                break
        else:
            postorder.append(vertex)
            stack.pop()
    postorder.reverse()
    return postorder
