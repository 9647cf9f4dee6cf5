"""Plait: with a TypedDict as the state, and with a pydantic model, whose writes are validated."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, Work, WorkModel

from .base import Contender, Run


class PlaitKernel(Contender):
    """Plait's kernel; ``plait`` is the module, so that two revisions can meet in one run."""

    kind = "plait"
    distribution: str | None = "plait"
    import_name: str | None = "plait"

    def __init__(self, plait: ModuleType, name: str, *, model: bool = False) -> None:
        self.plait: Any = plait
        self.name = name
        self.model = model

    def _graph(self) -> Any:
        return self.plait.Graph(WorkModel if self.model else Work)

    def _node(self, body: Body) -> Node:
        return body.on_object if self.model else body.on_mapping

    def _run(self, flow: Any, given: Mapping[str, Any]) -> Run:
        async def run() -> State:
            state: State = (await flow.run(given)).state
            return state

        async def run_model() -> State:
            fields: State = (await flow.run(given)).state.__dict__
            return fields

        return run_model if self.model else run

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        plait, graph = self.plait, self._graph()
        before = plait.START
        for i in range(nodes):
            graph.add_node(f"n{i}", self._node(body))
            graph.add_edge(before, f"n{i}")
            before = f"n{i}"
        graph.add_edge(before, plait.END)
        return self._run(graph.compile(), given)

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        plait, graph = self.plait, self._graph()
        end = plait.END
        if self.model:

            def again(state: Any) -> Any:
                return "turn" if state.n < turns else end
        else:

            def again(state: Any) -> Any:
                return "turn" if state["n"] < turns else end

        graph.add_node("turn", self._node(ADD_ONE))
        graph.add_edge(plait.START, "turn")
        names = [f"n{i}" for i in range(others)]
        for name, after in zip(names, [*names[1:], end], strict=False):
            graph.add_node(name, self._node(ADD_ONE))
            graph.add_edge(name, after)
        graph.add_conditional_edges("turn", again, ["turn", *names[:1], end])
        return self._run(graph.compile(), {"n": 0})  # it keeps its journal in any case

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        plait, graph = self.plait, self._graph()
        send = plait.Send
        graph.add_node("branch", body)
        graph.add_sync_point("gather")
        graph.add_conditional_edges(
            plait.START, lambda state: [send("branch", i) for i in range(branches)], ["branch"]
        )
        graph.add_edge("branch", "gather")
        graph.add_edge("gather", plait.END)
        return self._run(graph.compile(max_concurrency=limit), {})

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        plait, graph = self.plait, self._graph()
        graph.add_sync_point("gather")
        for b, nodes in enumerate(bodies):
            before = plait.START
            for level, node in enumerate(nodes):
                graph.add_node(f"n{b}_{level}", node)
                graph.add_edge(before, f"n{b}_{level}")
                before = f"n{b}_{level}"
            graph.add_edge(before, "gather")
        graph.add_edge("gather", plait.END)
        return self._run(graph.compile(), {})


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    plait = importlib.import_module("plait")
    return [PlaitKernel(plait, "Plait"), PlaitKernel(plait, "Plait (pydantic)", model=True)]
