"""Bare BSP: lock-step rounds, an asyncio TaskGroup for each, the state a dict.

What a framework of supersteps costs at least (bulk-synchronous parallel: Valiant, *A bridging model
for parallel computation*, CACM 33(8), 1990).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, Writes, merge

from .base import CannotExpressError, Contender, Run


async def _round(state: dict[str, Any], calls: Sequence[Coroutine[Any, Any, Any]]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    for task in tasks:
        merge(state, task.result())


class BareBSP(Contender):
    """See the module."""

    name = "bare BSP"
    kind = "floor"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        node: Any = body.on_mapping

        async def run() -> State:
            state = dict(given)
            for _ in range(nodes):
                await _round(state, [node(state)])
            return state

        return run

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps no history")
        if others:
            raise CannotExpressError("has no graph")
        node: Any = ADD_ONE.on_mapping

        async def run() -> State:
            state = {"n": 0}
            while state["n"] < turns:
                await _round(state, [node(state)])
            return state

        return run

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        function: Any = body

        async def limited(i: int, semaphore: asyncio.Semaphore) -> Writes:
            async with semaphore:
                return await body(i)

        async def run() -> State:
            state: dict[str, Any] = {"items": []}
            semaphore = asyncio.Semaphore(limit or 1)
            await _round(
                state,
                [function(i) if limit is None else limited(i, semaphore) for i in range(branches)],
            )
            return state

        return run

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        levels: list[tuple[Any, ...]] = list(itertools.zip_longest(*bodies))

        async def run() -> State:
            state: dict[str, Any] = {"items": []}
            for level in levels:
                await _round(state, [node(state) for node in level if node is not None])
            return state

        return run


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [BareBSP()]
