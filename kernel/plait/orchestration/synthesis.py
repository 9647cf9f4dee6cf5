"""Synthesis: what the branches of one kind say together.

What matters most comes first, once, with what supports it; every share and interval says how it was
computed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.intervals import Interval, pool, weighted_bootstrap, weighted_mean
from plait.orchestration.results import BranchResult, Finding, Measure, Share
from plait.orchestration.similarity import Shingles, resemblance, shingles

__all__ = [
    "NOTHING_FOUND",
    "Attribution",
    "Evidence",
    "MergeSettings",
    "PrimaryFinding",
    "Synthesis",
    "attribute",
    "quality_interval",
    "synthesize",
    "weight_of",
]

QUALITY_PART = 0.7
TIME_PART = 0.3

NOTHING_FOUND = "(nothing found)"
"""The document to which a branch without findings is attributed."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class MergeSettings(_Record):
    """How results are merged."""

    primary: Annotated[int, Field(ge=1)] = 5
    """The most primary findings of a synthesis."""
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The resemblance from which on two passages are taken for the same finding."""
    shingle: Annotated[int, Field(ge=1)] = 3
    """Words in a shingle; see `plait.orchestration.similarity`."""
    draws: Annotated[int, Field(ge=100)] = 1_000
    """How often a weighted bootstrap draws."""


class Evidence(_Record):
    """A finding or a number that is not primary."""

    task: str
    """The task that gave it."""
    statement: str
    """A number with its value; of a passage, where it stands."""
    weight: float
    """As of a primary finding."""
    similarity: Share
    """How much it resembles the primary finding that it supports; 1: the same."""


class PrimaryFinding(_Record):
    """What counts most, said once."""

    task: str
    """The task that gave it."""
    statement: str
    """The passage, word for word, or the name of the number."""
    source: str
    """The document and the place in it; of a number, what it was computed on."""
    weight: float
    """What it counts for, by `how`."""
    how: str
    """The formula of the weight, with its numbers."""
    interval: Interval | None = None
    """Of a number: its value with its interval, where one was computed."""
    value: float | None = None
    """Of a number: its value."""
    supported_by: tuple[Evidence, ...] = ()
    """The same from other branches, the heaviest first."""


class Attribution(_Record):
    """What a document counts for."""

    document: str
    """The document, or `(nothing found)`."""
    tasks: tuple[str, ...]
    """The tasks whose results rest on it."""
    share: Share
    """The shares of those branches, each divided over its documents; sums to 1 over all."""


class Synthesis(_Record):
    """What all branches of one kind say together; of no branches, an empty one of quality 0."""

    type: Literal["research", "analysis"]
    """Of which kind."""
    tasks: tuple[str, ...] = ()
    """The tasks whose results are in it, the heaviest first."""
    primary: tuple[PrimaryFinding, ...] = ()
    """What counts most, the heaviest first; no two of them are the same."""
    supporting: tuple[Evidence, ...] = ()
    """What else was found, the heaviest first."""
    intervals: tuple[Interval, ...] = ()
    """The quality and every pooled number, each with its interval, where there are two branches."""
    attributions: tuple[Attribution, ...] = ()
    """Every document that it rests on, the heaviest first; the shares sum to 1."""
    quality: Share = 0.0
    """The mean quality of its branches, by their weights."""
    quality_how: str = "0: there is no result"
    """The formula of the quality, with its numbers."""


def weight_of(quality: float, seconds: float) -> float:
    """The weight of a branch, from its quality (0 to 1) and its time: above 0, and at most 1."""
    return QUALITY_PART * quality + TIME_PART / (1 + seconds / 60)


def synthesize(
    kind: Literal["research", "analysis"],
    results: Iterable[BranchResult],
    settings: MergeSettings | None = None,
) -> Synthesis:
    """Put the results of one kind together; those of the other are left out.

    Args:
        kind: which.
        results: at most one for each task, in any order.
        settings: how many findings are primary, and what counts as the same.
    """
    settings = settings or MergeSettings()
    parts = heaviest_first(result for result in results if result.type == kind)
    if not parts:
        return Synthesis(type=kind)
    candidates = _passages(parts) if kind == "research" else _numbers(parts)
    groups = _grouped(candidates, settings)
    primary = [group for group in groups[: settings.primary] if group.members]
    others = [one for group in groups[settings.primary :] for one in group.members]
    intervals = [group.pooled for group in primary if group.pooled is not None]
    quality = quality_interval(parts, settings, f"quality of {kind}")
    weights = [weight_of(part.quality, part.seconds) for part in parts]
    total = sum(weights)
    terms = " + ".join(
        f"{weight / total:.3f} × {part.quality:.2f}"
        for part, weight in zip(parts, weights, strict=True)
    )
    return Synthesis(
        type=kind,
        tasks=tuple(part.task for part in parts),
        primary=tuple(group.finding() for group in primary),
        supporting=tuple(
            one.evidence(0.0) for one in sorted(others, key=lambda one: (-one.weight, one.key))
        ),
        intervals=tuple(([quality] if quality else []) + intervals),
        attributions=attribute(parts),
        quality=weighted_mean([part.quality for part in parts], weights),
        quality_how=f"share × quality, summed: {terms}",
    )


def heaviest_first(results: Iterable[BranchResult]) -> list[BranchResult]:
    """Results by their weights, then by their tasks: an order that no timing changes."""
    return sorted(results, key=lambda part: (-weight_of(part.quality, part.seconds), part.task))


def quality_interval(
    parts: Sequence[BranchResult], settings: MergeSettings, name: str
) -> Interval | None:
    """The interval of the weighted mean quality; none for fewer than two branches."""
    weights = [weight_of(part.quality, part.seconds) for part in parts]
    values = [part.quality for part in parts]
    ends = weighted_bootstrap(values, weights, settings.draws)
    if ends is None:
        return None
    return Interval(
        name=name,
        value=weighted_mean(values, weights),
        low=ends[0],
        high=ends[1],
        n=len(parts),
        how=f"mean quality of {len(parts)} branches by their weights; weighted bootstrap",
    )


def attribute(parts: Sequence[BranchResult]) -> tuple[Attribution, ...]:
    """What each document counts for: the shares of branches, divided over their documents."""
    total = sum(weight_of(part.quality, part.seconds) for part in parts)
    shares: defaultdict[str, float] = defaultdict(float)
    tasks: defaultdict[str, list[str]] = defaultdict(list)
    for part in parts:
        of_branch = weight_of(part.quality, part.seconds) / total
        for document, of_document in part.sources or ((NOTHING_FOUND, 1.0),):
            shares[document] += of_document * of_branch
            tasks[document].append(part.task)
    found = [
        Attribution(
            document=document,
            tasks=tuple(dict.fromkeys(tasks[document])),
            share=min(1.0, share),  # the shares sum to 1 only as far as floating point goes
        )
        for document, share in shares.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, one.document)))


# -- what is the same -------------------------------------------------------------------------


class _Candidate:
    """A passage or a number that may be primary."""

    def __init__(
        self, part: BranchResult, place: int, weight: float, how: str, what: Finding | Measure
    ) -> None:
        self.part = part
        self.weight = weight
        self.how = how
        self.what = what
        self.key = (part.task, place)

    def evidence(self, similarity: float) -> Evidence:
        what = self.what
        if isinstance(what, Finding):
            statement = f"{what.document}, {what.place}"
        else:
            statement = f"{what.name}: {what.value:.6g}"
            if what.low is not None and what.high is not None:
                statement += f" [{what.low:.6g}, {what.high:.6g}]"
        return Evidence(
            task=self.part.task, statement=statement, weight=self.weight, similarity=similarity
        )


class _Group:
    """A candidate, and all that say the same."""

    def __init__(self, first: _Candidate, words: Shingles) -> None:
        self.members = [first]
        self.similar = [1.0]
        self.words = words
        self.pooled: Interval | None = None

    def finding(self) -> PrimaryFinding:
        first, what = self.members[0], self.members[0].what
        others = zip(self.members[1:], self.similar[1:], strict=True)
        supported_by = tuple(one.evidence(similarity) for one, similarity in others)
        if isinstance(what, Finding):
            return PrimaryFinding(
                task=first.part.task,
                statement=what.quote,
                source=f"{what.document}, {what.place}",
                weight=first.weight,
                how=first.how,
                supported_by=supported_by,
            )
        return PrimaryFinding(
            task=first.part.task,
            statement=what.name,
            source=first.part.read,
            weight=first.weight,
            how=first.how,
            interval=self.pooled or _own_interval(what),
            value=what.value if self.pooled is None else self.pooled.value,
            supported_by=supported_by,
        )


def _own_interval(measure: Measure) -> Interval | None:
    if measure.low is None or measure.high is None:
        return None
    return Interval(
        name=measure.name,
        value=measure.value,
        low=measure.low,
        high=measure.high,
        level=measure.level,
        n=1,
        how=measure.how,
    )


def _passages(parts: Sequence[BranchResult]) -> list[_Candidate]:
    """Every passage; BM25 compares within one task, so a score counts beside that task's best."""
    found = []
    for part in parts:
        weight = weight_of(part.quality, part.seconds)
        best = max((finding.score for finding in part.findings), default=0.0)
        for place, finding in enumerate(part.findings):
            beside = max(0.0, finding.score) / best if best > 0 else 1.0
            how = (
                f"weight of the branch {weight:.3f} × score {finding.score:.2f} beside the "
                f"best of its task, {best:.2f}"
            )
            found.append(_Candidate(part, place, weight * beside, how, finding))
    return sorted(found, key=lambda one: (-one.weight, one.key))


def _numbers(parts: Sequence[BranchResult]) -> list[_Candidate]:
    """The numbers that an analysis is about: a comparison first, then those with an interval."""
    found = []
    for part in parts:
        weight = weight_of(part.quality, part.seconds)
        main = [m for m in part.measures if m.low is not None] or list(part.measures[:1])
        main.sort(key=lambda m: not m.name.startswith("difference"))
        for place, measure in enumerate(main):
            how = f"weight of the branch {weight:.3f} / place in it {place + 1}"
            found.append(_Candidate(part, place, weight / (place + 1), how, measure))
    return sorted(found, key=lambda one: (-one.weight, one.key))


def _grouped(candidates: Sequence[_Candidate], settings: MergeSettings) -> list[_Group]:
    """Candidates, the heaviest first, each with those that say the same.

    Passages are compared with those that are primary alone: what else there is may well repeat
    itself, and comparing all with all would take the square of their number.
    """
    groups: list[_Group] = []
    named: dict[str, _Group] = {}
    for one in candidates:
        if isinstance(one.what, Measure):
            group = named.get(one.what.name)
            if group is None:
                group = named[one.what.name] = _Group(one, frozenset())
                groups.append(group)
            else:
                group.members.append(one)
                group.similar.append(1.0)
            continue
        words = shingles(one.what.quote, settings.shingle)
        primary = groups[: settings.primary]
        likeness = [resemblance(group.words, words) for group in primary]
        nearest = max(range(len(primary)), key=likeness.__getitem__, default=None)
        if nearest is not None and likeness[nearest] >= settings.similarity:
            primary[nearest].members.append(one)
            primary[nearest].similar.append(likeness[nearest])
        else:
            groups.append(_Group(one, words))
    for group in named.values():
        group.pooled = _pooled(group.members)
    return groups


def _pooled(members: Sequence[_Candidate]) -> Interval | None:
    """One number out of those of branches that share no document; the heaviest come first."""
    taken: dict[str, Measure] = {}
    seen: set[str] = set()
    for one in members:
        documents = {document for document, _ in one.part.sources}
        if isinstance(one.what, Measure) and documents and not documents & seen:
            taken[one.part.task] = one.what
            seen |= documents
    pooled = pool(list(taken.values()))
    if pooled is None:
        return None
    value, low, high, heterogeneity = pooled
    return Interval(
        name=next(iter(taken.values())).name,
        value=value,
        low=low,
        high=high,
        n=len(taken),
        heterogeneity=heterogeneity,
        how=f"pooled from {', '.join(taken)} by inverse variance, "
        f"I² = {heterogeneity:.2f} (DerSimonian and Laird)",
    )
