"""Asking a person, before a node of a run under review."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from plait import Interrupt, NodeContext
from plait.orchestration.errors import ReviewError
from plait.orchestration.merge import absences_of, best_of_each, gathering_of
from plait.orchestration.review import REVIEWED, WAY_OUT, Review, ReviewedNode, read_review
from plait.orchestration.state import NodeWithContext, WorkflowState
from plait.orchestration.validation import QualityValidator

__all__ = ["check_answers", "question_of", "reviewed"]


def reviewed(
    name: ReviewedNode, node: NodeWithContext, validator: QualityValidator
) -> NodeWithContext:
    """The node, behind the question to a person, in runs that are under review.

    The node finds what was said at the end of `state.reviews`. An answer that is none is asked for
    again, with the reason.
    """

    async def asks_first(state: WorkflowState, ctx: NodeContext) -> Any:
        if not state.settings.review or state.failure:  # which a person may have decided before
            return await node(state, ctx)
        review = _answered(name, state, ctx, validator)
        known = state.model_copy(update={"reviews": [*state.reviews, review]})
        writes = await node(known, ctx)
        if writes is not None and not isinstance(writes, Mapping):
            return writes  # a Command: where it leads is decided, and who decided is in the journal
        return {**(writes or {}), "reviews": [review]}

    return asks_first


def check_answers(asked: Iterable[Interrupt], answers: Mapping[str, Any]) -> None:
    """Refuse answers to a review that are no decision. Raises `ReviewError`."""
    for interrupt in asked:
        question = interrupt.value
        if interrupt.id in answers and interrupt.node in REVIEWED and isinstance(question, Mapping):
            answer = answers[interrupt.id]
            read_review(answer, question["node"], question["round"], question["tasks"])


def _answered(
    name: ReviewedNode, state: WorkflowState, ctx: NodeContext, validator: QualityValidator
) -> Review:
    question = question_of(name, state, ctx, validator)
    while True:
        try:
            answer = ctx.interrupt(question)
            return read_review(answer, name, state.round, question["tasks"])
        except ReviewError as error:
            question = {**question, "problem": str(error)}


def question_of(
    name: ReviewedNode, state: WorkflowState, ctx: NodeContext, validator: QualityValidator
) -> dict[str, Any]:
    """What a person is asked, as plain data.

    Returns:
        `asks`, the question in a sentence; `facts`, what there is to decide on, one sentence each;
        `answers`, what can be said; `tasks`, their ids; `node` and `round`.
    """
    gathered = name == "sync_point_manager"
    return {
        "asks": "Are these results enough?" if gathered else "Is the whole good enough?",
        "facts": [*(_gathered(state, ctx) if gathered else _merged(state, validator))],
        "answers": WAY_OUT,
        "tasks": [task.id for task in state.brief.tasks],
        "node": name,
        "round": state.round,
    }


def _gathered(state: WorkflowState, ctx: NodeContext) -> Iterable[str]:
    """How the sync point opened, and what became of each task."""
    outcome = ctx.outcome
    assert outcome is not None, "this node follows a sync point"
    opened = gathering_of(outcome)
    yield (
        f"The sync point opened as {opened.status} after {opened.waited:.2f} s, with "
        f"{opened.arrived} of {opened.activated} branches."
    )
    results, _ = best_of_each(state.results)
    for result in results:
        found = len(result.findings) or len(result.measures)
        what = "findings" if result.type == "research" else "numbers"
        yield f"{result.task}: {found} {what}, quality {result.quality:.2f}."
    done = {result.task for result in results}
    absent = {each.task: each for each in (*state.absences, *absences_of(outcome))}
    for absence in absent.values():
        if absence.task not in done:
            yield f"{absence.task}: {absence.status}: {absence.reason}."


def _merged(state: WorkflowState, validator: QualityValidator) -> Iterable[str]:
    """How good the whole is, by its own account and by the rules."""
    whole = state.integration_result
    assert whole is not None, "the merger ran before"
    performance = whole.performance
    yield (
        f"{performance.successful} of {performance.activated} tasks have a result; overall quality "
        f"{whole.quality:.2f}, confidence {whole.confidence.value:.2f}."
    )
    for one in whole.research.primary:
        yield f"Main finding, of {one.task}: {one.source}."
    for number in whole.analysis.primary:
        yield f"Main number, of {number.task}: {number.statement}: {number.value:.6g}."
    verdict = validator.validate(whole, state.results, state.brief.tasks)
    yield f"By the rules: {verdict.status.replace('_', ' ')}."
    yield from verdict.wanting
