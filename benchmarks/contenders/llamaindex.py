"""LlamaIndex Workflows, on its basic runtime.

Steps are wired by the types of the events that they take and give, so there is an event type for
each edge; what flows is carried in the events.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, merge

from .base import CannotExpressError, Contender, Run

lib: Any = importlib.import_module("workflows")
events: Any = importlib.import_module("workflows.events")
Start: Any = events.StartEvent
Stop: Any = events.StopEvent


def _event(name: str, **fields: Any) -> Any:
    return type(name, (events.Event,), {"__annotations__": fields, "__module__": __name__})


def _add_step(flow: Any, name: str, call: Any, takes: Any, gives: Any, workers: int = 1) -> None:
    """Give a workflow class a step; the annotations are what wires it."""
    call.__name__ = call.__qualname__ = name
    call.__annotations__ = {"ctx": lib.Context, "ev": takes, "return": gives}
    lib.step(workflow=flow, num_workers=workers)(call)


def _workflow() -> Any:
    return type("Work", (lib.Workflow,), {"__module__": __name__})


class LlamaIndex(Contender):
    """See the module."""

    name = "LlamaIndex Workflows"
    kind = "peer"
    distribution = "llama-index-workflows"
    import_name = "workflows"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        flow = _workflow()
        between = [_event(f"Edge{i}", state=dict) for i in range(nodes - 1)]
        # The state is in the event that starts the run, since it takes any field.
        for i, (takes, gives) in enumerate(zip([Start, *between], [*between, Stop], strict=True)):
            _add_step(flow, f"n{i}", _updates(body.on_mapping, gives), takes, gives)
        workflow = flow(timeout=None)

        async def run() -> State:
            state: State = await workflow.run(state=dict(given))
            return state

        return run

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps no history")
        flow, again = _workflow(), _event("Again", state=dict)

        async def turn(ctx: Any, ev: Any) -> Any:
            state = ev.state
            merge(state, await ADD_ONE.on_mapping(state))
            return again(state=state) if state["n"] < turns else Stop(result=state)

        elsewhere = [_event(f"Edge{i}", state=dict) for i in range(others)]
        for i, (takes, gives) in enumerate(zip(elsewhere, [*elsewhere[1:], Stop], strict=False)):
            _add_step(flow, f"n{i}", _updates(ADD_ONE.on_mapping, gives), takes, gives)
        to = again | elsewhere[0] | Stop if elsewhere else again | Stop
        _add_step(flow, "turn", turn, Start | again, to)
        workflow = flow(timeout=None)

        async def run() -> State:
            state: State = await workflow.run(state={"n": 0})
            return state

        return run

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        flow = _workflow()
        sent, done = _event("Sent", i=int), _event("Done", i=int, found=list)

        async def fan_out(ctx: Any, ev: Any) -> Any:
            for i in range(branches):
                ctx.send_event(sent(i=i))

        async def branch(ctx: Any, ev: Any) -> Any:
            return done(i=ev.i, found=(await body(ev.i))["items"])

        _add_step(flow, "fan_out", fan_out, Start, sent | None)
        _add_step(flow, "branch", branch, sent, done, workers=limit or branches)
        _add_step(flow, "gather", _gather(done, branches), done, Stop | None)
        return self._gathered(flow)

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        flow, depth = _workflow(), len(bodies[0])
        levels = [_event(f"Level{k}", i=int, found=list) for k in range(depth + 1)]

        async def fan_out(ctx: Any, ev: Any) -> Any:
            for b in range(len(bodies)):
                ctx.send_event(levels[0](i=b, found=[]))

        def level(k: int) -> Any:
            async def act(ctx: Any, ev: Any) -> Any:
                writes = await bodies[ev.i][k]({})
                return levels[k + 1](i=ev.i, found=[*ev.found, *(writes or {})["items"]])

            return act

        _add_step(flow, "fan_out", fan_out, Start, levels[0] | None)
        for k in range(depth):
            _add_step(flow, f"n{k}", level(k), levels[k], levels[k + 1], workers=len(bodies))
        _add_step(flow, "gather", _gather(levels[-1], len(bodies)), levels[-1], Stop | None)
        return self._gathered(flow)

    def _gathered(self, flow: Any) -> Run:
        workflow = flow(timeout=None)

        async def run() -> State:
            return {"items": await workflow.run()}

        return run


def _updates(node: Node, gives: Any) -> Any:
    async def update(ctx: Any, ev: Any) -> Any:
        state = ev.state
        merge(state, await node(state))
        return gives(result=state) if gives is Stop else gives(state=state)

    return update


def _gather(done: Any, branches: int) -> Any:
    """A step that waits for all events of a type, and puts them in the order of the branches."""

    async def gather(ctx: Any, ev: Any) -> Any:
        found = ctx.collect_events(ev, [done] * branches)
        if found is None:
            return None
        ordered = sorted(found, key=lambda each: each.i)
        return Stop(result=[item for each in ordered for item in each.found])

    return gather


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [LlamaIndex()]
