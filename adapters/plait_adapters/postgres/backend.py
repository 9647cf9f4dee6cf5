"""The rows of a durable store in PostgreSQL.

What makes repeating safe, and keeps writers apart, is in the statements (``sql/``): an append
locks the rows of its threads against a change of their epochs, and inserts, in one statement. Most
methods are one statement, and so one transaction and one round trip; where a check has to see
what was committed while it waited for a lock, it is a second one, in the same transaction or
behind the fence of a new epoch. Leases that are taken or given back at the same time share one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast

import asyncpg

from plait.backend import Grant, Record, Row, ThreadRow, Transaction
from plait.errors import (
    StoreError,
    StoreUnavailable,
    ThreadBusy,
    ThreadExists,
    ThreadNotFound,
)
from plait.events import ThreadId

from .connections import Connections, Link, Loan
from .database import Database, Side
from .faults import translated
from .gathering import Gathering
from .packing import as_array, packed
from .statements import Statements

__all__ = ["PostgresBackend", "PostgresTransaction"]

T = TypeVar("T")

_LAST: Final = 2**63 - 1
"""The last position that there can be."""

_LONGEST_TENANT: Final = 512
"""Bytes; with the longest thread_id it fits into an entry of an index, which has 2,704 of them."""

_ATTEMPTS: Final = 3
"""How often a method looks again when what it saw was changed under its hands."""


class PostgresBackend(Database[Statements]):
    """The rows of a durable store in PostgreSQL 14 or later, by asyncpg.

    Its tables are in a schema of their own. They are made, and brought up to date, when they are
    first used, if the role may do that; otherwise by ``plait db upgrade`` (:meth:`upgrade`), and
    the role then needs no more than::

        grant usage on schema plait to worker;
        grant select, insert, update, delete on all tables in schema plait to worker;

    No session has a state, so the server may be behind a proxy that pools transactions, such as
    PgBouncer; pass ``statement_cache_size=0`` there.

    Durable means what the server means by it: with ``synchronous_commit = off``, or an
    asynchronous standby that takes over, the last moments before a crash may be lost.

    Args:
        database: a URL, as asyncpg takes it, or a pool of asyncpg's, which is left open.
        tenant: part of every key. At most 512 bytes.
        schema: where the tables are.
        timeout: seconds within which the server has to answer. A method takes at most twice as
            long, whatever the server and the network do: it may have to make a connection first.
        pool_size: connections at most; one of them is never used for transactions of nodes, so at
            least 2. Not with a pool.
        statement_cache_size: 0 behind a proxy that pools transactions. Not with a pool.
    """

    def __init__(
        self,
        database: Any,
        *,
        tenant: str = "default",
        schema: str = "plait",
        timeout: float = 10.0,
        pool_size: int = 8,
        statement_cache_size: int | None = None,
    ) -> None:
        super().__init__(
            database,
            Statements(schema),
            timeout=timeout,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
            upgrade="run `plait db upgrade`",
        )
        given: object = tenant  # whatever was passed
        if not isinstance(given, str):
            raise TypeError(f"tenant={tenant!r:.80} must be a string")
        if len(tenant.encode()) > _LONGEST_TENANT or "\0" in tenant:
            raise ValueError(f"tenant={tenant[:40]!r} must have at most 512 bytes, and no NUL")
        self._tenant = tenant

    @property
    def tenant(self) -> str:
        """Part of every key."""
        return self._tenant

    # -- leases ---------------------------------------------------------------------------------

    async def acquire(self, thread_id: ThreadId, holder: str, ttl: float, graph: str) -> Grant:
        """Take the lease of a thread for ``ttl`` seconds; makes the thread if it is new."""

        async def work(link: Link) -> Grant:
            for _ in range(_ATTEMPTS):
                taken = await link.first(
                    self._sql.acquire, self._tenant, thread_id, holder, float(ttl), graph
                )
                if taken is not None and taken["is_new"]:
                    return Grant(taken["epoch"], _new_thread(thread_id, graph, taken))
                # Only now does nobody else append any more, and all that is there can be seen.
                row = await link.first(self._sql.thread, self._tenant, thread_id)
                if taken is None and row is not None and row["holder"] is not None:
                    raise _busy(thread_id, row)
                if taken is not None and row is not None and row["epoch"] == taken["epoch"]:
                    thread = _thread_row(row)._replace(status=taken["status"])
                    return Grant(taken["epoch"], thread)
            raise self._restless(thread_id)

        began = time.monotonic()
        asked = _Asked(thread_id, holder, float(ttl), graph)
        grant = await self._crowds.acquiring.call(asked)
        return grant if grant is not None else await self._do(work, since=began)

    async def _acquire_new(self, link: Link, asked: Sequence[_Asked]) -> Sequence[Grant | None]:
        """Take the leases of those threads that nobody knows yet."""
        ids, holders, ttls, graphs = zip(*sorted(asked), strict=True)
        rows = await link.fetch(
            self._sql.acquire_new, self._tenant, ids, holders, as_array(ttls), graphs
        )
        taken = {(row["thread_id"], row["holder"]): row for row in rows}

        def grant(request: _Asked) -> Grant | None:
            row = taken.get(request[:2])
            if row is None:
                return None
            return Grant(row["epoch"], _new_thread(request.thread_id, request.graph, row))

        return [grant(request) for request in asked]

    async def renew(self, leases: Collection[tuple[ThreadId, int]], ttl: float) -> set[ThreadId]:
        """Hold leases (thread and epoch) for ``ttl`` more seconds; returns those that are lost."""
        if not leases:
            return set()
        ids = [thread_id for thread_id, _ in leases]
        epochs = as_array(epoch for _, epoch in leases)
        rows = await self._do(
            lambda link: link.fetch(self._sql.renew, self._tenant, ids, epochs, float(ttl))
        )
        held = {(thread_id, epoch) for thread_id, epoch in rows}
        return {thread_id for thread_id, epoch in leases if (thread_id, epoch) not in held}

    async def release(self, thread_id: ThreadId, epoch: int, status: str) -> None:
        """Give a lease back and note how the thread stands."""
        key = self._tenant, thread_id, epoch

        async def work(link: Link) -> None:
            for _ in range(_ATTEMPTS):
                row = await link.first(self._sql.release, *key, status)
                if row is not None and not row["is_empty"]:
                    return
                if row is None:
                    known = await link.first(self._sql.thread, self._tenant, thread_id)
                    if known is not None and known["epoch"] == epoch:
                        continue
                # Now that nobody can append any more. Also where an earlier call did not get here.
                await link.fetch(self._sql.remove_empty, *key)
                return
            raise self._restless(thread_id)

        began = time.monotonic()
        if not await self._crowds.releasing.call(_Returned(thread_id, epoch, status)):
            await self._do(work, since=began)

    async def _release_all(self, link: Link, back: Sequence[_Returned]) -> Sequence[bool]:
        """Give back those leases that can be without waiting; not those of empty threads."""
        ids, epochs, statuses = zip(*sorted(back), strict=True)
        rows = await link.fetch(
            self._sql.release_all, self._tenant, ids, as_array(epochs), statuses
        )
        done = {(row["thread_id"], row["epoch"]) for row in rows if not row["is_empty"]}
        return [(thread_id, epoch) in done for thread_id, epoch, _ in back]

    # -- journals -------------------------------------------------------------------------------

    async def append(self, records: Sequence[Record]) -> set[ThreadId]:
        """Store records, of any number of threads; returns the threads that are fenced."""
        if not records:
            return set()
        return await self._do(lambda link: self._append(link, records))

    async def _append(self, link: Link, records: Sequence[Record]) -> set[ThreadId]:
        try:
            if len(records) == 1:
                thread_id, epoch, position, data = records[0]
                key = self._tenant, thread_id, epoch
                stored = await link.fetch(self._sql.append_one, *key, position, data)
                return set() if stored else {thread_id}
            batch = _Batch(records)
            rows = await link.fetch(self._sql.append, self._tenant, *batch.arguments())
        except asyncpg.DivisionByZeroError as error:
            ids = sorted({record.thread_id for record in records})
            raise StoreError(
                f"a position to be appended (in {', '.join(map(repr, ids[:3]))}"
                f"{' and others' * (len(ids) > 3)}) holds an event of an earlier lease, so nothing "
                "was stored: read the journal after the lease is taken, and append behind its end"
            ) from error
        held = {row["number"] for row in rows}
        fenced = {t for number, t in enumerate(batch.threads, start=1) if number not in held}
        return batch.fenced | fenced

    async def read(
        self, thread_id: ThreadId, after: int, upto: int | None = None, limit: int = 1000
    ) -> Sequence[Row]:
        """The thread's own events with positions above ``after`` and not above ``upto``."""
        last = _LAST if upto is None else upto
        rows = await self._do(
            lambda link: link.fetch(self._sql.read, self._tenant, thread_id, after, last, limit)
        )
        return [Row(position, data) for position, data in rows]

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread; ``None`` if there is none."""
        row = await self._do(lambda link: link.first(self._sql.thread, self._tenant, thread_id))
        return _thread_row(row) if row is not None else None

    async def threads(self, *, limit: int, before: ThreadRow | None = None) -> Sequence[ThreadRow]:
        """Threads, the last updated first, then by id; ``before``: those that come after it."""
        place = (before.updated, before.thread_id) if before is not None else (math.inf, "")
        rows = await self._do(
            lambda link: link.fetch(self._sql.threads, self._tenant, *place, limit)
        )
        return [_thread_row(row) for row in rows]

    # -- snapshots, pruning, forks ----------------------------------------------------------------

    async def save_snapshot(
        self, thread_id: ThreadId, epoch: int, position: int, data: bytes
    ) -> bool:
        """Keep a snapshot of the thread at a position; ``False``: fenced."""
        key = self._tenant, thread_id, epoch
        row = await self._do(lambda link: link.first(self._sql.save_snapshot, *key, position, data))
        return row is not None

    async def load_snapshot(self, thread_id: ThreadId, upto: int) -> Row | None:
        """The thread's own last snapshot at a position not above ``upto``."""
        row = await self._do(
            lambda link: link.first(self._sql.load_snapshot, self._tenant, thread_id, upto)
        )
        return Row(*row) if row is not None else None

    async def prune(self, thread_id: ThreadId, epoch: int, position: int) -> bool:
        """Remove the events up to a position at which there is a snapshot, and older snapshots."""

        async def work(link: Link) -> bool:
            async with link.transaction():
                thread = await self._lock(link, thread_id)
                if thread is None or thread["epoch"] != epoch:
                    return False
                found = await link.first(self._sql.prune, self._tenant, thread_id, position)
            if not found["has_snapshot"]:
                raise StoreError(
                    f"thread {thread_id!r} has no snapshot at position {position}, so the events "
                    "before it are still needed: save one there first"
                )
            if found["fork"] is not None:
                raise StoreError(
                    f"thread {found['fork']!r} begins with the events of {thread_id!r} up to "
                    f"position {found['fork_position']}, so these cannot be pruned up to "
                    f"{position}: delete that thread first, or prune less"
                )
            return True

        return await self._do(work)

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another up to position ``at``."""
        key = self._tenant, thread_id

        async def work(link: Link) -> None:
            for _ in range(_ATTEMPTS):
                if await link.first(self._sql.fork, *key, at, new_thread_id) is not None:
                    return
                there = await link.first(self._sql.thread, self._tenant, new_thread_id)
                if there is not None and _thread_row(there).origin == (thread_id, at):
                    return
                origin = await link.first(self._sql.thread, *key)
                if origin is None:
                    raise ThreadNotFound(thread_id, "is not known, so there is nothing to fork")
                if there is not None:
                    raise ThreadExists(
                        new_thread_id, "exists already: choose another id for the fork"
                    )
                first = max(origin["pruned"], origin["origin_position"] or 1)
                last = origin["position"]
                if not first <= at <= last:
                    raise StoreError(
                        f"thread {thread_id!r} has no position {at} at which it could be forked: "
                        f"it has those from {first} to {last}"
                    )
            raise self._restless(thread_id)

        await self._do(work)

    async def delete(self, thread_id: ThreadId) -> bool:
        """Remove a thread and all that belongs to it; ``False`` if there is none."""

        async def work(link: Link) -> bool:
            async with link.transaction():
                thread = await self._lock(link, thread_id)
                if thread is None:
                    return False
                if thread["is_held"]:
                    raise _busy(thread_id, thread)
                fork = await link.first(self._sql.delete, self._tenant, thread_id)
            if fork is not None:
                raise StoreError(
                    f"thread {fork['thread_id']!r} begins with events of {thread_id!r}, so this "
                    "one cannot be deleted: delete that thread first"
                )
            return True

        return await self._do(work)

    async def _lock(self, link: Link, thread_id: ThreadId) -> Any:
        return await link.first(self._sql.lock_thread, self._tenant, thread_id, self._patience())

    # -- plans ------------------------------------------------------------------------------------

    async def save_plan(self, fingerprint: str, data: bytes) -> None:
        """Keep the description of a graph, if it is not there yet."""
        key = self._tenant, fingerprint
        await self._do(lambda link: link.fetch(self._sql.save_plan, *key, data))

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        key = self._tenant, fingerprint
        row = await self._do(lambda link: link.first(self._sql.load_plan, *key))
        return row["data"] if row is not None else None

    # -- transactions -----------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction for a node's own statements; rolled back unless committed.

        Its connection is one of asyncpg's, with this backend's timeout for each statement that is
        given no other; ``async with connection.transaction()`` inside is a savepoint. Its
        isolation level is read committed.
        """
        side = self._side()
        if not self._checked:
            await self._prepare(side)
        try:
            async with asyncio.timeout(self._timeout):
                await side.transactions.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"no connection was free for a transaction within {self._timeout:g} s: nodes hold "
                "them for long, or raise pool_size"
            ) from error
        try:
            async with AsyncExitStack() as stack:
                with translated(self._place):
                    loan = Loan(side.connections, self._timeout)
                    link = await stack.enter_async_context(loan)
                transaction = PostgresTransaction(
                    link,
                    append=partial(self._append, link),
                    watch=partial(link.fetch, self._sql.watch_transaction, self._patience()),
                    timeout=self._timeout,
                    place=self._place,
                )
                await transaction.begin()
                try:
                    yield transaction
                except Exception:
                    await transaction.end()
                    raise
                except BaseException:  # cancelled: a rollback would have to wait for the wire
                    link.connection.terminate()
                    raise
                await transaction.end()
        finally:
            side.transactions.release()

    # -- the tables -------------------------------------------------------------------------------

    async def enforce_tenants(self) -> None:
        """Switch row-level security on: see ``sql/enforce_tenants.sql`` for what it takes then.

        The role must own the tables.
        """
        await self._do(lambda link: link.connection.execute(self._sql.enforce_tenants))

    # -- connections ------------------------------------------------------------------------------

    def _make_side(self, connections: Connections) -> Side:
        return _Crowds(
            connections,
            Gathering(self._do, self._acquire_new),
            Gathering(self._do, self._release_all),
        )

    @property
    def _crowds(self) -> _Crowds:
        return cast("_Crowds", self._side())

    def _patience(self) -> str:
        """Milliseconds after which the server gives up a transaction whose client is silent."""
        return str(math.ceil(2000 * self._timeout))

    def _restless(self, thread_id: ThreadId) -> StoreUnavailable:
        return StoreUnavailable(
            f"thread {thread_id!r} was changed by others at every look: try again"
        )


class PostgresTransaction:
    """A transaction that a node's own statements and the record of its completion share."""

    def __init__(
        self,
        link: Link,
        append: Callable[[Sequence[Record]], Awaitable[set[ThreadId]]],
        watch: Callable[[], Awaitable[object]],
        timeout: float,
        place: str,
    ) -> None:
        self._link = link
        self._append = append
        self._watch = watch
        self._timeout = timeout
        self._place = place
        self._transaction = link.connection.transaction(isolation="read_committed")
        self._is_open = False

    @property
    def connection(self) -> Any:
        """A connection of asyncpg's, inside the transaction."""
        return self._link.connection

    async def begin(self) -> None:
        """Begin. The backend does this."""
        with translated(self._place), self._link.bounded(self._timeout):
            await self._transaction.start()
        self._is_open = True

    async def commit(self, records: Sequence[Record]) -> bool:
        """Store records and commit, all or nothing; ``False``: fenced, and rolled back.

        Raises:
            StoreUnavailable: the outcome is unknown: look for the records.
            StoreError: the transaction has ended, or one of its statements has failed.
        """
        if not self._is_open:
            raise StoreError("the transaction has ended: open another one")
        with translated(self._place), self._link.bounded(self._timeout):
            if not self.connection.is_closed() and not self.connection.is_in_transaction():
                raise StoreError(
                    "the transaction was ended by a statement of the node itself: leave commit "
                    "and rollback to the store"
                )
            # From here on rows are locked which others need, and the client may disappear.
            await self._watch()
            fenced = await self._append(records)
            self._is_open = False
            if fenced:
                await self._transaction.rollback()
            else:
                await self._transaction.commit()
        return not fenced

    async def end(self) -> None:
        """Roll back what was not committed, and leave the session as it was. Raises nothing."""
        try:
            with self._link.bounded(self._timeout):
                if self._is_open:
                    self._is_open = False
                    await self._transaction.rollback()
                # What the node has set stays set, otherwise.
                await self.connection.reset()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self.connection.terminate()


class _Asked(NamedTuple):
    """What somebody asks for who takes a lease."""

    thread_id: ThreadId
    holder: str
    ttl: float
    graph: str


class _Returned(NamedTuple):
    """What somebody says who gives a lease back."""

    thread_id: ThreadId
    epoch: int
    status: str


class _Crowds(Side):
    """What belongs to one event loop, and those who ask for the same in it at the same time."""

    def __init__(
        self,
        connections: Connections,
        acquiring: Gathering[_Asked, Grant],
        releasing: Gathering[_Returned, bool],
    ) -> None:
        super().__init__(connections)
        self.acquiring = acquiring
        self.releasing = releasing


class _Batch:
    """Records as the arguments of one statement."""

    def __init__(self, records: Sequence[Record]) -> None:
        epochs: dict[ThreadId, int] = {}
        self.fenced: set[ThreadId] = set()
        """Threads whose records have several epochs, of which one at most can be current."""
        for thread_id, epoch, _, _ in records:
            if epochs.setdefault(thread_id, epoch) != epoch:
                self.fenced.add(thread_id)
        self.threads = sorted(epochs.keys() - self.fenced)
        """In the order in which every process locks them."""
        self._epochs = [epochs[thread_id] for thread_id in self.threads]
        self._data: dict[tuple[int, int], bytes] = {}
        numbers = {thread_id: number for number, thread_id in enumerate(self.threads, start=1)}
        for thread_id, _, position, data in records:
            if thread_id in numbers:
                self._data.setdefault((numbers[thread_id], position), data)

    def arguments(self) -> tuple[object, ...]:
        """Those of ``append.sql``, behind the tenant."""
        return (
            self.threads,
            as_array(self._epochs),
            as_array(number for number, _ in self._data),
            as_array(position for _, position in self._data),
            *packed([*self._data.values()]),
        )


def _thread_row(row: Any) -> ThreadRow:
    origin = (row["origin"], row["origin_position"]) if row["origin"] is not None else None
    return ThreadRow(
        thread_id=row["thread_id"],
        position=row["position"],
        pruned=row["pruned"],
        size=row["size"],
        status=row["status"],
        graph=row["graph"],
        holder=row["holder"],
        expires=row["expires"],
        created=row["created"],
        updated=row["updated"],
        origin=origin,
    )


def _new_thread(thread_id: ThreadId, graph: str, taken: Any) -> ThreadRow:
    created = taken["created"]
    return ThreadRow(
        thread_id=thread_id,
        position=0,
        pruned=0,
        size=0,
        status="",
        graph=graph,
        holder=taken["holder"],
        expires=taken["expires"],
        created=created,
        updated=created,
        origin=None,
    )


def _busy(thread_id: ThreadId, row: Any) -> ThreadBusy:
    return ThreadBusy(
        thread_id,
        f"is held by {row['holder']!r} at this moment: wait for it to finish, or for its lease to "
        "expire",
        holder=row["holder"],
        expires=row["expires"],
    )
