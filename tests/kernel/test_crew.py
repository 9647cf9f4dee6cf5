"""A crew waits for all of its tasks, whatever happens to its caller; on asyncio and elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
import pytest

from plait.crew import Crew, GroupCrew, TaskCrew, Work
from plait.testing import VirtualClock

MakeCrew: TypeAlias = Callable[[], Crew]

CREWS: dict[str, MakeCrew] = {
    "tasks": lambda: TaskCrew(asyncio.get_running_loop()),
    "group": GroupCrew,
}
each_crew = pytest.mark.parametrize("make", CREWS.values(), ids=CREWS.keys())


class Workers:
    """Tasks that wait, and then tidy up behind a shield; and what they did, and when."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.did: list[tuple[str, float]] = []

    def waits(self, name: str, seconds: float = 1000.0, tidy: float = 0.0) -> Work:
        async def work(scope: anyio.CancelScope) -> None:
            with scope:
                if scope.cancel_called:
                    return
                self.note(name)
                try:
                    await anyio.sleep(seconds)
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(tidy)
                        self.note(f"/{name}")

        return work

    def fails(self, error: BaseException, after: float = 0.0) -> Work:
        async def work(scope: anyio.CancelScope) -> None:
            with scope, anyio.CancelScope(shield=True):
                await anyio.sleep(after)
                raise error

        return work

    def note(self, what: str) -> None:
        self.did.append((what, self.clock.now))


def all_of(crew: Crew, *works: Work) -> Work:
    """A first task, which starts these."""

    async def first(scope: anyio.CancelScope) -> None:
        with scope:
            for work in works:
                crew.start(work)

    return first


@each_crew
def test_a_crew_is_over_when_the_last_of_its_tasks_has_ended(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        crew = make()
        await crew.run(all_of(crew, workers.waits("a", 2), workers.waits("b", 5)))

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("b", 0), ("/a", 2), ("/b", 5)]


@each_crew
def test_a_task_can_be_cancelled_alone(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        crew = make()

        async def first(scope: anyio.CancelScope) -> None:
            with scope:
                other = crew.start(workers.waits("a"))
                crew.start(workers.waits("b", 3))
                await anyio.sleep(1)
                other.cancel()

        await crew.run(first)
        assert not crew.ending

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("b", 0), ("/a", 1), ("/b", 3)]


@each_crew
def test_what_a_task_raises_ends_the_crew_and_is_handed_to_the_caller(make: MakeCrew) -> None:
    workers, error = Workers(), ValueError("broken")

    async def main() -> BaseException | None:
        crew = make()
        return await crew.run(
            all_of(crew, workers.waits("a", tidy=3), workers.fails(error, after=1))
        )

    assert workers.clock.run(main()) is error
    assert workers.did == [("a", 0), ("/a", 4)]


@each_crew
def test_what_several_tasks_raise_comes_as_a_group(make: MakeCrew) -> None:
    workers, errors = Workers(), [ValueError("one"), KeyError("two")]

    async def main() -> BaseException | None:
        crew = make()
        return await crew.run(all_of(crew, *map(workers.fails, errors)))

    found = workers.clock.run(main())
    assert isinstance(found, ExceptionGroup)
    assert list(found.exceptions) == errors


@each_crew
def test_a_task_that_is_cancelled_past_its_scope_ends_the_crew(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> BaseException | None:
        crew = make()

        async def first(scope: anyio.CancelScope) -> None:
            with scope:
                crew.start(workers.waits("a"))
                await anyio.sleep(1)
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await anyio.sleep(1)

        return await crew.run(first)

    assert workers.clock.run(main()) is None
    assert workers.did == [("a", 0), ("/a", 1)]


@each_crew
@pytest.mark.parametrize("times", [1, 2, 3])
def test_shielded_work_completes_however_often_the_caller_is_cancelled(
    make: MakeCrew, times: int
) -> None:
    workers = Workers()

    async def main() -> bool:
        crew = make()
        task = asyncio.ensure_future(crew.run(all_of(crew, workers.waits("a", tidy=9))))
        for _ in range(times):
            await anyio.sleep(1)
            task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert workers.clock.run(main())
    assert workers.did == [("a", 0), ("/a", 10)]


@each_crew
def test_a_scope_around_the_caller_waits_for_shielded_work_and_no_longer(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> bool:
        crew = make()
        with anyio.move_on_after(1) as limit:
            await crew.run(all_of(crew, workers.waits("a", tidy=9), workers.waits("b")))
        return limit.cancelled_caught

    assert workers.clock.run(main())
    assert workers.did == [("a", 0), ("b", 0), ("/b", 1), ("/a", 10)]


@each_crew
def test_the_loop_rests_while_a_cancelled_caller_waits(make: MakeCrew) -> None:
    workers, turns = Workers(), 0

    async def main() -> None:
        nonlocal turns
        crew, loop = make(), asyncio.get_running_loop()
        call_soon = loop.call_soon

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal turns
            turns += 1
            assert turns < 200, "the loop does not come to rest"
            return call_soon(*args, **options)

        vars(loop)["call_soon"] = counted
        with anyio.move_on_after(1):
            await crew.run(all_of(crew, workers.waits("a", tidy=9)))

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("/a", 10)]


@each_crew
def test_a_cancellation_from_outside_anyio_outdoes_that_of_a_scope(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> bool:
        crew = make()

        async def limited() -> None:
            with anyio.move_on_after(1):
                await crew.run(all_of(crew, workers.waits("a", tidy=9)))

        task = asyncio.ensure_future(limited())
        await anyio.sleep(5)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert workers.clock.run(main())


@each_crew
def test_a_caller_that_is_timed_out_by_asyncio_hears_of_its_own_timeout_only(
    make: MakeCrew,
) -> None:
    workers = Workers()

    async def main() -> int:
        crew = make()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await crew.run(all_of(crew, workers.waits("a", tidy=9)))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert workers.clock.run(main()) == 0
    assert workers.did == [("a", 0), ("/a", 10)]


@each_crew
def test_what_a_task_raises_while_the_caller_is_cancelled_is_not_lost(make: MakeCrew) -> None:
    workers, error = Workers(), ValueError("broken")

    async def main() -> BaseException | None:
        crew = make()
        with anyio.move_on_after(1):
            return await crew.run(all_of(crew, workers.fails(error, after=5)))
        return None

    assert workers.clock.run(main()) is error


@each_crew
def test_a_scope_that_is_cancelled_already_lets_nothing_begin(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        crew = make()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await crew.run(all_of(crew, workers.waits("a")))

    workers.clock.run(main())
    assert workers.did == []


@each_crew
def test_a_task_has_heard_of_the_cancellation_before_its_first_step(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        crew = make()
        async with anyio.create_task_group() as group:
            group.start_soon(crew.run, workers.waits("a"))
            await asyncio.sleep(0)  # the caller has started the task, which has not begun
            group.cancel_scope.cancel()

    workers.clock.run(main())
    assert workers.did == []


def test_asyncios_cancellation_is_heard_by_tasks_at_once() -> None:
    workers = Workers()

    async def main() -> None:
        crew = TaskCrew(asyncio.get_running_loop())
        task = asyncio.ensure_future(crew.run(workers.waits("a", seconds=0)))
        for _ in range(2):
            await asyncio.sleep(0)
        task.cancel()
        assert crew.ending
        await asyncio.wait([task])
        assert task.cancelled()

    workers.clock.run(main())


@each_crew
def test_what_is_started_in_a_crew_that_is_ending_does_not_begin(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        crew = make()

        async def first(scope: anyio.CancelScope) -> None:
            with scope:
                crew.end()
                crew.start(workers.waits("a"))

        await crew.run(first)

    workers.clock.run(main())
    assert workers.did == []


def test_a_caller_that_is_thrown_away_ends_its_crew() -> None:
    workers = Workers()

    async def main() -> None:
        crew = TaskCrew(asyncio.get_running_loop())
        caller = crew.run(workers.waits("a", tidy=2))
        caller.send(None)
        await anyio.sleep(1)
        caller.close()
        await anyio.sleep(5)

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("/a", 3)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
def test_a_task_does_not_begin_within_whoever_starts_it() -> None:
    workers = Workers()

    async def main() -> None:
        factory = asyncio.eager_task_factory  # type: ignore[attr-defined, unused-ignore]
        asyncio.get_running_loop().set_task_factory(factory)
        crew = TaskCrew(asyncio.get_running_loop())

        async def first(scope: anyio.CancelScope) -> None:
            with scope:
                crew.start(workers.waits("a", 1))
                workers.note("first goes on")

        await crew.run(first)

    workers.clock.run(main())
    assert [what for what, _ in workers.did] == ["first goes on", "a", "/a"]


# -- a crew beside a block of the caller's ----------------------------------------------------


@each_crew
def test_a_block_and_the_tasks_beside_it_wait_for_each_other(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        async with make() as crew:
            crew.start(workers.waits("a", 2))
            await anyio.sleep(1)
            workers.note("left")
        workers.note("over")

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("left", 1), ("/a", 2), ("over", 2)]


@each_crew
def test_a_block_that_is_cancelled_ends_the_tasks_and_waits_until_they_have_tidied_up(
    make: MakeCrew,
) -> None:
    workers = Workers()

    async def main() -> None:
        with anyio.move_on_after(1):
            async with make() as crew:
                crew.start(workers.waits("a", tidy=3))
                await anyio.sleep(10)
        workers.note("over")

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("/a", 4), ("over", 4)]


@each_crew
def test_who_is_cancelled_while_waiting_behind_a_block_goes_on_waiting(make: MakeCrew) -> None:
    workers = Workers()

    async def block() -> None:
        async with make() as crew:
            crew.start(workers.waits("a", tidy=3))

    async def main() -> None:
        task = asyncio.create_task(block())
        for _ in range(2):
            await anyio.sleep(1)
            task.cancel()
        await asyncio.wait([task])
        workers.note("cancelled" if task.cancelled() else "over")

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("/a", 4), ("cancelled", 4)]


@each_crew
def test_what_a_task_raises_the_block_beside_it_raises(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        async with make() as crew:
            crew.start(workers.fails(ValueError("a bug"), after=1))

    with pytest.raises(ValueError, match="a bug"):
        workers.clock.run(main())


@each_crew
def test_a_block_beside_which_nothing_was_started_is_left_at_once(make: MakeCrew) -> None:
    async def main() -> str:
        async with make():
            return "left"

    assert VirtualClock().run(main()) == "left"


@each_crew
def test_a_task_that_stays_is_waited_for_and_never_cancelled(make: MakeCrew) -> None:
    workers = Workers()

    async def stay() -> None:
        await anyio.sleep(3)
        workers.note("stayed")

    async def main() -> None:
        with anyio.move_on_after(1):
            async with make() as crew:
                crew.stay(stay)
                await anyio.sleep(10)
        workers.note("over")

    workers.clock.run(main())
    assert workers.did == [("stayed", 3), ("over", 3)]


@each_crew
def test_a_task_may_end_long_before_the_block_beside_it(make: MakeCrew) -> None:
    workers = Workers()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, fault: workers.note(fault["message"]))
        async with make() as crew:
            crew.start(workers.waits("a", 1))
            await anyio.sleep(2)
            workers.note("left")

    workers.clock.run(main())
    assert workers.did == [("a", 0), ("/a", 1), ("left", 2)]
