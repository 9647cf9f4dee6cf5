"""Pools against a count of who holds what: clients that reserve, nest, settle, fail, are cancelled.

After every step nothing is above its capacity or lost, nobody waits who could be served in order,
and nobody was served before somebody who came earlier for the same. At the end, everybody has been
served or refused, and all that is given back is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plait.agents import Budget, Capacity, Rate, Reservation, ResourcePool, ResourceUnavailableError
from plait.agents.pool import Request
from plait.agents.units import EARLY
from tests.properties.stepping import Stepper

T = TypeVar("T")

UNITS: Mapping[str, Any] = {
    "cpu": Capacity(4),
    "memory": Capacity(3.3),
    "tokens": Rate(6, seconds=12, burst=5),
    "dollars": Budget(30),
}
KEPT = {"cpu": 1}

amounts = st.dictionaries(
    st.sampled_from(["cpu", "memory", "cpu", "memory", "tokens", "dollars"]),
    st.sampled_from([0.7, 1, 2, 3]),
    min_size=1,
    max_size=3,
)


class Boom(Exception):
    """What a client fails with."""


class Client:
    """Somebody who reserves, and does in its block what it is told: a task of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.held: list[Reservation] = []
        self.orders: list[Any] = []
        self.ordered = anyio.Event()

    async def order(self, *order: Any) -> None:
        self.orders.append(order)
        self.ordered.set()

    async def block(self, pool: ResourcePool, units: Mapping[str, float], options: Any) -> None:
        async with pool.reserve(units, **options) as reservation:
            self.held.append(reservation)
            try:
                await self.obey(reservation)
            finally:
                self.held.remove(reservation)

    async def obey(self, reservation: Reservation) -> None:
        while True:
            while not self.orders:
                self.ordered = anyio.Event()
                await self.ordered.wait()
            what, *given = self.orders.pop(0)
            if what == "end":
                return
            if what == "fail":
                raise Boom
            if what == "settle":
                reservation.settle(dollars=given[0])
            else:
                try:
                    await self.block(*given)
                except ResourceUnavailableError:
                    pass  # refused, and goes on with what it has


class Pools(RuleBasedStateMachine):
    """Two pools, so that deadlocks could be made between them as well."""

    @initialize()
    def begin(self) -> None:
        self.stepper = Stepper()
        self.pools = self.stepper.step(self.make())
        self.clients: list[Client] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.granted: dict[ResourcePool, dict[Reservation, tuple[float, float]]] = {
            pool: {} for pool in self.pools
        }
        self.waited: dict[ResourcePool, list[Request]] = {pool: [] for pool in self.pools}

    async def make(self) -> list[ResourcePool]:
        return [ResourcePool(kept_back=KEPT, **UNITS), ResourcePool(kept_back=KEPT, **UNITS)]

    def step(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.stepper.step(coroutine)

    def at_work(self) -> list[Client]:
        """Those who hold something and can be told what to do with it."""
        stuck = {held for pool in self.pools for r in pool._queue for held in r.holders}
        return [each for each in self.clients if each.held and each.held[-1] not in stuck]

    # -- rules --------------------------------------------------------------------------------

    @rule(
        pool=st.integers(0, 1),
        wanted=st.lists(amounts, min_size=1, max_size=3),
        timeout=st.sampled_from([None, None, None, 0, 2, 7]),
        handing_back=st.sampled_from([False, False, False, True]),
    )
    def come(self, pool: int, wanted: Any, timeout: float | None, handing_back: bool) -> None:
        for units in wanted:
            client = Client(len(self.clients))
            self.clients.append(client)
            options = {"timeout": timeout, "handing_back": handing_back}
            self.tasks.append(self.stepper.begin(client.block(self.pools[pool], units, options)))

    @precondition(lambda self: self.at_work())
    @rule(
        numbers=st.lists(st.integers(0, 9), min_size=1, max_size=3),
        pool=st.integers(0, 1),
        units=amounts,
    )
    def nest(self, numbers: list[int], pool: int, units: dict[str, float]) -> None:
        for number in numbers:
            if self.at_work():
                self.step(self.chosen(number).order("nest", self.pools[pool], units, {}))

    @precondition(lambda self: self.at_work())
    @rule(number=st.integers(0, 9), what=st.sampled_from(["end", "fail"]))
    def end(self, number: int, what: str) -> None:
        self.step(self.chosen(number).order(what))

    @precondition(lambda self: self.at_work())
    @rule(number=st.integers(0, 9), dollars=st.sampled_from([0, 0.3, 5]))
    def settle(self, number: int, dollars: float) -> None:
        self.step(self.chosen(number).order("settle", dollars))

    @precondition(lambda self: len(self.tasks) > 3)
    @rule(number=st.integers(0, 9), times=st.integers(1, 2))
    def cancel(self, number: int, times: int) -> None:
        self.stepper.cancel(self.tasks[number % len(self.tasks)], times)

    @rule(seconds=st.sampled_from([1, 5, 20]), held_back=st.sampled_from([None, None, 0, 1]))
    def wait(self, seconds: float, held_back: int | None) -> None:
        self.step(self.pass_time(seconds, held_back))

    async def pass_time(self, seconds: float, held_back: int | None) -> None:
        if held_back is None:
            await asyncio.sleep(seconds)
        else:
            self.pools[held_back].hold_back("tokens", seconds)

    def chosen(self, number: int) -> Client:
        clients = self.at_work()
        return clients[number % len(clients)]

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def what_is_held_is_what_is_missing(self) -> None:
        held = [each for client in self.clients for each in client.held]
        for pool in self.pools:
            mine = [each for each in held if each.pool is pool]
            assert set(pool.reservations) == set(mine)
            for unit in ("cpu", "memory"):
                meter = pool.meter(unit)
                taken = sum(each.taken.get(unit, 0) for each in mine)
                assert meter.free(0.0) == meter.most - taken >= 0
                assert sum(each.units.get(unit, 0) for each in mine) <= meter.most / 1e9 + 1e-9

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        self.step(self.check_queues())

    async def check_queues(self) -> None:
        now = anyio.current_time()
        for pool in self.pools:
            claimed: set[str] = set()
            for request in pool._queue:
                if request.holders or claimed.isdisjoint(request.amounts):
                    assert pool._ready_at(request, now) > now
                claimed |= request.amounts.keys()

    @invariant()
    def nobody_is_served_before_who_came_earlier_for_the_same(self) -> None:
        for pool in self.pools:
            left = set(pool._queue)
            before, self.waited[pool] = self.waited[pool], list(pool._queue)
            served = [each for each in before if each.granted is not None and not each.holders]
            for one in served:
                for other in left.intersection(before):
                    if other.place < one.place and not other.holders:
                        assert other.amounts.keys().isdisjoint(one.amounts)

    @invariant()
    def a_rate_is_never_above_its_own(self) -> None:
        for pool in self.pools:
            taken = self.granted[pool]
            for each in pool.reservations:
                taken[each] = (each.since, each.units.get("tokens", 0))
            times = sorted(taken.values())
            for index, (first, _) in enumerate(times):
                used = 0.0
                for last, amount in times[index:]:
                    used += amount
                    assert used <= 5 + (last - first + EARLY) * 6 / 12 + 1e-6

    def teardown(self) -> None:
        if not hasattr(self, "pools"):
            return
        self.step(asyncio.sleep(100))
        while working := self.at_work():
            for client in working:
                self.step(client.order("end"))
            self.step(asyncio.sleep(100))
            self.what_is_held_is_what_is_missing()
        assert all(task.done() for task in self.tasks), "nobody can go on, and somebody waits"
        for task in self.tasks:
            if not task.cancelled():
                error = task.exception()
                assert error is None or isinstance(error, (Boom, ResourceUnavailableError)), error
        for pool in self.pools:
            free, spent = self.step(self.state_of(pool))
            assert free.pop("dollars") == pytest.approx(30 - spent)
            assert free == {"cpu": 4, "memory": 3.3, "tokens": 5}
            assert not pool.waiting
        self.stepper.close()

    async def state_of(self, pool: ResourcePool) -> tuple[dict[str, float], float]:
        return pool.free, pool.statistics()["dollars"].spent


TestPools = Pools.TestCase
# Shrinking a program of many tasks can take longer than finding it again.
TestPools.settings = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
)
