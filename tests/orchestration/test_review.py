"""A person approves, asks for a revision, or rejects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import Shortfall, Verdict
from plait.orchestration.errors import ReviewError
from plait.orchestration.review import Review, last_review, obey, read_review

TASKS = ("language", "timeouts")


def said(answer: Any) -> Review:
    return read_review(answer, "quality_validator", 0, TASKS)


@pytest.mark.parametrize(
    ("answer", "decision", "tasks", "remark"),
    [
        ("approve", "approve", (), ""),
        ("Approve: well done", "approve", (), "well done"),
        (" revise ", "revise", (), ""),
        (
            "revise timeouts, language: why: because",
            "revise",
            ("timeouts", "language"),
            "why: because",
        ),
        ("reject: no sources", "reject", (), "no sources"),
        ({"decision": "revise", "tasks": ["language"]}, "revise", ("language",), ""),
    ],
)
def test_what_a_person_says_is_understood(
    answer: Any, decision: str, tasks: tuple[str, ...], remark: str
) -> None:
    review = said(answer)
    assert (review.decision, review.tasks, review.remark) == (decision, tasks, remark)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "no decision"),
        ("yes", "no decision"),
        (True, "no decision"),
        ({"decision": "approve", "by": "me"}, "no decision"),
        ("revise langauge", "there is no task langauge; there are language, timeouts"),
        ("reject timeouts", "only a revision is of tasks"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_way_out(answer: Any, why: str) -> None:
    with pytest.raises(ReviewError, match=why) as refused:
        said(answer)
    assert 'say "approve"' in str(refused.value)


@given(st.text() | st.dictionaries(st.text(), st.text()) | st.none() | st.integers())
def test_no_answer_is_half_understood(answer: Any) -> None:
    try:
        assert said(answer).decision in {"approve", "revise", "reject"}
    except ReviewError:
        pass


WANTING = Verdict(
    status="needs_revision",
    shortfalls=(Shortfall(rule="r", sentence="Too little.", task="language", kind="quality"),),
)


def test_without_a_review_the_rules_decide() -> None:
    assert obey(WANTING, None, TASKS) is WANTING


def test_an_approval_counts_more_than_the_rules_and_does_not_hide_them() -> None:
    verdict = obey(WANTING, said("approve: enough for me"), TASKS)
    assert (verdict.status, verdict.wanting) == ("quality_approved", ("Too little.",))
    assert verdict.decided == "A person approved this: enough for me."


def test_a_rejection_ends_the_run_and_says_why() -> None:
    verdict = obey(WANTING, said("reject: no sources!"), TASKS)
    assert verdict.status == "critical_failure"
    assert verdict.reason == "A person rejected it: no sources!"


def test_a_revision_is_of_the_tasks_that_are_named() -> None:
    verdict = obey(WANTING, said("revise timeouts: dig deeper"), TASKS)
    assert (verdict.status, verdict.tasks) == ("needs_revision", ("timeouts",))
    assert verdict.wanting == ("A person asked for a revision of timeouts: dig deeper.",)


def test_a_revision_of_nothing_in_particular_is_of_what_is_wanting_or_else_of_all() -> None:
    assert obey(WANTING, said("revise"), TASKS).tasks == ("language",)
    good = Verdict(status="quality_approved")
    assert obey(good, said("revise"), TASKS).tasks == TASKS


def test_the_last_word_of_a_round_counts() -> None:
    one, other = said("approve"), said("reject")
    assert last_review([one, other], "quality_validator", 0) is other
    assert last_review([one, other], "quality_validator", 1) is None
    assert last_review([one, other], "sync_point_manager", 0) is None
