"""Makes agents: chooses the template that fits, fits it to the task, takes the resources."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from plait import Retry
from plait.agents.agent import AgentClass, AgentResources
from plait.agents.errors import AgentCreationError, NoSuitableAgentError, listed
from plait.agents.monitoring import MonitoredAgent
from plait.agents.performance import Performance, TaskRecord
from plait.agents.pool import Reservation, ResourcePool
from plait.agents.selection import AgentTemplate, Selection, select
from plait.agents.specialization import Specialization
from plait.agents.specification import (
    AgentSpecification,
    Monitoring,
    PerformanceTargets,
    QualityThresholds,
    ResourceRequirements,
    TaskRequirements,
)

__all__ = ["AgentFactory"]

GROUP = "plait.agents"
"""The group of entry points under which packages offer templates; see `AgentFactory.load`."""


class AgentFactory:
    """Makes agents from registered templates.

    Args:
        pool: where agents take their resources from; without one, they may ask for none.
        performance: how well agents of each type have done so far, as `PerformanceThread.load`
            gives it; by default nothing is known.

    Attributes:
        templates: by type.
        performance: by type; each task that an agent ends feeds the next selection.
        agents: those that are not retired, by id.
        news: what is new in `performance` since the last `take_news`.
    """

    def __init__(
        self,
        pool: ResourcePool | None = None,
        performance: Mapping[str, Performance] | None = None,
    ) -> None:
        self.pool = pool
        self.templates: dict[str, AgentTemplate] = {}
        self.performance: dict[str, Performance] = dict(performance or {})
        self.agents: dict[str, MonitoredAgent] = {}
        self.news: dict[str, Performance] = {}

    def register_agent_template(
        self,
        type: str,  # noqa: A002 - the word of the specification
        class_: AgentClass,
        capabilities: Collection[str],
        *,
        specialization: Specialization | None = None,
        resource_requirements: ResourceRequirements | None = None,
        performance_targets: PerformanceTargets | None = None,
        max_concurrent_tasks: int = 3,
        timeout_seconds: float = 300.0,
        retry_attempts: int = 3,
        quality_thresholds: QualityThresholds | None = None,
        monitoring: Monitoring | None = None,
        retry: Retry | None = None,
    ) -> AgentTemplate:
        """Let agents of a type be made. The keywords are theirs where a task asks for nothing else.

        Args:
            type: what the template is called.
            class_: makes an agent from its specification and its resources.
            capabilities: all that such an agent can do.
            specialization: an instance of the class that holds its parameters, with the values that
                they have by default.
            retry: which failures are repeated, and after which delays; `retry_attempts` says how
                often.

        Raises:
            ValueError: a template of this type is registered, or a value is impossible.
        """
        if type in self.templates:
            raise ValueError(f"a template of type {type!r} is registered: choose another name")
        template = AgentTemplate(
            specification=AgentSpecification(
                type=type,
                capabilities=frozenset(capabilities),
                specialization=specialization or Specialization(),
                resource_requirements=resource_requirements or ResourceRequirements(),
                performance_targets=performance_targets or PerformanceTargets(),
                max_concurrent_tasks=max_concurrent_tasks,
                timeout_seconds=timeout_seconds,
                retry_attempts=retry_attempts,
                quality_thresholds=quality_thresholds or QualityThresholds(),
                monitoring=monitoring or Monitoring(),
            ),
            class_=class_,
            retry=retry or Retry(),
        )
        self.templates[type] = template
        return template

    def load(self, name: str) -> None:
        """Register the templates that an installed package offers under this name.

        A package offers them by an entry point of the group `plait.agents`: a function that is
        called with the factory.

        Raises:
            AgentCreationError: nothing is installed under this name; says what is.
        """
        found = {point.name: point for point in entry_points(group=GROUP)}
        if name not in found:
            raise AgentCreationError(
                name,
                f"no installed package offers {name!r} in the group {GROUP!r}; there are: "
                f"{listed(found)}",
            )
        found[name].load()(self)

    # -- making agents ------------------------------------------------------------------------

    def select(self, requirements: TaskRequirements) -> Selection:
        """Choose the template for a task.

        Raises:
            NoSuitableAgentError: none has all capabilities that are asked for.
        """
        return select(
            requirements.capabilities,
            self.templates.values(),
            self.performance,
            {} if self.pool is None else self.pool.units,
            only=requirements.type,
        )

    def specify(self, requirements: TaskRequirements, selection: Selection) -> AgentSpecification:
        """What an agent of the chosen type is held to for a task.

        Raises:
            AgentCreationError: its specialization does not have such parameters or values.
        """
        template = self.templates[selection.type].specification
        asked = {
            name: value
            for name in (
                "resource_requirements",
                "performance_targets",
                "max_concurrent_tasks",
                "timeout_seconds",
                "retry_attempts",
                "quality_thresholds",
            )
            if (value := getattr(requirements, name)) is not None
        }
        try:
            special = template.specialization
            if requirements.specialization:
                special = special.__class__(**{**dict(special), **requirements.specialization})
            return AgentSpecification(
                **{
                    **dict(template),
                    **asked,
                    "capabilities": requirements.capabilities,
                    "specialization": special,
                }
            )
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
                for fault in error.errors()
            )
            raise AgentCreationError(template.type, faults, error) from error

    async def generate_agent_for_task(
        self,
        requirements: TaskRequirements,
        context: Any = None,
        *,
        timeout: float | None = None,
        handing_back: bool = False,
    ) -> MonitoredAgent:
        """Make the agent that fits a task best.

        Args:
            requirements: what the task asks for.
            context: for the agent's class, as `AgentResources.context`.
            timeout: seconds to wait for resources at most; 0 for not at all.
            handing_back: whether what it holds may come out of what the pool keeps back for those
                that hand results on.

        Raises:
            NoSuitableAgentError: no template has all capabilities that are asked for.
            AgentCreationError: its parameters are wrong, or its class failed.
            ResourceUnavailableError: the pool does not have what it is to hold.
        """
        selection = self.select(requirements)
        specification = self.specify(requirements, selection)
        reservation = await self._reserve(specification, timeout, handing_back=handing_back)
        return self._make(specification, context, reservation, selection)

    async def instantiate_agent(
        self,
        specification: AgentSpecification,
        context: Any = None,
        *,
        timeout: float | None = None,
        handing_back: bool = False,
    ) -> MonitoredAgent:
        """Make an agent as specified; arguments and errors as with `generate_agent_for_task`."""
        self._check(specification)
        reservation = await self._reserve(specification, timeout, handing_back=handing_back)
        return self._make(specification, context, reservation, None)

    def _make(
        self,
        specification: AgentSpecification,
        context: Any,
        reservation: Reservation | None,
        selection: Selection | None,
    ) -> MonitoredAgent:
        template = self.templates[specification.type]
        try:
            agent = template.class_(specification, AgentResources(self.pool, reservation, context))
        except BaseException as error:
            if reservation is not None:
                reservation.release()
            if not isinstance(error, Exception):
                raise
            raise AgentCreationError(
                template.type, f"its class raised {error.__class__.__name__}: {error}", error
            ) from error
        made = MonitoredAgent(
            # 122 random bits: two agents never have the same, whenever and wherever they are made.
            f"{template.type}-{uuid.uuid4().hex}",
            specification,
            agent,
            retry=template.retry,
            pool=self.pool,
            reservation=reservation,
            selection=selection,
            on_record=lambda record: self._note(record, specification.monitoring.smoothing),
            on_retired=self._forget,
        )
        self.agents[made.id] = made
        return made

    def _check(self, specification: AgentSpecification) -> None:
        template = self.templates.get(specification.type)
        if template is None:
            raise AgentCreationError(
                specification.type, f"no such template; registered are {listed(self.templates)}"
            )
        if missing := specification.capabilities - template.capabilities:
            raise NoSuitableAgentError(
                specification.capabilities, missing, template.type, only=template.type
            )
        wanted = template.specification.specialization.__class__
        if not isinstance(specification.specialization, wanted):
            raise AgentCreationError(
                template.type,
                f"its specialization is a {specification.specialization.__class__.__name__}, and "
                f"must be a {wanted.__name__}",
            )

    async def _reserve(
        self, specification: AgentSpecification, timeout: float | None, *, handing_back: bool
    ) -> Reservation | None:
        needed = specification.resource_requirements
        if self.pool is None:
            if needed.held or needed.per_call:
                raise AgentCreationError(
                    specification.type,
                    f"it takes {listed({*needed.held, *needed.per_call})}, and the factory has no "
                    "pool: AgentFactory(pool=ResourcePool(...))",
                )
            return None
        try:
            for name in (*needed.held, *needed.per_call):
                self.pool.meter(name)
        except ValueError as error:
            raise AgentCreationError(specification.type, str(error), error) from error
        return await self.pool.reserve(needed.held, timeout=timeout, handing_back=handing_back)

    def _forget(self, retired: MonitoredAgent) -> None:
        self.agents.pop(retired.id, None)

    # -- performance --------------------------------------------------------------------------

    def _note(self, record: TaskRecord, smoothing: float) -> None:
        news = Performance.of(record, smoothing)
        for kept in (self.performance, self.news):
            kept[record.type] = kept.get(record.type, Performance()).then(news)

    def take_news(self) -> dict[str, Performance]:
        """How agents have done since the last call, by type: what is to be added to a history."""
        news, self.news = self.news, {}
        return news

    def return_news(self, news: Mapping[str, Performance]) -> None:
        """Take back what could not be kept, for the next `take_news`."""
        for name, older in news.items():
            self.news[name] = older.then(self.news.get(name, Performance()))
