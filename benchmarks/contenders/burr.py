"""Burr, without a tracker or a persister.

A graph is built once; an Application, which is one execution of it, is built for each run.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State

from .base import CannotExpressError, Contender, Run

core: Any = importlib.import_module("burr.core")
core_graph: Any = importlib.import_module("burr.core.graph")
parallelism: Any = importlib.import_module("burr.core.parallelism")
# Nothing leaves the machine, and nothing of it is timed.
importlib.import_module("burr.telemetry").disable_telemetry()


def _action(node: Any, reads: list[str], writes: list[str]) -> Any:
    """A body as an action: it reads a mapping, and its writes update the state."""

    @core.action(reads=reads, writes=writes)  # type: ignore[untyped-decorator]
    async def act(state: Any) -> Any:
        written = await node(state)
        return state.update(**written) if written else state

    return act


def _append(node: Any) -> Any:
    """A body that writes items, as an action that adds them to those before."""

    @core.action(reads=["items"], writes=["items"])  # type: ignore[untyped-decorator]
    async def act(state: Any) -> Any:
        return state.update(items=state["items"] + (await node(state))["items"])

    return act


def _linear(nodes: Sequence[Any]) -> Any:
    names = [f"n{i}" for i in range(len(nodes))]
    builder = core_graph.GraphBuilder().with_actions(**dict(zip(names, nodes, strict=True)))
    return builder.with_transitions(*itertools.pairwise(names)).build()


def _run(graph: Any, entry: str, given: Mapping[str, Any], **halt: list[str]) -> Run:
    async def run() -> State:
        app = (
            core.ApplicationBuilder()
            .with_graph(graph)
            .with_entrypoint(entry)
            .with_state(**given)
            .build()
        )
        _, _, state = await app.arun(**halt)
        final: State = state.get_all()
        return final

    return run


class _Parallel(parallelism.TaskBasedParallelAction):  # type: ignore[misc]  # untyped here
    """Sub-applications side by side, one for each graph and number."""

    def __init__(self, graphs: Sequence[tuple[Any, int]]) -> None:
        super().__init__()
        self.graphs = graphs

    def is_async(self) -> bool:
        return True

    @property
    def reads(self) -> list[str]:
        return ["items"]

    @property
    def writes(self) -> list[str]:
        return ["items"]

    async def tasks(self, state: Any, context: Any, inputs: Any) -> AsyncIterator[Any]:
        for k, (graph, i) in enumerate(self.graphs):
            yield parallelism.SubGraphTask(
                graph=graph,
                inputs={},
                state=state.update(i=i),
                application_id=f"{context.app_id}-{k}",
            )

    async def reduce(self, state: Any, states: AsyncIterator[Any]) -> Any:
        items: list[int] = []
        async for each in states:
            items += each["items"]
        return state.update(items=items)


class Burr(Contender):
    """See the module."""

    name = "Burr"
    kind = "peer"
    distribution = "apache-burr"
    import_name = "burr.core"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        actions = [_action(body.on_mapping, ["n"], ["n"]) for _ in range(nodes)]
        return _run(_linear(actions), "n0", given, halt_after=[f"n{nodes - 1}"])

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps history only through a tracker or a database")
        more = core.Condition.lmda(lambda state: state["n"] < turns, ["n"])

        async def nothing(state: Any) -> None:
            return None

        names = [f"n{i}" for i in range(others)]
        actions = {name: _action(ADD_ONE.on_mapping, ["n"], ["n"]) for name in ["turn", *names]} | {
            "done": _action(nothing, ["n"], ["n"])
        }
        # The first transition whose condition holds is taken.
        transitions = [("turn", "turn", more), ("turn", "done")]
        transitions += [("turn", name, more) for name in names[:1]]
        builder = core_graph.GraphBuilder().with_actions(**actions)
        graph = builder.with_transitions(*transitions, *itertools.pairwise(names)).build()
        return _run(graph, "turn", {"n": 0}, halt_before=["done"])

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        if limit is not None:
            raise CannotExpressError("has no limit for asynchronous branches")

        async def branch(state: Any) -> Any:
            return await body(state["i"])

        one = parallelism.RunnableGraph(_linear([_action(branch, ["i"], ["items"])]), "n0", ["n0"])
        graph = _linear([_Parallel([(one, i) for i in range(branches)])])
        return _run(graph, "n0", {"items": []}, halt_after=["n0"])

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        graphs = [
            parallelism.RunnableGraph(
                _linear([_append(node) for node in nodes]), "n0", [f"n{len(nodes) - 1}"]
            )
            for nodes in bodies
        ]
        graph = _linear([_Parallel([(each, b) for b, each in enumerate(graphs)])])
        return _run(graph, "n0", {"items": []}, halt_after=["n0"])


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [Burr()]
