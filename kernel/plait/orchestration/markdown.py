"""The report for a reader: the answer first, then what it rests on, then how it came about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from textwrap import indent

from plait.orchestration.analysis import SEED
from plait.orchestration.gantt import path_rows, to_text, waits_of
from plait.orchestration.intervals import Interval
from plait.orchestration.merge import Absence, IntegrationResult
from plait.orchestration.report import Report, Section
from plait.orchestration.results import BranchResult, Measure
from plait.orchestration.synthesis import PrimaryFinding, Synthesis
from plait.orchestration.timeline import Timeline

__all__ = ["to_markdown"]


def to_markdown(report: Report, picture: str | None = None) -> str:
    """The report for a reader.

    Args:
        report: what to tell.
        picture: where the picture of the timeline is, as a link from the text; without it the
            timeline is drawn in characters.
    """
    places = {_key_of(one): i for i, one in enumerate(report.merged.research.primary, 1)}
    parts = [
        f"# {report.title}",
        *_summary(report),
        *_main_findings(report.merged.research),
        *_main_numbers(report.merged.analysis),
        *_at_a_glance(report),
        *_missing(report.merged.absences),
        *_findings([each for each in report.results if each.type == "research"], places),
        *_numbers([each for each in report.results if each.type == "analysis"]),
        *_weights(report.merged),
        *_trust(report.merged),
        *(part for section in report.sections for part in _section(section)),
        *_timeline(report.timeline, picture),
        *_method(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(report: Report) -> Iterable[str]:
    merged = report.merged
    if report.status != "completed":
        ended = {"interrupted": "was interrupted", "failed": "failed"}[report.status]
        yield f"**The run {ended}: {report.reason}** What was finished by then is below."
    yield (
        f"{len(report.results)} of {len(report.tasks)} tasks have a result. "
        f"{_opening(report)} Overall quality: **{merged.quality:.2f}** of 1"
        f"{_ends(merged)}; confidence that the parts make a whole: "
        f"**{merged.confidence.value:.2f}** of 1."
    )
    if report.verdict.decided:
        yield f"{report.verdict.decided}"
    if report.verdict.wanting:
        verdict = report.verdict.status.replace("_", " ")
        yield f"Verdict: **{verdict}**.\n\n" + _list(report.verdict.wanting)
    elif report.verdict.decided:
        yield f"Verdict: **{report.verdict.status.replace('_', ' ')}**."
    else:
        yield "Verdict: **quality approved**; every rule of the validation is kept."


def _ends(merged: IntegrationResult) -> str:
    interval = merged.quality_interval
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def _key_of(one: PrimaryFinding) -> tuple[str, str, str]:
    return one.task, one.source, one.statement


def _main_findings(synthesis: Synthesis) -> Iterable[str]:
    if not synthesis.primary:
        return
    yield "## Main findings"
    for i, one in enumerate(synthesis.primary, 1):
        also = _supporters(one)
        yield (
            f"{i}. **{one.source}** (task `{one.task}`, weight {one.weight:.2f}{also}):"
            f"\n\n{indent(_fenced(one.statement), ' ' * len(f'{i}. '))}"
        )


def _main_numbers(synthesis: Synthesis) -> Iterable[str]:
    if not synthesis.primary:
        return
    yield "## Main numbers"
    rows = []
    for one in synthesis.primary:
        interval, pooled = one.interval, ""
        if interval is not None and interval.n > 1:
            pooled = f"; {interval.how}"
        rows.append(
            (
                one.statement,
                "" if one.value is None else _number(one.value),
                "-" if interval is None else _interval(interval).strip(),
                f"{one.task}{pooled}{_supporters(one)}",
            )
        )
    yield _table(("Number", "Value", "95% interval", "From task"), rows)


def _supporters(one: PrimaryFinding) -> str:
    tasks = dict.fromkeys(evidence.task for evidence in one.supported_by)
    tasks.pop(one.task, None)
    return f"; supported by {', '.join(tasks)}" if tasks else ""


_WHY = {
    "complete": "every branch had arrived",
    "partial": "no branch that could still arrive was left, and not all had",
    "quorum": "the quorum had arrived, and the grace time after it was over",
    "timeout": "its time was up",
}


def _opening(report: Report) -> str:
    if report.gathering is None:
        return "The sync point never opened."
    first, *rounds = (*report.earlier, report.gathering)
    text = (
        f"The sync point opened as **{first.status}** after {first.waited:.2f} s, with "
        f"{first.arrived} of {first.activated} branches: {_WHY[first.status]}."
    )
    if rounds:
        followed = "1 round" if len(rounds) == 1 else f"{len(rounds)} rounds"
        arrived = " and ".join(f"{one.arrived} of {one.activated}" for one in rounds)
        text += f" {followed} of revision followed, in which {arrived} branches arrived."
    return text


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


def _findings(
    results: Sequence[BranchResult], places: Mapping[tuple[str, str, str], int]
) -> Iterable[str]:
    if results:
        yield "## Findings, task by task"
    for result in results:
        yield f"### {result.heading}"
        yield f"Task `{result.task}`, quality {result.quality:.2f}. Searched: {result.read}."
        for finding in result.findings:
            source = f"{finding.document}, {finding.place}"
            place = places.get((result.task, source, finding.quote))
            told = _fenced(finding.quote) if place is None else f"Main finding {place}, above."
            yield (
                f"**{finding.document}**, {finding.place} (score {finding.score:.2f}):\n\n{told}"
            )
        if result.notes:
            yield _list(result.notes)


def _fenced(quote: str) -> str:
    # The passage is shown as it stands, so nothing in it may end the fence.
    longest = max((len(run) for run in re.findall("~+", quote)), default=0)
    fence = "~" * max(3, longest + 1)
    return f"{fence}text\n{quote}\n{fence}"


def _numbers(results: Sequence[BranchResult]) -> Iterable[str]:
    if results:
        yield "## Numbers, task by task"
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


def _trust(merged: IntegrationResult) -> Iterable[str]:
    performance, spread = merged.performance, merged.performance.quality
    if not performance.activated:
        return
    counts = {
        "failed": performance.failed,
        "late": performance.late,
        "cancelled": performance.cancelled,
        "went another way": performance.dead,
    }
    lost = "".join(f", {count} {word}" for word, count in counts.items() if count)
    rate = f"{performance.successful} of {performance.activated} tasks"
    lines = [f"Success rate: {rate} = {performance.success_rate:.0%}{lost}."]
    if spread is not None:
        lines.append(
            f"Qualities of the {spread.n} branches: {spread.lowest:.2f} to {spread.highest:.2f}, "
            f"quartiles {spread.lower_quartile:.2f}, {spread.median:.2f}, "
            f"{spread.upper_quartile:.2f}, mean {spread.mean:.2f}, standard deviation "
            f"{spread.deviation:.2f}."
        )
    lines += [
        f"The {synthesis.type} by itself: quality {synthesis.quality:.2f} from "
        f"{len(synthesis.tasks)} of the branches."
        for synthesis in (merged.research, merged.analysis)
        if synthesis.tasks
    ]
    lines.append(f"Confidence {merged.confidence.value:.2f} = {merged.confidence.how}.")
    lines += [
        f"The result of `{old.task}` of quality {old.quality:.2f} was replaced by one of "
        f"{old.by:.2f}."
        for old in merged.superseded
    ]
    yield "## How far to trust it"
    yield _list(lines)


def _section(section: Section) -> Iterable[str]:
    yield f"## {section.title}"
    if section.lines:
        yield _list(section.lines)
    if section.rows:
        yield _table(section.head, section.rows)


def _timeline(timeline: Timeline | None, picture: str | None) -> Iterable[str]:
    if timeline is None or not timeline.rows:
        return
    yield "## What happened when"
    if picture is not None:
        yield f"![The branches in time, and the sync points](<{picture}>)"
    else:
        yield _fenced(to_text(timeline))
    yield _list(waits_of(timeline))
    rows = path_rows(timeline)
    if rows:
        yield (
            f"The critical path, what the {timeline.seconds:.2f} s were spent on: each stretch "
            "follows from the one before, by the journal, and together they are the whole."
        )
        yield _table(("From", "Seconds", "Branch", "Spent on"), rows)


_METHOD = (
    """Score of a passage: BM25 by SQLite's FTS5 over the passages of the task's sources, a word
    in a heading counting twice, plus half the score for the task's focus. It compares passages of
    one task only.""",
    f"""Interval: percentile bootstrap, the middle 95% of the statistic over samples drawn with
    replacement; drawn from `random.Random({SEED})`, so that the same data give the same interval.
    It tells of chance in the rows, not of how the rows were chosen.""",
    """Main findings: those of the highest weight, which is that of the branch times the score
    beside the best score of its task; of passages that resemble each other (Broder's resemblance:
    runs of words that both have, of those that either has), the heaviest is told. Main numbers: by
    the weight of the branch, divided by the number's place in it; the same number from different
    data is pooled by inverse variance.""",
    """Interval of the quality: weighted bootstrap over the branches. It tells how far the mean
    hangs on which branches there were.""",
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


def _interval(found: Measure | Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    level = "" if found.level == 0.95 else f" ({found.level:.0%})"
    return f" [{_number(found.low)}, {_number(found.high)}]{level}"
