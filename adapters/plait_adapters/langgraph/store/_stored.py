"""What stores over a database have in common: batches, embedding, and sweeping what is over."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

import structlog

from plait.errors import StoreError
from plait_adapters.langgraph.checkpoint._bridge import run, start
from plait_adapters.langgraph.store._index import Index, Text
from plait_adapters.langgraph.store.base import (
    GetOp,
    IndexConfig,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)
from plait_adapters.langgraph.store.base.embed import Embedder

__all__ = [
    "Items",
    "Plan",
    "StoredStore",
    "SweepsInBackground",
    "SweepsInTask",
    "Vectors",
]

_log = structlog.get_logger("plait.langgraph")

_METRICS: Final = ("cosine", "inner_product", "l2")
"""What near may mean."""

_SWEEP_MINUTES: Final = 5.0
"""How often items whose time is over are removed, unless the store is told otherwise."""

Vectors = Mapping[str, list[float]]


class Plan:
    """Operations in the order in which a batch carries them out.

    Args:
        ops: as they were given.
        puts: those that put something, the last one for each key.
        texts: what is to be in the index of them.
    """

    def __init__(self, ops: Sequence[Any], puts: Sequence[PutOp], texts: Sequence[Text]) -> None:
        self.ops = ops
        self.puts = puts
        self.texts = texts
        self.gets: dict[tuple[tuple[str, ...], bool], list[tuple[int, str]]] = {}
        """By namespace and whether the time to live begins anew: places and keys."""
        for place, op in enumerate(ops):
            if isinstance(op, GetOp):
                group = self.gets.setdefault((tuple(op.namespace), op.refresh_ttl), [])
                group.append((place, op.key))
            elif not isinstance(op, (SearchOp, ListNamespacesOp, PutOp)):
                raise ValueError(  # noqa: TRY004 - LangGraph's type
                    f"Unknown operation type: {type(op)}"
                )

    @property
    def queries(self) -> list[str]:
        """The texts to which what is searched for is to be near."""
        return [op.query for op in self.ops if isinstance(op, SearchOp) and op.query]


class Items(Protocol):
    """Where the items are."""

    async def carry_out(self, plan: Plan, queries: Vectors, vectors: Vectors) -> list[Result]:
        """Carry out a batch in one transaction. ``queries``, ``vectors``: by text."""
        ...

    async def sweep(self) -> int:
        """Remove items whose time is over; how many there were."""
        ...


class StoredStore:
    """A store over a database."""

    supports_ttl: bool = True
    _items: Items

    def _set_up(self, index: IndexConfig | None, ttl: TTLConfig | None) -> str:
        """Take in what makes searches possible and how long items live; what near means.

        Raises:
            ValueError: the index is not as it must be, or asks for what there is not.
        """
        config: dict[str, Any] = dict(index or {})
        metric = config.get("distance_type", "cosine")
        if metric not in _METRICS:
            raise ValueError(f"distance_type={metric!r} must be one of {', '.join(_METRICS)}")
        self.ttl_config: TTLConfig | None = ttl
        self._index = Index(index) if index else None
        self.index_config: IndexConfig | None = self._index.config if self._index else None
        self.embeddings: Embedder | None = self._index.embeddings if self._index else None
        return str(metric)

    def _plan(self, ops: Iterable[Op]) -> Plan:
        given = list(ops)
        for op in given:
            validate_op_namespace(op)
        puts = list({(op.namespace, op.key): op for op in given if isinstance(op, PutOp)}.values())
        return Plan(given, puts, self._index.texts(puts) if self._index is not None else ())

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in one transaction; a result for each, in their order."""
        plan = self._plan(ops)
        if self._index is None:
            return await self._items.carry_out(plan, {}, {})
        queries = await self._index.aembed(plan.queries)
        vectors = await self._index.aembed(text.text for text in plan.texts)
        return await self._items.carry_out(plan, queries, vectors)

    async def _sweep_for_good(self, minutes: float | None) -> None:
        """Remove items whose time is over, again and again, until it is cancelled."""
        interval = minutes or (self.ttl_config or {}).get("sweep_interval_minutes")
        while True:
            await asyncio.sleep(60 * float(interval or _SWEEP_MINUTES))
            try:
                count = await self._items.sweep()
            except StoreError as error:  # the next time it may be reached again
                _log.warning("items were not swept", error=str(error))
            else:
                _log.debug("items swept", count=count)


class SweepsInBackground(StoredStore):
    """A store whose sweeper synchronous callers start and stop."""

    _sweeper: concurrent.futures.Future[None] | None = None

    def sweep_ttl(self) -> int:
        """Remove items whose time is over; how many there were."""
        return run(self._items.sweep)

    def start_ttl_sweeper(
        self, sweep_interval_minutes: int | None = None
    ) -> concurrent.futures.Future[None]:
        """Remove items whose time is over from time to time, until the future is cancelled or
        ``stop_ttl_sweeper`` is called. Without a ``ttl`` in the store there is nothing to do."""
        if not self.ttl_config:
            done: concurrent.futures.Future[None] = concurrent.futures.Future()
            done.set_result(None)
            return done
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = start(self._sweep_for_good, sweep_interval_minutes)
        return self._sweeper

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop removing items; returns whether it has stopped within so many seconds."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None and not sweeper.done():
            sweeper.cancel()
            concurrent.futures.wait([sweeper], timeout)
        return sweeper is None or sweeper.done()


class SweepsInTask(StoredStore):
    """A store whose sweeper is a task of the event loop."""

    _sweeper: asyncio.Task[None] | None = None

    async def _release(self) -> None:
        """Give back what the store holds of the database."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop_ttl_sweeper()
        await self._release()

    async def sweep_ttl(self) -> int:
        """Remove items whose time is over; how many there were."""
        return await self._items.sweep()

    async def start_ttl_sweeper(
        self, sweep_interval_minutes: int | None = None
    ) -> asyncio.Task[None]:
        """Remove items whose time is over from time to time, until ``stop_ttl_sweeper`` is called
        or the store is closed. Without a ``ttl`` in the store there is nothing to do.

        The task is the caller's and the store's, and nobody else's: LangGraph's interface has it.
        """
        if self._sweeper is None or self._sweeper.done():
            work = self._sweep_for_good(sweep_interval_minutes) if self.ttl_config else _nothing()
            self._sweeper = asyncio.create_task(work, name="ttl sweeper")
        return self._sweeper

    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop removing items; returns whether it has stopped within so many seconds."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is None or sweeper.done():
            return True
        sweeper.cancel()
        await asyncio.wait([sweeper], timeout=timeout)
        return sweeper.done()


async def _nothing() -> None:
    """There is nothing to sweep."""
