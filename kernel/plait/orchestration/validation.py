"""Validation: whether a merged whole is good enough, by rules, and in which task it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from plait.orchestration.brief import Task
from plait.orchestration.merge import IntegrationResult, best_of_each
from plait.orchestration.results import BranchResult, Share

__all__ = [
    "QualityValidator",
    "Rule",
    "Shortfall",
    "ShortfallKind",
    "Thresholds",
    "Verdict",
    "VerdictStatus",
    "rules_for",
    "validate",
]

VerdictStatus: TypeAlias = Literal["quality_approved", "needs_revision", "critical_failure"]

ShortfallKind: TypeAlias = Literal["missing", "empty", "quality", "whole", "asked"]
"""What is wanting: a task has no result (`missing`), found nothing (`empty`), or has too low a
quality (`quality`); it concerns all of them (`whole`); a person asks for it (`asked`)."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Record):
    """What is asked of a whole."""

    quality: Share = 0.5
    """The lowest overall quality."""
    arrived: Share = 0.75
    """The lowest share of tasks with a result."""
    task_quality: Share = 0.25
    """The lowest quality of a single result."""
    confidence: Share = 0.0
    """The lowest integration confidence. It is 0, and so asks for nothing, unless it is set: of a
    handful of branches that do different things, little can be said."""


class Shortfall(_Record):
    """One thing that is wanting."""

    rule: str
    """The name of the rule that says so."""
    sentence: str
    """What is wanting, in a sentence."""
    task: str | None = None
    """The task in which it is wanting, and of which a revision may bring it; nothing if it concerns
    the whole."""
    kind: ShortfallKind = "whole"
    """What is wanting."""
    critical: bool = False
    """Whether the whole is worth nothing for that."""


class Verdict(_Record):
    """Whether the whole is good enough."""

    status: VerdictStatus
    """`critical_failure` if a critical rule is broken, `needs_revision` if another one is."""
    shortfalls: tuple[Shortfall, ...] = ()
    """What is wanting, rule by rule."""
    decided: str = ""
    """Who decided otherwise than the rules say, and why; empty if nobody did."""

    @property
    def wanting(self) -> tuple[str, ...]:
        """One sentence for each thing that is wanting."""
        return tuple(dict.fromkeys(one.sentence for one in self.shortfalls))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in which something is wanting, in the order in which that was found."""
        return tuple(dict.fromkeys(one.task for one in self.shortfalls if one.task is not None))

    @property
    def reason(self) -> str:
        """Why it is a critical failure; empty if it is none."""
        if self.status != "critical_failure":
            return ""
        critical = [one.sentence for one in self.shortfalls if one.critical]
        return self.decided or " ".join(dict.fromkeys(critical))


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand on the whole."""

    name: str
    """What the rule is about."""
    wanting: Callable[[IntegrationResult, Sequence[BranchResult]], Iterable[str | Shortfall]]
    """What is wanting by this rule, as shortfalls, or as sentences about the whole; nothing when it
    is kept. It is given the whole and the results that count, one for each task."""
    critical: bool = False
    """Whether the whole is worth nothing when this rule is broken."""

    def shortfalls(
        self, integration: IntegrationResult, results: Sequence[BranchResult]
    ) -> Iterable[Shortfall]:
        """What is wanting by this rule."""
        for found in self.wanting(integration, results):
            if isinstance(found, str):
                yield Shortfall(rule=self.name, sentence=found, critical=self.critical)
            else:
                yield found.model_copy(update={"rule": self.name, "critical": self.critical})


def rules_for(thresholds: Thresholds) -> tuple[Rule, ...]:
    """The rules that hold unless others are given."""

    def something(integration: IntegrationResult, results: Sequence[BranchResult]) -> Iterable[str]:
        if all(result.empty for result in results):
            yield "No task found anything."

    def quality(integration: IntegrationResult, results: Sequence[BranchResult]) -> Iterable[str]:
        if integration.quality < thresholds.quality:
            yield (
                f"The overall quality is {integration.quality:.2f}, and "
                f"{thresholds.quality:.2f} is asked for."
            )

    def confidence(
        integration: IntegrationResult, results: Sequence[BranchResult]
    ) -> Iterable[str]:
        if integration.confidence.value < thresholds.confidence:
            yield (
                f"The integration confidence is {integration.confidence.value:.2f}, and "
                f"{thresholds.confidence:.2f} is asked for."
            )

    def enough(
        integration: IntegrationResult, results: Sequence[BranchResult]
    ) -> Iterable[str | Shortfall]:
        performance = integration.performance
        if not performance.activated or performance.success_rate >= thresholds.arrived:
            return
        yield (
            f"{performance.successful} of {performance.activated} tasks have a result, and "
            f"{thresholds.arrived:.0%} are asked for."
        )
        for absence in integration.absences:
            sentence = f"The task {absence.task} has no result: {absence.status}."
            yield Shortfall(rule="", sentence=sentence, task=absence.task, kind="missing")

    def each(
        integration: IntegrationResult, results: Sequence[BranchResult]
    ) -> Iterable[Shortfall]:
        for result in results:
            if result.empty:
                sentence = f"The task {result.task} found nothing."
                yield Shortfall(rule="", sentence=sentence, task=result.task, kind="empty")
            elif result.quality < thresholds.task_quality:
                sentence = (
                    f"The quality of {result.task} is {result.quality:.2f}, below "
                    f"{thresholds.task_quality:.2f}."
                )
                yield Shortfall(rule="", sentence=sentence, task=result.task, kind="quality")

    return (
        Rule("something was found", something, critical=True),
        Rule("overall quality", quality),
        Rule("integration confidence", confidence),
        Rule("enough tasks have a result", enough),
        Rule("each result", each),
    )


def _asked_for(tasks: Iterable[Task]) -> Rule:
    """The rule that each result has the quality which its task asks for."""
    asked = {task.id: task.quality for task in tasks}

    def enough(
        integration: IntegrationResult, results: Sequence[BranchResult]
    ) -> Iterable[Shortfall]:
        for result in results:
            least = asked.get(result.task, 0.0)
            if result.quality < least:
                sentence = (
                    f"The quality of {result.task} is {result.quality:.2f}, and the brief asks for "
                    f"{least:.2f}."
                )
                yield Shortfall(rule="", sentence=sentence, task=result.task, kind="quality")

    return Rule("quality that the brief asks for", enough)


class QualityValidator:
    """Holds a merged whole against rules.

    Args:
        thresholds: what the rules that come with it ask for.
        rules: the rules; by default those of `rules_for(thresholds)`.
        extra: rules beside those.
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        rules: Iterable[Rule] | None = None,
        extra: Iterable[Rule] = (),
    ) -> None:
        self.thresholds: Thresholds = thresholds or Thresholds()
        given = rules_for(self.thresholds) if rules is None else tuple(rules)
        self.rules: tuple[Rule, ...] = (*given, *extra)

    def validate(
        self,
        integration: IntegrationResult,
        results: Iterable[BranchResult],
        tasks: Iterable[Task] = (),
    ) -> Verdict:
        """Say whether a whole is good enough.

        Args:
            integration: the whole.
            results: what it was merged from; those that do not count in it are left out.
            tasks: the tasks of the brief, some of which may ask for a quality of their own.
        """
        counted, _ = best_of_each(results)
        rules = (*self.rules, _asked_for(tasks))
        shortfalls = tuple(
            found for rule in rules for found in rule.shortfalls(integration, counted)
        )
        if any(found.critical for found in shortfalls):
            return Verdict(status="critical_failure", shortfalls=shortfalls)
        status: VerdictStatus = "needs_revision" if shortfalls else "quality_approved"
        return Verdict(status=status, shortfalls=shortfalls)


def validate(
    integration: IntegrationResult,
    results: Iterable[BranchResult],
    rules: Iterable[Rule] | None = None,
) -> Verdict:
    """Hold a merged whole against rules; by default those that `QualityValidator` has."""
    return QualityValidator(rules=rules).validate(integration, results)
