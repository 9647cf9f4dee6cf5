"""Bare anyio: a task group, a task for each node, the state a dict.

What the plain way to write the same program with structured concurrency costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.abc

from benchmarks.bodies import ADD_ONE, Body, Item, Node, State, Writes, merge

from .base import CannotExpressError, Contender, Run


async def _call(node: Node, state: State, slots: list[Writes | None]) -> None:
    slots[0] = await node(state)


async def _step(state: dict[str, Any], node: Node) -> None:
    slots: list[Writes | None] = [None]
    async with anyio.create_task_group() as group:
        group.start_soon(_call, node, state, slots)
    merge(state, slots[0])


class BareAnyio(Contender):
    """See the module."""

    name = "bare anyio"
    kind = "floor"
    distribution = "anyio"

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        async def run() -> State:
            state = dict(given)
            for _ in range(nodes):
                await _step(state, body.on_mapping)
            return state

        return run

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        if history:
            raise CannotExpressError("keeps no history")
        if others:
            raise CannotExpressError("has no graph")

        async def run() -> State:
            state = {"n": 0}
            while state["n"] < turns:
                await _step(state, ADD_ONE.on_mapping)
            return state

        return run

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        async def branch(i: int, slots: list[Writes | None]) -> None:
            slots[i] = await body(i)

        async def limited(
            i: int, slots: list[Writes | None], limiter: anyio.CapacityLimiter
        ) -> None:
            async with limiter:
                slots[i] = await body(i)

        async def run() -> State:
            state: dict[str, Any] = {"items": []}
            slots: list[Writes | None] = [None] * branches
            limiter = None if limit is None else anyio.CapacityLimiter(limit)
            async with anyio.create_task_group() as group:
                for i in range(branches):
                    if limiter is None:
                        group.start_soon(branch, i, slots)
                    else:
                        group.start_soon(limited, i, slots, limiter)
            for writes in slots:
                merge(state, writes)
            return state

        return run

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        async def step(
            group: anyio.abc.TaskGroup,
            nodes: Sequence[Node],
            view: dict[str, Any],
            delta: list[Writes | None],
        ) -> None:
            writes = await nodes[len(delta)](view)
            merge(view, writes)
            delta.append(writes)
            if len(delta) < len(nodes):
                group.start_soon(step, group, nodes, view, delta)

        async def run() -> State:
            state: dict[str, Any] = {"items": []}
            deltas: list[list[Writes | None]] = [[] for _ in bodies]
            async with anyio.create_task_group() as group:
                for nodes, delta in zip(bodies, deltas, strict=True):
                    group.start_soon(step, group, nodes, {"items": []}, delta)
            for delta in deltas:
                for writes in delta:
                    merge(state, writes)
            return state

        return run


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [BareAnyio()]
