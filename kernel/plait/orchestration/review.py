"""Review: a person approves what has come of a brief, asks for a revision, or rejects it.

A run under review asks before `sync_point_manager`, when the branches have been gathered, and
before `quality_validator`, when they have been merged. The question says what there is to decide
on, and the answer is the one event that decides: of two answers at once, one is carried out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plait.orchestration.errors import ReviewError
from plait.orchestration.validation import Shortfall, Verdict

__all__ = [
    "REVIEWED",
    "WAY_OUT",
    "Review",
    "ReviewDecision",
    "ReviewedNode",
    "last_review",
    "obey",
    "read_review",
]

ReviewedNode: TypeAlias = Literal["sync_point_manager", "quality_validator"]

REVIEWED: tuple[ReviewedNode, ...] = get_args(ReviewedNode)
"""The nodes before which a run under review asks."""

ReviewDecision: TypeAlias = Literal["approve", "revise", "reject"]


class Review(BaseModel):
    """What a person said of a run."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    node: ReviewedNode
    """Before which node the run had asked."""
    round: Annotated[int, Field(ge=0)] = 0
    """0, or the number of the revision that was reviewed."""
    decision: ReviewDecision
    """Go on with what there is (`approve`), have tasks done again (`revise`), or end (`reject`)."""
    tasks: tuple[str, ...] = ()
    """The tasks to be done again; none: those in which something is wanting, or else all."""
    remark: str = ""
    """Why, in the person's words."""

    @property
    def sentence(self) -> str:
        """What was decided, in a sentence."""
        said = {
            "approve": "approved this",
            "revise": "asked for a revision",
            "reject": "rejected it",
        }
        tasks = f" of {', '.join(self.tasks)}" if self.tasks else ""
        remark = f": {self.remark}" if self.remark else ""
        end = "" if remark.endswith((".", "!", "?")) else "."
        return f"A person {said[self.decision]}{tasks}{remark}{end}"


def last_review(reviews: Sequence[Review], node: ReviewedNode, round_: int) -> Review | None:
    """What was last said before a node in a round; `None` if nobody was asked."""
    for review in reversed(reviews):
        if (review.node, review.round) == (node, round_):
            return review
    return None


def obey(verdict: Verdict, review: Review | None, tasks: Iterable[str]) -> Verdict:
    """The verdict as a person decided; what the rules say is kept beside it.

    Args:
        verdict: what the rules say.
        review: what the person says; `None` leaves the verdict as it is.
        tasks: all tasks of the brief, which a revision is of where nothing else says which.
    """
    match review:
        case None:
            return verdict
        case Review(decision="approve"):
            return verdict.model_copy(
                update={"status": "quality_approved", "decided": review.sentence}
            )
        case Review(decision="reject"):
            return verdict.model_copy(
                update={"status": "critical_failure", "decided": review.sentence}
            )
        case _:
            asked = review.tasks or verdict.tasks or tuple(tasks)
            shortfalls = tuple(
                Shortfall(rule="review", sentence=review.sentence, task=task, kind="asked")
                for task in asked
            )
            return Verdict(
                status="needs_revision",
                # Where a person says which tasks, the rules' wishes do not add to them.
                shortfalls=(*(verdict.shortfalls if not review.tasks else ()), *shortfalls),
                decided=review.sentence,
            )


WAY_OUT = 'say "approve", "revise", "revise TASK TASK: REMARK" or "reject: REASON"'
"""What a person can say."""


def read_review(answer: Any, node: ReviewedNode, round_: int, tasks: Collection[str]) -> Review:
    """Understand what a person said.

    Args:
        answer: in words (`approve`, `revise language timeouts: quote the reference`, `reject: no
            sources`), or a mapping with `decision`, `tasks` and `remark`.
        node: before which node the run asked.
        round_: the round that is reviewed.
        tasks: the tasks of the brief.

    Raises:
        ReviewError: it cannot be understood, or names a task that there is not.
    """
    given = _heard(answer) if isinstance(answer, str) else answer
    if not isinstance(given, Mapping):
        raise ReviewError(f"{answer!r:.80} is no decision: {WAY_OUT}")
    try:
        review = Review.model_validate({**given, "node": node, "round": round_})
    except ValidationError:
        raise ReviewError(f"{answer!r:.80} is no decision: {WAY_OUT}") from None
    unknown = [task for task in review.tasks if task not in tasks]
    if unknown:
        raise ReviewError(
            f"there is no task {', '.join(unknown)}; there are {', '.join(tasks)}: {WAY_OUT}"
        )
    if review.tasks and review.decision != "revise":
        raise ReviewError(f"only a revision is of tasks, and {answer!r:.80} is none: {WAY_OUT}")
    return review


def _heard(text: str) -> Mapping[str, Any]:
    """`revise TASK TASK: REMARK` as a mapping."""
    spoken, _, remark = text.partition(":")
    decision, *tasks = re.split(r"[\s,]+", spoken.strip())
    return {"decision": decision.casefold(), "tasks": tuple(tasks), "remark": remark.strip()}
