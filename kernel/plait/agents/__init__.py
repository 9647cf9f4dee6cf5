"""Agents that are made at run time to fit a task, and held to what was agreed.

`AgentFactory` chooses among registered templates and makes agents; `ResourcePool` is what they
take their resources from.
"""

from __future__ import annotations

from plait.agents.agent import (
    Agent,
    AgentClass,
    AgentContext,
    AgentResources,
    AgentResult,
    AgentTask,
)
from plait.agents.capability import AgentCapability
from plait.agents.errors import (
    AgentCreationError,
    AgentError,
    AgentOverloadedError,
    AgentQualityError,
    AgentTimeoutError,
    AgentUnfitError,
    NoSuitableAgentError,
    ReservationDeadlock,
    ResourceUnavailableError,
)
from plait.agents.pool import Reservation, ResourcePool, UnitStatistics
from plait.agents.specialization import (
    AnalysisSpecialization,
    ResearchSpecialization,
    Specialization,
    SynthesisSpecialization,
)
from plait.agents.specification import (
    AgentSpecification,
    Monitoring,
    PerformanceTargets,
    QualityThresholds,
    ResourceRequirements,
    TaskRequirements,
)
from plait.agents.units import Budget, Capacity, Rate

__all__ = [
    "Agent",
    "AgentCapability",
    "AgentClass",
    "AgentContext",
    "AgentCreationError",
    "AgentError",
    "AgentOverloadedError",
    "AgentQualityError",
    "AgentResources",
    "AgentResult",
    "AgentSpecification",
    "AgentTask",
    "AgentTimeoutError",
    "AgentUnfitError",
    "AnalysisSpecialization",
    "Budget",
    "Capacity",
    "Monitoring",
    "NoSuitableAgentError",
    "PerformanceTargets",
    "QualityThresholds",
    "Rate",
    "ResearchSpecialization",
    "Reservation",
    "ReservationDeadlock",
    "ResourcePool",
    "ResourceRequirements",
    "ResourceUnavailableError",
    "Specialization",
    "SynthesisSpecialization",
    "TaskRequirements",
    "UnitStatistics",
]
