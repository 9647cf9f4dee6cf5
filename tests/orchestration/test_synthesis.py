"""What branches say together: what counts most, once, with what supports it and how sure it is."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.orchestration import BranchResult, Merger, MergeSettings, Synthesis, merge
from plait.orchestration.merge import Absence
from plait.orchestration.similarity import resemblance, shingles
from tests.orchestration.results import absences, analysis, finding, measure, research, results

TEXT = "A task waits for another task to end before it goes on with its own work"


law = settings(max_examples=60, deadline=None)
quickly = Merger(MergeSettings(draws=100))


# -- for any results --------------------------------------------------------------------------


@law
@given(results, absences)
def test_attributions_sum_to_one_and_everything_is_a_share(
    found: list[BranchResult], absent: list[Absence]
) -> None:
    whole = quickly.merge(found, absent)
    for part in (whole, whole.research, whole.analysis):
        if part.attributions:
            assert sum(source.share for source in part.attributions) == pytest.approx(1)
        assert 0 <= part.quality <= 1
    assert sum(part.share for part in whole.contributions) == pytest.approx(1 if found else 0)
    for share in (whole.confidence.value, whole.confidence.agreement, whole.confidence.precision):
        assert 0 <= share <= 1


@law
@given(results, absences, st.randoms())
def test_who_came_first_changes_nothing_at_all(
    found: list[BranchResult], absent: list[Absence], random: Random
) -> None:
    shuffled = random.sample(found, len(found))
    assert quickly.merge(shuffled, absent) == quickly.merge(found, absent)


@law
@given(results, absences)
def test_every_task_is_accounted_for_once_and_a_failed_one_is_no_success(
    found: list[BranchResult], absent: list[Absence]
) -> None:
    whole = quickly.merge(found, absent)
    done, missing = {one.task for one in found}, {one.task for one in absent}
    assert set(whole.successful) == done
    assert {one.task for one in whole.absences} == missing - done
    performance = whole.performance
    assert performance.activated == len(done | missing)
    assert performance.successful == len(done)
    gone = performance.failed + performance.late + performance.cancelled + performance.dead
    assert performance.successful + gone == performance.activated
    assert performance.success_rate == (len(done) / len(done | missing) if done | missing else 0)
    assert {*whole.failed, *whole.late}.isdisjoint(whole.successful)


@law
@given(results, st.floats(0.1, 1), st.integers(1, 4))
def test_no_two_primary_findings_are_the_same(
    found: list[BranchResult], similarity: float, size: int
) -> None:
    merger = Merger(MergeSettings(similarity=similarity, shingle=size, draws=100))
    whole = merger.merge(found)
    for one, other in combinations(whole.research.primary, 2):
        likeness = resemblance(shingles(one.statement, size), shingles(other.statement, size))
        assert likeness < similarity
    names = [one.statement for one in whole.analysis.primary]
    assert len(names) == len(set(names))


@law
@given(results)
def test_every_finding_is_primary_or_supports_one_or_stands_beside_them(
    found: list[BranchResult],
) -> None:
    whole = quickly.merge(found).research
    best = {part.task: part for part in found if part.type == "research"}
    told = len(whole.primary) + len(whole.supporting)
    told += sum(len(one.supported_by) for one in whole.primary)
    if len(best) == sum(part.type == "research" for part in found):  # each task once
        assert told == sum(len(part.findings) for part in best.values())
    weights = [one.weight for one in whole.primary]
    assert weights == sorted(weights, reverse=True)


@law
@given(results)
def test_quality_lies_within_that_of_the_branches_and_within_its_interval(
    found: list[BranchResult],
) -> None:
    whole = quickly.merge(found)
    qualities = [part.quality for part in whole.contributions] or [0.0]
    assert min(qualities) <= whole.quality <= max(qualities)
    interval = whole.quality_interval
    assert (interval is None) == (len(whole.contributions) < 2)
    if interval is not None:
        assert min(qualities) <= interval.low <= interval.high <= max(qualities)


# -- one thing each ---------------------------------------------------------------------------


def test_no_results_are_a_valid_and_empty_whole() -> None:
    whole = merge([])
    assert whole.research == Synthesis(type="research")
    assert (whole.quality, whole.confidence.value) == (0.0, 0.0)
    assert whole.performance.success_rate == 0.0
    assert whole.performance.quality is None


def test_no_research_is_an_empty_synthesis_beside_the_analyses() -> None:
    whole = merge([analysis("n", measure("mean of x", 3.0, 1.0))])
    assert (whole.research.quality, whole.research.primary) == (0.0, ())
    assert whole.analysis.quality == whole.quality == 0.8


def test_the_same_passage_from_two_branches_is_said_once_and_supported() -> None:
    one = research("one", finding(TEXT), quality=0.9)
    other = research("other", finding(TEXT.upper() + "!", document="b.md"), quality=0.3)
    (primary,) = merge([other, one]).research.primary
    assert (primary.task, primary.source) == ("one", "a.md, line 1")
    (evidence,) = primary.supported_by
    assert (evidence.task, evidence.similarity) == ("other", 1.0)


def test_a_finding_counts_by_its_branch_and_by_its_score_beside_the_best_of_its_task() -> None:
    part = research("one", finding(TEXT, 8.0), finding("Other words altogether here.", 2.0))
    first, second = merge([part]).research.primary
    assert second.weight == pytest.approx(first.weight / 4)
    assert "score 2.00 beside the best of its task, 8.00" in second.how


def test_only_so_many_findings_are_primary() -> None:
    parts = [research(name, finding(name * 5, 1.0)) for name in ("a", "b", "c")]
    whole = Merger(MergeSettings(primary=2)).merge(parts).research
    assert [one.task for one in whole.primary] == ["a", "b"]
    assert [one.task for one in whole.supporting] == ["c"]


def test_a_better_result_of_a_task_takes_the_place_of_the_first() -> None:
    first, second = research("a", quality=0.2), research("a", finding(), quality=0.7)
    whole = merge([first, second], [Absence(task="a", status="failed", reason="x")])
    assert (whole.quality, whole.absences) == (0.7, ())
    (old,) = whole.superseded
    assert (old.quality, old.by) == (0.2, 0.7)


def test_the_comparison_of_an_analysis_comes_before_its_other_numbers() -> None:
    numbers = [measure("mean of x", 1.0, 0.5), measure("difference of x: a − b", 3.0, 1.0)]
    primary = merge([analysis("n", *numbers, measure("median of x", 1.0))]).analysis.primary
    assert [one.statement for one in primary] == ["difference of x: a − b", "mean of x"]
    assert primary[0].interval is not None


def test_one_number_from_different_tables_is_pooled() -> None:
    one = analysis("one", measure("mean of x", 10.0, 1.0), documents=("x.csv",))
    other = analysis("other", measure("mean of x", 10.5, 1.0), documents=("y.csv",))
    whole = merge([one, other])
    (number,) = whole.analysis.primary
    assert number.interval is not None
    assert number.value == pytest.approx(10.25)
    assert number.interval.n == 2
    assert number.interval.heterogeneity == 0.0
    assert number.interval.high - number.interval.low < 2.0
    assert number.interval in whole.analysis.intervals


def test_one_number_from_the_same_table_is_not_counted_twice() -> None:
    parts = [analysis(name, measure("mean of x", 10.0, 1.0)) for name in ("one", "other")]
    (number,) = merge(parts).analysis.primary
    assert number.interval is not None
    assert (number.interval.n, number.interval.low) == (1, 9.0)
    assert [one.task for one in number.supported_by] == ["other"]


def test_a_single_branch_is_confirmed_by_nobody() -> None:
    confidence = merge([research("a", finding(), quality=1.0)]).confidence
    assert (confidence.value, confidence.agreement) == (0.0, 0.0)


def test_branches_of_one_quality_agree_and_those_at_odds_do_not() -> None:
    alike = merge([research("a", quality=0.8), research("b", quality=0.8)]).confidence
    at_odds = merge([research("a", quality=0.0), research("b", quality=1.0)]).confidence
    assert alike.agreement == alike.precision == alike.value == 1.0
    assert at_odds.agreement < 0.2
    assert at_odds.value < alike.value
    assert "weighted standard deviation" in alike.how


def test_the_distribution_of_quality_is_told() -> None:
    parts = [research(str(i), quality=i / 4) for i in range(5)]
    spread = merge(parts).performance.quality
    assert spread is not None
    assert (spread.lowest, spread.lower_quartile, spread.median) == (0.0, 0.25, 0.5)
    assert (spread.upper_quartile, spread.highest, spread.mean) == (0.75, 1.0, 0.5)


def test_a_thousand_branches_are_merged_in_little_time() -> None:
    parts = [
        research(f"t{i}", *(finding(f"{TEXT} {i} {j} {i * j}") for j in range(3)))
        for i in range(1_000)
    ]
    whole = merge(parts)
    assert len(whole.contributions) == 1_000
    told = len(whole.research.supporting) + len(whole.research.primary)
    assert told + sum(len(one.supported_by) for one in whole.research.primary) == 3_000
