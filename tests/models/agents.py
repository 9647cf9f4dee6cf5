"""Agents that use a model, as a factory would make them, and tasks for them."""

from typing import Any

from plait.agents import (
    AgentContext,
    AgentResources,
    AgentResult,
    AgentSpecification,
    AgentTask,
    ResourcePool,
    TaskRequirements,
)
from plait_adapters.models.agent import ModelAgent, ModelSpecialization
from plait_adapters.models.endpoint import Endpoint, Prices
from plait_adapters.models.synthesis import FindingText, SynthesisTask
from plait_adapters.models.writer import ModelSynthesisSpecialization, ModelSynthesizer
from tests.models.server import ModelServer

FREE = Prices(read=0, written=0)
PRICES = Prices(read=1_000, written=10_000)
"""Dollars per million tokens; a thousand read cost one dollar."""

FINDINGS = SynthesisTask(
    title="forks and joins",
    findings=(
        FindingText(text="A fork opens one branch for each target. It is cheap.", source="a.md"),
        FindingText(text="A join waits for a quorum of branches.", source="b.md"),
        FindingText(text="A reducer merges what branches wrote.", source="c.md"),
    ),
)


def endpoint(server: ModelServer, **settings: Any) -> Endpoint:
    given = {"url": server.url, "model": "small", "prices": PRICES, "timeout_seconds": 5}
    return Endpoint.model_validate({**given, **settings})


def task(payload: Any = "What is a fork?", capability: str = "research") -> AgentTask:
    asked = TaskRequirements(capabilities=frozenset({capability}))
    return AgentTask(id="t1", requirements=asked, payload=payload)


def made(
    class_: type[ModelAgent],
    server: ModelServer,
    pool: ResourcePool | None = None,
    *,
    prices: Prices | None = PRICES,
    **aims: Any,
) -> ModelAgent:
    """An agent for that server."""
    writes = issubclass(class_, ModelSynthesizer)
    kind = ModelSynthesisSpecialization if writes else ModelSpecialization
    specification = AgentSpecification(
        type="model",
        capabilities=frozenset({"research"}),
        specialization=kind.model_validate({"endpoint": endpoint(server, prices=prices), **aims}),
    )
    return class_(specification, AgentResources(pool=pool))


async def run(
    agent: ModelAgent, payload: Any = "What is a fork?", context: AgentContext | None = None
) -> AgentResult:
    """Have it do one task, and close it."""
    try:
        return await agent.run(task(payload), context or AgentContext())
    finally:
        await agent.close()
