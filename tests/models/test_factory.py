"""Agents that ask a model, made by a factory and held to what was agreed."""

from typing import Any

import anyio
import pytest

from plait.agents import (
    AgentFactory,
    AgentQualityError,
    AgentTimeoutError,
    MonitoredAgent,
    QualityThresholds,
    ResourcePool,
    ResourceRequirements,
    TaskRequirements,
)
from plait_adapters.models.errors import ModelBusyError, ModelRefusedError
from plait_adapters.models.templates import COMPLETION, SYNTHESIS, register
from tests.models.agents import FINDINGS, endpoint, task
from tests.models.server import Busy, Fail, Hang, ModelServer, Say, model_server
from tests.models.test_synthesis import GOOD, said


async def agent_for(
    server: ModelServer, pool: ResourcePool | None = None, kind: str = COMPLETION, **asked: Any
) -> MonitoredAgent:
    factory = AgentFactory(pool)
    register(factory)
    capability = "synthesis" if kind == SYNTHESIS else "completion"
    requirements = TaskRequirements(type=kind, capabilities=frozenset({capability}), **asked)
    return await factory.generate_agent_for_task(requirements, endpoint(server))


async def test_after_429_the_next_attempt_comes_no_sooner_than_was_asked_for() -> None:
    pool = ResourcePool(requests_per_minute=600, tokens_per_minute=100_000, dollars=100)
    async with model_server(Busy("200", header="retry-after-ms"), Say("x")) as server:
        async with await agent_for(server, pool) as agent:
            assert (await agent.run(task())).content == "x"
        first, second = server.asked
    assert second.at - first.at >= 0.2
    assert pool.statistics()["requests_per_minute"].spent == 2
    assert not pool.reservations


async def test_what_one_agent_is_told_holds_for_all_of_the_pool() -> None:
    pool = ResourcePool(requests_per_minute=600)
    async with model_server(Busy("300", header="retry-after-ms"), Say("x")) as server:
        one = await agent_for(server, pool, retry_attempts=1)
        async with one, await agent_for(server, pool) as other:
            with pytest.raises(ModelBusyError):
                await one.run(task())
            assert (await other.run(task())).content == "x"
    assert server.asked[1].at - server.asked[0].at >= 0.3


async def test_a_fault_is_asked_again_as_often_as_is_allowed() -> None:
    replies = (Fail(500), Fail(502), Say("x"))
    async with model_server(*replies) as server, await agent_for(server) as agent:
        assert (await agent.run(task())).content == "x"
    assert len(server.asked) == 3


async def test_a_refusal_is_not_asked_again() -> None:
    async with model_server(Fail(401), Say("x")) as server, await agent_for(server) as agent:
        with pytest.raises(ModelRefusedError):
            await agent.run(task())
    assert len(server.asked) == 1


async def test_the_time_limit_of_a_specification_closes_the_connection() -> None:
    limits: dict[str, Any] = {"timeout_seconds": 0.2, "retry_attempts": 1}
    async with model_server(Hang()) as server, await agent_for(server, **limits) as agent:
        with pytest.raises(AgentTimeoutError):
            await agent.run(task())
        with anyio.fail_after(5):
            await server.gone.wait()


async def test_what_is_reserved_for_a_call_is_settled_and_given_back() -> None:
    pool = ResourcePool(slots=1, requests_per_minute=600, tokens_per_minute=100_000)
    needs = ResourceRequirements(held={"slots": 1}, per_call={"tokens_per_minute": 4_000})
    async with (
        model_server(Say("x", read=100, written=20)) as server,
        await agent_for(server, pool, resource_requirements=needs) as agent,
    ):
        await agent.run(task())
    spent = {name: unit.spent for name, unit in pool.statistics().items()}
    assert spent == pytest.approx(
        {"slots": 0, "requests_per_minute": 1, "tokens_per_minute": 120}, abs=1e-6
    )
    assert pool.free["slots"] == 1


async def test_a_poor_synthesis_is_refused_by_its_threshold() -> None:
    poor = said(((GOOD[0][0], [1]),))
    async with model_server(poor) as server:
        strict = QualityThresholds(accept=0.9)
        async with await agent_for(server, kind=SYNTHESIS, quality_thresholds=strict) as agent:
            with pytest.raises(AgentQualityError, match="1 of 3 findings are cited"):
                await agent.run(task(FINDINGS, "synthesis"))


async def test_a_synthesis_that_falls_short_is_asked_for_again_with_what_is_wanting() -> None:
    poor = said(((GOOD[0][0], [1]),))
    whole = said((*GOOD, ("A reducer merges what branches wrote.", [3])))
    aims = {"quality_threshold": 0.95, "iteration_limit": 3}
    async with (
        model_server(poor, whole) as server,
        await agent_for(server, kind=SYNTHESIS, specialization=aims) as agent,
    ):
        result = await agent.run(task(FINDINGS, "synthesis"))
    assert "finding 2 is not cited" in server.asked[1].prompt
    assert (len(server.asked), result.quality, result.tokens) == (2, 1.0, 60)


async def test_agents_side_by_side_never_take_more_than_the_pool_has() -> None:
    pool = ResourcePool(slots=4, requests_per_minute=60_000, dollars=1_000)
    needs = ResourceRequirements(held={"slots": 1})
    async with model_server(Say("x", read=10, written=1)) as server:

        async def one() -> None:
            async with await agent_for(server, pool, resource_requirements=needs) as agent:
                await agent.run(task())

        async with anyio.create_task_group() as group:
            for _ in range(16):
                group.start_soon(one)
    statistics = pool.statistics()
    assert (statistics["slots"].peak, statistics["slots"].in_use) == (4, 0)
    assert statistics["dollars"].spent == pytest.approx(16 * 0.02)
    assert len(server.asked) == 16
