"""A pool's resources: all or nothing, in order, given back always, and never a deadlock."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from plait.agents import (
    Budget,
    Capacity,
    Rate,
    Reservation,
    ReservationDeadlock,
    ResourcePool,
    ResourceUnavailableError,
)
from plait.testing import VirtualClock

Log = list[str]
Body = Callable[[], Awaitable[Any]]


def run(body: Body) -> float:
    """Run a body in virtual time; gives the seconds that it took."""
    clock = VirtualClock()

    async def main() -> None:
        await body()

    clock.run(main())
    return clock.now


async def reserve(pool: ResourcePool) -> Reservation:
    """Reserve the one cpu, as a coroutine of which a task can be made."""
    return await pool.reserve(cpu=1)


async def hold(pool: ResourcePool, log: list[str], name: str, seconds: float, **units: Any) -> None:
    """Hold units for some time, and log when they were had."""
    async with pool.reserve(**units):
        log.append(f"{name} {anyio.current_time():g}")
        await anyio.sleep(seconds)


# -- kinds of units ---------------------------------------------------------------------------


def test_a_name_says_what_kind_a_unit_is() -> None:
    pool = ResourcePool(cpu=2, tokens_per_minute=90, calls_per_second=1.5, dollars=3)
    assert pool.units == {
        "cpu": Capacity(2),
        "tokens_per_minute": Rate(90, 60.0),
        "calls_per_second": Rate(1.5, 1.0),
        "dollars": Budget(3),
    }


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), True, "2", None, 1e-12])
def test_what_is_no_amount_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match="cpu="):
        ResourcePool(cpu=amount)
    with pytest.raises(ValueError, match="cpu="):
        ResourcePool(cpu=2).reserve(cpu=amount)


def test_an_unknown_unit_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ValueError, match="no 'cup'; it has cpu, memory"):
        ResourcePool(cpu=2, memory=4).reserve(cup=1)


def test_a_rate_comes_back_by_the_clock() -> None:
    async def body() -> None:
        pool = ResourcePool(tokens_per_minute=60)
        async with pool.reserve(tokens_per_minute=60):
            pass
        async with pool.reserve(tokens_per_minute=45):
            assert anyio.current_time() == pytest.approx(45, abs=1e-3)
        await anyio.sleep(10)
        assert pool.free["tokens_per_minute"] == pytest.approx(10, abs=1e-3)

    run(body)


def test_a_burst_bounds_what_can_be_taken_at_once() -> None:
    async def body() -> None:
        pool = ResourcePool(calls=Rate(60, seconds=60, burst=2))
        log: list[str] = []
        for number in range(4):
            await hold(pool, log, str(number), 0, calls=1)
        assert log == ["0 0", "1 0", "2 1", "3 2"]
        with pytest.raises(ResourceUnavailableError, match="there are 2 calls in all"):
            await pool.reserve(calls=3)

    run(body)


def test_a_rate_that_is_held_back_gives_nothing_before_its_time() -> None:
    async def body() -> None:
        pool = ResourcePool(requests_per_minute=60, cpu=1)
        pool.hold_back("requests_per_minute", 20)
        async with pool.reserve(requests_per_minute=1):
            assert anyio.current_time() == 20
        with pytest.raises(ValueError, match="cpu is a capacity"):
            pool.hold_back("cpu", 1)

    run(body)


def test_a_budget_is_spent_by_what_is_settled() -> None:
    async def body() -> None:
        pool = ResourcePool(dollars=1)
        async with pool.reserve(dollars=0.6) as taken:
            taken.settle(dollars=0.1)
            assert pool.free == {"dollars": 0.9}
        async with pool.reserve(dollars=0.3):  # not settled: counted as spent
            pass
        assert pool.statistics()["dollars"].spent == 0.4
        with pytest.raises(ResourceUnavailableError, match="the rest of the dollars is spent"):
            await pool.reserve(dollars=0.7)

    run(body)


def test_who_waits_for_a_budget_is_told_when_it_is_gone() -> None:
    async def body() -> None:
        pool = ResourcePool(dollars=1)
        taken = await pool.reserve(dollars=1)
        async with anyio.create_task_group() as group:

            async def later() -> None:
                with pytest.raises(ResourceUnavailableError, match="spent"):
                    await pool.reserve(dollars=0.5)

            group.start_soon(later)
            await anyio.sleep(1)
            assert pool.waiting == 1
            taken.settle(dollars=0.8)
            assert pool.waiting == 1  # it may yet be settled for less
            taken.release()
            assert pool.waiting == 0

    run(body)


def test_true_use_beyond_the_estimate_is_owed() -> None:
    async def body() -> None:
        pool = ResourcePool(tokens_per_minute=60)
        async with pool.reserve(tokens_per_minute=10) as taken:
            taken.settle(tokens_per_minute=90)
        assert pool.free["tokens_per_minute"] == pytest.approx(-30)
        async with pool.reserve(tokens_per_minute=1):
            assert anyio.current_time() == pytest.approx(31, abs=1e-3)

    run(body)


def test_a_capacity_cannot_be_settled_nor_can_what_is_over() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=2, dollars=1)
        async with pool.reserve(cpu=1, dollars=0.5) as taken:
            with pytest.raises(ValueError, match="cpu is given back whole"):
                taken.settle(dollars=0.1, cpu=0)
        assert pool.free == {"cpu": 2, "dollars": 0.5}  # nothing of it was settled
        with pytest.raises(ValueError, match="over"):
            taken.settle(dollars=0)

    run(body)


# -- all or nothing, in order -----------------------------------------------------------------


def test_a_reservation_takes_all_units_or_none() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=2, gpu=1)
        await pool.reserve(gpu=1)
        with pytest.raises(ResourceUnavailableError, match=r"not within 3 s .*2 cpu"):
            await pool.reserve(cpu=1, gpu=1, timeout=3)
        assert pool.free == {"cpu": 2, "gpu": 0}

    assert run(body) == 3


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    async def body() -> None:
        pool, log = ResourcePool(cpu=4), Log()
        async with anyio.create_task_group() as group:
            for name, seconds, cpu in (("a", 2, 3), ("big", 1, 4), ("b", 1, 1), ("c", 1, 1)):
                group.start_soon(partial(hold, pool, log, name, seconds, cpu=cpu))
                await anyio.sleep(0.1)
        assert [line.split()[0] for line in log] == ["a", "big", "b", "c"]

    run(body)


def test_who_waits_holds_up_nobody_who_wants_other_units() -> None:
    async def body() -> None:
        pool, log = ResourcePool(cpu=1, gpu=1), Log()
        async with anyio.create_task_group() as group:
            _start(group, pool, log, "first", cpu=1)
            _start(group, pool, log, "second", cpu=1)
            _start(group, pool, log, "third", gpu=1)
        assert log == ["first 0", "third 0", "second 1"]

    run(body)


def _start(group: TaskGroup, pool: ResourcePool, log: list[str], name: str, **units: Any) -> None:
    group.start_soon(partial(hold, pool, log, name, 1, **units))


def test_more_than_there_is_is_refused_at_once() -> None:
    async def body() -> None:
        with pytest.raises(ResourceUnavailableError, match="there are 4 cpu in all") as caught:
            await ResourcePool(cpu=4).reserve(cpu=5)
        assert caught.value.wanted == {"cpu": 5}
        assert caught.value.free == {"cpu": 4}

    assert run(body) == 0


def test_a_timeout_of_zero_does_not_wait() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=1)
        held = await pool.reserve(cpu=1, timeout=0)
        with pytest.raises(ResourceUnavailableError):
            await pool.reserve(cpu=1, timeout=0)
        held.release()
        held.release()
        assert pool.free == {"cpu": 1}
        assert pool.waiting == 0

    assert run(body) == 0


def test_results_can_be_handed_back_while_everything_else_is_taken() -> None:
    async def body() -> None:
        pool = ResourcePool(slots=3, kept_back={"slots": 1})
        with pytest.raises(ResourceUnavailableError, match="2 slots in all for this"):
            await pool.reserve(slots=3)
        await pool.reserve(slots=2)
        with pytest.raises(ResourceUnavailableError):
            await pool.reserve(slots=1, timeout=1)
        async with pool.reserve(slots=1, handing_back=True):
            assert pool.free == {"slots": 0}

    assert run(body) == 1


def test_who_hands_back_uses_up_what_is_kept_first() -> None:
    async def body() -> None:
        pool = ResourcePool(slots=3, kept_back={"slots": 1})
        for handing_back in (True, False, False):
            await pool.reserve(slots=1, timeout=0, handing_back=handing_back)
        assert pool.free == {"slots": 0}

    run(body)


def test_only_a_capacity_can_be_kept_back() -> None:
    with pytest.raises(ValueError, match="dollars cannot be kept back"):
        ResourcePool(dollars=2, kept_back={"dollars": 1})


def test_all_of_a_unit_cannot_be_kept_back() -> None:
    with pytest.raises(ValueError, match="all of slots"):
        ResourcePool(slots=1, kept_back={"slots": 1})


def test_the_peak_is_remembered() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=4)
        async with pool.reserve(cpu=1), pool.reserve(cpu=2):
            pass
        unit = pool.statistics()["cpu"]
        assert (unit.peak, unit.in_use, unit.free, unit.capacity) == (3, 0, 4, 4)

    run(body)


# -- nested -----------------------------------------------------------------------------------


def test_what_only_the_holder_itself_could_give_back_is_refused() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=4)
        async with pool.reserve(cpu=3):
            with pytest.raises(ReservationDeadlock, match=r"while \{'cpu': 3.0\} is held"):
                await pool.reserve(cpu=2)
            async with pool.reserve(cpu=1):
                pass
        assert pool.free == {"cpu": 4}

    assert run(body) == 0


def test_a_nested_reservation_goes_before_those_who_wait_for_its_holder() -> None:
    async def body() -> None:
        pool, log = ResourcePool(cpu=4), Log()
        async with anyio.create_task_group() as group:

            async def holder() -> None:
                async with pool.reserve(cpu=2):
                    await anyio.sleep(1)
                    await hold(pool, log, "nested", 1, cpu=1)

            group.start_soon(holder)
            await anyio.sleep(0.5)
            _start(group, pool, log, "outer", cpu=4)
        assert log == ["nested 1", "outer 2"]

    run(body)


def test_a_holder_goes_past_another_one_that_waits_for_it() -> None:
    async def body() -> None:
        pool, log = ResourcePool(cpu=4), Log()

        async def holder(name: str, more: int, after: float) -> None:
            async with pool.reserve(cpu=1):
                await anyio.sleep(after)
                await hold(pool, log, name, 1, cpu=more)

        async with anyio.create_task_group() as group:
            group.start_soon(holder, "large", 3, 1)
            group.start_soon(holder, "small", 1, 2)
        assert log == ["small 2", "large 3"]

    run(body)


def test_of_two_holders_who_want_what_the_other_has_the_last_is_refused() -> None:
    async def body() -> None:
        one, other = ResourcePool(cpu=1), ResourcePool(gpu=1)
        ended: list[str] = []

        async def take(first: ResourcePool, second: ResourcePool, a: str, b: str) -> None:
            async with first.reserve({a: 1}):
                await anyio.sleep(1)
                try:
                    async with second.reserve({b: 1}):
                        ended.append(f"had {b}")
                except ReservationDeadlock:
                    ended.append(f"refused {b}")

        async with anyio.create_task_group() as group:
            group.start_soon(take, one, other, "cpu", "gpu")
            group.start_soon(take, other, one, "gpu", "cpu")
        assert ended == ["refused cpu", "had gpu"]

    assert run(body) == 1


def test_a_task_started_in_a_block_is_inside_of_it() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=1)
        async with pool.reserve(cpu=1), anyio.create_task_group() as group:

            async def child() -> None:
                with pytest.raises(ReservationDeadlock):
                    await pool.reserve(cpu=1)

            group.start_soon(child)

    assert run(body) == 0


def test_within_names_a_holder_that_is_no_block() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=1)
        agent = await pool.reserve(cpu=1)
        with pytest.raises(ReservationDeadlock):
            await pool.reserve(cpu=1, within=agent)
        with pytest.raises(ReservationDeadlock), agent.inside():
            await pool.reserve(cpu=1)
        agent.release()
        (await pool.reserve(cpu=1, within=agent)).release()

    assert run(body) == 0


def test_a_nested_wait_for_the_clock_is_no_deadlock() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=1, calls_per_second=1)
        async with pool.reserve(cpu=1, calls_per_second=1), pool.reserve(calls_per_second=1):
            assert anyio.current_time() == pytest.approx(1, abs=1e-3)

    run(body)


# -- cancellation -----------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_at_any_turn_of_the_loop_everything_is_given_back(
    turns: int, times: int
) -> None:
    pool = ResourcePool(cpu=2, gpu=1)

    async def work() -> None:
        async with pool.reserve(cpu=1):
            await anyio.lowlevel.checkpoint()
            async with pool.reserve(cpu=1, gpu=1, timeout=1):
                await anyio.lowlevel.checkpoint()

    other = await pool.reserve(gpu=1)
    task = asyncio.ensure_future(work())
    for turn in range(turns):
        await asyncio.sleep(0)
        if turn == 4:
            other.release()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    other.release()
    await asyncio.wait([task])
    assert pool.free == {"cpu": 2, "gpu": 1}
    assert pool.waiting == 0
    assert not pool.reservations


async def test_a_reservation_that_is_granted_and_cancelled_at_once_goes_to_the_next() -> None:
    pool = ResourcePool(cpu=1)
    held = await pool.reserve(cpu=1)
    first = asyncio.ensure_future(reserve(pool))
    second = asyncio.ensure_future(reserve(pool))
    await asyncio.sleep(0)
    held.release()  # granted to the first, which has not had its turn yet
    first.cancel()
    (await second).release()
    assert first.cancelled()
    assert pool.free == {"cpu": 1}


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_works_on_every_backend(anyio_backend: str) -> None:
    pool = ResourcePool(cpu=1, calls_per_second=100)
    log: list[str] = []
    async with anyio.create_task_group() as group:
        for number in range(3):

            async def holding(name: str = str(number)) -> None:
                async with pool.reserve(cpu=1, calls_per_second=50):
                    log.append(name)

            group.start_soon(holding)
    assert sorted(log) == ["0", "1", "2"]
    assert pool.free["cpu"] == 1
