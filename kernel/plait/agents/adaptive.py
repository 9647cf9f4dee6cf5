"""A node that makes the agents which a queue of tasks needs, lets them work, and retires them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import anyio
from pydantic import BaseModel, ConfigDict

from plait import (
    END,
    START,
    Command,
    Flow,
    Graph,
    Join,
    MemoryStore,
    NodeContext,
    NodeError,
    PlaitError,
    Send,
    reducers,
)
from plait.agents.agent import AgentContext, AgentResult, AgentTask
from plait.agents.capability import AgentCapability
from plait.agents.coordination import Coordination, CoordinationRequest, FailedTask
from plait.agents.errors import AgentError, NoSuitableAgentError
from plait.agents.factory import AgentFactory
from plait.agents.monitoring import MonitoredAgent
from plait.agents.specification import TaskRequirements

__all__ = ["AdaptiveOrchestrator", "AgentUse", "AgentsReport"]

COORDINATED = 2
"""The most agents that get along without a coordinator."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class AgentUse(_Record):
    """One agent that was made."""

    id: str
    """Its id."""
    type: str
    """The type of its template."""
    why: str
    """Why it is of this type."""
    tasks: tuple[str, ...] = ()
    """The tasks that it was given, in the order in which it got them."""


class AgentsReport(_Record):
    """What became of a queue of tasks: each has a result, or a failure that says why."""

    results: Mapping[str, AgentResult] = {}
    """By task, in the order of the queue."""
    failures: Mapping[str, str] = {}
    """Why there is no result, by task."""
    agents: tuple[AgentUse, ...] = ()
    """The agents that were made, in order."""
    coordinator: AgentUse | None = None
    """The one that coordinated; ``None`` if there were too few agents to need one."""
    rounds: int = 0
    """How often tasks were allotted."""


class _Round(BaseModel):
    """The state of the graph inside."""

    queue: list[str] = []
    """The tasks of this round."""
    types: dict[str, str] = {}
    """The type of agent that is to try, by task, where it was decided."""
    results: Annotated[dict[str, AgentResult], reducers.merge_dicts] = {}
    failures: dict[str, str] = {}
    rounds: int = 0


class AdaptiveOrchestrator:
    """A node that carries out a queue of tasks by agents made for them.

    ::

        class Work(BaseModel):
            tasks: list[AgentTask] = []
            report: AgentsReport | None = None


        graph.add_node("agents", AdaptiveOrchestrator(factory, tasks="tasks", report="report"))

    Tasks that ask for the same share agents, each of which has as many as its type works at at the
    same time; so every task has one. Where more than two are needed, there is a coordinator as
    well, which accounts for every task and lets another type try what failed. Each task is a branch
    of a graph of its own, held until those that it depends on have ended.

    An agent is made when its first task begins and retired when it has none at hand, so nobody
    holds resources while waiting for somebody else's; that goes for failure and cancellation too.
    When the node is repeated after a crash, so is all of the queue.

    Args:
        factory: makes the agents.
        tasks: the channel with the queue, an iterable of `AgentTask`.
        report: the channel that gets the `AgentsReport`.
        performance: the channel that gets how the agents have done, with the reducer
            `merge_performance`; by default it is left to the factory's `take_news`.
        context: for the agents' classes, as `AgentResources.context`.
        rounds: how often a task may be allotted, the first time included.
    """

    def __init__(
        self,
        factory: AgentFactory,
        *,
        tasks: str = "tasks",
        report: str = "report",
        performance: str | None = None,
        context: Any = None,
        rounds: int = 2,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds={rounds} must be 1 or more")
        self.factory = factory
        self.rounds = rounds
        self.context = context
        self.channels: tuple[str, str, str | None] = (tasks, report, performance)
        self.flow: Flow[_Round] = _build()

    async def __call__(self, state: Any, ctx: NodeContext) -> dict[str, Any]:
        """Carry out the queue.

        Raises:
            NoSuitableAgentError: a coordinator is needed, and no template can coordinate.
            RoutingError: two tasks have one id, or one depends on what is not in the queue.
        """
        tasks, report, performance = self.channels
        queue = state[tasks] if isinstance(state, Mapping) else getattr(state, tasks)
        crew = _Crew(self, {task.id: task for task in queue}, ctx)
        writes: dict[str, Any] = {report: await crew.carry_out([task.id for task in queue])}
        if performance is not None:
            writes[performance] = self.factory.take_news()
        return writes


@dataclass(eq=False)
class _Seat:
    """A place for one agent, which is there while it has something to do."""

    requirements: TaskRequirements
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    agent: MonitoredAgent | None = None
    users: int = 0


class _Crew:
    """One queue on its way."""

    def __init__(
        self, owner: AdaptiveOrchestrator, tasks: Mapping[str, AgentTask], ctx: NodeContext
    ) -> None:
        self.owner = owner
        self.factory = owner.factory
        self.tasks = tasks
        self.ctx = ctx
        self.seats: dict[str, _Seat] = {}
        self.uses: dict[str, AgentUse] = {}
        self.tried: dict[str, list[str]] = {name: [] for name in tasks}
        self.coordinator: MonitoredAgent | None = None

    async def carry_out(self, queue: list[str]) -> AgentsReport:
        """Allot, let the agents work, and account for every task."""
        if not queue:
            return AgentsReport()
        self.allot(queue, {})
        async with AsyncExitStack() as stack:
            use: AgentUse | None = None
            if len({id(seat) for seat in self.seats.values()}) > COORDINATED:
                self.coordinator = await stack.enter_async_context(await self.make_coordinator())
                use = _use_of(self.coordinator)
            try:
                # A store of its own, which keeps nothing when this is over.
                flow = self.owner.flow.with_store(MemoryStore())
                result = await flow.run({"queue": queue}, context=self)
            except NodeError as error:
                raise error.__cause__ or error from error
        state = result.state
        return AgentsReport(
            results={name: state.results[name] for name in self.tasks if name in state.results},
            failures={name: state.failures[name] for name in self.tasks if name in state.failures},
            agents=tuple(self.uses.values()),
            coordinator=use,
            rounds=state.rounds,
        )

    async def make_coordinator(self) -> MonitoredAgent:
        """It gets its resources out of what is kept back, so that it is there when all are busy."""
        wanted = TaskRequirements(capabilities=frozenset({AgentCapability.COORDINATION}))
        return await self.factory.generate_agent_for_task(
            wanted, self.owner.context, handing_back=True
        )

    def allot(self, queue: list[str], types: Mapping[str, str]) -> None:
        """Give each task a seat; those that ask for the same share one, as many as it takes."""
        alike: dict[str, list[str]] = {}
        for name in queue:
            wanted = self.requirements(name, types.get(name))
            alike.setdefault(wanted.model_dump_json(), []).append(name)
        for names in alike.values():
            wanted = self.requirements(names[0], types.get(names[0]))
            seats = [_Seat(wanted) for _ in range(self.needed(wanted, len(names)))]
            for index, name in enumerate(names):
                self.seats[name] = seats[index % len(seats)]

    def requirements(self, name: str, type_: str | None) -> TaskRequirements:
        asked = self.tasks[name].requirements
        return asked if type_ is None else asked.model_copy(update={"type": type_})

    def needed(self, wanted: TaskRequirements, tasks: int) -> int:
        """How many agents it takes for so many tasks."""
        try:
            chosen = self.factory.specify(wanted, self.factory.select(wanted))
        except AgentError:
            return 1  # which cannot be made: each of the tasks says why
        return math.ceil(tasks / chosen.max_concurrent_tasks)

    @asynccontextmanager
    async def agent_for(self, name: str) -> AsyncIterator[MonitoredAgent]:
        """The agent of a task, made if there is none and retired if nobody needs it any more."""
        seat = self.seats[name]
        seat.users += 1
        try:
            async with seat.lock:
                agent = seat.agent
                if agent is None:
                    agent = seat.agent = await self.factory.generate_agent_for_task(
                        seat.requirements, self.owner.context
                    )
                    self.uses[agent.id] = _use_of(agent)
            use = self.uses[agent.id]
            self.uses[agent.id] = use.model_copy(update={"tasks": (*use.tasks, name)})
            self.tried[name].append(use.type)
            yield agent
        finally:
            seat.users -= 1
            if not seat.users and seat.agent is not None:
                agent, seat.agent = seat.agent, None
                await agent.retire()

    async def work(self, name: str, results: Mapping[str, AgentResult]) -> AgentResult:
        """Carry out one task."""
        task = self.tasks[name]
        async with self.agent_for(name) as agent:
            return await agent.run(
                task,
                AgentContext(
                    before={each: results[each] for each in task.depends_on if each in results},
                    idempotency_key=f"{self.ctx.idempotency_key}:{name}",
                    emit=self.ctx.emit,
                ),
            )

    async def decide(self, request: CoordinationRequest) -> Coordination:
        """What is to be done next; without a coordinator, nothing."""
        if self.coordinator is None:
            given_up = {failed.task: failed.reason for failed in request.failed}
            return Coordination(given_up=given_up)
        task = AgentTask(
            id="coordination",
            requirements=TaskRequirements(capabilities=self.coordinator.specification.capabilities),
            payload=request,
        )
        content = (await self.coordinator.run(task)).content
        if not isinstance(content, Coordination):
            raise AgentError(
                f"coordinator {self.coordinator.id!r} gave {type(content).__name__}; expected a "
                "Coordination"
            )
        return content

    def untried(self, name: str) -> tuple[str, ...]:
        """The types that could do a task and have not tried, best first."""
        try:
            candidates = self.factory.select(self.tasks[name].requirements).candidates
        except NoSuitableAgentError:
            return ()
        return tuple(each.type for each in candidates if each.type not in self.tried[name])


def _use_of(agent: MonitoredAgent) -> AgentUse:
    why = agent.selection.why if agent.selection is not None else "asked for by type"
    return AgentUse(id=agent.id, type=agent.specification.type, why=why)


# -- the graph inside: a branch for each task, gathered, and again what failed --------------------


async def _allot(state: _Round, ctx: NodeContext) -> Command[Any]:
    crew: _Crew = ctx.context
    if state.rounds:
        crew.allot(state.queue, state.types)
    branches = []
    for name in state.queue:
        after = crew.tasks[name].depends_on
        if state.rounds:  # what is not in this round has ended
            after = tuple(each for each in after if each in state.queue)
        branches.append(Send("work", id=name, after=after))
    return Command(update={"rounds": state.rounds + 1}, goto=branches)


async def _work(state: _Round, ctx: NodeContext) -> dict[str, Any]:
    assert ctx.id is not None, "its Send has one"
    return {"results": {ctx.id: await ctx.context.work(ctx.id, state.results)}}


async def _coordinate(state: _Round, ctx: NodeContext) -> Command[Any]:
    crew: _Crew = ctx.context
    assert ctx.outcome is not None, "this node follows a sync point"
    failed = {each.id: _reason(each.error) for each in ctx.outcome.failed if each.id is not None}
    decision = await crew.decide(
        CoordinationRequest(
            tasks=tuple(crew.tasks),
            qualities={name: result.quality for name, result in state.results.items()},
            failed=tuple(
                FailedTask(task=name, reason=reason, untried=crew.untried(name))
                for name, reason in failed.items()
            ),
            rounds_left=crew.owner.rounds - state.rounds,
        )
    )
    going_on = state.rounds < crew.owner.rounds
    # Whatever a coordinator leaves out stays a failure, and nothing is tried that has not failed.
    again = {name: type_ for name, type_ in decision.again.items() if going_on and name in failed}
    lost = {name: decision.given_up.get(name, failed[name]) for name in failed if name not in again}
    return Command(
        update={"failures": {**state.failures, **lost}, "queue": [*again], "types": again},
        goto="allot" if again else END,
    )


def _reason(error: PlaitError | None) -> str:
    cause = error.__cause__ if error is not None and error.__cause__ is not None else error
    return f"{type(cause).__name__}: {cause}"


def _build() -> Flow[_Round]:
    graph = Graph(_Round, name="agents")
    graph.add_node("allot", _allot, targets=["work"])
    graph.add_node("work", _work, on_error="record")
    graph.add_sync_point("gather", Join(minimum=0))
    graph.add_node("coordinate", _coordinate, targets=["allot", END])
    graph.add_edge(START, "allot")
    graph.add_edge("work", "gather").add_edge("gather", "coordinate")
    return graph.compile()
