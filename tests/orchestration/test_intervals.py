"""Intervals of what branches say together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import Measure
from plait.orchestration.intervals import Interval, pool, weighted_bootstrap, weighted_mean
from plait.orchestration.similarity import resemblance, shingles
from tests.orchestration.results import measure

weighted = st.lists(st.tuples(st.floats(0, 1), st.floats(1e-3, 1)), min_size=2, max_size=20)
numbers = st.lists(
    st.builds(measure, st.just("x"), st.floats(-1e9, 1e9), st.floats(1e-6, 1e9)),
    min_size=2,
    max_size=8,
)


@given(weighted)
def test_a_bootstrap_stays_within_its_values_and_repeats_itself(
    pairs: list[tuple[float, float]],
) -> None:
    values, weights = [value for value, _ in pairs], [weight for _, weight in pairs]
    found = weighted_bootstrap(values, weights, 200)
    assert found is not None
    assert min(values) <= found[0] <= found[1] <= max(values)
    assert weighted_bootstrap(values, weights, 200) == found


def test_a_bootstrap_has_the_width_that_theory_gives_a_mean() -> None:
    values = [i % 2 for i in range(100)]  # a standard error of 0.05
    found = weighted_bootstrap(values, [1.0] * 100, 2_000)
    assert found is not None
    assert found[0] == pytest.approx(0.4, abs=0.03)
    assert found[1] == pytest.approx(0.6, abs=0.03)


def test_one_branch_alone_has_no_interval() -> None:
    assert weighted_bootstrap([0.5], [1.0], 200) is None


@given(numbers)
def test_a_pooled_number_lies_among_those_that_it_is_from(found: list[Measure]) -> None:
    pooled = pool(found)
    assert pooled is not None
    values = [one.value for one in found]
    assert min(values) <= pooled.value <= max(values)
    assert pooled.low <= pooled.value <= pooled.high
    assert 0 <= pooled.heterogeneity <= 1


def test_pooling_agrees_with_a_worked_example() -> None:
    # Errors of 1 and 2, so weights of 1 and 1/4; they differ by less than chance would allow.
    ends = [measure("x", 10.0, 1.959964), measure("x", 11.0, 2 * 1.959964)]
    pooled = pool(ends)
    assert pooled is not None
    assert pooled.value == pytest.approx((10 + 11 / 4) / 1.25)
    assert pooled.high - pooled.value == pytest.approx(1.959964 / 1.25**0.5)
    assert pooled.heterogeneity == 0.0


def test_an_interval_of_another_level_counts_for_what_it_says() -> None:
    wide = measure("x", 10.0, 2.575829).model_copy(update={"level": 0.99})  # an error of 1, too
    pooled = pool([wide, measure("x", 10.0, 1.959964)])
    assert pooled is not None
    assert pooled.high - pooled.value == pytest.approx(1.959964 / 2**0.5)


def test_numbers_that_contradict_each_other_widen_the_interval() -> None:
    # Q = 2 × 50² = 5,000 with 1 degree of freedom: tau² = 4,999, and I² = 0.9998.
    pooled = pool([measure("x", 0.0, 1.959964), measure("x", 100.0, 1.959964)])
    assert pooled is not None
    assert pooled.value == pytest.approx(50)
    assert pooled.heterogeneity == pytest.approx(1 - 1 / 5_000)
    assert pooled.high - pooled.value == pytest.approx(1.959964 * (5_000 / 2) ** 0.5)


@pytest.mark.parametrize("half", [None, 0.0])
def test_a_number_without_a_width_is_not_pooled(half: float | None) -> None:
    assert pool([measure("x", 1.0, 1.0), measure("x", 2.0, half)]) is None


def test_a_single_number_is_not_pooled() -> None:
    assert pool([measure("x", 1.0, 1.0)]) is None


@pytest.mark.parametrize(
    ("value", "half", "precision"), [(2.0, 0.0, 1.0), (2.0, 2.0, 0.5), (0.0, 1.0, 0.0)]
)
def test_precision_is_the_width_beside_the_number(
    value: float, half: float, precision: float
) -> None:
    low, high = value - half, value + half
    found = Interval(name="x", value=value, low=low, high=high, n=1, how="x")
    assert found.precision == precision


def test_a_weighted_mean_counts_by_weight() -> None:
    assert weighted_mean([1.0, 4.0], [2.0, 1.0]) == 2.0


# -- resemblance ------------------------------------------------------------------------------

texts = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), max_size=12).map(" ".join)


@given(texts, texts, st.integers(1, 4))
def test_resemblance_is_a_share_and_the_same_both_ways(one: str, other: str, size: int) -> None:
    first, second = shingles(one, size), shingles(other, size)
    assert resemblance(first, first) == 1.0
    assert 0 <= resemblance(first, second) == resemblance(second, first) <= 1


def test_case_and_punctuation_make_no_difference() -> None:
    assert shingles("A task, waiting: ends!") == shingles("a TASK waiting ends")


def test_resemblance_is_the_share_of_runs_that_both_have() -> None:
    assert resemblance(shingles("a b c d"), shingles("b c d e")) == pytest.approx(1 / 3)
    assert resemblance(shingles("a"), shingles("")) == 0.0
