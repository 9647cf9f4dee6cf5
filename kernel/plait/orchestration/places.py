"""Places for branches at work: a pool for each branch, and a width for all branches of a run.

Who wants a place waits in the order of asking. A place is given to the first in that order whose
branch has one free, so that a branch whose pool is full holds up no other branch. Each place is
given back, whatever becomes of who had it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from plait.orchestration.concurrency import AdaptiveLimit
from plait.orchestration.settings import AdaptionSettings

__all__ = ["Place", "Places", "Pool", "Pools"]


@dataclass(slots=True)
class Pool:
    """The places of one branch."""

    size: int
    """How many there are."""
    taken: int = 0
    """How many are taken."""
    peak: int = 0
    """The most that were ever taken."""
    resting: int = 0
    """How many of those who were refused have asked for a rest that is not over."""

    @property
    def free(self) -> int:
        """How many could be given now."""
        return 0 if self.resting else self.size - self.taken


class Pools:
    """The pools of an orchestrator, which all of its runs share.

    Args:
        sizes: the places by branch.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.pools: dict[str, Pool] = {branch: Pool(size) for branch, size in sizes.items()}
        self._waiting: list[_Waiting] = []

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def take(self, run: Places, branch: str) -> Place:
        """Wait for a place. The order of asking holds over all runs."""
        waiting = _Waiting(run, branch)
        self._waiting.append(waiting)
        self.give()
        try:
            await waiting.given.wait()
        except BaseException:
            if waiting.place is None:
                self._waiting.remove(waiting)
            else:  # it was given in the moment in which nobody wanted it any more
                self.give_back(run, branch)
            raise
        assert waiting.place is not None, "it was given"
        return waiting.place

    def give_back(self, run: Places, branch: str) -> None:
        """Take back a place, and give it to the next."""
        run.at_work[branch] -= 1
        self.pools[branch].taken -= 1
        self.give()

    def give(self) -> None:
        """Give the places that can be given, in the order of asking."""
        full: set[tuple[Places, str]] = set()
        left: list[_Waiting] = []
        for waiting in self._waiting:
            key = waiting.run, waiting.branch
            if key in full or not self._give(waiting):
                full.add(key)
                left.append(waiting)
        self._waiting = left

    def _give(self, waiting: _Waiting) -> bool:
        run, branch = waiting.run, waiting.branch
        pool, limit = self.pools[branch], run.limits[branch]
        narrow = run.taken >= run.width.limit or run.at_work[branch] >= limit.limit
        if narrow or not pool.free:
            return False
        pool.taken += 1
        pool.peak = max(pool.peak, pool.taken)
        run.at_work[branch] += 1
        run.peak = max(run.peak, run.taken)
        waiting.place = Place(branch, limit.epoch, run.width.epoch)
        waiting.given.set()
        return True


@dataclass(slots=True)
class Place:
    """A place that somebody has."""

    branch: str
    """The branch it is of."""
    epoch: int
    """The epoch of the branch's limit in which it was given."""
    width_epoch: int
    """That of the width."""


class Places:
    """The places of one run: the pools, and the run's own limits.

    Args:
        pools: the pools. The limit of a branch begins with all of its pool, and is decreased by
            what tells of an overload of what that branch calls upon.
        width: how many branches of the run may work at once, whichever they are.
        settings: how limits adapt.

    Attributes:
        limits: the limit of each branch.
        at_work: how many of each branch are at work.
        peak: the most that ever were, over all branches.
    """

    def __init__(
        self, pools: Pools, width: AdaptiveLimit, settings: AdaptionSettings | None = None
    ) -> None:
        self._pools = pools
        self.width: AdaptiveLimit = width
        self.limits: dict[str, AdaptiveLimit] = {
            branch: AdaptiveLimit(pool.size, pool.size, settings)
            for branch, pool in pools.pools.items()
        }
        self.at_work: dict[str, int] = dict.fromkeys(pools.pools, 0)
        self.peak: int = 0

    @property
    def taken(self) -> int:
        """How many branches of this run are at work."""
        return sum(self.at_work.values())

    @asynccontextmanager
    async def place(self, branch: str) -> AsyncIterator[Place]:
        """Wait for a place of a branch, and hold it while the block runs."""
        place = await self._pools.take(self, branch)
        try:
            yield place
        finally:
            self._pools.give_back(self, branch)

    def succeeded(self, place: Place) -> None:
        """What has this place was done in good time; told while the place is held."""
        limit = self.limits[place.branch]
        limit.succeeded(busy=self.at_work[place.branch] >= limit.limit)
        self.width.succeeded(busy=self.taken >= self.width.limit)

    def slow(self, place: Place) -> bool:
        """What had this place took too long; whether a limit is smaller now.

        Too long tells of the machine as well as of what the branch calls upon.
        """
        smaller = self.limits[place.branch].overloaded(place.epoch)
        return self.width.overloaded(place.width_epoch) or smaller

    def refused(self, place: Place) -> bool:
        """What the branch calls upon refused; whether the branch's limit is smaller now."""
        return self.limits[place.branch].overloaded(place.epoch)

    async def rest(self, branch: str, seconds: float) -> None:
        """Give no place of a branch for so long, in any run."""
        pool = self._pools.pools[branch]
        pool.resting += 1
        try:
            await anyio.sleep(seconds)
        finally:
            pool.resting -= 1
            self._pools.give()


@dataclass(slots=True, eq=False)
class _Waiting:
    run: Places
    branch: str
    given: anyio.Event = field(default_factory=anyio.Event)
    place: Place | None = None
