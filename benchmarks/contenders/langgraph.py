"""LangGraph, without a checkpointer unless the workload asks for history.

The facade is the same contender with another root: the same program with its imports changed.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, Work

from .base import Contender, Run

# No trace leaves the machine, and none is timed.
os.environ.setdefault("LANGSMITH_TRACING", "false")
os.environ.setdefault("LANGCHAIN_TRACING_V2", "false")


class LangGraph(Contender):
    """See the module."""

    name = "LangGraph"
    kind: Literal["plait", "floor", "peer"] = "peer"
    distribution: str | None = "langgraph"
    import_name = "langgraph.graph"
    root = "langgraph"

    def __init__(self) -> None:
        self.graphs: Any = importlib.import_module(f"{self.root}.graph")
        self.types: Any = importlib.import_module(f"{self.root}.types")

    def _run(self, graph: Any, given: Mapping[str, Any], **config: Any) -> Run:
        async def run() -> State:
            state: State = await graph.ainvoke(given, config)
            return state

        return run

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        graph = self.graphs.StateGraph(Work)
        before = self.graphs.START
        for i in range(nodes):
            graph.add_node(f"n{i}", body.on_mapping)
            graph.add_edge(before, f"n{i}")
            before = f"n{i}"
        graph.add_edge(before, self.graphs.END)
        return self._run(graph.compile(), given, recursion_limit=nodes + 10)

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        graph = self.graphs.StateGraph(Work)
        graph.add_node("turn", ADD_ONE.on_mapping)
        graph.add_edge(self.graphs.START, "turn")
        names = [f"n{i}" for i in range(others)]
        for name, after in zip(names, [*names[1:], self.graphs.END], strict=False):
            graph.add_node(name, ADD_ONE.on_mapping)
            graph.add_edge(name, after)
        graph.add_conditional_edges(
            "turn",
            lambda state: "turn" if state["n"] < turns else self.graphs.END,
            ["turn", *names[:1], self.graphs.END],
        )
        if not history:
            return self._run(graph.compile(), {"n": 0}, recursion_limit=turns + 10)
        memory = importlib.import_module(f"{self.root}.checkpoint.memory")
        flow = graph.compile(checkpointer=memory.InMemorySaver())
        threads = itertools.count()

        async def run() -> State:
            config = {
                "recursion_limit": turns + 10,
                "configurable": {"thread_id": str(next(threads))},
            }
            state: State = await flow.ainvoke({"n": 0}, config)
            return state

        return run

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        graph = self.graphs.StateGraph(Work)
        graph.add_node("branch", body)
        graph.add_conditional_edges(
            self.graphs.START,
            lambda state: [self.types.Send("branch", i) for i in range(branches)],
            ["branch"],
        )
        graph.add_edge("branch", self.graphs.END)
        given: dict[str, Any] = {"n": 0}  # it refuses an empty input
        if limit is None:
            return self._run(graph.compile(), given)
        return self._run(graph.compile(), given, max_concurrency=limit)

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        graph = self.graphs.StateGraph(Work)
        for b, nodes in enumerate(bodies):
            before = self.graphs.START
            for level, node in enumerate(nodes):
                graph.add_node(f"n{b}_{level}", node)
                graph.add_edge(before, f"n{b}_{level}")
                before = f"n{b}_{level}"
            graph.add_edge(before, self.graphs.END)
        return self._run(graph.compile(), {"n": 0})


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [LangGraph()]
