"""Which template fits a task best, and why.

A template is suitable if it has all the capabilities that are asked for. The best of these has the
highest score,

    0.4 x match + 0.4 x success rate + 0.2 x efficiency

where the match is the share of its capabilities that are asked for, so that a specialist comes
before who can do everything. Ties are broken by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from plait import Retry
from plait.agents.agent import AgentClass
from plait.agents.errors import NoSuitableAgentError
from plait.agents.performance import Performance
from plait.agents.specialization import Share
from plait.agents.specification import AgentSpecification
from plait.agents.units import Capacity, Unit

__all__ = ["AgentTemplate", "Candidate", "Selection", "select"]

MATCH_PART, SUCCESS_PART, EFFICIENCY_PART = 0.4, 0.4, 0.2
"""What each of the three counts for in a score; they sum to 1."""


@dataclass(frozen=True, slots=True)
class AgentTemplate:
    """From what agents of one type are made."""

    specification: AgentSpecification
    """Its type, all that it is capable of, and the rest as it is where a task asks for nothing
    else."""
    class_: AgentClass
    """Makes the agents."""
    retry: Retry
    """Which failures are repeated, and after which delays; how often, the specification says."""

    @property
    def type(self) -> str:
        """The name of the template."""
        return self.specification.type

    @property
    def capabilities(self) -> frozenset[str]:
        """All that its agents can do."""
        return self.specification.capabilities


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Record):
    """A suitable template, with its score."""

    type: str
    """The type of the template."""
    match: Share
    """Capabilities asked for over capabilities offered."""
    success_rate: Share
    """The measured success rate; 1 as long as nothing is measured."""
    efficiency: Share
    """1 less the largest share of any capacity of the pool that an agent of this type holds."""
    score: Share
    """By `how`."""
    how: str
    """The formula of the score, with its numbers."""


class Selection(_Record):
    """Why an agent is of the type that it is."""

    type: str
    """The type that was chosen."""
    asked: tuple[str, ...]
    """The capabilities that were asked for, by name."""
    candidates: tuple[Candidate, ...]
    """All that are suitable, best first; the first is the one chosen."""
    lacking: Mapping[str, tuple[str, ...]] = {}
    """What the other templates lack, by type."""

    @property
    def why(self) -> str:
        """The reason, in a sentence."""
        best = self.candidates[0]
        said = f"{best.type} can do {', '.join(self.asked)}: {best.how}"
        if len(self.candidates) > 1:
            others = ", ".join(f"{each.type} {each.score:.2f}" for each in self.candidates[1:])
            said += f"; behind it {others}"
        return said


def select(
    asked: Collection[str],
    templates: Iterable[AgentTemplate],
    performance: Mapping[str, Performance],
    units: Mapping[str, Unit],
    *,
    only: str | None = None,
) -> Selection:
    """Choose the template that fits best.

    Args:
        asked: the capabilities that an agent must have, at least one.
        templates: what there is.
        performance: how well agents of each type have done.
        units: what the pool has; empty without a pool.
        only: the one type to consider.

    Raises:
        NoSuitableAgentError: none has them all.
    """
    names = frozenset(map(str, asked))
    known = sorted(
        (each for each in templates if only in {None, each.type}), key=lambda each: each.type
    )
    lacking = {each.type: tuple(sorted(names - each.capabilities)) for each in known}
    candidates = [
        _candidate(names, each, performance.get(each.type, Performance()), units)
        for each in known
        if not lacking[each.type]
    ]
    if not candidates:
        offered = frozenset().union(*(each.capabilities for each in known))
        closest = min(lacking, key=lambda name: len(lacking[name]), default=None)
        missing = names if closest is None else lacking[closest]
        raise NoSuitableAgentError(names, missing, closest, names - offered, only=only)
    candidates.sort(key=lambda each: (-each.score, each.type))
    return Selection(
        type=candidates[0].type,
        asked=tuple(sorted(names)),
        candidates=tuple(candidates),
        lacking={name: wanting for name, wanting in lacking.items() if wanting},
    )


def _candidate(
    asked: frozenset[str],
    template: AgentTemplate,
    performance: Performance,
    units: Mapping[str, Unit],
) -> Candidate:
    match = len(asked) / len(template.capabilities)
    success = performance.success_rate
    efficiency, unit = _efficiency(template, units)
    # Rounded, so that scores that are equal on paper are ties.
    score = MATCH_PART * match + SUCCESS_PART * success + EFFICIENCY_PART * efficiency
    measured = f"over {performance.tasks} tasks" if performance.tasks else "nothing measured yet"
    largest = f"largest share held: {1 - efficiency:.2f} of {unit}" if unit else "it holds nothing"
    return Candidate(
        type=template.type,
        match=match,
        success_rate=success,
        efficiency=efficiency,
        score=min(1.0, round(score, 12)),
        how=f"{score:.2f} = {MATCH_PART} × match {len(asked)}/{len(template.capabilities)} + "
        f"{SUCCESS_PART} × success rate {success:.2f} ({measured}) + "
        f"{EFFICIENCY_PART} × efficiency {efficiency:.2f} ({largest})",
    )


def _efficiency(template: AgentTemplate, units: Mapping[str, Unit]) -> tuple[float, str | None]:
    """1 less the dominant share (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011)."""
    shares = {
        name: amount / unit.amount
        for name, amount in template.specification.resource_requirements.held.items()
        if isinstance(unit := units.get(name), Capacity)
    }
    if not shares:
        return 1.0, None
    dominant = max(shares, key=lambda name: shares[name])
    return max(0.0, 1 - shares[dominant]), dominant
