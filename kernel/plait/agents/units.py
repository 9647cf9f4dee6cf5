"""The kinds of resources, and how much of each is free.

Amounts are counted in whole billionths, so that what is given back is what was taken, to the last
bit. The meters decide; they have no await and no clock, which comes in as ``now``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

from plait.policy import is_number

__all__ = ["Budget", "Capacity", "Kind", "Meter", "Rate", "Unit", "meter_of", "quanta", "unit_of"]

SCALE = 10**9
"""Into how many parts one is divided."""

EARLY = 1e-4
"""Seconds by which a refill may be taken early. The clocks of event loops call a timer due some
microseconds before its time, and who then asked for the rest would be told to wait for nothing."""

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_RATE = re.compile(r".+_per_(second|minute|hour)")


@dataclass(frozen=True, slots=True)
class Capacity:
    """Something that is given back: cpu, memory, gpu, slots."""

    amount: float
    """How much there is, in whatever it is counted in."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Something that comes back by the clock: requests per minute, tokens per minute.

    A token bucket (Turner, "New directions in communications", 1986): it holds up to ``burst``,
    and refills steadily with ``amount`` in ``seconds``. So within any t seconds at most
    ``burst + amount * t / seconds`` are taken.
    """

    amount: float
    """What comes back in one period."""
    seconds: float = 60.0
    """The period."""
    burst: float | None = None
    """The most that can be taken at once; by default what comes back in one period."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Something that is spent once and for all: dollars."""

    amount: float
    """How much may be spent."""


Unit: TypeAlias = Capacity | Rate | Budget

Kind: TypeAlias = Literal["capacity", "rate", "budget"]
"""What becomes of what is taken: it is given back, comes back by the clock, or is spent."""


def unit_of(name: str, given: float | Unit) -> Unit:
    """The kind that a bare number stands for: by its name a rate, a budget (``dollars``), or a
    capacity."""
    if isinstance(given, (Capacity, Rate, Budget)):
        return given
    if matched := _RATE.fullmatch(name):
        return Rate(given, _PERIODS[matched[1]])
    return Budget(given) if name == "dollars" else Capacity(given)


def quanta(name: str, amount: float, *, least: int = 0) -> int:
    """An amount in billionths. Raises ``ValueError`` for what is no amount."""
    if not is_number(amount) or amount < 0:
        raise ValueError(f"{name}={amount!r} must be a finite number, 0 or more")
    found = round(amount * SCALE)
    if found < least or (amount > 0 and not found):
        raise ValueError(f"{name}={amount!r} must be more than a billionth")
    return found


class Meter(ABC):
    """How much of one unit is free.

    Attributes:
        kind: what becomes of what is taken.
        most: what one request could take at best.
        spent: what was used up so far; of a capacity nothing is.
    """

    kind: Kind

    def __init__(self, name: str, most: float) -> None:
        self.name: str = name
        self.most: int = quanta(name, most, least=1)
        self.spent: int = 0

    @abstractmethod
    def free(self, now: float) -> int:
        """What could be taken at this moment; below 0 if more was used than reserved."""

    @abstractmethod
    def ready_at(self, wanted: int, now: float) -> float:
        """When so much will be free by the clock alone: ``now`` if it is, infinity if never."""

    @abstractmethod
    def take(self, wanted: int, now: float) -> None:
        """Take what is free."""

    def attainable(self) -> int:
        """What one request could still take, should everybody give back what they can."""
        return self.most

    def settle(self, before: int, after: int, now: float) -> None:
        """Correct what was taken, from an estimate to the true use."""
        raise ValueError(f"{self.name} is given back whole: only rates and budgets settle")

    def spend(self, amount: int) -> None:
        """Count what is used up; what is settled for less is not."""
        self.spent += amount

    @abstractmethod
    def give_back(self, taken: int) -> None:
        """The reservation that took it is over."""

    def close_until(self, when: float) -> None:
        """Give nothing before that time."""
        raise ValueError(f"{self.name} is a {self.kind}: only a rate can be held back")


class CapacityMeter(Meter):
    """Counts what is in use."""

    kind: Kind = "capacity"

    def __init__(self, name: str, unit: Capacity) -> None:
        super().__init__(name, unit.amount)
        self.used: int = 0

    def free(self, now: float) -> int:
        return self.most - self.used

    def ready_at(self, wanted: int, now: float) -> float:
        return now if wanted <= self.most - self.used else math.inf

    def take(self, wanted: int, now: float) -> None:
        self.used += wanted

    def give_back(self, taken: int) -> None:
        self.used -= taken


class RateMeter(Meter):
    """Remembers when the bucket will be full again, which says all: what is missing comes back
    steadily until then."""

    kind: Kind = "rate"

    def __init__(self, name: str, unit: Rate) -> None:
        super().__init__(name, unit.amount if unit.burst is None else unit.burst)
        if not unit.seconds > 0:
            raise ValueError(f"{name}: seconds={unit.seconds!r} must be above 0")
        self.speed: float = quanta(name, unit.amount, least=1) / unit.seconds
        self.full_at: float = -math.inf
        self.closed_until: float = -math.inf

    def free(self, now: float) -> int:
        if now < self.closed_until:
            return 0
        return self.most - math.ceil(max(0.0, self.full_at - now) * self.speed)

    def ready_at(self, wanted: int, now: float) -> float:
        refilled = self.full_at - (self.most - wanted) / self.speed
        when = max(self.closed_until, refilled)
        return now if when <= now + EARLY else when

    def take(self, wanted: int, now: float) -> None:
        self.settle(0, wanted, now)

    def settle(self, before: int, after: int, now: float) -> None:
        self.full_at = max(self.full_at, now) + (after - before) / self.speed
        self.spend(after - before)

    def give_back(self, taken: int) -> None:
        """It comes back by the clock."""

    def close_until(self, when: float) -> None:
        self.closed_until = max(self.closed_until, when)


class BudgetMeter(Meter):
    """Counts what is spent, and what of that may turn out not to be."""

    kind: Kind = "budget"

    def __init__(self, name: str, unit: Budget) -> None:
        super().__init__(name, unit.amount)
        self.unsettled: int = 0
        """Taken by reservations that are not over: they may settle for less."""

    def free(self, now: float) -> int:
        return self.most - self.spent

    def ready_at(self, wanted: int, now: float) -> float:
        return now if wanted <= self.most - self.spent else math.inf

    def attainable(self) -> int:
        return self.most - self.spent + self.unsettled

    def take(self, wanted: int, now: float) -> None:
        self.settle(0, wanted, now)

    def settle(self, before: int, after: int, now: float) -> None:
        self.spend(after - before)
        self.unsettled += after - before

    def give_back(self, taken: int) -> None:
        # What was not settled for less is spent.
        self.unsettled -= taken


def meter_of(name: str, unit: Unit) -> Meter:
    """A meter for a unit, with nothing taken."""
    if isinstance(unit, Capacity):
        return CapacityMeter(name, unit)
    return RateMeter(name, unit) if isinstance(unit, Rate) else BudgetMeter(name, unit)
