"""The report of a brief: one record of all that a run found out, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from plait.orchestration.brief import Brief
from plait.orchestration.merge import (
    Absence,
    Gathering,
    IntegrationResult,
    Merger,
    best_of_each,
)
from plait.orchestration.results import BranchResult
from plait.orchestration.timeline import Timeline
from plait.orchestration.validation import QualityValidator, Verdict

__all__ = ["Report", "Section", "make_report", "partial_report", "to_json"]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Section(_Record):
    """A part of the report that says how the work was done."""

    title: str
    """Its heading."""
    lines: tuple[str, ...] = ()
    """Sentences, one item each."""
    head: tuple[str, ...] = ()
    """The headings of a table below them; none: there is no table."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Its rows, each with as many cells as there are headings."""


class Report(_Record):
    """All that a run found out, and how."""

    title: str
    """The title of the brief."""
    status: Literal["completed", "interrupted", "failed"]
    """Whether the run went to its end."""
    reason: str = ""
    """Why it did not."""
    tasks: dict[str, str]
    """What each task of the brief is about, by its id, in the brief's order."""
    gathering: Gathering | None = None
    """How the sync point opened, in the last round; nothing if it did not."""
    earlier: tuple[Gathering, ...] = ()
    """How it opened in the rounds before that."""
    verdict: Verdict
    """Whether the whole is good enough."""
    merged: IntegrationResult
    """The whole: syntheses, shares, attribution, absences, quality, confidence."""
    results: tuple[BranchResult, ...]
    """The parts that count, one for each task with a result, in the order of the brief."""
    sections: tuple[Section, ...] = ()
    """How the work was done."""
    timeline: Timeline | None = None
    """What happened when, and what the run's time was spent on; nothing while it goes on."""


def make_report(
    brief: Brief,
    results: Iterable[BranchResult],
    merged: IntegrationResult,
    verdict: Verdict,
    *,
    gatherings: Iterable[Gathering] = (),
    sections: Iterable[Section] = (),
    status: Literal["completed", "interrupted", "failed"] = "completed",
    reason: str = "",
    timeline: Timeline | None = None,
) -> Report:
    """Put all of a run into one record.

    Args:
        brief: what was asked for.
        results: what the branches brought, of all rounds; of each task the best is taken.
        merged: the whole.
        verdict: whether it is good enough.
        gatherings: how the sync point opened, round by round.
        sections: how the work was done.
        status: whether the run went to its end.
        reason: why it did not.
        timeline: what happened when.
    """
    counted, _ = best_of_each(results)
    opened = tuple(gatherings)
    return Report(
        title=brief.title,
        status=status,
        reason=reason,
        tasks={task.id: task.heading for task in brief.tasks},
        gathering=opened[-1] if opened else None,
        earlier=opened[:-1],
        verdict=verdict,
        merged=merged,
        results=in_order_of(brief, counted),
        sections=tuple(sections),
        timeline=timeline,
    )


def partial_report(
    brief: Brief,
    results: Sequence[BranchResult],
    absences: Sequence[Absence],
    *,
    status: Literal["interrupted", "failed"],
    reason: str,
    gathering: Gathering | None = None,
    timeline: Timeline | None = None,
) -> Report:
    """The report of a run that did not go to its end: what was finished, and what was not."""
    merged = Merger().merge(results, absences)
    return make_report(
        brief,
        results,
        merged,
        QualityValidator().validate(merged, results, brief.tasks),
        gatherings=() if gathering is None else (gathering,),
        status=status,
        reason=reason,
        timeline=timeline,
    )


def in_order_of(brief: Brief, results: Iterable[BranchResult]) -> tuple[BranchResult, ...]:
    """Results in the order of the brief's tasks."""
    place = {task.id: i for i, task in enumerate(brief.tasks)}
    return tuple(sorted(results, key=lambda result: place[result.task]))


def to_json(report: Report) -> dict[str, Any]:
    """The report as plain data for `json.dumps`; the fields are those of `Report`."""
    return report.model_dump(mode="json")
