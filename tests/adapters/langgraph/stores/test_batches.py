"""What is asked for at the same time is carried out in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from plait_adapters.langgraph.store.base import GetOp, Op, Result
from plait_adapters.langgraph.store.base.batch import AsyncBatchedBaseStore
from plait_adapters.langgraph.store.memory import InMemoryStore


class Counting(AsyncBatchedBaseStore):
    def __init__(self) -> None:
        super().__init__()
        self.inner = InMemoryStore()
        self.batches: list[list[Op]] = []
        self.gate = anyio.Event()
        self.gate.set()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        self.batches.append(list(ops))
        await self.gate.wait()
        return await self.inner.abatch(self.batches[-1])


async def test_reads_of_several_tasks_are_one_batch_without_repetitions() -> None:
    store = Counting()
    store.inner.put(("a",), "k", {"x": 1})

    found = await asyncio.gather(*(store.aget(("a",), key) for key in "kkz"))

    assert store.batches == [[GetOp(("a",), "k"), GetOp(("a",), "z")]]
    assert [item and item.value for item in found] == [{"x": 1}, {"x": 1}, None]


async def test_of_several_puts_to_one_key_the_last_one_counts() -> None:
    store = Counting()

    await asyncio.gather(*(store.aput(("a",), "k", {"x": number}) for number in range(3)))

    assert len(store.batches[0]) == 1
    found = await store.aget(("a",), "k")
    assert found is not None
    assert found.value == {"x": 2}


async def test_a_task_that_is_cancelled_in_its_turn_leaves_the_others_theirs() -> None:
    store = Counting()
    store.gate = anyio.Event()
    found: list[Any] = []

    async def read() -> None:
        found.append(await store.aget(("a",), "k"))

    first = asyncio.create_task(store.aput(("a",), "k", {"x": 1}))
    await anyio.wait_all_tasks_blocked()
    second, third = asyncio.create_task(read()), asyncio.create_task(read())
    await anyio.wait_all_tasks_blocked()
    first.cancel()
    store.gate.set()
    await asyncio.gather(second, third)

    assert found == [None, None]


async def test_an_error_reaches_all_who_were_in_the_batch() -> None:
    store = Counting()

    async def fail(ops: Any) -> Any:
        raise OSError("gone")

    store.abatch = fail  # type: ignore[method-assign]
    outcomes = await asyncio.gather(
        *(store.aget(("a",), key) for key in "kz"), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [OSError, OSError]


async def test_a_synchronous_call_works_from_another_thread_and_not_from_the_loop() -> None:
    store = Counting()

    await anyio.to_thread.run_sync(lambda: store.put(("a",), "k", {"x": 1}))

    assert (await anyio.to_thread.run_sync(store.get, ("a",), "k")).value == {"x": 1}  # type: ignore[union-attr]
    with pytest.raises(asyncio.InvalidStateError, match="aget"):
        store.get(("a",), "k")
