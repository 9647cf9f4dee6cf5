"""Agents that are made at run time to fit a task, and held to what was agreed.

`AgentFactory` chooses among registered templates and makes agents; `ResourcePool` is what they
take their resources from.
"""

from __future__ import annotations

from plait.agents.adaptive import AdaptiveOrchestrator, AgentsReport, AgentUse
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
from plait.agents.factory import AgentFactory
from plait.agents.monitoring import MonitoredAgent
from plait.agents.performance import Performance, PerformanceThread, TaskRecord, merge_performance
from plait.agents.pool import Reservation, ResourcePool, UnitStatistics
from plait.agents.selection import AgentTemplate, Candidate, Selection
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
from plait.agents.synthesis import SynthesisAgent, SynthesisRequest
from plait.agents.templates import register_bundled_templates
from plait.agents.units import Budget, Capacity, Rate
from plait.agents.validation import ValidationAgent, ValidationRequest

__all__ = [
    "AdaptiveOrchestrator",
    "Agent",
    "AgentCapability",
    "AgentClass",
    "AgentContext",
    "AgentCreationError",
    "AgentError",
    "AgentFactory",
    "AgentOverloadedError",
    "AgentQualityError",
    "AgentResources",
    "AgentResult",
    "AgentSpecification",
    "AgentTask",
    "AgentTemplate",
    "AgentTimeoutError",
    "AgentUnfitError",
    "AgentUse",
    "AgentsReport",
    "AnalysisSpecialization",
    "Budget",
    "Candidate",
    "Capacity",
    "MonitoredAgent",
    "Monitoring",
    "NoSuitableAgentError",
    "Performance",
    "PerformanceTargets",
    "PerformanceThread",
    "QualityThresholds",
    "Rate",
    "ResearchSpecialization",
    "Reservation",
    "ReservationDeadlock",
    "ResourcePool",
    "ResourceRequirements",
    "ResourceUnavailableError",
    "Selection",
    "Specialization",
    "SynthesisAgent",
    "SynthesisRequest",
    "SynthesisSpecialization",
    "TaskRecord",
    "TaskRequirements",
    "UnitStatistics",
    "ValidationAgent",
    "ValidationRequest",
    "merge_performance",
    "register_bundled_templates",
]
