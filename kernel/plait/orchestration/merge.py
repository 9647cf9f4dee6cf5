"""The merge of branches: both syntheses, weights and shares, who is missing, how far to trust it.

The weight of a branch is `0.7 × quality + 0.3 / (1 + seconds / 60)`: mostly how good its result is,
and a little how soon it came. A branch's *share* is its weight over the sum of all weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev, quantiles
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from plait.codec import RecordedError
from plait.errors import PlaitError
from plait.events import Outcome, Participant
from plait.orchestration.intervals import Interval, weighted_mean
from plait.orchestration.results import BranchResult, Share
from plait.orchestration.synthesis import (
    QUALITY_PART,
    TIME_PART,
    Attribution,
    MergeSettings,
    Synthesis,
    attribute,
    heaviest_first,
    quality_interval,
    synthesize,
    weight_of,
)

__all__ = [
    "Absence",
    "Attribution",
    "Confidence",
    "Contribution",
    "Gathering",
    "IntegrationResult",
    "MergePerformance",
    "MergeSettings",
    "Merger",
    "QualitySpread",
    "Superseded",
    "absences_of",
    "best_of_each",
    "gathering_of",
    "merge",
    "weight_of",
]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Contribution(_Record):
    """What a branch counts for in the whole."""

    task: str
    """The id of its task."""
    branch: str = ""
    """Which specialist's branch it was."""
    weight: float
    """`weight_of` its quality and seconds."""
    share: Share
    """Its weight over the sum of all; the shares of all branches sum to 1."""
    quality: Share
    """The quality of its result."""
    seconds: float
    """How long it took."""
    how: str
    """The formula of the weight, with its numbers."""


class Absence(_Record):
    """A task without a result."""

    task: str
    """The id of the task."""
    status: Literal["failed", "late", "cancelled", "dead"]
    """What became of its branch."""
    reason: str
    """Why."""
    branch: str = ""
    """Which specialist's branch it was."""


class Gathering(_Record):
    """What the sync point reported when it opened."""

    status: Literal["complete", "partial", "quorum", "timeout"]
    """Why it opened."""
    arrived: Annotated[int, Field(ge=0)]
    """How many branches had arrived."""
    activated: Annotated[int, Field(ge=0)]
    """How many it could have been."""
    progress: Share
    """Arrived over activated."""
    waited: Annotated[float, Field(ge=0)]
    """Seconds from the fork until it opened."""


class Superseded(_Record):
    """A result in whose place a better one of the same task counts."""

    task: str
    """The id of the task."""
    branch: str = ""
    """Which specialist's branch gave it."""
    quality: Share
    """The quality of the result that does not count."""
    by: Share
    """The quality of the one that does."""


class Confidence(_Record):
    """How far the whole is to be trusted."""

    value: Share
    """The mean of agreement and precision; 0 without a result."""
    agreement: Share
    """How far the branches agree; 0 for fewer than two, since nobody confirms the one."""
    precision: Share
    """How narrow the intervals are; 0 without any."""
    how: str
    """The formula, with its numbers."""


class QualitySpread(_Record):
    """How the qualities of the branches with a result are distributed."""

    n: Annotated[int, Field(ge=1)]
    """How many there are."""
    mean: Share
    """Their mean, each counting the same."""
    deviation: Annotated[float, Field(ge=0)]
    """Their standard deviation (of these branches, not an estimate for others)."""
    lowest: Share
    """The lowest."""
    lower_quartile: Share
    """A quarter is at or below it (linear interpolation)."""
    median: Share
    """Half is at or below it."""
    upper_quartile: Share
    """Three quarters are at or below it."""
    highest: Share
    """The highest."""


class MergePerformance(_Record):
    """What became of the tasks that were sent off."""

    activated: Annotated[int, Field(ge=0)]
    """How many there were."""
    successful: Annotated[int, Field(ge=0)]
    """How many have a result."""
    failed: Annotated[int, Field(ge=0)] = 0
    """How many failed."""
    late: Annotated[int, Field(ge=0)] = 0
    """How many had not arrived in time and ran on."""
    cancelled: Annotated[int, Field(ge=0)] = 0
    """How many had not arrived in time and were cancelled."""
    dead: Annotated[int, Field(ge=0)] = 0
    """How many took another way."""
    success_rate: Share
    """Successful over activated; 0 if none was activated."""
    quality: QualitySpread | None = None
    """How the qualities are distributed; nothing without a result."""


class IntegrationResult(_Record):
    """The whole, out of its parts."""

    research: Synthesis
    """What all research says together."""
    analysis: Synthesis
    """What all analyses say together."""
    contributions: tuple[Contribution, ...]
    """Every branch with a result, the heaviest first."""
    attributions: tuple[Attribution, ...]
    """Every document that a result rests on, the heaviest first; the shares sum to 1."""
    absences: tuple[Absence, ...]
    """Every task without a result."""
    superseded: tuple[Superseded, ...] = ()
    """Results that do not count, since there is a better one of the same task."""
    quality: Share
    """The mean quality, weighted by the shares; 0 without a result."""
    quality_how: str
    """The formula of the quality, with its numbers."""
    quality_interval: Interval | None = None
    """The interval of the quality; nothing for fewer than two branches."""
    confidence: Confidence
    """How far to trust it."""
    performance: MergePerformance
    """What became of the tasks that were sent off."""

    @property
    def successful(self) -> tuple[str, ...]:
        """The tasks with a result, the heaviest first."""
        return tuple(part.task for part in self.contributions)

    @property
    def failed(self) -> tuple[str, ...]:
        """The tasks whose branches failed."""
        return self._absent("failed")

    @property
    def late(self) -> tuple[str, ...]:
        """The tasks whose branches came too late, or were cancelled for that."""
        return self._absent("late", "cancelled")

    def _absent(self, *statuses: str) -> tuple[str, ...]:
        return tuple(one.task for one in self.absences if one.status in statuses)


class Merger:
    """Merges what branches brought.

    Args:
        settings: how many findings are primary, what counts as the same finding, how often a
            bootstrap draws.
    """

    def __init__(self, settings: MergeSettings | None = None) -> None:
        self.settings: MergeSettings = settings or MergeSettings()

    def merge(
        self, results: Iterable[BranchResult], absences: Iterable[Absence] = ()
    ) -> IntegrationResult:
        """Merge results, by type and by status; in whatever order they come, the whole is the same.

        Args:
            results: what arrived. Of several for one task the best counts: the highest quality,
                then the soonest.
            absences: the tasks that have failed or not arrived; one that has a result all the same
                is not absent.

        No results at all are a valid, empty whole of quality 0.
        """
        best, superseded = best_of_each(results)
        parts = heaviest_first(best)
        found = {part.task for part in parts}
        absent = {one.task: one for one in absences if one.task not in found}
        research = synthesize("research", parts, self.settings)
        analysis = synthesize("analysis", parts, self.settings)
        interval = quality_interval(parts, self.settings, "overall quality")
        weights = [weight_of(part.quality, part.seconds) for part in parts]
        contributions = [
            _contribution(part, weight, sum(weights))
            for part, weight in zip(parts, weights, strict=True)
        ]
        terms = " + ".join(f"{part.share:.3f} × {part.quality:.2f}" for part in contributions)
        return IntegrationResult(
            research=research,
            analysis=analysis,
            contributions=tuple(contributions),
            attributions=attribute(parts),
            absences=tuple(absent.values()),
            superseded=superseded,
            quality=weighted_mean([part.quality for part in parts], weights) if parts else 0.0,
            quality_how=f"share × quality, summed: {terms}" if terms else "0: there is no result",
            quality_interval=interval,
            confidence=_confidence(parts, weights, research, analysis, interval),
            performance=_performance(parts, list(absent.values())),
        )


def merge(results: Iterable[BranchResult], absences: Iterable[Absence] = ()) -> IntegrationResult:
    """Merge results with the settings that hold unless others are given."""
    return Merger().merge(results, absences)


def best_of_each(
    results: Iterable[BranchResult],
) -> tuple[list[BranchResult], tuple[Superseded, ...]]:
    """The best result of each task, and those that it is better than."""
    by_task: defaultdict[str, list[BranchResult]] = defaultdict(list)
    for result in results:
        by_task[result.task].append(result)
    best: list[BranchResult] = []
    superseded: list[Superseded] = []
    for task, found in sorted(by_task.items()):
        # The last key only makes equals comparable: no timing decides between them.
        found.sort(key=lambda one: (-one.quality, one.seconds, one.model_dump_json()))
        best.append(found[0])
        superseded += [
            Superseded(task=task, branch=one.branch, quality=one.quality, by=found[0].quality)
            for one in found[1:]
        ]
    return best, tuple(superseded)


def _contribution(part: BranchResult, weight: float, total: float) -> Contribution:
    return Contribution(
        task=part.task,
        branch=part.branch,
        weight=weight,
        share=weight / total,
        quality=part.quality,
        seconds=part.seconds,
        how=f"{QUALITY_PART} × {part.quality:.3f} + {TIME_PART} / (1 + {part.seconds:.3f} / 60)",
    )


def _confidence(
    parts: Sequence[BranchResult],
    weights: Sequence[float],
    research: Synthesis,
    analysis: Synthesis,
    quality: Interval | None,
) -> Confidence:
    """Agreement of the branches, and width of the intervals, each from 0 to 1; and their mean.

    Branches agree as far as their qualities are alike (1 less twice their weighted standard
    deviation, which is at most a half), and as the numbers that several of them computed differ by
    no more than chance (1 - I²). The precision is the mean over the intervals of the quality (1
    less its width) and of the primary numbers (1 / (1 + half the width beside the number)).
    """
    if not parts:
        return Confidence(value=0, agreement=0, precision=0, how="0: there is no result")
    alike: list[float] = []
    if len(parts) > 1:
        values = [part.quality for part in parts]
        middle = weighted_mean(values, weights)
        variance = weighted_mean([(value - middle) ** 2 for value in values], weights)
        alike.append(1 - min(1.0, 2 * variance**0.5))
    numbers = [one.interval for one in analysis.primary if one.interval is not None]
    alike += [1 - one.heterogeneity for one in numbers if one.heterogeneity is not None]
    narrow = [one.precision for one in numbers]
    if quality is not None:
        narrow.append(1 - (quality.high - quality.low))
    agreement = fmean(alike) if alike else 0.0
    precision = fmean(narrow) if narrow else 0.0
    return Confidence(
        value=(agreement + precision) / 2,
        agreement=agreement,
        precision=precision,
        how=f"(agreement + precision) / 2: agreement {agreement:.2f} of "
        f"{len(parts)} branches, by 1 − 2 × the weighted standard deviation of their qualities"
        f"{' and 1 − I² of the pooled numbers' if len(alike) > 1 else ''}; precision "
        f"{precision:.2f} of {len(narrow)} intervals, by 1 − width for the quality and "
        "1 / (1 + half the width / the number) for numbers",
    )


def _performance(parts: Sequence[BranchResult], absences: Sequence[Absence]) -> MergePerformance:
    activated = len(parts) + len(absences)
    counts = {
        status: sum(one.status == status for one in absences)
        for status in ("failed", "late", "cancelled", "dead")
    }
    return MergePerformance(
        activated=activated,
        successful=len(parts),
        success_rate=len(parts) / activated if activated else 0.0,
        quality=_spread([part.quality for part in parts]) if parts else None,
        **counts,
    )


def _spread(values: Sequence[float]) -> QualitySpread:
    lower, middle, upper = (
        quantiles(values, method="inclusive") if len(values) > 1 else [values[0]] * 3
    )
    lowest, highest = min(values), max(values)

    def within(value: float) -> float:
        return min(max(value, lowest), highest)

    return QualitySpread(
        n=len(values),
        mean=within(fmean(values)),
        deviation=pstdev(values),
        lowest=lowest,
        lower_quartile=within(lower),
        median=within(middle),
        upper_quartile=within(upper),
        highest=highest,
    )


def gathering_of(outcome: Outcome) -> Gathering:
    """What a report says of a sync point's outcome."""
    return Gathering(
        status=outcome.status,
        arrived=len(outcome.arrived),
        activated=outcome.activated,
        progress=outcome.progress,
        waited=outcome.waited,
    )


def absences_of(outcome: Outcome) -> tuple[Absence, ...]:
    """Every branch that did not arrive at a sync point, with the reason."""
    waited = f"when the sync point opened, {outcome.waited:.1f} s after the fork"
    return (
        *(_absence(one, "failed", reason_of(one.error)) for one in outcome.failed),
        *(_absence(one, "late", f"still at work {waited}") for one in outcome.late),
        *(_absence(one, "cancelled", f"still at work {waited}") for one in outcome.cancelled),
        *(_absence(one, "dead", "took a way that does not lead to it") for one in outcome.dead),
    )


def _absence(
    participant: Participant, status: Literal["failed", "late", "cancelled", "dead"], reason: str
) -> Absence:
    return Absence(task=participant.id or participant.node, status=status, reason=reason)


def reason_of(error: PlaitError | None) -> str:
    """An error in one sentence: the node's own exception, without what is wrapped around it."""
    cause = error.__cause__ if error is not None and error.__cause__ is not None else error
    if cause is None:
        return "no reason was recorded"
    if isinstance(cause, RecordedError):  # read back from the journal of a run that is resumed
        return f"{cause.type.rpartition('.')[2]}: {cause.message}"
    return f"{type(cause).__name__}: {cause}"
