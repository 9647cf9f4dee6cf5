"""Every field of a specification is enforced."""

from functools import partial
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from plait import Retry
from plait.agents import (
    AgentError,
    AgentOverloadedError,
    AgentQualityError,
    AgentSpecification,
    AgentTimeoutError,
    AgentUnfitError,
    Monitoring,
    NoSuitableAgentError,
    PerformanceTargets,
    QualityThresholds,
    ResourcePool,
    ResourceRequirements,
    ResourceUnavailableError,
    Specialization,
)
from tests.agents.crew import RESEARCH, Worker, factory, run, task

AT_ONCE = Retry(initial=0.0)


def test_by_default_an_agent_has_three_places_three_attempts_and_five_minutes() -> None:
    specification = AgentSpecification(type="worker", capabilities=frozenset({"research"}))
    assert specification.max_concurrent_tasks == 3
    assert specification.retry_attempts == 3
    assert specification.timeout_seconds == 300


def test_a_specification_is_frozen_and_takes_no_other_fields() -> None:
    specification = AgentSpecification(type="worker", capabilities=frozenset({"research"}))
    with pytest.raises(ValidationError, match="frozen"):
        specification.timeout_seconds = 1
    with pytest.raises(ValidationError, match="extra"):
        AgentSpecification(type="w", capabilities=frozenset({"x"}), speed=3)  # type: ignore[call-arg]


def test_an_agent_works_at_no_more_tasks_at_once_than_it_may() -> None:
    async def body() -> tuple[int, list[float]]:
        makers = factory(max_concurrent_tasks=2)
        async with await makers.generate_agent_for_task(RESEARCH, {"seconds": 1}) as agent:
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(agent.run, task(str(number)))
            assert isinstance(agent.agent, Worker)
            return agent.agent.peak, [record.queued for record in agent.records]

    assert run(body) == ((2, [0, 0, 1, 1, 2]), 3)


def test_an_attempt_that_takes_too_long_is_given_up() -> None:
    async def body() -> Any:
        makers = factory(timeout_seconds=2, retry_attempts=2, retry=AT_ONCE)
        async with await makers.generate_agent_for_task(RESEARCH, {"seconds": 60}) as agent:
            with pytest.raises(AgentTimeoutError, match="longer than its timeout_seconds of 2 s"):
                await agent.run(task())
            return agent.records[0]

    record, seconds = run(body)
    assert seconds == 4  # of each attempt
    assert (record.outcome, record.attempts) == ("failed", 2)


def test_waiting_for_the_pool_is_not_counted_as_time_of_the_attempt() -> None:
    async def body() -> float:
        pool = ResourcePool(calls_per_minute=1)
        needed = ResourceRequirements(per_call={"calls_per_minute": 1})
        makers = factory(pool, timeout_seconds=2, resource_requirements=needed)
        async with await makers.generate_agent_for_task(RESEARCH, {"seconds": 1}) as agent:
            await agent.run(task("first"))
            await agent.run(task("second"))
            return agent.records[1].waited

    waited, seconds = run(body)
    assert waited == pytest.approx(59, abs=1e-3)
    assert seconds == pytest.approx(61, abs=1e-3)


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_task_has_as_many_attempts_as_are_specified(attempts: int) -> None:
    async def body() -> tuple[int, ...]:
        makers = factory(retry_attempts=attempts, retry=AT_ONCE)
        async with await makers.generate_agent_for_task(RESEARCH, {"fails": 9}) as agent:
            with pytest.raises(ConnectionError, match="no answer"):
                await agent.run(task())
            assert isinstance(agent.agent, Worker)
            return tuple(call.attempt for call in agent.agent.calls)

    assert run(body)[0] == tuple(range(1, attempts + 1))


def test_an_error_that_is_not_worth_it_is_not_repeated() -> None:
    async def body() -> int:
        makers = factory(retry=Retry(on=OSError))
        given = {"fails": 9, "error": ValueError("never")}
        async with await makers.generate_agent_for_task(RESEARCH, given) as agent:
            with pytest.raises(ValueError, match="never"):
                await agent.run(task())
            return agent.records[0].attempts

    assert run(body) == (1, 0)


def test_the_next_attempt_comes_no_sooner_than_a_service_asks_for() -> None:
    async def body() -> None:
        given = {"fails": 1, "error": AgentOverloadedError("HTTP 429", retry_after=17)}
        async with await factory(retry=AT_ONCE).generate_agent_for_task(RESEARCH, given) as agent:
            await agent.run(task())

    assert run(body) == (None, 17)


def test_a_result_below_what_is_aimed_at_is_improved_as_often_as_the_limit_allows() -> None:
    async def body() -> Any:
        aims = Specialization(quality_threshold=0.9, iteration_limit=3)
        given = {"quality": [0.2, 0.6, 0.5]}
        async with await factory(specialization=aims).generate_agent_for_task(
            RESEARCH, given
        ) as agent:
            result = await agent.run(task())
            assert isinstance(agent.agent, Worker)
            told = [each.previous and each.previous.quality for each in agent.agent.calls]
            return result.quality, result.tokens, told

    assert run(body)[0] == (0.6, 30, [None, 0.2, 0.6])


def test_no_iteration_begins_after_the_response_time_target() -> None:
    async def body() -> Any:
        aims = Specialization(quality_threshold=1, iteration_limit=9, response_time_target=2.5)
        given = {"quality": [0.1], "seconds": 1}
        async with await factory(specialization=aims).generate_agent_for_task(
            RESEARCH, given
        ) as agent:
            await agent.run(task())
            return agent.records[0].iterations, agent.records[0].on_time

    assert run(body) == ((3, False), 3)


def test_a_result_that_is_good_enough_is_kept_when_improving_it_fails() -> None:
    async def body() -> tuple[str, ...]:
        aims = Specialization(quality_threshold=0.9, iteration_limit=3)

        class Tiring(Worker):
            async def run(self, task: Any, context: Any) -> Any:
                if context.iteration == 2:
                    raise ConnectionError("no answer")
                return await super().run(task, context)

        makers = factory()
        makers.register_agent_template("tiring", Tiring, {"research"}, specialization=aims)
        wanted = RESEARCH.model_copy(update={"type": "tiring"})
        async with await makers.generate_agent_for_task(wanted, {"quality": [0.5]}) as agent:
            return (await agent.run(task())).notes

    assert run(body)[0] == ("Iteration 2 failed: ConnectionError: no answer",)


def test_a_result_below_the_least_quality_is_refused() -> None:
    async def body() -> None:
        makers = factory(quality_thresholds=QualityThresholds(accept=0.5))
        async with await makers.generate_agent_for_task(RESEARCH, {"quality": [0.4]}) as agent:
            with pytest.raises(AgentQualityError, match=r"reached quality 0.40 .* 0.50 is") as bad:
                await agent.run(task())
            assert (bad.value.quality, bad.value.asked, bad.value.how) == (0.4, 0.5, "as told")

    run(body)


def test_a_result_below_the_warning_has_a_note() -> None:
    async def body() -> tuple[str, ...]:
        makers = factory(quality_thresholds=QualityThresholds(warn=0.5))
        async with await makers.generate_agent_for_task(RESEARCH, {"quality": [0.4]}) as agent:
            return (await agent.run(task())).notes

    assert run(body)[0] == ("Its quality is 0.40; below 0.50, this is said.",)


def test_thresholds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="would stop improving"):
        factory(
            specialization=Specialization(quality_threshold=0.5),
            quality_thresholds=QualityThresholds(accept=0.6),
        )


def test_an_agent_that_fails_too_often_is_given_nothing_more() -> None:
    async def body() -> int:
        targets = PerformanceTargets(success_rate=0.6, after_tasks=2)
        makers = factory(performance_targets=targets, retry_attempts=1)
        async with await makers.generate_agent_for_task(RESEARCH, {"fails": 9}) as agent:
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await agent.run(task())
            with pytest.raises(AgentUnfitError, match=r"0\.\d\d after 2 tasks, and 0\.60 is"):
                await agent.run(task())
            return agent.performance.tasks

    assert run(body)[0] == 2


def test_a_target_that_nothing_would_measure_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"needs monitoring\.enabled"):
        factory(
            performance_targets=PerformanceTargets(success_rate=0.5),
            monitoring=Monitoring(enabled=False),
        )


def test_resources_are_held_from_creation_to_retirement() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=4, memory=8)
        needed = ResourceRequirements(held={"cpu": 1, "memory": 2})
        makers = factory(pool, resource_requirements=needed)
        async with await makers.generate_agent_for_task(RESEARCH):
            assert pool.free == {"cpu": 3, "memory": 6}
        assert pool.free == {"cpu": 4, "memory": 8}

    run(body)


def test_what_the_pool_cannot_give_is_an_error_that_says_so() -> None:
    async def body() -> None:
        needed = ResourceRequirements(held={"cpu": 3})
        makers = factory(ResourcePool(cpu=4), resource_requirements=needed)
        async with await makers.generate_agent_for_task(RESEARCH):
            with pytest.raises(ResourceUnavailableError, match=r"3 cpu .* \(free: 1 cpu\)"):
                await makers.generate_agent_for_task(RESEARCH, timeout=2)

    assert run(body) == (None, 2)


def test_each_call_reserves_what_it_takes_and_settles_it() -> None:
    async def body() -> dict[str, float]:
        class Caller(Worker):
            async def run(self, task: Any, context: Any) -> Any:
                context.reservation.settle(dollars=0.25)
                return await super().run(task, context)

        pool = ResourcePool(dollars=10)
        makers = factory(pool)
        makers.register_agent_template(
            "caller",
            Caller,
            {"research"},
            resource_requirements=ResourceRequirements(per_call={"dollars": 4}),
        )
        wanted = RESEARCH.model_copy(update={"type": "caller"})
        agent = await makers.generate_agent_for_task(wanted, {"seconds": 1})
        async with agent, anyio.create_task_group() as group:
            for name in "abc":
                group.start_soon(agent.run, task(name))
        return pool.free

    assert run(body)[0] == {"dollars": 9.25}


def test_monitoring_keeps_the_latest_records() -> None:
    async def body() -> list[str]:
        makers = factory(monitoring=Monitoring(keep=2))
        async with await makers.generate_agent_for_task(RESEARCH) as agent:
            for name in "abc":
                await agent.run(task(name))
            return [record.task for record in agent.records]

    assert run(body)[0] == ["b", "c"]


def test_without_monitoring_nothing_is_recorded() -> None:
    async def body() -> None:
        makers = factory(monitoring=Monitoring(enabled=False))
        async with await makers.generate_agent_for_task(RESEARCH) as agent:
            await agent.run(task())
            assert not agent.records
        assert makers.performance == {}

    run(body)


def test_smoothing_says_how_much_the_newest_task_weighs() -> None:
    async def body(smoothing: float) -> float:
        makers = factory(monitoring=Monitoring(smoothing=smoothing), retry_attempts=1)
        async with await makers.generate_agent_for_task(RESEARCH, {"fails": 1}) as agent:
            with pytest.raises(ConnectionError):
                await agent.run(task())
        return makers.performance["worker"].success_rate

    # The success that is supposed before the first task has lost so much of its weight.
    assert run(partial(body, 0.5))[0] == pytest.approx(0.5 / 1.5)
    assert run(partial(body, 0.2))[0] == pytest.approx(0.8 / 1.8)


def test_capabilities_that_the_type_does_not_have_are_refused() -> None:
    async def body() -> None:
        asked = AgentSpecification(type="worker", capabilities=frozenset({"research", "analysis"}))
        with pytest.raises(NoSuitableAgentError, match="lacks analysis"):
            await factory().instantiate_agent(asked)

    run(body)


def test_what_is_no_result_is_an_error_that_names_agent_and_task() -> None:
    async def body() -> None:
        class Careless(Worker):
            async def run(self, task: Any, context: Any) -> Any:
                return "done"

        makers = factory()
        makers.register_agent_template("careless", Careless, {"research"}, retry_attempts=1)
        wanted = RESEARCH.model_copy(update={"type": "careless"})
        async with await makers.generate_agent_for_task(wanted) as agent:
            with pytest.raises(AgentError, match=r"careless-.* returned str for task 't'"):
                await agent.run(task())

    run(body)
