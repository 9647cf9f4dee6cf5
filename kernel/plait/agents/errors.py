"""What can go wrong with agents and with the resources that they take.

::

    PlaitError
    └── AgentError
        ├── NoSuitableAgentError      no template offers all that is asked for
        ├── AgentCreationError        the agent's class could not make one; the cause is kept
        ├── AgentTimeoutError         an attempt took longer than the specification allows
        ├── AgentQualityError         no result reached the least quality that is accepted
        ├── AgentUnfitError           the agent fails too often to be given more
        ├── AgentOverloadedError      a service asks to come back later
        └── ResourceUnavailableError  a pool cannot give what is wanted
            └── ReservationDeadlock   waiting for it could never end
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plait.errors import PlaitError

__all__ = [
    "AgentCreationError",
    "AgentError",
    "AgentOverloadedError",
    "AgentQualityError",
    "AgentTimeoutError",
    "AgentUnfitError",
    "NoSuitableAgentError",
    "ReservationDeadlock",
    "ResourceUnavailableError",
]


def listed(names: Collection[str]) -> str:
    """Names for a reader, in order: ``analysis, research``; ``nothing`` if there are none."""
    return ", ".join(sorted(map(str, names))) or "nothing"


def amounts(units: Mapping[str, float]) -> str:
    """Amounts for a reader: ``2 cpu, 0.5 gpu``."""
    return ", ".join(f"{amount:g} {name}" for name, amount in units.items()) or "nothing"


class AgentError(PlaitError):
    """The root of what goes wrong with agents."""


class NoSuitableAgentError(AgentError):
    """No registered template has all the capabilities that are asked for.

    Attributes:
        asked: the capabilities.
        missing: those of them that the closest template lacks; all, if there is no template.
        closest: the type of the template that has most of them; ``None`` if none is registered.
        nowhere: those that no template at all has.
    """

    def __init__(
        self,
        asked: Collection[str],
        missing: Collection[str],
        closest: str | None,
        nowhere: Collection[str] = (),
        *,
        only: str | None = None,
    ) -> None:
        self.asked: frozenset[str] = frozenset(asked)
        self.missing: frozenset[str] = frozenset(missing)
        self.closest = closest
        self.nowhere: frozenset[str] = frozenset(nowhere)
        among = f" of type {only!r}" if only is not None else ""
        if closest is None:
            why = f"no template{among} is registered"
        else:
            why = f"closest is {closest!r}, which lacks {listed(self.missing)}"
            if self.nowhere:
                why += f"; no template has {listed(self.nowhere)}"
        super().__init__(
            f"no agent{among} can do {listed(self.asked)}: {why}. Register a template that has "
            "them all, or ask for the parts in tasks of their own"
        )


class AgentCreationError(AgentError):
    """An agent could not be made; its class's own exception is the ``__cause__``.

    Attributes:
        type: the type of its template.
    """

    def __init__(self, type_: str, problem: str, cause: BaseException | None = None) -> None:
        self.type = type_
        self.__cause__: BaseException | None = cause
        super().__init__(f"no agent of type {type_!r} could be made: {problem}")


class AgentTimeoutError(AgentError):
    """An attempt took longer than the agent's specification allows.

    Attributes:
        agent: the agent's id.
        task: the task's id.
        seconds: what is allowed.
    """

    def __init__(self, agent: str, task: str, seconds: float) -> None:
        self.agent = agent
        self.task = task
        self.seconds = seconds
        super().__init__(
            f"agent {agent!r} took longer than its timeout_seconds of {seconds:g} s for "
            f"task {task!r}"
        )


class AgentQualityError(AgentError):
    """No result of an agent reached the least quality that is accepted.

    Attributes:
        agent: the agent's id.
        task: the task's id.
        quality: of the best result, 0 to 1.
        asked: the least that is accepted, 0 to 1.
        how: how the quality was computed.
    """

    def __init__(self, agent: str, task: str, quality: float, asked: float, how: str) -> None:
        self.agent = agent
        self.task = task
        self.quality = quality
        self.asked = asked
        self.how = how
        super().__init__(
            f"agent {agent!r} reached quality {quality:.2f} for task {task!r}, and {asked:.2f} is "
            f"the least that is accepted ({how})"
        )


class AgentUnfitError(AgentError):
    """An agent's success rate has fallen below its target, and it is given nothing more to do.

    Attributes:
        agent: the agent's id.
        success_rate: the measured one, 0 to 1.
        target: the one in its specification, 0 to 1.
    """

    def __init__(self, agent: str, success_rate: float, target: float, tasks: int) -> None:
        self.agent = agent
        self.success_rate = success_rate
        self.target = target
        super().__init__(
            f"agent {agent!r} succeeds at a rate of {success_rate:.2f} after {tasks} tasks, and "
            f"{target:.2f} is its target: retire it, or ask for another type"
        )


class AgentOverloadedError(AgentError):
    """A service on which an agent depends asks to come back later (HTTP 429, say).

    Attributes:
        retry_after: seconds to wait before the next attempt; ``None`` if the service did not say.
    """

    def __init__(self, problem: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        when = "" if retry_after is None else f"; to be tried again after {retry_after:g} s"
        super().__init__(f"{problem}{when}")


class ResourceUnavailableError(AgentError):
    """A resource pool cannot give what is wanted, or could not in time.

    Attributes:
        wanted: the amounts, by unit.
        free: what was free of these units when the error was raised.
        waited: seconds that the request had waited.
    """

    def __init__(
        self,
        wanted: Mapping[str, float],
        free: Mapping[str, float],
        problem: str,
        *,
        waited: float = 0.0,
    ) -> None:
        self.wanted: dict[str, float] = dict(wanted)
        self.free: dict[str, float] = dict(free)
        self.waited = waited
        super().__init__(
            f"{amounts(self.wanted)} cannot be reserved: {problem} (free: {amounts(self.free)})"
        )


class ReservationDeadlock(ResourceUnavailableError):
    """A reservation inside of another would wait for what is only released after it."""
