"""The adaptive orchestrator: agents for a queue, made, at work as branches, and retired."""

import asyncio
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from pydantic import BaseModel

from plait import END, START, Graph, NodeError
from plait.agents import (
    AdaptiveOrchestrator,
    AgentFactory,
    AgentsReport,
    AgentTask,
    NoSuitableAgentError,
    Performance,
    ResourcePool,
    ResourceRequirements,
    TaskRequirements,
    merge_performance,
)
from plait.agents.coordination import CoordinationAgent
from plait.events import Emitted
from tests.agents.crew import Worker, run

KINDS = ("research", "analysis", "synthesis", "validation", "monitoring", "translation")


class Queue(BaseModel):
    tasks: list[AgentTask] = []
    report: AgentsReport | None = None
    performance: Annotated[dict[str, Performance], merge_performance] = {}


def queue(*kinds: str, **after: str) -> list[AgentTask]:
    """Tasks `t0`, `t1`, ... each asking for one capability; `after` names what one depends on."""
    return [
        AgentTask(
            id=f"t{number}",
            requirements=TaskRequirements(capabilities=frozenset({kind})),
            payload=kind,
            depends_on=tuple(after.get(f"t{number}", "").split()),
        )
        for number, kind in enumerate(kinds)
    ]


def makers(pool: ResourcePool | None = None, **options: Any) -> AgentFactory:
    """A factory that knows a type for each kind, and can coordinate."""
    made = AgentFactory(pool)
    for kind in KINDS:
        made.register_agent_template(f"{kind}-er", Worker, {kind}, retry_attempts=1, **options)
    made.register_agent_template("coordinator", CoordinationAgent, {"coordination"})
    return made


async def report_on(
    tasks: Sequence[AgentTask], factory: AgentFactory, **options: Any
) -> AgentsReport:
    node = AdaptiveOrchestrator(factory, **options)
    graph = Graph(Queue).add_node("agents", node).add_edge(START, "agents").add_edge("agents", END)
    result = await graph.compile().run({"tasks": list(tasks)})
    assert result.state.report is not None
    return result.state.report


def test_every_task_has_an_agent_of_its_kind() -> None:
    """All but two kinds of task once had none."""

    async def body() -> AgentsReport:
        return await report_on(queue(*KINDS), makers())

    report = run(body)[0]
    assert [result.content for result in report.results.values()] == [*KINDS]
    doing = {task: use.type for use in report.agents for task in use.tasks}
    assert doing == {f"t{number}": f"{kind}-er" for number, kind in enumerate(KINDS)}
    assert report.failures == {}


@pytest.mark.parametrize(("tasks", "agents"), [(1, 1), (3, 1), (4, 2), (7, 3), (12, 4)])
def test_an_agent_has_as_many_tasks_as_it_works_at_at_once(tasks: int, agents: int) -> None:
    async def body() -> AgentsReport:
        return await report_on(queue(*["research"] * tasks), makers(), context={"seconds": 1})

    report, seconds = run(body)
    assert (len(report.agents), len(report.results), seconds) == (agents, tasks, 1)


@pytest.mark.parametrize(("kinds", "there"), [(1, False), (2, False), (3, True), (6, True)])
def test_more_than_two_agents_have_a_coordinator(kinds: int, there: bool) -> None:
    async def body() -> AgentsReport:
        return await report_on(queue(*KINDS[:kinds]), makers())

    report = run(body)[0]
    assert (report.coordinator is not None) == there
    assert len(report.agents) == kinds


def test_a_coordinator_that_nobody_can_be_is_an_error() -> None:
    async def body() -> None:
        factory = AgentFactory()
        factory.register_agent_template("r", Worker, {"research"}, max_concurrent_tasks=1)
        with pytest.raises(NodeError) as caught:
            await report_on(queue("research", "research", "research"), factory)
        assert isinstance(caught.value.__cause__, NoSuitableAgentError)

    run(body)


class Refusing(Worker):
    """Does nothing that it is asked to."""

    async def run(self, task: Any, context: Any) -> Any:
        raise ConnectionError("not I")


def test_what_one_type_fails_at_another_tries() -> None:
    async def body() -> AgentsReport:
        factory = makers()
        factory.register_agent_template("a-refuser", Refusing, {"research"}, retry_attempts=1)
        return await report_on(queue("research", "analysis", "validation"), factory)

    report = run(body)[0]
    assert report.rounds == 2
    assert [*report.results] == ["t0", "t1", "t2"]
    assert {use.type: use.tasks for use in report.agents}["a-refuser"] == ("t0",)
    assert {use.type: use.tasks for use in report.agents}["research-er"] == ("t0",)


def test_a_task_without_a_result_says_why() -> None:
    async def body() -> AgentsReport:
        factory = makers()
        factory.register_agent_template("cook", Refusing, {"cooking"}, retry_attempts=1)
        return await report_on(queue("cooking", "analysis", "singing", "research"), factory)

    report = run(body)[0]
    assert [*report.results] == ["t1", "t3"]
    assert report.failures["t0"] == "ConnectionError: not I; no other agent could do it"
    assert "no agent can do singing" in report.failures["t2"]


def test_a_task_gets_the_results_of_those_that_it_depends_on() -> None:
    seen: dict[str, Any] = {}

    async def body() -> AgentsReport:
        class Looking(Worker):
            async def run(self, task: Any, context: Any) -> Any:
                seen[task.id] = {name: each.content for name, each in context.before.items()}
                return await super().run(task, context)

        factory = makers()
        factory.register_agent_template("looker", Looking, {"looking"})
        tasks = queue("looking", "research", "looking", t2="t0 t1")
        return await report_on(tasks, factory, context={"seconds": 1})

    assert run(body)[1] == 2
    assert seen == {"t0": {}, "t2": {"t0": "looking", "t1": "research"}}


def test_no_agent_holds_resources_while_it_waits_for_another() -> None:
    """One slot, and tasks of two kinds that depend on each other in turn."""

    async def body() -> tuple[AgentsReport, dict[str, float]]:
        pool = ResourcePool(slots=1)
        factory = makers(pool, resource_requirements=ResourceRequirements(held={"slots": 1}))
        tasks = queue("research", "analysis", "research", t1="t0", t2="t1")
        report = await report_on(tasks, factory, context={"seconds": 1})
        return report, pool.free

    (report, free), seconds = run(body)
    assert (len(report.results), seconds, free) == (3, 3, {"slots": 1})


@pytest.mark.parametrize("ends", ["well", "in failure", "in cancellation"])
def test_every_agent_is_retired_and_everything_given_back(ends: str) -> None:
    async def body() -> None:
        pool = ResourcePool(slots=9, memory=9.9)
        held = ResourceRequirements(held={"slots": 1, "memory": 1.1})
        factory = makers(pool, resource_requirements=held)
        given: dict[str, Any] = {"seconds": 2, "fails": 9 if ends == "in failure" else 0}
        with anyio.move_on_after(1 if ends == "in cancellation" else 10):
            await report_on(queue(*KINDS), factory, context=given)
        assert pool.free == {"slots": 9, "memory": 9.9}
        assert pool.statistics()["slots"].peak == len(KINDS)
        assert not factory.agents

    run(body)


def test_the_coordinator_has_its_place_while_all_others_are_taken() -> None:
    async def body() -> AgentsReport:
        pool = ResourcePool(slots=3, kept_back={"slots": 1})
        held = ResourceRequirements(held={"slots": 1})
        factory = AgentFactory(pool)
        for kind in KINDS:
            factory.register_agent_template(kind, Worker, {kind}, resource_requirements=held)
        factory.register_agent_template(
            "coordinator", CoordinationAgent, {"coordination"}, resource_requirements=held
        )
        await pool.reserve(slots=1)
        report = await report_on(queue(*KINDS), factory, context={"seconds": 1})
        assert pool.free == {"slots": 2}
        return report

    report, seconds = run(body)
    assert (len(report.results), seconds) == (6, 6)  # one after the other, in the slot left


def test_performance_goes_into_its_channel() -> None:
    async def body() -> dict[str, Performance]:
        node = AdaptiveOrchestrator(makers(), performance="performance")
        graph = Graph(Queue).add_node("agents", node)
        graph.add_edge(START, "agents").add_edge("agents", END)
        flow = graph.compile()
        await flow.run({"tasks": queue("research", "analysis")}, "thread")
        result = await flow.run({}, "thread")  # a thread keeps its history
        return result.state.performance

    performance = run(body)[0]
    assert performance["research-er"].tasks == 2
    assert performance["analysis-er"].success_rate == 1


async def test_a_report_survives_in_a_store(tmp_path: Path) -> None:
    graph = Graph(Queue).add_node("agents", AdaptiveOrchestrator(makers()))
    graph.add_edge(START, "agents").add_edge("agents", END)
    url = f"sqlite:///{tmp_path}/threads.db"
    async with graph.compile(store=url) as flow:
        given = {"tasks": queue("research", "analysis", "validation")}
        report = (await flow.run(given, "thread")).state.report
    async with graph.compile(store=url) as flow:
        snapshot = await flow.state("thread")
    assert snapshot.state.report == report


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_at_any_turn_of_the_loop_everything_is_given_back(times: int) -> None:
    for turns in range(30):  # it ends by itself before that
        pool = ResourcePool(slots=2, calls_per_minute=9000)
        needed = ResourceRequirements(held={"slots": 1}, per_call={"calls_per_minute": 1})
        factory = makers(pool, resource_requirements=needed)
        node = asyncio.ensure_future(report_on(queue(*KINDS, t2="t0", t4="t2"), factory))
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(times):
            node.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([node])
        assert pool.free["slots"] == 2, turns
        assert not factory.agents, turns
        assert not pool.waiting, turns


def test_an_empty_queue_is_an_empty_report() -> None:
    async def body() -> AgentsReport:
        return await report_on([], makers())

    assert run(body)[0] == AgentsReport()


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        (queue("research", t0="t9"), "'t9', which is no id"),
        (queue("research", "research", t0="t1", t1="t0"), "wait for each other"),
        ([*queue("research"), *queue("research")], "two branches have the id 't0'"),
    ],
)
def test_a_queue_that_makes_no_sense_is_refused(tasks: list[AgentTask], problem: str) -> None:
    async def body() -> None:
        with pytest.raises(NodeError, match=problem):
            await report_on(tasks, makers())

    run(body)


def test_agents_can_emit_into_the_stream_of_the_run() -> None:
    async def body() -> list[Any]:
        class Telling(Worker):
            async def run(self, task: Any, context: Any) -> Any:
                await context.emit(f"at {task.id}")
                return await super().run(task, context)

        factory = AgentFactory()
        factory.register_agent_template("teller", Telling, {"research"})
        graph = Graph(Queue).add_node("agents", AdaptiveOrchestrator(factory))
        graph.add_edge(START, "agents").add_edge("agents", END)
        async with graph.compile().stream({"tasks": queue("research")}) as events:
            return [event.value async for event in events if isinstance(event, Emitted)]

    assert run(body)[0] == ["at t0"]


def test_a_thousand_tasks_keep_within_the_pool() -> None:
    async def body() -> tuple[int, float]:
        pool = ResourcePool(slots=20)
        held = ResourceRequirements(held={"slots": 1})
        factory = makers(pool, resource_requirements=held)
        report = await report_on(queue(*["research"] * 1000), factory, context={"seconds": 1})
        return len(report.results), pool.statistics()["slots"].peak

    (done, peak), seconds = run(body)
    assert (done, peak) == (1000, 20)
    assert seconds == operator.floordiv(1000 + 59, 60)  # 20 agents at 3 tasks each
