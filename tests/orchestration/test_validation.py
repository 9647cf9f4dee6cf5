"""Whether a whole is good enough, what is wanting, and in which task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings

from plait.orchestration import (
    BranchResult,
    IntegrationResult,
    Merger,
    MergeSettings,
    QualityValidator,
    Rule,
    Shortfall,
    Thresholds,
    merge,
    parse_brief,
    rules_for,
)
from plait.orchestration.merge import Absence
from tests.orchestration.results import absences, finding, research, results


def good(*names: str) -> list[BranchResult]:
    return [research(name, finding()) for name in names]


@settings(max_examples=60, deadline=None)
@given(results, absences)
def test_the_status_follows_from_the_shortfalls(
    found: list[BranchResult], absent: list[Absence]
) -> None:
    whole = Merger(MergeSettings(draws=100)).merge(found, absent)
    verdict = QualityValidator().validate(whole, found)
    if any(one.critical for one in verdict.shortfalls):
        assert verdict.status == "critical_failure"
        assert verdict.reason
    else:
        assert verdict.status == ("needs_revision" if verdict.shortfalls else "quality_approved")
        assert verdict.reason == ""
    known = {one.task for one in found} | {one.task for one in absent}
    assert known.issuperset(verdict.tasks)


def test_each_task_that_wants_a_revision_is_named_with_what_is_wanting() -> None:
    found = [*good("a"), research("b", finding(), quality=0.1), research("c", quality=0.0)]
    missing = [Absence(task="d", status="failed", reason="x")]
    verdict = QualityValidator(Thresholds(arrived=0.9)).validate(merge(found, missing), found)
    kinds = {one.task: one.kind for one in verdict.shortfalls if one.task}
    assert kinds == {"b": "quality", "c": "empty", "d": "missing"}
    assert verdict.tasks == ("d", "b", "c")


def test_a_task_that_is_missing_is_no_matter_where_enough_have_arrived() -> None:
    found = good("a", "b", "c")
    verdict = QualityValidator().validate(
        merge(found, [Absence(task="d", status="late", reason="x")]), found
    )
    assert verdict.status == "quality_approved"


@pytest.mark.parametrize(
    "thresholds",
    [Thresholds(quality=0.9), Thresholds(task_quality=0.9), Thresholds(confidence=1.0)],
)
def test_thresholds_are_settings(thresholds: Thresholds) -> None:
    found = [*good("a"), research("b", finding(), quality=0.7)]
    assert QualityValidator().validate(merge(found), found).status == "quality_approved"
    assert QualityValidator(thresholds).validate(merge(found), found).status == "needs_revision"


def test_a_task_may_ask_for_a_quality_of_its_own() -> None:
    task = '[[tasks]]\nid = "{}"\ntype = "research"\nquestion = "async"\nsources = ["*.md"]\n'
    brief = parse_brief(f'title = "T"\n{task.format("a")}quality = 0.9\n{task.format("b")}')
    found = good("a", "b")
    verdict = QualityValidator().validate(merge(found), found, brief.tasks)
    assert (verdict.status, verdict.tasks) == ("needs_revision", ("a",))
    assert verdict.wanting == ("The quality of a is 0.80, and the brief asks for 0.90.",)


def test_users_add_rules_that_name_tasks() -> None:
    def cited(
        integration: IntegrationResult, results: Sequence[BranchResult]
    ) -> Iterable[Shortfall]:
        for result in results:
            if len(result.findings) < 2:
                yield Shortfall(rule="", sentence="Quote more.", task=result.task, kind="quality")

    found = good("a")
    verdict = QualityValidator(extra=[Rule("two quotes", cited)]).validate(merge(found), found)
    (shortfall,) = verdict.shortfalls
    assert (shortfall.rule, verdict.tasks) == ("two quotes", ("a",))


def test_a_critical_rule_of_a_user_ends_the_run_and_says_why() -> None:
    rule = Rule("never", lambda whole, parts: ["Not in this house."], critical=True)
    verdict = QualityValidator(rules=[rule]).validate(merge(good("a")), good("a"))
    assert (verdict.status, verdict.reason) == ("critical_failure", "Not in this house.")


def test_only_the_best_result_of_a_task_is_looked_at() -> None:
    found = [research("a", quality=0.0), *good("a")]
    assert QualityValidator().validate(merge(found), found).status == "quality_approved"


def test_the_rules_that_come_with_it_can_be_taken_singly() -> None:
    rules = [rule for rule in rules_for(Thresholds()) if rule.name != "overall quality"]
    found = [research("a", finding(), quality=0.3)]
    assert QualityValidator(rules=rules).validate(merge(found), found).status == "quality_approved"
