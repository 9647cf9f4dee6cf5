"""A bell wakes all who wait for it, once."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from plait.bell import Bell


async def hear(bell: Bell) -> None:
    await bell.wait()


each_loop = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@each_loop
def test_a_bell_wakes_all_who_wait_and_holds_up_nobody_afterwards(backend: str) -> None:
    woken: list[int] = []

    async def main() -> None:
        bell = Bell()

        async def wait(number: int) -> None:
            await bell.wait()
            woken.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            assert woken == []
            bell.ring()
        await bell.wait()

    anyio.run(main, backend=backend)
    assert sorted(woken) == [0, 1, 2]


@each_loop
def test_a_bell_that_rang_before_anybody_waited_holds_up_nobody(backend: str) -> None:
    async def main() -> bool:
        bell = Bell()
        bell.ring()
        bell.ring()
        await bell.wait()
        return bell.has_rung

    assert anyio.run(main, backend=backend)


@each_loop
def test_who_is_cancelled_waits_no_longer_and_is_in_nobodys_way(backend: str) -> None:
    async def main() -> bool:
        bell = Bell()
        with anyio.move_on_after(0) as scope:
            await bell.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(hear, bell)
            await anyio.wait_all_tasks_blocked()
            bell.ring()
        return scope.cancelled_caught

    assert anyio.run(main, backend=backend)


async def test_a_task_that_is_cancelled_from_outside_leaves_the_others_waiting() -> None:
    bell = Bell()
    one, other = [asyncio.create_task(hear(bell)) for _ in range(2)]
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    assert not other.done()
    bell.ring()
    await other
    assert one.cancelled()
