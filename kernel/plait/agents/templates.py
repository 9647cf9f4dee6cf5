"""The templates that come with Plait and need no model."""

from __future__ import annotations

from plait import Retry
from plait.agents.capability import AgentCapability
from plait.agents.coordination import CoordinationAgent
from plait.agents.errors import AgentError
from plait.agents.factory import AgentFactory
from plait.agents.specialization import SynthesisSpecialization
from plait.agents.synthesis import SynthesisAgent
from plait.agents.validation import ValidationAgent

__all__ = ["register_bundled_templates"]

_UNLUCKY = Retry(on=lambda error: not isinstance(error, AgentError))
"""They compute, so that an error that names what is wrong with a task will be there again."""


def register_bundled_templates(factory: AgentFactory) -> None:
    """Let a factory make specialists for synthesis and validation, and coordinators."""
    factory.register_agent_template(
        "synthesis-extractive",
        SynthesisAgent,
        {AgentCapability.SYNTHESIS},
        specialization=SynthesisSpecialization(),
        retry=_UNLUCKY,
    )
    factory.register_agent_template(
        "validation-checks", ValidationAgent, {AgentCapability.VALIDATION}, retry=_UNLUCKY
    )
    factory.register_agent_template(
        "coordination-accounts", CoordinationAgent, {AgentCapability.COORDINATION}, retry=_UNLUCKY
    )
