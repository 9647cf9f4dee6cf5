"""The kit as a package, its clock, and what counts as the same."""

import asyncio
import datetime as dt
import importlib
import math
import sys
import threading
import time
from typing import Any

import anyio
import pytest

import plait.testing
from plait.testing import VirtualClock
from plait.testing.equality import copied, floats_in, same


def test_every_public_name_is_there() -> None:
    assert all(getattr(plait.testing, name) is not None for name in plait.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Mock'"):
        plait.testing.Mock  # noqa: B018


@pytest.mark.parametrize("name", ["check_reducer", "assert_schedule_independent"])
def test_what_needs_hypothesis_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("laws", "schedules"):
        monkeypatch.delitem(sys.modules, f"plait.testing.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert VirtualClock().now == 0.0
    with pytest.raises(ImportError, match=r"install plait\[testing\]"):
        getattr(plait.testing, name)


def test_another_module_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Any:
        raise ModuleNotFoundError("no pydantic", name="pydantic")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="no pydantic"):
        plait.testing.check_reducer  # noqa: B018


def test_a_century_can_be_slept_through() -> None:
    clock, century = VirtualClock(), 100 * 365 * 86_400.0

    async def sleep_twice() -> None:
        await anyio.sleep(century)
        await anyio.sleep(1)

    clock.run(sleep_twice())
    assert clock.now == century + 1


def test_a_clock_shows_the_time_of_day_from_its_start_on() -> None:
    clock = VirtualClock(start=1e9)
    wall = []

    async def look() -> None:
        await anyio.sleep(5)
        wall.append(getattr(asyncio.get_running_loop(), "wall_time", float)())

    clock.run(look())
    assert (wall, clock.now) == ([1e9 + 5], 5.0)


def test_the_clock_stands_still_while_a_thread_of_asyncio_works() -> None:
    clock = VirtualClock()

    clock.run(asyncio.wait_for(asyncio.to_thread(time.sleep, 0.02), 1))
    assert clock.now == 0.0


class Ambiguous:
    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


array = Ambiguous()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (math.nan, math.nan),
        ([1, (2.0, {"x": math.nan})], [1, (2.0, {"x": math.nan})]),
        (1, 1.0),
        (1.0, 1),
        ({1}, {1}),
        (array, array),
        (math.inf, math.inf),
    ],
)
def test_values_that_are_the_same(first: Any, second: Any) -> None:
    assert same(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1.0, "1.0"),
        ("1.0", 1.0),
        (1.0, 2.0),
        ([1], [1, 2]),
        ({"x": 1}, {"y": 1}),
        (Ambiguous(), Ambiguous()),
        ({1.0}, {2.0}),
    ],
)
def test_values_that_are_not(first: Any, second: Any) -> None:
    assert not same(first, second)


def test_floats_may_be_apart_by_the_slack() -> None:
    assert same([1.0, {"x": 2}], [1.05, {"x": 2.1}], slack=0.2)
    assert not same(1.0, 1.5, slack=0.2)


def test_floats_are_found_in_values() -> None:
    assert list(floats_in([1.5, (2.5, 3), {"x": math.inf, "y": [4.5]}, "5.5"])) == [1.5, 2.5, 4.5]


def test_what_cannot_be_copied_is_passed_on() -> None:
    lock, today = threading.Lock(), [dt.date(2001, 9, 9)]
    assert copied({"locks": [lock]}) == {"locks": [lock]}
    assert copied(today) == today
    assert copied(today) is not today
