"""Microsoft Agent Framework's workflows: executors that send each other messages, in supersteps.

A workflow runs once at a time, so a run finds one that is free, or builds another. A fan-out goes
to executors that the graph declares, one for each branch.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, merge

from .base import CannotExpressError, Contender, Run

lib: Any = importlib.import_module("agent_framework")

_MOST_EXECUTORS = 1_000
"""To build and validate a workflow takes time that grows with the square of its executors."""


def _executor(call: Any, name: str, takes: Any, gives: Any = None, last: Any = None) -> Any:
    call.__annotations__ = {"ctx": lib.WorkflowContext}
    return lib.FunctionExecutor(call, name, input=takes, output=gives, workflow_output=last)


class AgentFramework(Contender):
    """See the module."""

    name = "Agent Framework"
    kind = "peer"
    distribution = "agent-framework-core"
    import_name = "agent_framework"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        def build() -> Any:
            made = [
                _executor(
                    _updates(body.on_mapping, last=i == nodes - 1),
                    f"n{i}",
                    dict,
                    *((None, dict) if i == nodes - 1 else (dict,)),
                )
                for i in range(nodes)
            ]
            builder = lib.WorkflowBuilder(start_executor=made[0], max_iterations=nodes + 1)
            for before, after in itertools.pairwise(made):
                builder.add_edge(before, after)
            return builder.build()

        return _run(build, lambda: dict(given))

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps a history for checkpoints only")
        if others:
            raise CannotExpressError("builds in a time that grows with the square of its executors")

        def build() -> Any:
            async def turn(state: Any, ctx: Any) -> None:
                merge(state, await ADD_ONE.on_mapping(state))
                if state["n"] < turns:
                    await ctx.send_message(state)
                else:
                    await ctx.yield_output(state)

            made = _executor(turn, "turn", dict, dict, dict)
            builder = lib.WorkflowBuilder(start_executor=made, max_iterations=turns + 1)
            return builder.add_edge(made, made).build()

        return _run(build, lambda: {"n": 0})

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        if limit is not None:
            raise CannotExpressError("has no limit for branches")
        if branches > _MOST_EXECUTORS:
            raise CannotExpressError("takes an executor for each branch, and minutes to build them")

        def one(i: int) -> Any:
            async def branch(message: Any, ctx: Any) -> None:
                await ctx.send_message((await body(i))["items"])

            return branch

        return _fan([[one(i)] for i in range(branches)])

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        def append(node: Node) -> Any:
            async def act(items: Any, ctx: Any) -> None:
                writes = await node({})
                await ctx.send_message([*items, *(writes or {})["items"]])

            return act

        return _fan([[append(node) for node in nodes] for nodes in bodies])


def _updates(node: Node, *, last: bool) -> Any:
    async def update(state: Any, ctx: Any) -> None:
        merge(state, await node(state))
        await (ctx.yield_output(state) if last else ctx.send_message(state))

    return update


def _fan(lines: Sequence[Sequence[Any]]) -> Run:
    """Lines of executors side by side, whose lists are put one behind the other."""

    def build() -> Any:
        async def fan_out(message: Any, ctx: Any) -> None:
            await ctx.send_message([])

        async def gather(found: Any, ctx: Any) -> None:
            await ctx.yield_output({"items": [item for items in found for item in items]})

        source = _executor(fan_out, "fan_out", dict, list)
        target = _executor(gather, "gather", list[list[Any]], None, dict)
        made = [
            [_executor(call, f"n{b}_{k}", list, list) for k, call in enumerate(calls)]
            for b, calls in enumerate(lines)
        ]
        builder = lib.WorkflowBuilder(start_executor=source)
        if len(made) == 1:
            builder.add_edge(source, made[0][0]).add_edge(made[0][-1], target)
        else:
            builder.add_fan_out_edges(source, [line[0] for line in made])
            builder.add_fan_in_edges([line[-1] for line in made], target)
        for line in made:
            for before, after in itertools.pairwise(line):
                builder.add_edge(before, after)
        return builder.build()

    return _run(build, dict)


def _run(build: Callable[[], Any], given: Callable[[], Any]) -> Run:
    free: list[Any] = [build()]

    async def run() -> State:
        workflow = free.pop() if free else build()
        result = await workflow.run(given())
        free.append(workflow)
        (state,) = result.get_outputs()
        return state  # type: ignore[no-any-return]

    return run


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [AgentFramework()]
