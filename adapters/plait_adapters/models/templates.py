"""The templates of agents that this package offers to a factory.

::

    factory.load("model")  # or: register(factory)
    asked = TaskRequirements(
        type="model_synthesis",
        capabilities={"synthesis"},
        specialization={"length": 120},
        resource_requirements=ResourceRequirements(held={"slots": 1}),
    )
    agent = await factory.generate_agent_for_task(asked, endpoint)
"""

from __future__ import annotations

from typing import Final

from plait.agents import AgentCapability, AgentFactory
from plait_adapters.models.agent import RETRY, ModelAgent, ModelSpecialization
from plait_adapters.models.writer import ModelSynthesisSpecialization, ModelSynthesizer

__all__ = ["COMPLETION", "SYNTHESIS", "register"]

COMPLETION: Final = "model_completion"
"""The type of agents that answer a text with a text; their capability is ``completion``."""

SYNTHESIS: Final = "model_synthesis"
"""The type of agents that write one text of many findings."""


def register(factory: AgentFactory) -> None:
    """Register them all. The entry point ``model`` of the group ``plait.agents``."""
    factory.register_agent_template(
        COMPLETION, ModelAgent, ["completion"], specialization=ModelSpecialization(), retry=RETRY
    )
    factory.register_agent_template(
        SYNTHESIS,
        ModelSynthesizer,
        [AgentCapability.SYNTHESIS],
        specialization=ModelSynthesisSpecialization(),
        retry=RETRY,
    )
