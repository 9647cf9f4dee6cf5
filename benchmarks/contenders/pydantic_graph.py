"""pydantic-graph, by its builder of steps, without instrumentation.

Its state is one object that all branches share, so parallel branches hand their items on as
outputs, which a join reduces.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, merge

from .base import CannotExpressError, Contender, Run

lib: Any = importlib.import_module("pydantic_graph")


def _step(builder: Any, call: Any, name: str) -> Any:
    return builder.step(call=call, node_id=name)


def _builder(output: Any) -> Any:
    return lib.GraphBuilder(name="work", state_type=dict, output_type=output, auto_instrument=False)


def _updates(node: Node) -> Any:
    async def update(ctx: Any) -> Any:
        state = ctx.state
        merge(state, await node(state))
        return state["n"]

    return update


async def _ordered(ctx: Any) -> Any:
    """A join reduces in the order of arrival."""
    return sorted(ctx.inputs)


class PydanticGraph(Contender):
    """See the module."""

    name = "pydantic-graph"
    kind = "peer"
    distribution = "pydantic-graph"
    import_name = "pydantic_graph"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        builder = _builder(int)
        before = builder.start_node
        for i in range(nodes):
            step = _step(builder, _updates(body.on_mapping), f"n{i}")
            builder.add_edge(before, step)
            before = step
        builder.add_edge(before, builder.end_node)
        graph = builder.build()

        async def run() -> State:
            state = dict(given)
            await graph.run(state=state)
            return state

        return run

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps no history")
        builder = _builder(int)
        turn = _step(builder, _updates(ADD_ONE.on_mapping), "turn")
        more = builder.match(int, matches=lambda n: n < turns).to(turn)
        done = builder.match(int).to(builder.end_node)
        builder.add_edge(builder.start_node, turn)
        decision = builder.decision().branch(more).branch(done)
        steps = [_step(builder, _updates(ADD_ONE.on_mapping), f"n{i}") for i in range(others)]
        if steps:  # the first branch that matches is taken
            never = builder.match(int, matches=lambda n: n > turns)
            decision = decision.branch(never.to(steps[0]))
        for step, after in zip(steps, [*steps[1:], builder.end_node], strict=False):
            builder.add_edge(step, after)
        builder.add(builder.edge_from(turn).to(decision))
        graph = builder.build()

        async def run() -> State:
            state = {"n": 0}
            await graph.run(state=state)
            return state

        return run

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        if limit is not None:
            raise CannotExpressError("has no limit for branches")
        builder = _builder(list)

        async def numbers(ctx: Any) -> Any:
            return range(branches)

        async def branch(ctx: Any) -> Any:
            return (await body(ctx.inputs))["items"]

        source, target = _step(builder, numbers, "numbers"), _step(builder, branch, "branch")
        gather = builder.join(lib.reduce_list_extend, initial_factory=list, node_id="gather")
        builder.add_edge(builder.start_node, source)
        builder.add_mapping_edge(source, target)
        builder.add_edge(target, gather)
        order = _step(builder, _ordered, "order")
        builder.add_edge(gather, order)
        builder.add_edge(order, builder.end_node)
        return self._gathered(builder.build())

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        builder = _builder(list)
        gather = builder.join(lib.reduce_list_extend, initial_factory=list, node_id="gather")

        def append(node: Node) -> Any:
            async def act(ctx: Any) -> Any:
                writes = await node(ctx.state)
                return [*(ctx.inputs or ()), *(writes or {})["items"]]

            return act

        first = []
        for b, nodes in enumerate(bodies):
            steps = [_step(builder, append(node), f"n{b}_{k}") for k, node in enumerate(nodes)]
            first.append(steps[0])
            for before, step in zip(steps, [*steps[1:], gather], strict=True):
                builder.add_edge(before, step)
        builder.add(builder.edge_from(builder.start_node).to(*first))
        builder.add_edge(gather, builder.end_node)
        return self._gathered(builder.build())

    def _gathered(self, graph: Any) -> Run:
        async def run() -> State:
            return {"items": await graph.run(state={})}

        return run


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [PydanticGraph()]
