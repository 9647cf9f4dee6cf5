"""Bare asyncio: a task for each linear stretch, plain awaits within it, the state a dict.

The least that any scheduler on asyncio can cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, Writes, merge

from .base import CannotExpressError, Contender, Run


class BareAsyncio(Contender):
    """See the module."""

    name = "bare asyncio"
    kind = "floor"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        node = body.on_mapping

        async def run() -> State:
            state = dict(given)
            for _ in range(nodes):
                merge(state, await node(state))
            return state

        return run

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps no history")
        if others:
            raise CannotExpressError("has no graph")
        node = ADD_ONE.on_mapping

        async def run() -> State:
            state = {"n": 0}
            while state["n"] < turns:
                merge(state, await node(state))
            return state

        return run

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        async def limited(i: int, semaphore: asyncio.Semaphore) -> Writes:
            async with semaphore:
                return await body(i)

        async def run() -> State:
            state: dict[str, Any] = {"items": []}
            semaphore = asyncio.Semaphore(limit or 1)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_task(body(i)) if limit is None else limited(i, semaphore))
                    for i in range(branches)
                ]
            for task in tasks:
                merge(state, task.result())
            return state

        return run

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        async def line(nodes: Sequence[Node], base: State) -> list[Writes | None]:
            view = {**base, "items": []}
            delta = []
            for node in nodes:
                writes = await node(view)
                merge(view, writes)
                delta.append(writes)
            return delta

        async def run() -> State:
            state: dict[str, Any] = {"items": []}
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(line(nodes, state)) for nodes in bodies]
            for task in tasks:
                for writes in task.result():
                    merge(state, writes)
            return state

        return run


async def _task(body: Any) -> Any:
    """``create_task`` wants a coroutine, and a body may be any awaitable."""
    return await body


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [BareAsyncio()]
