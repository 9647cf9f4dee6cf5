"""The merge of branches: weights by quality and time, attribution of sources, and who is missing.

The weight of a branch is `0.7 × quality + 0.3 / (1 + seconds / 60)`: mostly how good its result is,
and a little how soon it came. A branch's *share* is its weight over the sum of all weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from plait.codec import RecordedError
from plait.errors import PlaitError
from plait.events import Outcome, Participant
from plait.orchestration.results import BranchResult, Share

__all__ = [
    "Absence",
    "Attribution",
    "Contribution",
    "Gathering",
    "Merged",
    "absences_of",
    "gathering_of",
    "merge",
    "weight_of",
]

QUALITY_PART = 0.7
TIME_PART = 0.3


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Contribution(_Record):
    """What a branch counts for in the whole."""

    task: str
    """The id of its task."""
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


class Attribution(_Record):
    """What a document counts for in the whole."""

    document: str
    """The document, or `(nothing found)`."""
    tasks: tuple[str, ...]
    """The tasks whose results rest on it."""
    share: Share
    """The shares of those branches, each divided over its documents; sums to 1 over all."""


class Absence(_Record):
    """A task without a result."""

    task: str
    """The id of the task."""
    status: Literal["failed", "late", "cancelled", "dead"]
    """What became of its branch."""
    reason: str
    """Why."""


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


class Merged(_Record):
    """The whole, out of its parts."""

    contributions: tuple[Contribution, ...]
    """Every branch with a result, the heaviest first."""
    attributions: tuple[Attribution, ...]
    """Every document that a result rests on, the heaviest first."""
    absences: tuple[Absence, ...]
    """Every task without a result."""
    quality: Share
    """The mean quality, weighted by the shares; 0 without a result."""
    quality_how: str
    """The formula of the quality, with its numbers."""


def weight_of(quality: float, seconds: float) -> float:
    """The weight of a branch, from its quality (0 to 1) and its time: above 0, and at most 1."""
    return QUALITY_PART * quality + TIME_PART / (1 + seconds / 60)


def merge(results: Sequence[BranchResult], absences: Sequence[Absence] = ()) -> Merged:
    """Merge results; the order depends on them alone, and no results are a valid, empty whole."""
    total = sum(weight_of(result.quality, result.seconds) for result in results)
    contributions = [_contribution(result, total) for result in results]
    contributions.sort(key=lambda part: (-part.share, part.task))
    quality = sum(part.share * part.quality for part in contributions)
    terms = " + ".join(f"{part.share:.3f} × {part.quality:.2f}" for part in contributions)
    return Merged(
        contributions=tuple(contributions),
        attributions=_attributions(results, {part.task: part.share for part in contributions}),
        absences=tuple(absences),
        # The shares sum to 1 only as far as floating point goes.
        quality=min(1.0, quality),
        quality_how=f"share × quality, summed: {terms}" if terms else "0: there is no result",
    )


def _contribution(result: BranchResult, total: float) -> Contribution:
    weight = weight_of(result.quality, result.seconds)
    return Contribution(
        task=result.task,
        weight=weight,
        share=weight / total,
        quality=result.quality,
        seconds=result.seconds,
        how=f"{QUALITY_PART} × {result.quality:.3f} + "
        f"{TIME_PART} / (1 + {result.seconds:.3f} / 60)",
    )


def _attributions(
    results: Sequence[BranchResult], shares: dict[str, float]
) -> tuple[Attribution, ...]:
    found: dict[str, tuple[float, list[str]]] = {}
    for result in results:
        for document, part in result.sources or (("(nothing found)", 1.0),):
            share, tasks = found.get(document, (0.0, []))
            found[document] = (share + part * shares[result.task], [*tasks, result.task])
    attributions = [
        Attribution(document=document, tasks=tuple(tasks), share=min(1.0, share))
        for document, (share, tasks) in found.items()
    ]
    return tuple(sorted(attributions, key=lambda found: (-found.share, found.document)))


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
