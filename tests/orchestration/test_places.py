"""Places are given in the order of asking, never beyond a pool, and always given back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration.concurrency import AdaptiveLimit
from plait.orchestration.places import Places, Pools
from plait.testing import VirtualClock


def places(pools: Pools, width: int = 100) -> Places:
    return Places(pools, AdaptiveLimit(width, 100))


class Workers:
    """Tasks that hold places, and what was seen of them."""

    def __init__(self, pools: Pools, *runs: Places) -> None:
        self.pools = pools
        self.runs = runs
        self.began: list[str] = []

    async def hold(self, name: str, branch: str, seconds: float, run: int = 0) -> None:
        async with self.runs[run].place(branch):
            self.began.append(name)
            self.check()
            await anyio.sleep(seconds)
            self.check()

    def check(self) -> None:
        for pool in self.pools.pools.values():
            assert 0 <= pool.taken <= pool.size
        for run in self.runs:
            assert run.taken <= run.width.limit
        taken = sum(run.taken for run in self.runs)
        assert taken == sum(pool.taken for pool in self.pools.pools.values())

    def empty(self) -> bool:
        return not self.pools.waiting and not any(run.taken for run in self.runs)


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> float:
    async def main() -> None:
        await test()

    clock = VirtualClock()
    clock.run(main())
    return clock.now


asked = st.lists(
    st.tuples(st.sampled_from("ab"), st.floats(0, 5), st.floats(0, 5), st.integers(0, 1)),
    max_size=20,
)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), asked, st.floats(0, 20))
def test_never_beyond_a_pool_never_lost_and_free_again_whenever_it_is_cancelled(
    first: int,
    second: int,
    width: int,
    jobs: list[tuple[str, float, float, int]],
    cancelled_at: float,
) -> None:
    pools = Pools({"a": first, "b": second})
    workers = Workers(pools, places(pools, width), places(pools, width))

    async def job(branch: str, delay: float, seconds: float, run: int) -> None:
        await anyio.sleep(delay)
        await workers.hold("", branch, seconds, run)

    async def main() -> None:
        with anyio.move_on_after(cancelled_at):
            async with anyio.create_task_group() as group:
                for each in jobs:
                    group.start_soon(job, *each)

    in_virtual_time(main)
    assert workers.empty()


def test_a_branch_whose_pool_is_full_holds_up_no_other() -> None:
    pools = Pools({"a": 1, "b": 1})
    workers = Workers(pools, places(pools))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for name, branch in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")):
                group.start_soon(workers.hold, name, branch, 1.0)

    assert in_virtual_time(main) == 2.0
    assert workers.began == ["a1", "b1", "a2", "b2"]


def test_places_are_given_in_the_order_of_asking_over_all_runs() -> None:
    pools = Pools({"a": 1})
    workers = Workers(pools, places(pools), places(pools))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for i in range(6):
                group.start_soon(workers.hold, str(i), "a", 1.0, i % 2)

    in_virtual_time(main)
    assert workers.began == list("012345")


def test_no_more_than_the_width_of_a_run_are_at_work_and_the_peak_is_kept() -> None:
    pools = Pools({"a": 10, "b": 10})
    run = places(pools, 3)
    workers = Workers(pools, run)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for i in range(12):
                group.start_soon(workers.hold, str(i), "ab"[i % 2], 1.0)

    assert in_virtual_time(main) == 4.0
    assert run.peak == 3
    assert max(pool.peak for pool in pools.pools.values()) <= 3


def test_who_was_refused_may_ask_for_a_rest_in_which_nobody_gets_a_place() -> None:
    pools = Pools({"a": 5, "b": 5})
    run = places(pools)
    workers = Workers(pools, run)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run.rest, "a", 7.0)
            await anyio.sleep(1)
            group.start_soon(workers.hold, "a", "a", 1.0)
            group.start_soon(workers.hold, "b", "b", 1.0)
            await anyio.sleep(1.5)
            assert workers.began == ["b"]

    assert in_virtual_time(main) == 8.0


@pytest.mark.parametrize(("told", "limit", "width"), [("refused", 5, 10), ("slow", 5, 5)])
def test_a_refusal_tells_of_the_branch_and_slowness_of_the_machine_too(
    told: str, limit: int, width: int
) -> None:
    pools = Pools({"a": 10, "b": 10})
    run = places(pools, 10)

    async def main() -> None:
        async with run.place("a") as place:
            assert getattr(run, told)(place)

    in_virtual_time(main)
    assert (run.limits["a"].limit, run.limits["b"].limit) == (limit, 10)
    assert run.width.limit == width
