"""A limit that grows by addition and shrinks by multiplication."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import AdaptionSettings
from plait.orchestration.concurrency import AdaptiveLimit


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=200))
def test_a_limit_is_never_below_1_nor_above_what_it_may_be(first: int, good: list[bool]) -> None:
    limit = AdaptiveLimit(first, 20)
    for each in good:
        if each:
            limit.succeeded(busy=True)
        else:
            limit.overloaded(limit.epoch)
        assert 1 <= limit.lowest <= limit.limit <= limit.highest <= 20


def test_a_round_of_successes_adds_one() -> None:
    limit = AdaptiveLimit(4, 20)
    for _ in range(5):
        limit.succeeded(busy=True)
    assert limit.limit == 5


def test_success_without_all_places_in_use_says_nothing_of_more() -> None:
    limit = AdaptiveLimit(4, 20)
    for _ in range(100):
        limit.succeeded(busy=False)
    assert limit.limit == 4


def test_an_overload_halves_and_counts_once_for_all_who_saw_it() -> None:
    limit = AdaptiveLimit(16, 20)
    began_in = limit.epoch
    assert [limit.overloaded(began_in) for _ in range(16)] == [True] + [False] * 15
    assert (limit.limit, limit.decreases) == (8, 1)
    assert limit.overloaded(limit.epoch)
    assert limit.limit == 4


def test_the_steps_are_settings() -> None:
    limit = AdaptiveLimit(10, 100, AdaptionSettings(increase=20, decrease=0.9))
    limit.succeeded(busy=True)
    assert limit.limit == 12
    limit.overloaded(0)
    assert limit.limit == 10


@given(st.integers(3, 60))
def test_it_finds_the_capacity_of_what_it_calls_upon(capacity: int) -> None:
    limit, seen = AdaptiveLimit(1, 100), []
    for _ in range(400):
        if limit.limit > capacity:
            limit.overloaded(limit.epoch)
        else:
            for _ in range(limit.limit):
                limit.succeeded(busy=True)
        seen.append(limit.limit)
    late = seen[200:]
    assert max(late) <= capacity + 1
    assert sum(late) / len(late) > capacity / 2


@pytest.mark.parametrize(("first", "most"), [(0, 5), (6, 5)])
def test_a_limit_that_makes_no_sense_is_refused(first: int, most: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 5"):
        AdaptiveLimit(first, most)
