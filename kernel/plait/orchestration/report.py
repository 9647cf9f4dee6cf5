"""The report of a brief: one record, as JSON and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from plait.orchestration.analysis import SEED
from plait.orchestration.brief import Brief
from plait.orchestration.merge import Absence, Gathering, IntegrationResult, merge
from plait.orchestration.results import BranchResult, Finding, Measure
from plait.orchestration.validation import Verdict, validate

__all__ = ["Report", "partial_report", "to_json", "to_markdown"]


class Report(BaseModel, frozen=True, extra="forbid"):
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
    """How the sync point opened; nothing if it did not."""
    verdict: Verdict
    """Whether the whole is good enough."""
    merged: IntegrationResult
    """The whole: shares, attribution, absences, quality."""
    results: tuple[BranchResult, ...]
    """The parts, in the order of the brief."""


def partial_report(
    brief: Brief,
    results: Sequence[BranchResult],
    absences: Sequence[Absence],
    *,
    status: Literal["interrupted", "failed"],
    reason: str,
    gathering: Gathering | None = None,
) -> Report:
    """The report of a run that did not go to its end: what was finished, and what was not."""
    merged = merge(results, absences)
    return Report(
        title=brief.title,
        status=status,
        reason=reason,
        tasks={task.id: task.heading for task in brief.tasks},
        gathering=gathering,
        verdict=validate(merged, results),
        merged=merged,
        results=in_order_of(brief, results),
    )


def in_order_of(brief: Brief, results: Iterable[BranchResult]) -> tuple[BranchResult, ...]:
    """Results in the order of the brief's tasks."""
    place = {task.id: i for i, task in enumerate(brief.tasks)}
    return tuple(sorted(results, key=lambda result: place[result.task]))


def to_json(report: Report) -> dict[str, Any]:
    """The report as plain data for `json.dumps`; the fields are those of `Report`."""
    return report.model_dump(mode="json")


def to_markdown(report: Report) -> str:
    """The report for a reader, from the answer down to how it was computed."""
    parts = [
        f"# {report.title}",
        *_summary(report),
        *_at_a_glance(report),
        *_missing(report.merged.absences),
        *_findings([result for result in report.results if result.type == "research"]),
        *_numbers([result for result in report.results if result.type == "analysis"]),
        *_weights(report.merged),
        *_method(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(report: Report) -> Iterable[str]:
    if report.status != "completed":
        ended = {"interrupted": "was interrupted", "failed": "failed"}[report.status]
        yield f"**The run {ended}: {report.reason}** What was finished by then is below."
    yield (
        f"{len(report.results)} of {len(report.tasks)} tasks have a result. "
        f"{_opening(report.gathering)} Overall quality: **{report.merged.quality:.2f}** of 1."
    )
    if report.verdict.wanting:
        verdict = report.verdict.status.replace("_", " ")
        yield f"Verdict: **{verdict}**.\n\n" + _list(report.verdict.wanting)
    else:
        yield "Verdict: **quality approved**; every rule of the validation is kept."


_WHY = {
    "complete": "every branch had arrived",
    "partial": "no branch that could still arrive was left, and not all had",
    "quorum": "the quorum had arrived, and the grace time after it was over",
    "timeout": "its time was up",
}


def _opening(gathering: Gathering | None) -> str:
    if gathering is None:
        return "The sync point never opened."
    return (
        f"The sync point opened as **{gathering.status}** after {gathering.waited:.2f} s, with "
        f"{gathering.arrived} of {gathering.activated} branches: {_WHY[gathering.status]}."
    )


def _at_a_glance(report: Report) -> Iterable[str]:
    shares = {part.task: part.share for part in report.merged.contributions}
    absent = {absence.task: absence.status for absence in report.merged.absences}
    results = {result.task: result for result in report.results}
    rows = []
    for task, heading in report.tasks.items():
        if result := results.get(task):
            quality, share = f"{result.quality:.2f}", f"{shares[task]:.1%}"
            rows.append((task, heading, _essence(result), quality, share))
        else:
            rows.append((task, heading, f"**{absent.get(task, 'no result')}**", "", ""))
    yield "## At a glance"
    yield _table(("Task", "About", "Best finding or main number", "Quality", "Share"), rows)


def _essence(result: BranchResult) -> str:
    if result.findings:
        best = result.findings[0]
        return f"{best.document}, {best.place}"
    if result.measures:
        # The comparison is what an analysis of groups is for; it comes after the means.
        main = next((m for m in result.measures if m.name.startswith("difference")), None)
        measure = main or result.measures[0]
        return f"{measure.name}: {_number(measure.value)}{_interval(measure)}"
    return "nothing found"


def _missing(absences: Sequence[Absence]) -> Iterable[str]:
    if absences:
        yield "## What is missing, and why"
        yield _table(
            ("Task", "Status", "Reason"),
            [(absence.task, absence.status, absence.reason) for absence in absences],
        )


def _findings(results: Sequence[BranchResult]) -> Iterable[str]:
    if results:
        yield "## Findings"
    for result in results:
        yield f"### {result.heading}"
        yield f"Task `{result.task}`, quality {result.quality:.2f}. Searched: {result.read}."
        for finding in result.findings:
            yield _quotation(finding)
        if result.notes:
            yield _list(result.notes)


def _quotation(finding: Finding) -> str:
    # The passage is shown as it stands, so nothing in it may end the fence.
    longest = max((len(run) for run in re.findall("~+", finding.quote)), default=0)
    fence = "~" * max(3, longest + 1)
    where = f"**{finding.document}**, {finding.place} (score {finding.score:.2f})"
    return f"{where}:\n\n{fence}text\n{finding.quote}\n{fence}"


def _numbers(results: Sequence[BranchResult]) -> Iterable[str]:
    if results:
        yield "## Numbers"
    for result in results:
        yield f"### {result.heading}"
        yield f"Task `{result.task}`, quality {result.quality:.2f}. Computed on: {result.read}."
        if result.measures:
            yield _table(
                ("Number", "Value", "95% interval", "Rows", "How"),
                [
                    (m.name, _number(m.value), _interval(m).strip() or "-", f"{m.n:,}", m.how)
                    for m in result.measures
                ],
            )
        if result.notes:
            yield _list(result.notes)


def _weights(merged: IntegrationResult) -> Iterable[str]:
    if not merged.contributions:
        return
    yield "## What each branch and source counts for"
    yield _table(
        ("Branch", "Quality", "Seconds", "Weight", "Share"),
        [
            (
                part.task,
                f"{part.quality:.3f}",
                f"{part.seconds:.3f}",
                f"{part.weight:.3f}",
                f"{part.share:.1%}",
            )
            for part in merged.contributions
        ],
    )
    yield _table(
        ("Source", "Share", "Through"),
        [(a.document, f"{a.share:.1%}", ", ".join(a.tasks)) for a in merged.attributions],
    )


_METHOD = (
    """Score of a passage: BM25 by SQLite's FTS5 over the passages of the task's sources, a word
    in a heading counting twice, plus half the score for the task's focus. It compares passages of
    one task only.""",
    f"""Interval: percentile bootstrap, the middle 95% of the statistic over samples drawn with
    replacement; drawn from `random.Random({SEED})`, so that the same data give the same interval.
    It tells of chance in the rows, not of how the rows were chosen.""",
    """Weight of a branch: 0.7 × quality + 0.3 / (1 + seconds / 60). Share: its weight over the sum
    of all weights. A branch's share is divided over its documents: by score in research, by rows
    in an analysis.""",
)


def _method(report: Report) -> Iterable[str]:
    yield "## How the numbers were computed"
    yield _list(
        (
            *_METHOD,
            f"Overall quality: {report.merged.quality_how}.",
            *(f"Quality of `{result.task}`: {result.quality_how}." for result in report.results),
        )
    )
    yield (
        "A quality says how well the sources answered, by the formulas above. "
        "It does not say whether what they say is true."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {' '.join(sentence.split())}" for sentence in sentences)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e15 else f"{value:.4g}"


def _interval(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f" [{_number(measure.low)}, {_number(measure.high)}]"
