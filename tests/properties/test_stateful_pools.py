"""Named pools, shared by any number of runs, against a count of who is where.

After every step exactly as many calls run in a pool as fit into it and want to: never more, and
never fewer while somebody waits, whatever has failed or been cancelled. At the end all is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plait import END, START, Flow, Graph, NodeContext, NodeError, RunResult, Send
from tests.kernel.build import Work
from tests.properties.stepping import Held, Stepper

BOOM = ValueError("boom")
POOLS: tuple[str, ...] = ("p", "q")


class Call(Held):
    """A call of a node of the pool ``name``, in one branch of one run."""

    def __init__(self, name: str, run: int, branch: int) -> None:
        super().__init__(name)
        self.run = run
        self.branch = branch


class Pools(RuleBasedStateMachine):
    """Runs of two nodes in a row, the first in pool p, the second in pool q."""

    @initialize(sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)))
    def begin(self, sizes: tuple[int, int]) -> None:
        self.stepper = Stepper()
        self.limiters = dict(zip(POOLS, self.stepper.step(self.make(sizes)), strict=True))
        self.calls: list[Call] = []
        self.tasks: list[asyncio.Task[RunResult[Any]]] = []
        self.places: dict[tuple[int, int], str] = {}
        self.flows = {handling: self.flow(handling) for handling in ("raise", "record")}
        self.handling: list[str] = []

    async def make(self, sizes: tuple[int, int]) -> list[anyio.CapacityLimiter]:
        return [anyio.CapacityLimiter(size) for size in sizes]

    def flow(self, handling: Any) -> Flow[Any]:
        async def work(_argument: Any, ctx: NodeContext) -> None:
            with self.going_on(Call(ctx.node, ctx.context, ctx.branch[-1])) as call:
                await call.wait()

        made = Graph(Work)
        for pool in POOLS:
            made.add_node(pool, work, pool=pool, on_error=handling)
        made.add_edge("p", "q").add_edge("q", END)
        made.add_conditional_edges(START, lambda state: [Send("p")] * state["sum"], ["p"])
        return made.compile(pools=self.limiters)

    @contextmanager
    def going_on(self, call: Call) -> Iterator[Call]:
        self.calls.append(call)
        try:
            yield call
        finally:
            self.calls.remove(call)

    # -- rules --------------------------------------------------------------------------------

    @rule(width=st.integers(1, 4), handling=st.sampled_from(["raise", "record"]))
    def start(self, width: int, handling: str) -> None:
        number = len(self.tasks)
        self.handling.append(handling)
        self.places |= {(number, branch): "p" for branch in range(width)}
        flow = self.flows[handling]
        self.tasks.append(self.stepper.begin(flow.run({"sum": width}, context=number)))

    @precondition(lambda self: self.calls)
    @rule(number=st.integers(0, 9))
    def finish(self, number: int) -> None:
        call = self.calls[number % len(self.calls)]
        if call.name == "p":
            self.places[call.run, call.branch] = "q"
        else:
            del self.places[call.run, call.branch]
        self.stepper.step(call.end())

    @precondition(lambda self: self.calls)
    @rule(number=st.integers(0, 9))
    def fail(self, number: int) -> None:
        call = self.calls[number % len(self.calls)]
        if self.handling[call.run] == "raise":
            self.forget(call.run)
        else:
            del self.places[call.run, call.branch]
        self.stepper.step(call.end(BOOM))

    @precondition(lambda self: self.places)
    @rule(number=st.integers(0, 9), times=st.integers(1, 3))
    def cancel(self, number: int, times: int) -> None:
        alive = sorted({run for run, _ in self.places})
        run = alive[number % len(alive)]
        self.forget(run)
        self.stepper.cancel(self.tasks[run], times)

    def forget(self, run: int) -> None:
        self.places = {key: place for key, place in self.places.items() if key[0] != run}

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def as_many_run_as_fit_and_want_to(self) -> None:
        for name, limiter in self.limiters.items():
            want = list(self.places.values()).count(name)
            inside = sum(call.name == name for call in self.calls)
            assert inside == limiter.borrowed_tokens == min(want, int(limiter.total_tokens))
            assert limiter.statistics().tasks_waiting == want - inside

    @invariant()
    def a_run_is_over_when_none_of_its_branches_is_left(self) -> None:
        alive = {run for run, _ in self.places}
        assert {run for run, task in enumerate(self.tasks) if not task.done()} == alive

    def teardown(self) -> None:
        if not hasattr(self, "flows"):
            return
        while self.calls:
            self.finish(0)
            self.as_many_run_as_fit_and_want_to()
        assert not self.places
        for task in self.tasks:
            if not task.cancelled():
                error = task.exception()
                assert error is None or isinstance(error, NodeError)
        self.stepper.close()


TestPools = Pools.TestCase
TestPools.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
