"""Keeps what requests take out of a pool, from the estimate to the true use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from plait.agents import Reservation, ResourcePool
from plait_adapters.models.accounting import UNITS, Usage, units_of
from plait_adapters.models.client import Completion, ModelClient, Request, Told
from plait_adapters.models.endpoint import Prices
from plait_adapters.models.errors import (
    ModelBusyError,
    ModelRefusedError,
    ModelUnavailableError,
)

__all__ = ["Account"]

_OK = 200


class Account:
    """One call of an agent, and all requests that it makes.

    Each request reserves what it may take, and is settled with what it took. What is reserved for
    the whole call already (``per_call``) is not reserved again, and settled with the sum.

    Args:
        prices: what tokens cost.
        pool: where to reserve; without one, use is only counted.
        held: what the agent holds while it lives.
        per_call: what is reserved for this call.

    Attributes:
        usage: what all requests together took.
    """

    def __init__(
        self,
        prices: Prices | None,
        pool: ResourcePool | None = None,
        held: Reservation | None = None,
        per_call: Reservation | None = None,
    ) -> None:
        self._prices = prices
        self._pool = pool
        self._within = per_call or held
        self._per_call = per_call
        self._known = frozenset(pool.units if pool is not None else ()) & frozenset(UNITS)
        self._whole = self._known & frozenset(per_call.units if per_call is not None else ())
        self.usage: Usage = Usage()

    @property
    def cost(self) -> float:
        """Dollars that all requests together took; 0 where prices are not known."""
        if self._prices is None:
            return 0.0
        return self._prices.of(self.usage.read, self.usage.written)

    async def complete(
        self, client: ModelClient, request: Request, told: Told | None = None
    ) -> Completion:
        """Ask once, within the pool; arguments and errors are those of `ModelClient.complete`.

        A request that never reached the endpoint took nothing, and one that was turned away took
        nothing but itself. Of one that broke off nobody knows, so the estimate counts. One that is
        to come back later holds back the whole pool.

        Raises:
            ResourceUnavailableError: the pool cannot give what it may take.
        """
        estimate = request.estimate()
        async with self._reserved(estimate) as reservation:
            try:
                completion = await client.complete(request, told)
            except BaseException as error:
                self._settle(reservation, _taken_by(error, estimate))
                if isinstance(error, ModelBusyError):
                    self._hold_back(error.retry_after)
                raise
            self._settle(reservation, completion.usage)
            return completion

    @asynccontextmanager
    async def _reserved(self, estimate: Usage) -> AsyncIterator[Reservation | None]:
        units = units_of(estimate, self._prices, self._known - self._whole)
        async with AsyncExitStack() as stack:
            reservation = None
            if self._pool is not None and units:
                reserving = self._pool.reserve(units, within=self._within)
                reservation = await stack.enter_async_context(reserving)
            yield reservation

    def _settle(self, reservation: Reservation | None, used: Usage) -> None:
        self.usage += used
        if reservation is not None:
            reservation.settle(**units_of(used, self._prices, self._known - self._whole))
        self._settle_whole()

    def _settle_whole(self) -> None:
        if self._per_call is not None and self._whole:
            self._per_call.settle(**units_of(self.usage, self._prices, self._whole))

    def _hold_back(self, seconds: float | None) -> None:
        if self._pool is None or not seconds:
            return
        statistics = self._pool.statistics()
        for unit in UNITS:
            if unit in statistics and statistics[unit].kind == "rate":
                self._pool.hold_back(unit, seconds)


def _taken_by(error: BaseException, estimate: Usage) -> Usage:
    """What a request took that brought no answer."""
    match error:
        case ModelUnavailableError(reached=False) | ModelRefusedError(status=None):
            return Usage()
        case ModelBusyError():
            return Usage(requests=1)
        case ModelRefusedError(status=status) if status != _OK:  # else the model wrote a refusal
            return Usage(requests=1)
        case _:
            return estimate
