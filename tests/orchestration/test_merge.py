"""Results are weighed by quality and time, attributed, validated and reported."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.events import Outcome, Participant
from plait.orchestration import (
    BranchResult,
    Finding,
    Measure,
    Merger,
    MergeSettings,
    Rule,
    merge,
    parse_brief,
    validate,
)
from plait.orchestration.markdown import to_markdown
from plait.orchestration.merge import Absence, absences_of, gathering_of, weight_of
from plait.orchestration.report import partial_report, to_json


def result(task: str, quality: float = 0.8, seconds: float = 1.0, **more: object) -> BranchResult:
    finding = Finding(quote="It waits.", source="*.md", document="a.md", place="line 1", score=2.0)
    known: dict[str, object] = {
        "findings": (finding,),
        "sources": (("a.md", 1.0),),
        "type": "research",
        "heading": f"About {task}",
        "quality_how": "measured",
        "read": "1 document",
    }
    facts = {"task": task, "quality": quality, "seconds": seconds}
    return BranchResult.model_validate(known | facts | more)


law = settings(max_examples=60, deadline=None)  # a bootstrap takes its time

results = st.lists(
    st.builds(
        result,
        st.uuids().map(str),
        st.floats(0, 1),
        st.floats(0, 1e4),
        sources=st.sampled_from([(), (("a.md", 1.0),), (("a.md", 0.25), ("b.md", 0.75))]),
    ),
    max_size=12,
)


@law
@given(results)
def test_weights_attributions_and_quality_add_up(found: list[BranchResult]) -> None:
    merged = merge(found)
    if not found:
        assert (merged.quality, merged.contributions, merged.attributions) == (0.0, (), ())
        return
    assert sum(part.share for part in merged.contributions) == pytest.approx(1)
    assert sum(source.share for source in merged.attributions) == pytest.approx(1)
    low, high = min(r.quality for r in found), max(r.quality for r in found)
    assert low - 1e-9 <= merged.quality <= high + 1e-9


@law
@given(results, st.randoms())
def test_the_merge_does_not_depend_on_who_came_first(
    found: list[BranchResult], random: Random
) -> None:
    shuffled = random.sample(found, len(found))
    quickly = Merger(MergeSettings(draws=100))
    one, other = quickly.merge(found), quickly.merge(shuffled)
    assert [part.task for part in one.contributions] == [part.task for part in other.contributions]
    assert one.quality == pytest.approx(other.quality)


def test_a_weight_is_mostly_quality_and_a_little_speed() -> None:
    assert weight_of(1.0, 0.0) == pytest.approx(1.0)
    assert weight_of(0.5, 60.0) == pytest.approx(0.7 * 0.5 + 0.3 / 2)
    assert weight_of(0.0, 1e9) > 0


def test_a_branch_that_found_nothing_is_attributed_to_nothing() -> None:
    merged = merge([result("a", 0.0, findings=(), sources=())])
    assert merged.attributions[0].document == "(nothing found)"


def test_every_branch_that_is_missing_is_named_with_its_reason() -> None:
    error = PlaitError("node failed")
    error.__cause__ = ValueError("no such column")
    people = [Participant((0, i), f"t{i}", "accept") for i in range(6)]
    outcome = Outcome(
        sync_point="gather",
        status="quorum",
        branch=(0,),
        generation=0,
        arrived=(people[0],),
        failed=(people[1]._replace(error=error), people[5]._replace(id=None)),
        late=(people[2],),
        cancelled=(people[3],),
        dead=(people[4],),
        waited=1.5,
    )
    absences = {absence.task: absence for absence in absences_of(outcome)}
    assert absences["t1"].reason == "ValueError: no such column"
    assert absences["accept"].reason == "no reason was recorded"
    assert absences["t2"].status == "late"
    assert absences["t3"].reason == "still at work when the sync point opened, 1.5 s after the fork"
    assert absences["t4"].status == "dead"
    gathering = gathering_of(outcome)
    assert (gathering.arrived, gathering.activated) == (1, 6)
    assert gathering.progress == pytest.approx(1 / 6)


def test_a_good_whole_is_approved() -> None:
    found = [result("a"), result("b")]
    assert validate(merge(found), found).status == "quality_approved"


def test_what_is_wanting_is_named_rule_by_rule() -> None:
    found = [result("a", 0.2), result("b", 0.0, findings=(), sources=())]
    absences = [Absence(task="c", status="failed", reason="x")]
    verdict = validate(merge(found, absences), found)
    assert verdict.status == "needs_revision"
    assert verdict.wanting == (
        "The overall quality is 0.12, and 0.50 is asked for.",
        "2 of 3 tasks have a result, and 75% are asked for.",
        "The task c has no result: failed.",
        "The quality of a is 0.20, below 0.25.",
        "The task b found nothing.",
    )
    assert verdict.tasks == ("c", "a", "b")


def test_no_finding_at_all_is_critical() -> None:
    assert validate(merge([]), []).status == "critical_failure"


def test_rules_are_objects_that_a_user_adds() -> None:
    found = [result("a")]
    rule = Rule("three tasks", lambda merged, results: ["Too few."][len(results) > 2 :])
    verdict = validate(merge(found), found, [rule])
    assert (verdict.status, verdict.wanting) == ("needs_revision", ("Too few.",))


BRIEF = parse_brief(
    'title = "T"\n'
    + "".join(
        f'[[tasks]]\nid = "{name}"\ntype = "research"\nquestion = "async"\nsources = ["*.md"]\n'
        for name in "abc"
    )
)


def test_a_partial_report_says_what_was_finished_and_what_was_not() -> None:
    numbers = [
        Measure(name="mean of x|y", value=1234.5, low=1000.0, high=2000.0, n=9, how="mean"),
        Measure(name="r", value=0.123456, n=9, how="Pearson"),
        Measure(name="huge", value=1e20, n=9, how="sum"),
    ]
    found = [
        result("b", type="analysis", findings=(), measures=tuple(numbers), notes=("Mind this.",)),
        result("a", notes=("And that.",)),
    ]
    absences = [Absence(task="c", status="cancelled", reason="at work when Ctrl-C came")]
    report = partial_report(BRIEF, found, absences, status="interrupted", reason="Ctrl-C.")
    text = to_markdown(report)
    for wanted in (
        "**The run was interrupted: Ctrl-C.** What was finished by then is below.",
        "2 of 3 tasks have a result. The sync point never opened.",
        "| c | async | **cancelled** |  |  |",
        "| c | cancelled | at work when Ctrl-C came |",
        "1. **a.md, line 1** (task `a`, weight 0.86):\n\n   ~~~text\n   It waits.\n   ~~~",
        "**a.md**, line 1 (score 2.00):\n\nMain finding 1, above.",
        "| mean of x\\|y | 1,234 | [1,000, 2,000] | b |",
        "- Success rate: 2 of 3 tasks = 67%, 1 cancelled.",
        "| mean of x\\|y | 1,234 | [1,000, 2,000] | 9 | mean |",
        "| r | 0.1235 | - | 9 | Pearson |",
        "| huge | 1e+20 |",
        "- Mind this.",
        "- And that.",
        "Quality of `a`: measured.",
    ):
        assert wanted in text
    assert [result.task for result in report.results] == ["a", "b"]
    assert json.loads(json.dumps(to_json(report)))["merged"]["absences"][0]["task"] == "c"


def test_a_report_without_any_result_is_still_a_report() -> None:
    text = to_markdown(partial_report(BRIEF, [], [], status="failed", reason="Too few."))
    assert "**The run failed: Too few.**" in text
    assert "| a | async | **no result** |" in text
    assert "Verdict: **critical failure**" in text


def test_results_that_are_empty_or_compare_groups_are_summed_up() -> None:
    compared = [
        Measure(name="mean", value=1.0, n=1, how="x"),
        Measure(name="difference of x", value=3.0, n=1, how="x"),
    ]
    found = [
        result("a", findings=(), sources=()),
        result("b", type="analysis", findings=(), measures=tuple(compared)),
    ]
    text = to_markdown(partial_report(BRIEF, found, [], status="failed", reason="x"))
    assert "| a | async | nothing found |" in text
    assert "| b | async | difference of x: 3 |" in text


def test_a_quotation_cannot_end_its_own_fence() -> None:
    finding = Finding(quote="~~~\n~~~~~", source="s", document="d", place="p", score=1)
    report = partial_report(
        BRIEF, [result("a", findings=(finding,))], [], status="failed", reason="x"
    )
    assert "\n   ~~~~~~text\n   ~~~\n   ~~~~~\n   ~~~~~~\n" in to_markdown(report)
