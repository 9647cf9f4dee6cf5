"""What is wanted of an agent, and what it is then held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from plait.agents.capability import CapabilityName
from plait.agents.specialization import Share, Specialization

__all__ = [
    "AgentSpecification",
    "Monitoring",
    "PerformanceTargets",
    "QualityThresholds",
    "ResourceRequirements",
    "TaskRequirements",
]

_Amounts = dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class ResourceRequirements(_Record):
    """What an agent takes out of the factory's pool, by unit."""

    held: _Amounts = {}
    """From its creation until it is retired: cpu, memory, gpu, slots."""
    per_call: _Amounts = {}
    """For each call of it, and given back or used up with that: requests and tokens per minute,
    dollars. An estimate, which the agent settles when it knows better."""


class PerformanceTargets(_Record):
    """What the agent's record is held against."""

    success_rate: Share = 0.0
    """Below this, measured over at least `after_tasks` of its own tasks, the agent is given no
    more: `AgentUnfitError`."""
    after_tasks: _Count = 5
    """How many tasks it takes for the success rate to mean anything."""


class QualityThresholds(_Record):
    """What a result has to reach."""

    accept: Share = 0.0
    """The least quality that is accepted; below it, the task fails with `AgentQualityError`."""
    warn: Share = 0.0
    """A result below this is accepted, and a note on it says so."""


class Monitoring(_Record):
    """What is kept of an agent's work."""

    enabled: bool = True
    """Whether its tasks are recorded and count in the next selection of an agent."""
    smoothing: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The weight of the newest task in the averages; each older one weighs (1 - smoothing) of its
    successor."""
    keep: _Count = 100
    """How many of the latest records the agent keeps one by one."""


class AgentSpecification(_Record):
    """All that is decided about one agent. Each field is enforced by whoever runs it."""

    type: Annotated[str, Field(min_length=1, max_length=100)]
    """The type of its template."""
    capabilities: Annotated[frozenset[CapabilityName], Field(min_length=1)]
    """What it is asked to be able to do; its template must offer all of it."""
    resource_requirements: ResourceRequirements = ResourceRequirements()
    """What it takes out of the pool."""
    performance_targets: PerformanceTargets = PerformanceTargets()
    """What its record is held against."""
    specialization: SerializeAsAny[Specialization] = Specialization()
    """The parameters of its work; of the class that its template names."""
    max_concurrent_tasks: _Count = 3
    """How many tasks it works at at the same time; others wait in the order in which they came."""
    timeout_seconds: _Seconds = 300.0
    """Seconds for one attempt at a task, all its iterations together; waiting for the pool is not
    counted."""
    retry_attempts: _Count = 3
    """How many attempts a task has in all, from 1."""
    quality_thresholds: QualityThresholds = QualityThresholds()
    """What its results have to reach."""
    monitoring: Monitoring = Monitoring()
    """What is kept of its work."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:  # noqa: N804 - in this mode it has the instance
        aimed, accepted = self.specialization.quality_threshold, self.quality_thresholds.accept
        if 0 < aimed < accepted:
            raise ValueError(
                f"specialization.quality_threshold is {aimed:g}, below quality_thresholds.accept "
                f"of {accepted:g}: the agent would stop improving what is then refused"
            )
        if self.performance_targets.success_rate > 0 and not self.monitoring.enabled:
            raise ValueError("performance_targets.success_rate needs monitoring.enabled")
        return self


class TaskRequirements(_Record):
    """What a task asks of its agent. What is left out is as the template has it."""

    capabilities: Annotated[frozenset[CapabilityName], Field(min_length=1)]
    """What the agent must be able to do, all of it."""
    type: str | None = None
    """The one template to take; by default the best that is suitable."""
    specialization: Mapping[str, Any] = {}
    """Parameters for the template's specialization, by the names of its fields."""
    resource_requirements: ResourceRequirements | None = None
    """What the agent takes out of the pool."""
    performance_targets: PerformanceTargets | None = None
    """What its record is held against."""
    max_concurrent_tasks: _Count | None = None
    """How many tasks it works at at the same time."""
    timeout_seconds: _Seconds | None = None
    """Seconds for one attempt."""
    retry_attempts: _Count | None = None
    """How many attempts a task has in all."""
    quality_thresholds: QualityThresholds | None = None
    """What its results have to reach."""
