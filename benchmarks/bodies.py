"""The state and the node bodies that every contender runs, word for word the same.

A body is a plain ``async def`` of the state (or of the argument of its branch) that returns a
mapping of writes. What differs between contenders is only what carries the state from one body to
the next, and that is what is measured.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypedDict

import pydantic

Writes: TypeAlias = Mapping[str, Any]
State: TypeAlias = Mapping[str, Any]
Node: TypeAlias = Callable[[Any], Awaitable["Writes | None"]]
Item: TypeAlias = Callable[[int], Awaitable[Writes]]


class Work(TypedDict, total=False):
    """The state of every workload."""

    n: int
    data: list[int]
    items: Annotated[list[int], operator.add]


class WorkModel(pydantic.BaseModel):
    """The same as a pydantic model, whose writes are validated where the contender does so."""

    n: int = 0
    data: list[int] = []
    items: Annotated[list[int], operator.add] = []


class Tally:
    """Counts the calls of a body that writes nothing, so that its work can be checked."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


@dataclass(frozen=True, slots=True)
class Body:
    """One body, for a state that is a mapping and for one that is an object."""

    on_mapping: Node
    on_object: Node


def no_op(tally: Tally) -> Body:
    """A body that writes nothing."""

    async def count(state: Any) -> None:
        tally.calls += 1

    return Body(count, count)


async def _add_one(state: State) -> Writes:
    return {"n": state["n"] + 1}


async def _add_one_to_object(state: WorkModel) -> Writes:
    return {"n": state.n + 1}


async def _add_one_later(state: State) -> Writes:
    await asyncio.sleep(0)
    return {"n": state["n"] + 1}


async def _add_one_to_object_later(state: WorkModel) -> Writes:
    await asyncio.sleep(0)
    return {"n": state.n + 1}


ADD_ONE = Body(_add_one, _add_one_to_object)
"""Adds one to ``n``; does not suspend."""
ADD_ONE_LATER = Body(_add_one_later, _add_one_to_object_later)
"""Adds one to ``n`` after one turn of the event loop."""


async def item(i: int) -> Writes:
    """Write the branch's number; does not suspend."""
    return {"items": [i]}


def meeting(size: int) -> Item:
    """A body that waits until ``size`` branches wait at the same time."""
    waiting = 0
    all_there: asyncio.Future[None] | None = None

    async def meet(i: int) -> Writes:
        nonlocal waiting, all_there
        if all_there is None:
            all_there = asyncio.get_running_loop().create_future()
        here = all_there
        waiting += 1
        if waiting == size:
            waiting, all_there = 0, None
            here.set_result(None)
        await here
        return {"items": [i]}

    return meet


def write_item(i: int) -> Node:
    """A body that writes the number ``i``; does not suspend."""

    async def write(state: Any) -> Writes:
        return {"items": [i]}

    return write


def write_item_after(seconds: float, i: int) -> Node:
    """A body that writes the number ``i`` after some seconds."""

    async def write(state: Any) -> Writes:
        await asyncio.sleep(seconds)
        return {"items": [i]}

    return write


def merge(state: dict[str, Any], writes: Writes | None) -> None:
    """What the floors merge by: ``items`` grow, everything else is replaced."""
    if writes is not None:
        for name, value in writes.items():
            if name == "items":
                state["items"].extend(value)
            else:
                state[name] = value
