"""Which agents are made, from what, and what is left when they are retired."""

import operator
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait import MemoryStore, Store, open_store
from plait.agents import (
    AgentCapability,
    AgentCreationError,
    AgentError,
    AgentFactory,
    AgentSpecification,
    NoSuitableAgentError,
    Performance,
    PerformanceThread,
    ResearchSpecialization,
    ResourcePool,
    ResourceRequirements,
    Selection,
    Specialization,
    TaskRecord,
    TaskRequirements,
    merge_performance,
)
from tests.agents.crew import RESEARCH, Worker, factory, run, task


def requires(*capabilities: str, **options: Any) -> TaskRequirements:
    return TaskRequirements(capabilities=frozenset(capabilities), **options)


def offering(**templates: str) -> AgentFactory:
    """A factory of templates by type, each with its capabilities in one string."""
    made = AgentFactory()
    for name, capabilities in templates.items():
        made.register_agent_template(name, Worker, capabilities.split())
    return made


# -- selection --------------------------------------------------------------------------------


def test_an_agent_that_lacks_a_capability_is_never_chosen() -> None:
    """Where no template had all, the search once started over and took one that lacked some."""
    makers = offering(reader="research", counter="analysis")
    with pytest.raises(NoSuitableAgentError) as caught:
        makers.select(requires("research", "analysis", "translation"))
    assert caught.value.closest == "counter"
    assert caught.value.missing == {"research", "translation"}
    assert caught.value.nowhere == {"translation"}
    assert "which lacks research, translation; no template has translation" in str(caught.value)


def test_without_templates_the_error_says_so() -> None:
    with pytest.raises(NoSuitableAgentError, match="no template is registered"):
        AgentFactory().select(RESEARCH)


def test_a_task_asks_for_at_least_one_capability() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        requires()


def test_a_specialist_comes_before_who_can_do_everything() -> None:
    makers = offering(all="research analysis synthesis validation", reader="research analysis")
    selection = makers.select(requires("research"))
    assert selection.type == "reader"
    assert [each.match for each in selection.candidates] == [0.5, 0.25]


def test_users_add_capabilities_by_using_them() -> None:
    makers = offering(translator="translation research")
    assert makers.select(requires("translation", AgentCapability.RESEARCH)).type == "translator"


def test_the_score_is_the_formula() -> None:
    makers = AgentFactory(
        ResourcePool(cpu=4, memory=10), performance={"reader": Performance(decay=0.5, weight=1)}
    )
    held = ResourceRequirements(held={"cpu": 1, "memory": 4})
    makers.register_agent_template(
        "reader", Worker, {"research", "analysis"}, resource_requirements=held
    )
    (candidate,) = makers.select(RESEARCH).candidates
    assert candidate.match == 1 / 2
    assert candidate.success_rate == 0.5 / 1.5
    assert candidate.efficiency == 1 - 4 / 10
    assert candidate.score == pytest.approx(0.4 * 0.5 + 0.4 / 3 + 0.2 * 0.6)
    assert "0.4 × match 1/2 + 0.4 × success rate 0.33" in candidate.how


def test_ties_are_broken_by_name() -> None:
    assert offering(b="research", a="research", c="research").select(RESEARCH).type == "a"


capability_sets = st.frozensets(st.sampled_from([*map(str, AgentCapability)]), min_size=1)


@given(asked=capability_sets, templates=st.dictionaries(st.sampled_from("abcdef"), capability_sets))
def test_the_choice_has_all_that_is_asked_for_or_there_is_none(
    asked: frozenset[str], templates: Mapping[str, frozenset[str]]
) -> None:
    makers = AgentFactory()
    for name, capabilities in templates.items():
        makers.register_agent_template(name, Worker, capabilities)
    suitable = {name for name, offered in templates.items() if asked <= offered}
    try:
        selection = makers.select(TaskRequirements(capabilities=asked))
    except NoSuitableAgentError as error:
        refusal = error
    else:
        assert {each.type for each in selection.candidates} == suitable
        assert selection.type == min(suitable, key=lambda name: (len(templates[name]), name))
        return
    assert not suitable
    if refusal.closest is not None:
        assert refusal.missing == asked - templates[refusal.closest]
        assert len(refusal.missing) == min(len(asked - offered) for offered in templates.values())


def test_success_and_failure_change_the_next_selection() -> None:
    """The success rate was once a constant."""

    async def body() -> list[str]:
        makers = offering(a="research", b="research")
        chosen = [makers.select(RESEARCH).type]
        wanted = requires("research", type="a", retry_attempts=1)
        async with await makers.generate_agent_for_task(wanted, {"fails": 1}) as agent:
            with pytest.raises(ConnectionError):
                await agent.run(task())
            chosen.append(makers.select(RESEARCH).type)
            for _ in range(200):
                await agent.run(task())
        assert makers.performance["a"].success_rate == pytest.approx(1)
        return chosen

    assert run(body)[0] == ["a", "b"]


# -- specialization ---------------------------------------------------------------------------


def test_a_task_has_the_parameters_of_its_agent_set() -> None:
    async def body() -> Specialization:
        makers = factory(specialization=ResearchSpecialization(depth=5, focus="waiting"))
        wanted = requires("research", specialization={"depth": 2, "quality_threshold": 0.5})
        async with await makers.generate_agent_for_task(wanted) as agent:
            return agent.specification.specialization

    expected = ResearchSpecialization(depth=2, focus="waiting", quality_threshold=0.5)
    assert run(body)[0] == expected


@pytest.mark.parametrize("parameters", [{"colour": "red"}, {"depth": 0}, {"quality_threshold": 2}])
def test_a_parameter_that_the_agent_does_not_have_is_refused(parameters: Any) -> None:
    async def body() -> None:
        makers = factory(specialization=ResearchSpecialization())
        wanted = requires("research", specialization=parameters)
        with pytest.raises(AgentCreationError, match=next(iter(parameters))):
            await makers.generate_agent_for_task(wanted)

    run(body)


def test_a_specification_with_another_kind_of_specialization_is_refused() -> None:
    async def body() -> None:
        asked = AgentSpecification(type="worker", capabilities=frozenset({"research"}))
        with pytest.raises(AgentCreationError, match="must be a ResearchSpecialization"):
            await factory(specialization=ResearchSpecialization()).instantiate_agent(asked)

    run(body)


# -- creation and retirement ------------------------------------------------------------------


HELD = ResourceRequirements(held={"cpu": 1})


def test_resources_are_given_back_after_success() -> None:
    """They once stayed taken for ever."""

    async def body() -> None:
        pool = ResourcePool(cpu=1)
        makers = factory(pool, resource_requirements=HELD)
        for _ in range(3):
            async with await makers.generate_agent_for_task(RESEARCH, timeout=0) as agent:
                await agent.run(task())
            assert pool.free == {"cpu": 1}
            assert not makers.agents

    run(body)


def test_resources_are_given_back_when_the_class_fails() -> None:
    async def body() -> None:
        def broken(specification: Any, resources: Any) -> Any:
            raise KeyError("endpoint")

        pool = ResourcePool(cpu=1)
        makers = AgentFactory(pool)
        makers.register_agent_template("broken", broken, {"research"}, resource_requirements=HELD)
        with pytest.raises(AgentCreationError, match="KeyError: 'endpoint'") as caught:
            await makers.generate_agent_for_task(RESEARCH)
        assert isinstance(caught.value.__cause__, KeyError)
        assert pool.free == {"cpu": 1}

    run(body)


def test_resources_are_given_back_when_the_agent_is_cancelled_or_fails() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=1)
        makers = factory(pool, resource_requirements=HELD)
        agent = await makers.generate_agent_for_task(RESEARCH, {"seconds": 9})
        with anyio.move_on_after(1):
            async with agent:
                await agent.run(task())
        assert agent.records[0].outcome == "cancelled"
        assert makers.performance["worker"].tasks == 0  # which was not its fault
        with pytest.raises(ZeroDivisionError):
            async with await makers.generate_agent_for_task(RESEARCH):
                raise ZeroDivisionError
        assert pool.free == {"cpu": 1}

    run(body)


def test_an_agent_is_closed_once_and_only_when_its_tasks_have_ended() -> None:
    async def body() -> None:
        pool = ResourcePool(cpu=1)
        makers = factory(pool, resource_requirements=HELD)
        agent = await makers.generate_agent_for_task(RESEARCH, {"seconds": 2})
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run, task())
            await anyio.sleep(1)
            await agent.retire()
            with pytest.raises(AgentError, match="is retired"):
                await agent.run(task())
            assert pool.free == {"cpu": 0}
        await agent.retire()
        assert isinstance(agent.agent, Worker)
        assert agent.agent.closed == 1
        assert pool.free == {"cpu": 1}

    run(body)


def test_a_close_that_hangs_keeps_nothing() -> None:
    async def body() -> None:
        class Clinging(Worker):
            async def close(self) -> None:
                await anyio.sleep_forever()

        pool = ResourcePool(cpu=1)
        makers = AgentFactory(pool)
        makers.register_agent_template("c", Clinging, {"research"}, resource_requirements=HELD)
        async with await makers.generate_agent_for_task(RESEARCH):
            pass
        assert pool.free == {"cpu": 1}

    assert run(body) == (None, 5)


def test_agents_made_at_the_same_moment_have_different_ids() -> None:
    """Ids once were the second in which they were made."""

    async def body() -> set[str]:
        makers = factory()
        return {(await makers.generate_agent_for_task(RESEARCH)).id for _ in range(1000)}

    ids, seconds = run(body)
    assert (len(ids), seconds) == (1000, 0)


def test_an_agent_that_needs_resources_needs_a_pool_that_has_them() -> None:
    async def body() -> None:
        with pytest.raises(AgentCreationError, match="the factory has no pool"):
            await factory(resource_requirements=HELD).generate_agent_for_task(RESEARCH)
        makers = factory(ResourcePool(gpu=1), resource_requirements=HELD)
        with pytest.raises(AgentCreationError, match="no 'cpu'; it has gpu"):
            await makers.generate_agent_for_task(RESEARCH)

    run(body)


def test_a_type_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'a' is registered"):
        offering(a="research").register_agent_template("a", Worker, {"analysis"})


def test_an_unknown_type_and_an_unknown_package_are_refused() -> None:
    async def body() -> None:
        asked = AgentSpecification(type="nobody", capabilities=frozenset({"research"}))
        with pytest.raises(AgentCreationError, match="registered are worker"):
            await factory().instantiate_agent(asked)
        with pytest.raises(AgentCreationError, match="no installed package offers 'nothing'"):
            factory().load("nothing")

    run(body)


# -- history ----------------------------------------------------------------------------------


def record(outcome: Any = "done", quality: float | None = 0.5, **options: Any) -> TaskRecord:
    given: dict[str, Any] = {"task": "t", "agent": "a", "type": "w", "seconds": 2.0, **options}
    return TaskRecord(outcome=outcome, quality=quality, **given)


# Halves are exact in binary, so that the laws hold to the last bit.
exact_performances = st.dictionaries(
    st.sampled_from("ab"),
    st.builds(
        lambda outcomes: reduce(
            Performance.then,
            (Performance.of(record(o), 0.5) for o in outcomes),
            Performance(),
        ),
        st.lists(st.sampled_from(["done", "failed", "cancelled"]), max_size=4),
    ),
)


@given(exact_performances, exact_performances, exact_performances)
def test_histories_one_after_the_other_combine_however_they_are_grouped(
    a: Any, b: Any, c: Any
) -> None:
    merge = merge_performance.fn
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge({}, a) == a == merge(a, {})


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0.05, 0.95))
def test_the_success_rate_is_the_weighted_share(outcomes: list[bool], smoothing: float) -> None:
    performance = Performance()
    for done in outcomes:
        found = record("done" if done else "failed")
        performance = performance.then(Performance.of(found, smoothing))
    rate = 1.0  # as the average is defined: with a success before the first, corrected for its end
    weights = [(1 - smoothing) ** age for age in range(len(outcomes), -1, -1)]
    rate = sum(map(operator.mul, weights, [True, *outcomes])) / sum(weights)
    assert performance.success_rate == pytest.approx(rate)


async def test_a_history_survives_in_a_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/threads.db"
    for fails in (1, 0):
        async with opened(url) as store:
            kept = PerformanceThread(store)
            makers = AgentFactory(performance=await kept.load())
            makers.register_agent_template("worker", Worker, {"research"}, retry_attempts=1)
            async with await makers.generate_agent_for_task(RESEARCH, {"fails": fails}) as agent:
                for _ in range(fails):
                    with pytest.raises(ConnectionError):
                        await agent.run(task())
                await agent.run(task())
            await kept.add(makers.take_news())
            await kept.add(makers.take_news())  # which are none
    async with opened(url) as store:
        performance = (await PerformanceThread(store).load())["worker"]
    assert (performance.tasks, performance.failures) == (3, 1)
    # One success supposed, a failure, and two successes, each weighing 0.8 of the next.
    assert performance.success_rate == pytest.approx(1 - 0.8**2 / (1 + 0.8 + 0.8**2 + 0.8**3))


async def test_a_long_history_stays_short_in_its_store(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/threads.db") as store:
        kept = PerformanceThread(store)
        for _ in range(205):
            await kept.add({"w": Performance.of(record(), 0.5)})
        journal = await kept.flow.journal(kept.thread_id)
        assert len(journal.events) < 110
        assert (await kept.load())["w"].tasks == 205


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        await store.close()


async def test_a_history_in_memory_is_a_history_too() -> None:
    kept = PerformanceThread(MemoryStore())
    assert await kept.load() == {}
    await kept.add({"w": Performance.of(record(), 0.5)})
    assert (await kept.load())["w"].mean_seconds == 2


def test_a_selection_says_why_in_a_sentence() -> None:
    selection: Selection = offering(a="research", b="research analysis").select(RESEARCH)
    assert selection.why.startswith("a can do research: 1.00 = 0.4 × match 1/1")
    assert selection.why.endswith("; behind it b 0.80")
