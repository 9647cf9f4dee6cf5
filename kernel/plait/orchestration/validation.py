"""Validation: whether a merged whole is good enough, by rules, and what is wanting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from plait.orchestration.merge import Merged
from plait.orchestration.results import BranchResult

__all__ = ["RULES", "Rule", "Verdict", "validate"]


class Verdict(BaseModel, frozen=True, extra="forbid"):
    """Whether the whole is good enough."""

    status: Literal["quality_approved", "needs_revision", "critical_failure"]
    """`critical_failure` if a critical rule is broken, `needs_revision` if another one is."""
    wanting: tuple[str, ...] = ()
    """One sentence for each thing that is wanting."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand on the whole."""

    name: str
    """What the rule is about."""
    wanting: Callable[[Merged, Sequence[BranchResult]], Iterable[str]]
    """What is wanting by this rule, one sentence each; nothing when it is kept."""
    critical: bool = False
    """Whether the whole is worth nothing when this rule is broken."""


def _something(merged: Merged, results: Sequence[BranchResult]) -> Iterable[str]:
    if all(result.empty for result in results):
        yield "No task found anything."


def _quality(merged: Merged, results: Sequence[BranchResult]) -> Iterable[str]:
    if merged.quality < 0.5:
        yield f"The overall quality is {merged.quality:.2f}, and 0.50 is asked for."


def _enough(merged: Merged, results: Sequence[BranchResult]) -> Iterable[str]:
    tasks = len(results) + len(merged.absences)
    if tasks and len(results) / tasks < 0.75:
        yield f"{len(results)} of {tasks} tasks have a result, and three quarters are asked for."


def _each(merged: Merged, results: Sequence[BranchResult]) -> Iterable[str]:
    for result in results:
        if result.empty:
            yield f"The task {result.task} found nothing."
        elif result.quality < 0.25:
            yield f"The quality of {result.task} is {result.quality:.2f}, below 0.25."


RULES = (
    Rule("something was found", _something, critical=True),
    Rule("overall quality", _quality),
    Rule("enough tasks have a result", _enough),
    Rule("each result", _each),
)
"""The rules that hold unless others are given."""


def validate(
    merged: Merged, results: Sequence[BranchResult], rules: Sequence[Rule] = RULES
) -> Verdict:
    """Hold a merged whole against rules."""
    broken = [(rule, tuple(rule.wanting(merged, results))) for rule in rules]
    wanting = tuple(sentence for _, sentences in broken for sentence in sentences)
    if any(rule.critical and sentences for rule, sentences in broken):
        return Verdict(status="critical_failure", wanting=wanting)
    return Verdict(status="needs_revision" if wanting else "quality_approved", wanting=wanting)
