"""What a workload consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bodies import State
from benchmarks.contenders.base import Contender, Run


class WrongResultError(AssertionError):
    """A contender did not do the work."""


@dataclass(frozen=True, slots=True)
class Case:
    """One size and variant of a workload."""

    workload: str
    """Its name: ``W1`` and so on."""
    key: str
    """Names the case within the workload, for results to be compared by."""
    title: str
    """As the table shows it."""
    units: int
    """How many units one run does; times are given for each."""
    unit: str
    """What a unit is: ``node``, ``branch``, ``run``."""
    build: Callable[[Contender], Run]
    """Prepares the work; not timed, unless the work is that."""
    check: Callable[[State], None]
    """Raises ``WrongResultError`` unless the final state is right."""
    ideal: float | None = None
    """Seconds that one run takes at least, where bodies wait."""
    memory: bool = False
    """Whether the peak of allocated memory is measured, too."""
    size: int | None = None
    """The n of a series over which growth is fitted."""
    beside: str = ""
    """Cases side by side that have the same are measured in the same repeats, since what counts is
    one's figures over another's; empty: by itself."""


def expect(name: str, value: object) -> Callable[[State], None]:
    """A check that a channel of the final state has a value."""

    def check(state: State) -> None:
        if state.get(name) != value:
            raise WrongResultError(f"{name!r} is {state.get(name)!r:.80}, not {value!r:.80}")

    return check
