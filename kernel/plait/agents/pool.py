"""A pool of named resources, reserved all or nothing, in fair order, and given back always.

::

    pool = ResourcePool(slots=20, memory=8e9, tokens_per_minute=90_000, dollars=5)

    async with pool.reserve(slots=1, tokens_per_minute=800, dollars=0.01, timeout=30) as taken:
        answer = await ask(...)
        taken.settle(tokens_per_minute=answer.tokens, dollars=answer.cost)

**Order.** First come, first served, among those that want the same unit: who waits holds up
everybody behind that wants any of its units, and nobody else. So nobody is starved by smaller
requests. Two kinds go before: those that hand results back, for which a part can be kept, and those
that hold something already, since the pool gets that back only when they go on.

**Nested reservations** cannot deadlock. A reservation inside of another (in its block, in a task
started there, or ``within=`` it) that would have to wait is first held against all others: if
everybody who can go on did, and gave back what they hold, would it be served? If not, it is refused
at once with ``ReservationDeadlock`` (the test is that of Coffman, Elphick and Shoshani, "System
Deadlocks", 1971). Every deadlock has a last request that closes it, and none is let in. Pools
are looked at together, so none can arise between two of them either.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import checkpoint

from plait.agents.errors import ReservationDeadlock, ResourceUnavailableError, listed
from plait.agents.units import SCALE, Kind, Meter, Unit, meter_of, quanta, unit_of
from plait.policy import is_number

__all__ = ["Reservation", "ReservedPlaces", "Reserving", "ResourcePool", "UnitStatistics"]


@dataclass(frozen=True, slots=True)
class UnitStatistics:
    """One unit of a pool at one moment; amounts are in what the unit is counted in."""

    kind: Kind
    """What becomes of it: given back, refilled by the clock, or spent."""
    capacity: float
    """The most that can be taken at once."""
    free: float
    """What could be taken; below 0 if more was used than had been reserved."""
    in_use: float
    """What is missing to be full."""
    peak: float
    """The most that was missing so far, right after something was taken."""
    spent: float
    """What was used up in all; of a capacity, nothing."""


class Reservation:
    """What somebody holds. Made by ``ResourcePool.reserve``.

    Attributes:
        pool: the pool that it is from.
        units: the amounts that were asked for, by unit.
        handing_back: whether it could be taken out of what is kept back.
        since: when it was given, in seconds of the event loop's clock.
        open: whether it is held still.
    """

    def __init__(
        self,
        pool: ResourcePool,
        amounts: Mapping[str, int],
        parents: tuple[Reservation, ...],
        since: float,
        *,
        handing_back: bool,
    ) -> None:
        self.pool = pool
        self.handing_back = handing_back
        self.since = since
        self.units: dict[str, float] = {name: n / SCALE for name, n in amounts.items()}
        self.open: bool = True
        self.taken: dict[str, int] = dict(amounts)
        """Billionths that it has of each unit, as settled."""
        self.parents = parents
        self.waiting: set[Request] = set()
        """Requests inside of it, at any depth, that wait: it is not given back before them."""

    def settle(self, **used: float) -> None:
        """Say what was truly used, of units that are used up: rates and budgets.

        What was reserved beyond that is free at once. What was used beyond the reservation is
        taken as well, though it may not have been free: others then wait the longer for it. May be
        called again as more becomes known. Without it, what was reserved counts as used.

        Raises:
            ValueError: the reservation is over, a unit is given back whole, or is not known.
        """
        if not self.open:
            raise ValueError("the reservation is over: settle it before it is released")
        new = {name: quanta(name, amount) for name, amount in used.items()}
        now = anyio.current_time()
        for name in new:
            if self.pool.meter(name).kind == "capacity":
                raise ValueError(f"{name} is given back whole: only rates and budgets settle")
        for name, amount in new.items():
            self.pool.meter(name).settle(self.taken.get(name, 0), amount, now)
            self.taken[name] = amount
            self.pool.note_peak(name, now)
        self.pool.serve()

    def release(self) -> None:
        """Give it back. A second time does nothing."""
        if self.open:
            self.open = False
            self.pool.take_back(self)

    @contextmanager
    def inside(self) -> Iterator[Self]:
        """While the block runs, what is reserved is known to be reserved inside of this one."""
        outer = _innermost.get()
        _innermost.set(self)
        try:
            yield self
        finally:
            _innermost.set(outer)

    def ancestors(self) -> Iterator[Reservation]:
        """Itself and those around it that are held still."""
        if self.open:
            yield self
        for parent in self.parents:
            yield from parent.ancestors()

    def __repr__(self) -> str:
        state = "open" if self.open else "over"
        return f"<Reservation {listed([f'{n}={v:g}' for n, v in self.units.items()])}, {state}>"


_innermost: ContextVar[Reservation | None] = ContextVar("plait_reservation", default=None)
"""The reservation whose block the caller is in."""

_HANDING_BACK, _NESTED, _ORDINARY = range(3)


class Request:
    """Somebody who waits for a reservation."""

    def __init__(
        self,
        pool: ResourcePool,
        amounts: dict[str, int],
        parents: tuple[Reservation, ...],
        number: int,
        *,
        handing_back: bool,
    ) -> None:
        self.pool = pool
        self.amounts = amounts
        self.parents = parents
        self.holders: dict[Reservation, None] = dict.fromkeys(
            each for one in parents for each in one.ancestors()
        )
        self.handing_back = handing_back
        rank = _HANDING_BACK if handing_back else _NESTED if self.holders else _ORDINARY
        self.place: tuple[int, int] = (rank, number)
        self.since: float = anyio.current_time()
        self.wake_at: float = math.inf
        self.event: anyio.Event = anyio.Event()
        self.granted: Reservation | None = None
        self.refused: ResourceUnavailableError | None = None

    def is_over(self) -> bool:
        """Whether it has been served or refused."""
        return self.granted is not None or self.refused is not None

    def wake(self) -> None:
        """Let the waiting task look again."""
        self.event.set()


class ResourcePool:
    """Named resources that tasks of one event loop share.

    A bare number is a rate if its name ends in ``_per_second``, ``_per_minute`` or ``_per_hour``, a
    budget if it is ``dollars``, and else a capacity, which is given back; ``Rate``, ``Budget``
    and ``Capacity`` say it in so many words.

    Args:
        kept_back: how much of which capacity only requests with ``handing_back=True`` may take, so
            that results can be handed on while all that produce them hold everything else.
        units: how much there is of each.

    Raises:
        ValueError: an amount is none, or more is kept back than there is.
    """

    def __init__(
        self, *, kept_back: Mapping[str, float] | None = None, **units: float | Unit
    ) -> None:
        for word in ("timeout", "within", "handing_back"):
            if word in units:
                raise ValueError(f"a unit cannot be called {word!r}: reserve() has that argument")
        self.units: dict[str, Unit] = {name: unit_of(name, given) for name, given in units.items()}
        self._meters: dict[str, Meter] = {n: meter_of(n, unit) for n, unit in self.units.items()}
        self._kept = {n: quanta(n, amount) for n, amount in (kept_back or {}).items()}
        self._handed = dict.fromkeys(self._kept, 0)
        """Billionths that those have who hand results back: they use up what is kept first."""
        for name, kept in self._kept.items():
            if self.meter(name).kind != "capacity":
                raise ValueError(f"{name} cannot be kept back: only what is given back can")
            if kept >= self.meter(name).most:
                raise ValueError(f"all of {name} would be kept back: nobody else could have any")
        self._peaks = dict.fromkeys(self._meters, 0)
        self._queue: list[Request] = []
        self.reservations: dict[Reservation, None] = {}
        """Those that are held, in the order in which they were given."""
        self._number = 0

    def reserve(
        self,
        amounts: Mapping[str, float] | None = None,
        /,
        *,
        timeout: float | None = None,
        within: Reservation | None = None,
        handing_back: bool = False,
        **units: float,
    ) -> Reserving:
        """Reserve amounts of units: all of them, or none.

        ``async with pool.reserve(...) as reservation:`` gives them back when the block is left,
        however. ``reservation = await pool.reserve(...)`` leaves that to ``release()``.

        Args:
            amounts: by unit, for those that are not given as keywords.
            timeout: seconds to wait at most; 0 for not at all, ``None`` for no limit.
            within: a reservation that is held until after this one; known by itself in the block of
                one, and in tasks started there.
            handing_back: go before all others, and into what is kept back.

        Raises:
            ResourceUnavailableError: it took too long, or could never be given.
            ReservationDeadlock: it would wait for what is only released after it.
            ValueError: an amount is none, or a unit is not known.
        """
        if timeout is not None and (not is_number(timeout) or timeout < 0):
            raise ValueError(f"timeout={timeout!r} must be seconds, 0 or more, or None")
        asked = {**(amounts or {}), **units}
        for name in asked:
            self.meter(name)
        wanted = {name: quanta(name, amount) for name, amount in asked.items() if amount != 0}
        return Reserving(self, wanted, timeout, within, handing_back=handing_back)

    def places(
        self, amounts: Mapping[str, float] | None = None, /, **units: float
    ) -> ReservedPlaces:
        """A pool for nodes, each of which reserves so much while it runs.

        ::

            graph.add_node(train, pool="gpu")
            flow = graph.compile(pools={"gpu": pool.places(gpu=1, memory=4e9)})

        Raises:
            ValueError: an amount is none, or a unit is not known.
        """
        asked = {**(amounts or {}), **units}
        self.reserve(asked)  # which says at once what is wrong
        return ReservedPlaces(self, asked)

    @property
    def free(self) -> dict[str, float]:
        """What could be taken of each unit at this moment, by who hands results back."""
        now = anyio.current_time()
        return {name: meter.free(now) / SCALE for name, meter in self._meters.items()}

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def statistics(self) -> dict[str, UnitStatistics]:
        """Each unit at this moment."""
        now = anyio.current_time()
        return {
            name: UnitStatistics(
                kind=meter.kind,
                capacity=meter.most / SCALE,
                free=meter.free(now) / SCALE,
                in_use=(meter.most - meter.free(now)) / SCALE,
                peak=self._peaks[name] / SCALE,
                spent=meter.spent / SCALE,
            )
            for name, meter in self._meters.items()
        }

    def hold_back(self, unit: str, seconds: float) -> None:
        """Give nothing of a rate for so long, since a service asked for it (``Retry-After``).

        Raises:
            ValueError: the unit is no rate.
        """
        self.meter(unit).close_until(anyio.current_time() + seconds)
        self.serve()

    # -- for reservations and requests ----------------------------------------------------------

    def meter(self, name: str) -> Meter:
        """The meter of a unit. Raises ``ValueError`` if the pool has none of that name."""
        try:
            return self._meters[name]
        except KeyError:
            known = listed(self._meters)
            raise ValueError(f"the pool has no {name!r}; it has {known}") from None

    def request(
        self, amounts: dict[str, int], within: Reservation | None, *, handing_back: bool
    ) -> Request:
        """Stand in the queue, and be served if possible.

        Raises:
            ResourceUnavailableError, ReservationDeadlock: waiting would be in vain.
        """
        inner = _innermost.get()
        parents = tuple(dict.fromkeys(one for one in (within, inner) if one is not None))
        self._number += 1
        request = Request(self, amounts, parents, self._number, handing_back=handing_back)
        insort(self._queue, request, key=lambda each: each.place)
        for holder in request.holders:
            holder.waiting.add(request)
        self.serve()
        if not request.is_over() and request.holders and would_deadlock(request):
            self.leave(request)
            held = ", ".join(repr(each.units) for each in request.holders)
            problem = (
                f"it is asked for while {held} is held, and would wait for what others that wait "
                "give back only after it: reserve all at once, or in one order everywhere"
            )
            raise self._unavailable(request, problem, ReservationDeadlock)
        return request

    def serve(self) -> None:
        """Give what is free to those who wait, in order."""
        now = anyio.current_time()
        claimed: set[str] = set()
        for request in tuple(self._queue):
            # Whoever holds something goes past those who wait: they may wait for just that.
            if not request.holders and not claimed.isdisjoint(request.amounts):
                claimed |= request.amounts.keys()
            elif never := self._never(request):
                request.refused = self._unavailable(request, never)
                self.leave(request, serve=False)
            elif (when := self._ready_at(request, now)) <= now:
                self._grant(request, now)
            else:
                claimed |= request.amounts.keys()
                if when != request.wake_at:
                    request.wake_at = when
                    request.wake()
            if len(claimed) == len(self._meters) and request.place[0] == _ORDINARY:
                break

    def leave(self, request: Request, *, serve: bool = True) -> None:
        """Wait no longer. What was given meanwhile is given back."""
        if request in self._queue:
            self._queue.remove(request)
        for holder in request.holders:
            holder.waiting.discard(request)
        if request.granted is not None:
            request.granted.release()
        elif serve:
            self.serve()
        request.wake()

    def take_back(self, reservation: Reservation) -> None:
        """A reservation is over."""
        del self.reservations[reservation]
        for name, taken in reservation.taken.items():
            self._meters[name].give_back(taken)
            if reservation.handing_back and name in self._handed:
                self._handed[name] -= taken
        self.serve()

    def note_peak(self, name: str, now: float) -> None:
        """Remember the most that was missing of a unit."""
        meter = self._meters[name]
        self._peaks[name] = max(self._peaks[name], meter.most - meter.free(now))

    def kept_from(self, request: Request, name: str, handed: int | None = None) -> int:
        """How much of a unit must be left by a request, if those who hand back have so much."""
        if request.handing_back or name not in self._kept:
            return 0
        return max(0, self._kept[name] - (self._handed[name] if handed is None else handed))

    def _ready_at(self, request: Request, now: float) -> float:
        return max(
            (
                self._meters[name].ready_at(wanted + self.kept_from(request, name), now)
                for name, wanted in request.amounts.items()
            ),
            default=now,
        )

    def _never(self, request: Request) -> str | None:
        for name, wanted in request.amounts.items():
            meter, kept = self._meters[name], self.kept_from(request, name, 0)
            if wanted + kept > meter.attainable():
                if meter.kind == "budget" and wanted + kept <= meter.most:
                    return f"the rest of the {name} is spent"
                most = (meter.most - kept) / SCALE
                return f"there are {most:g} {name} in all" + (" for this" if kept else "")
        return None

    def _grant(self, request: Request, now: float) -> None:
        self._queue.remove(request)
        for holder in request.holders:
            holder.waiting.discard(request)
        for name, wanted in request.amounts.items():
            self._meters[name].take(wanted, now)
            self.note_peak(name, now)
            if request.handing_back and name in self._handed:
                self._handed[name] += wanted
        request.granted = Reservation(
            self, request.amounts, request.parents, now, handing_back=request.handing_back
        )
        self.reservations[request.granted] = None
        request.wake()

    def unavailable_after(self, request: Request, timeout: float) -> ResourceUnavailableError:
        """The error for a request that has waited for too long."""
        return self._unavailable(request, f"not within {timeout:g} s")

    def _unavailable(
        self,
        request: Request,
        problem: str,
        kind: type[ResourceUnavailableError] = ResourceUnavailableError,
    ) -> ResourceUnavailableError:
        now = anyio.current_time()
        return kind(
            {name: wanted / SCALE for name, wanted in request.amounts.items()},
            {name: self._meters[name].free(now) / SCALE for name in request.amounts},
            problem,
            waited=now - request.since,
        )


class Reserving:
    """A reservation on the way: an asynchronous context manager, and awaitable as well."""

    def __init__(
        self,
        pool: ResourcePool,
        amounts: dict[str, int],
        timeout: float | None,
        within: Reservation | None,
        *,
        handing_back: bool,
    ) -> None:
        self._pool = pool
        self._amounts = amounts
        self._timeout = timeout
        self._within = within
        self._handing_back = handing_back
        self._reservation: Reservation | None = None
        self._inside: AbstractContextManager[Reservation] | None = None

    def __await__(self) -> Generator[object, None, Reservation]:
        return self._reserve().__await__()

    async def __aenter__(self) -> Reservation:
        self._reservation = await self._reserve()
        self._inside = self._reservation.inside()
        return self._inside.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._reservation is not None, "it was entered"
        assert self._inside is not None, "it was entered"
        self._inside.__exit__(None, None, None)
        self._reservation.release()

    async def _reserve(self) -> Reservation:
        pool = self._pool
        request = pool.request(self._amounts, self._within, handing_back=self._handing_back)
        try:
            if request.is_over():
                await checkpoint()
            else:
                await self._wait(request)
        except BaseException:
            pool.leave(request)
            raise
        if request.refused is not None:
            raise request.refused
        assert request.granted is not None, "it is over, and not refused"
        return request.granted

    async def _wait(self, request: Request) -> None:
        deadline = math.inf if self._timeout is None else request.since + self._timeout
        while True:
            request.event = anyio.Event()
            until = min(deadline, request.wake_at)
            with anyio.CancelScope(deadline=until) as scope:
                await request.event.wait()
            if request.is_over():
                return
            if not scope.cancelled_caught:
                continue
            # Not `wake_at`, which others may have moved between the alarm and this turn.
            if until < deadline:
                request.wake_at = math.inf
                self._pool.serve()
                if request.is_over():
                    return
            else:
                assert self._timeout is not None, "without it the deadline is never"
                raise self._pool.unavailable_after(request, self._timeout)

    def __repr__(self) -> str:
        return f"<Reserving {listed([f'{n}={v / SCALE:g}' for n, v in self._amounts.items()])}>"


class ReservedPlaces:
    """A pool for nodes. Made by ``ResourcePool.places``."""

    def __init__(self, pool: ResourcePool, amounts: Mapping[str, float]) -> None:
        self.pool = pool
        self.amounts: dict[str, float] = dict(amounts)

    def place(self) -> Reserving:
        """What one node reserves."""
        return self.pool.reserve(self.amounts)


def would_deadlock(request: Request) -> bool:
    """Whether a request would be served even if everybody who can go on gave back what they hold.

    Requests that hold nothing are left out: nobody waits for them.
    """
    pools = _pools_around(request)
    now = anyio.current_time()
    free = {(pool, name): pool.meter(name).free(now) for pool in pools for name in pool.units}
    handed = dict.fromkeys(free, 0)
    held = {one: None for pool in pools for one in pool.reservations}
    for one in held:
        if one.handing_back:
            for name, taken in one.taken.items():
                handed[one.pool, name] += taken
    stuck = {waiting: None for one in held for waiting in one.waiting}
    while True:
        ending = [one for one in held if one.waiting.isdisjoint(stuck)]
        for one in ending:
            del held[one]
            for name, taken in one.taken.items():
                free[one.pool, name] += taken
                handed[one.pool, name] -= taken if one.handing_back else 0
        served = [each for each in stuck if _fits(each, free, handed)]
        for each in served:
            del stuck[each]
        if request not in stuck:
            return False
        if not ending and not served:
            return True


_Amounts = Mapping[tuple[ResourcePool, str], int]


def _fits(request: Request, free: _Amounts, handed: _Amounts) -> bool:
    """Whether a request would be served if so much were free; rates come back by the clock."""
    pool = request.pool
    return all(
        wanted + pool.kept_from(request, name, handed[pool, name]) <= free[pool, name]
        for name, wanted in request.amounts.items()
        if pool.meter(name).kind != "rate"
    )


def _pools_around(request: Request) -> Iterable[ResourcePool]:
    """The pools on which it may depend whether a request can be served."""
    found = {request.pool: None}
    unseen = [request.pool]
    while unseen:
        for reservation in unseen.pop().reservations:
            for waiting in reservation.waiting:
                if waiting.pool not in found:
                    found[waiting.pool] = None
                    unseen.append(waiting.pool)
    return found
