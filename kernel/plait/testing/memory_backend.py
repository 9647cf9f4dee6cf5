"""A backend in memory: the rows of a durable store, on a clock and with faults of one's choice.

It keeps the contract of :class:`plait.backend.Backend`, so a simulation that runs on it says
something about the stores that keep files and servers.
"""

from __future__ import annotations

import inspect
import time
from bisect import bisect_right, insort
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypeVar

from plait.backend import Grant, Record, Row, ThreadRow
from plait.errors import StoreError, ThreadBusy, ThreadExists, ThreadNotFound
from plait.events import ThreadId

__all__ = ["Fault", "MemoryBackend", "MemoryConnection", "MemoryTransaction"]

T = TypeVar("T")

Fault: TypeAlias = Callable[[str, Literal["before", "after"]], Awaitable[None] | None]
"""Called with the name of a method, before and after its effect; what it raises, the method
raises. It may wait, too."""

_NO_EPOCH: Final = 0
"""The epoch of a thread that nobody has leased; epochs that are given begin at 1."""


@dataclass(slots=True)
class _Thread:
    """A thread and all that belongs to it."""

    thread_id: ThreadId
    created: float
    updated: float
    position: int = 0
    pruned: int = 0
    size: int = 0
    status: str = ""
    """As the last release left it. While the thread is leased it counts as ``"running"``."""
    graph: str = ""
    epoch: int = _NO_EPOCH
    holder: str | None = None
    expires: float = 0.0
    origin: tuple[ThreadId, int] | None = None
    positions: list[int] = field(default_factory=list[int])
    """Those of the events that are kept, in order."""
    events: dict[int, tuple[int, bytes]] = field(default_factory=dict[int, tuple[int, bytes]])
    """Epoch and data by position."""
    snapshots: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def is_held(self, now: float) -> bool:
        return self.holder is not None and self.expires > now

    def row(self, now: float) -> ThreadRow:
        held = self.is_held(now)
        return ThreadRow(
            thread_id=self.thread_id,
            position=self.position,
            pruned=self.pruned,
            size=self.size,
            status=self.status if self.epoch == _NO_EPOCH else "running",
            graph=self.graph,
            holder=self.holder if held else None,
            expires=self.expires if held else None,
            created=self.created,
            updated=self.updated,
            origin=self.origin,
        )


@dataclass(slots=True)
class _Tenant:
    threads: dict[ThreadId, _Thread] = field(default_factory=dict[ThreadId, _Thread])
    plans: dict[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(slots=True)
class _Rows:
    """What all handles on one backend share."""

    clock: Callable[[], float]
    tenants: dict[str, _Tenant] = field(default_factory=dict[str, _Tenant])
    table: dict[str, Any] = field(default_factory=dict[str, Any])
    epoch: int = _NO_EPOCH
    """The last that was given."""


class MemoryConnection(MutableMapping[str, Any]):
    """The connection of a transaction in memory: a table of values by key.

    It sees what was committed and its own changes; nobody else sees these before they are
    committed. Of two transactions that change one key, the one that commits last wins, so let
    each effect have a key of its own (such as ``ctx.idempotency_key``).
    """

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        self._changed: dict[str, Any] = {}
        self._removed: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        if key in self._removed:
            raise KeyError(key)
        return self._changed[key] if key in self._changed else self._table[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._changed[key] = value
        self._removed.discard(key)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._changed.pop(key, None)
        self._removed.add(key)

    def __iter__(self) -> Iterator[str]:
        keys = dict.fromkeys([*self._table, *self._changed])
        return (key for key in keys if key not in self._removed)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def apply(self) -> None:
        """Make the changes visible to everybody."""
        for key in self._removed:
            self._table.pop(key, None)
        self._table.update(self._changed)


class MemoryTransaction:
    """Changes to the table of a :class:`MemoryBackend` that commit together with records."""

    def __init__(
        self,
        connection: MemoryConnection,
        commit: Callable[[MemoryConnection, Sequence[Record]], Awaitable[bool]],
    ) -> None:
        self._connection = connection
        self._commit = commit
        self._ended = False

    @property
    def connection(self) -> MemoryConnection:
        """A table of values by key, inside the transaction."""
        return self._connection

    async def commit(self, records: Sequence[Record]) -> bool:
        """Store records and the changes to the table, all or nothing; ``False``: fenced.

        Raises:
            StoreError: it has ended already.
        """
        if self._ended:
            raise StoreError("the transaction has ended: open another one")
        self._ended = True
        return await self._commit(self._connection, records)

    def end(self) -> None:
        """Take no commit from now on."""
        self._ended = True


class MemoryBackend:
    """The rows of a durable store, in memory: a real implementation, for tests and simulations.

    ::

        backend = MemoryBackend(clock=lambda: clock.now)
        first = backend.view(fault=script)  # a "process" of its own, on the same rows
        second = backend.view()

    Args:
        tenant: part of every key.
        clock: gives the seconds since the epoch by which leases expire.
        fault: called with the name of each method ``"before"`` and ``"after"`` its effect. It may
            raise ``StoreUnavailable`` (before: nothing has happened; after: it has, and the
            caller cannot know), wait, be cancelled, or raise a ``BaseException`` that plays the
            death of the process. Of a transaction, ``"transaction"`` is its beginning, and
            ``"commit"`` its end. After an effect that was refused there is no ``"after"``.
        rows: those of another handle; :meth:`view` sees to it.

    One object, and all views of it, belong to one event loop at a time. No method suspends
    unless its fault does.
    """

    def __init__(
        self,
        *,
        tenant: str = "default",
        clock: Callable[[], float] = time.time,
        fault: Fault | None = None,
        rows: _Rows | None = None,
    ) -> None:
        self._rows = _Rows(clock) if rows is None else rows
        self._tenant_name = tenant
        self._tenant = self._rows.tenants.setdefault(tenant, _Tenant())
        self._fault = fault
        self._closed = False

    def view(self, *, tenant: str | None = None, fault: Fault | None = None) -> MemoryBackend:
        """Another handle on the same rows, as another process has it.

        Args:
            tenant: by default the same.
            fault: that of the new handle alone; by default none.
        """
        return MemoryBackend(
            tenant=self._tenant_name if tenant is None else tenant, fault=fault, rows=self._rows
        )

    @property
    def tenant(self) -> str:
        """The tenant that is part of every key."""
        return self._tenant_name

    @property
    def table(self) -> Mapping[str, Any]:
        """What transactions have committed to their connections, of all tenants."""
        return MappingProxyType(self._rows.table)

    # -- leases ---------------------------------------------------------------------------------

    async def acquire(self, thread_id: ThreadId, holder: str, ttl: float, graph: str) -> Grant:
        """Take the lease of a thread for ``ttl`` seconds; makes the thread if it is new."""

        def effect() -> Grant:
            now = self._rows.clock()
            thread = self._tenant.threads.get(thread_id)
            if thread is None:
                thread = _Thread(thread_id, created=now, updated=now)
                self._tenant.threads[thread_id] = thread
            elif thread.is_held(now) and thread.holder != holder:
                raise _busy(thread)
            if thread.epoch != _NO_EPOCH and thread.holder != holder:
                thread.status = "running"  # nobody has said how the lost run ended
            self._rows.epoch += 1
            thread.epoch = self._rows.epoch
            thread.holder = holder
            thread.expires = now + ttl
            thread.graph = graph
            thread.updated = now
            return Grant(thread.epoch, thread.row(now)._replace(status=thread.status))

        return await self._step("acquire", effect)

    async def renew(self, leases: Collection[tuple[ThreadId, int]], ttl: float) -> set[ThreadId]:
        """Hold leases (thread and epoch) for ``ttl`` more seconds; returns those that are lost."""

        def effect() -> set[ThreadId]:
            expires = self._rows.clock() + ttl
            lost = set[ThreadId]()
            for thread_id, epoch in leases:
                thread = self._leased(thread_id, epoch)
                if thread is None:
                    lost.add(thread_id)
                else:
                    thread.expires = expires
            return lost

        return await self._step("renew", effect)

    async def release(self, thread_id: ThreadId, epoch: int, status: str) -> None:
        """Give a lease back and note how the thread stands."""

        def effect() -> None:
            thread = self._leased(thread_id, epoch)
            if thread is None:
                return
            if thread.position == 0 and thread.origin is None:
                del self._tenant.threads[thread_id]
                return
            thread.epoch = _NO_EPOCH
            thread.holder = None
            thread.status = status
            thread.updated = self._rows.clock()

        await self._step("release", effect)

    # -- journals -------------------------------------------------------------------------------

    async def append(self, records: Sequence[Record]) -> set[ThreadId]:
        """Store records, of any number of threads; returns the threads that are fenced."""

        def effect() -> set[ThreadId]:
            fenced = self._fenced(records)
            self._store([record for record in records if record.thread_id not in fenced])
            return fenced

        return await self._step("append", effect)

    async def read(
        self, thread_id: ThreadId, after: int, upto: int | None = None, limit: int = 1000
    ) -> Sequence[Row]:
        """The thread's own events with positions above ``after`` and not above ``upto``."""

        def effect() -> list[Row]:
            thread = self._tenant.threads.get(thread_id)
            if thread is None:
                return []
            positions = thread.positions
            first = bisect_right(positions, after)
            end = len(positions) if upto is None else bisect_right(positions, upto)
            return [
                Row(position, thread.events[position][1])
                for position in positions[first : min(end, first + limit)]
            ]

        return await self._step("read", effect)

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread; ``None`` if there is none."""

        def effect() -> ThreadRow | None:
            thread = self._tenant.threads.get(thread_id)
            return thread.row(self._rows.clock()) if thread is not None else None

        return await self._step("thread", effect)

    async def threads(self, *, limit: int, before: ThreadRow | None = None) -> Sequence[ThreadRow]:
        """Threads, the last updated first, then by id; ``before``: those that come after it."""

        def effect() -> list[ThreadRow]:
            now = self._rows.clock()
            rows = sorted((t.row(now) for t in self._tenant.threads.values()), key=_place_in_list)
            if before is not None:
                place = _place_in_list(before)
                rows = [row for row in rows if _place_in_list(row) > place]
            return rows[:limit]

        return await self._step("threads", effect)

    # -- snapshots, pruning, forks ----------------------------------------------------------------

    async def save_snapshot(
        self, thread_id: ThreadId, epoch: int, position: int, data: bytes
    ) -> bool:
        """Keep a snapshot of the thread at a position; ``False``: fenced."""

        def effect() -> bool:
            thread = self._leased(thread_id, epoch)
            if thread is None:
                return False
            thread.snapshots[position] = bytes(data)
            return True

        return await self._step("save_snapshot", effect)

    async def load_snapshot(self, thread_id: ThreadId, upto: int) -> Row | None:
        """The thread's own last snapshot at a position not above ``upto``."""

        def effect() -> Row | None:
            thread = self._tenant.threads.get(thread_id)
            snapshots = thread.snapshots if thread is not None else {}
            position = max((p for p in snapshots if p <= upto), default=None)
            return Row(position, snapshots[position]) if position is not None else None

        return await self._step("load_snapshot", effect)

    async def prune(self, thread_id: ThreadId, epoch: int, position: int) -> bool:
        """Remove the events up to a position at which there is a snapshot, and older snapshots."""

        def effect() -> bool:
            thread = self._leased(thread_id, epoch)
            if thread is None:
                return False
            if position not in thread.snapshots:
                raise StoreError(
                    f"thread {thread_id!r} has no snapshot at position {position}, so the events "
                    "before it are still needed: save one there first"
                )
            for fork in self._forks(thread_id):
                if fork.origin is not None and fork.origin[1] < position:
                    raise StoreError(
                        f"thread {fork.thread_id!r} begins with the events of {thread_id!r} up to "
                        f"position {fork.origin[1]}, so these cannot be pruned up to {position}: "
                        "delete that thread first, or prune less"
                    )
            kept = bisect_right(thread.positions, position)
            for gone in thread.positions[:kept]:
                thread.size -= len(thread.events.pop(gone)[1])
            del thread.positions[:kept]
            for old in [p for p in thread.snapshots if p < position]:
                del thread.snapshots[old]
            thread.pruned = max(thread.pruned, position)
            return True

        return await self._step("prune", effect)

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another up to position ``at``."""

        def effect() -> None:
            threads = self._tenant.threads
            there = threads.get(new_thread_id)
            if there is not None and there.origin == (thread_id, at):
                return
            thread = threads.get(thread_id)
            if thread is None:
                raise ThreadNotFound(thread_id, "is not known, so there is nothing to fork")
            if there is not None:
                raise ThreadExists(new_thread_id, "exists already: choose another id for the fork")
            first = max(thread.pruned, thread.origin[1] if thread.origin is not None else 1)
            if not first <= at <= thread.position:
                raise StoreError(
                    f"thread {thread_id!r} has no position {at} at which it could be forked: "
                    f"it has those from {first} to {thread.position}"
                )
            now = self._rows.clock()
            threads[new_thread_id] = _Thread(
                new_thread_id, created=now, updated=now, position=at, origin=(thread_id, at)
            )

        await self._step("fork", effect)

    async def delete(self, thread_id: ThreadId) -> bool:
        """Remove a thread and all that belongs to it; ``False`` if there is none."""

        def effect() -> bool:
            thread = self._tenant.threads.get(thread_id)
            if thread is None:
                return False
            if thread.is_held(self._rows.clock()):
                raise _busy(thread)
            for fork in self._forks(thread_id):
                raise StoreError(
                    f"thread {fork.thread_id!r} begins with events of {thread_id!r}, so this one "
                    "cannot be deleted: delete that thread first"
                )
            del self._tenant.threads[thread_id]
            return True

        return await self._step("delete", effect)

    # -- plans ------------------------------------------------------------------------------------

    async def save_plan(self, fingerprint: str, data: bytes) -> None:
        """Keep the description of a graph, if it is not there yet."""

        def effect() -> None:
            self._tenant.plans.setdefault(fingerprint, bytes(data))

        await self._step("save_plan", effect)

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        return await self._step("load_plan", lambda: self._tenant.plans.get(fingerprint))

    # -- transactions -----------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        """A transaction on a table of values; rolled back unless committed."""
        table = self._rows.table
        connection = await self._step("transaction", lambda: MemoryConnection(table))
        transaction = MemoryTransaction(connection, self._commit)
        try:
            yield transaction
        finally:
            transaction.end()

    async def _commit(self, connection: MemoryConnection, records: Sequence[Record]) -> bool:
        def effect() -> bool:
            if self._fenced(records):
                return False
            self._store(records)
            connection.apply()
            return True

        return await self._step("commit", effect)

    async def close(self) -> None:
        """End this handle. The rows stay, for the other handles on them."""
        self._closed = True

    # -- inside -----------------------------------------------------------------------------------

    async def _step(self, method: str, effect: Callable[[], T]) -> T:
        """One transaction: the effect, between the two places where a fault may strike."""
        if self._closed:
            raise StoreError("the store is closed: open it again")
        if self._fault is None:
            return effect()
        await _wait(self._fault(method, "before"))
        result = effect()
        await _wait(self._fault(method, "after"))
        return result

    def _leased(self, thread_id: ThreadId, epoch: int) -> _Thread | None:
        """The thread, if this is its current epoch."""
        thread = self._tenant.threads.get(thread_id)
        return thread if thread is not None and thread.epoch == epoch != _NO_EPOCH else None

    def _forks(self, thread_id: ThreadId) -> Iterator[_Thread]:
        for thread in self._tenant.threads.values():
            if thread.origin is not None and thread.origin[0] == thread_id:
                yield thread

    def _fenced(self, records: Sequence[Record]) -> set[ThreadId]:
        """The threads of which a record has another epoch than the current one.

        Raises:
            StoreError: a position is taken by an event of an earlier lease.
        """
        fenced = {r.thread_id for r in records if self._leased(r.thread_id, r.epoch) is None}
        for record in records:
            if record.thread_id in fenced:
                continue
            event = self._tenant.threads[record.thread_id].events.get(record.position)
            if event is not None and event[0] != record.epoch:
                raise StoreError(
                    f"position {record.position} of thread {record.thread_id!r} holds an event of "
                    "an earlier lease: read the journal after the lease is taken, and append "
                    "behind its end"
                )
        return fenced

    def _store(self, records: Sequence[Record]) -> None:
        for record in records:
            thread = self._tenant.threads[record.thread_id]
            # A pruned position was stored once: that is a repetition that came late.
            if record.position in thread.events or record.position <= thread.pruned:
                continue
            thread.events[record.position] = (record.epoch, bytes(record.data))
            insort(thread.positions, record.position)
            thread.size += len(record.data)
            thread.position = max(thread.position, record.position)


async def _wait(awaitable: Awaitable[None] | None) -> None:
    if inspect.isawaitable(awaitable):
        await awaitable


def _place_in_list(row: ThreadRow) -> tuple[float, ThreadId]:
    return -row.updated, row.thread_id


def _busy(thread: _Thread) -> ThreadBusy:
    return ThreadBusy(
        thread.thread_id,
        f"is held by {thread.holder!r} at this moment: wait for it to finish, or for its lease to "
        "expire",
        holder=thread.holder,
        expires=thread.expires,
    )
