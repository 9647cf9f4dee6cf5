"""The rows of a durable store in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, get_args

import anyio
import anyio.to_thread

from plait.backend import Grant, Record, Row, ThreadRow
from plait.errors import StoreError, ThreadBusy, ThreadExists, ThreadNotFound
from plait.events import ThreadId
from plait.store import check_seconds

from .file import DatabaseFile, Synchronous, statements
from .worker import Worker

__all__ = ["SQLiteBackend"]

_LAST_POSITION: Final = 2**63 - 1


class _Known(NamedTuple):
    """A row of ``plait_threads``, in the order in which the statements name its columns."""

    thread: int
    thread_id: ThreadId
    position: int
    pruned: int
    size: int
    status: str
    graph: str
    epoch: int | None
    holder: str | None
    expires: float | None
    created: float
    updated: float
    origin_id: ThreadId | None
    origin_position: int | None

    def is_held(self, now: float) -> bool:
        return self.expires is not None and self.expires > now

    def row(self, now: float) -> ThreadRow:
        held = self.is_held(now)
        origin = None
        if self.origin_id is not None and self.origin_position is not None:
            origin = (self.origin_id, self.origin_position)
        return ThreadRow(
            thread_id=self.thread_id,
            position=self.position,
            pruned=self.pruned,
            size=self.size,
            status=self.status if self.epoch is None else "running",
            graph=self.graph,
            holder=self.holder if held else None,
            expires=self.expires if held else None,
            created=self.created,
            updated=self.updated,
            origin=origin,
        )


class SQLiteBackend:
    """The rows of a durable store in one file, for any number of processes on one machine.

    All that is asked for at a time is carried out in one transaction, with one commit, by a
    thread of execution of its own; another one reads meanwhile. Works under asyncio and trio,
    from one event loop at a time.

    The clock by which leases expire is ``time.time()``. The file is used by one machine, so all
    processes that use it have the same clock; SQLite's own is that clock too, to the millisecond.

    Args:
        path: of the file; it is made if it is not there, its folder is not. It must be on a local
            file system.
        tenant: part of every key.
        timeout: seconds to wait for another process that writes. Every method ends within twice
            this time.
        synchronous: ``"FULL"``: what was acknowledged survives a loss of power. ``"NORMAL"``: it
            survives the end of the process, and a loss of power may take the last of it.

    SQLite before 3.51.3 has a very rare fault by which two processes that write and check-point
    one file at the same instant may damage it; one process with this backend cannot meet it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        tenant: str = "default",
        timeout: float = 10.0,
        synchronous: Synchronous = "FULL",
    ) -> None:
        check_seconds("timeout", timeout)
        if synchronous not in get_args(Synchronous):
            raise ValueError(
                f"synchronous={synchronous!r} must be one of {', '.join(get_args(Synchronous))}"
            )
        name = os.fspath(path)
        if not name or name.startswith(":") or "\0" in name:
            raise ValueError(
                f"path={name!r} names no file; for a store in memory, take plait.MemoryStore"
            )
        file = DatabaseFile(Path(name).absolute(), timeout, synchronous)
        self._tenant = tenant
        self._timeout = timeout
        self._reader = Worker("plait sqlite reader", file, writes=False)
        self._writer = Worker("plait sqlite writer", file, writes=True)
        # For whoever forgets to close: at the end of the process, or when nobody refers to this.
        weakref.finalize(self, _stop, self._reader, self._writer)

    @property
    def tenant(self) -> str:
        """The tenant that is part of every key."""
        return self._tenant

    # -- leases ---------------------------------------------------------------------------------

    async def acquire(self, thread_id: ThreadId, holder: str, ttl: float, graph: str) -> Grant:
        """Take the lease of a thread for ``ttl`` seconds; makes the thread if it is new."""
        tenant, sql = self._tenant, statements()

        def action(connection: sqlite3.Connection) -> Grant:
            now = time.time()
            known = _find(connection, tenant, thread_id)
            if known is None:
                values = {"tenant": tenant, "thread_id": thread_id, "now": now}
                connection.execute(sql["make_thread"], values)
                known = _get(connection, tenant, thread_id)
            elif known.is_held(now) and known.holder != holder:
                _refuse_busy(known)
            connection.execute(sql["next_epoch"])
            (epoch,) = connection.execute(sql["last_epoch"]).fetchone()
            lease = {"thread": known.thread, "epoch": epoch, "holder": holder, "graph": graph}
            connection.execute(sql["lease"], lease | {"expires": now + ttl, "now": now})
            leased = _get(connection, tenant, thread_id)
            return Grant(epoch, leased.row(now)._replace(status=leased.status))

        return await self._writer.do(action)

    async def renew(self, leases: Collection[tuple[ThreadId, int]], ttl: float) -> set[ThreadId]:
        """Hold leases (thread and epoch) for ``ttl`` more seconds; returns those that are lost."""
        tenant, leases = self._tenant, list(leases)

        def action(connection: sqlite3.Connection) -> set[ThreadId]:
            lost = set[ThreadId]()
            values: dict[str, Any] = {"tenant": tenant, "expires": time.time() + ttl}
            for thread_id, epoch in leases:
                values |= {"thread_id": thread_id, "epoch": epoch}
                if connection.execute(statements()["renew"], values).rowcount == 0:
                    lost.add(thread_id)
            return lost

        return await self._writer.do(action)

    async def release(self, thread_id: ThreadId, epoch: int, status: str) -> None:
        """Give a lease back and note how the thread stands."""
        tenant = self._tenant

        def action(connection: sqlite3.Connection) -> None:
            known = _find(connection, tenant, thread_id)
            if known is None or known.epoch != epoch:
                return
            if known.position == 0 and known.origin_id is None:
                _delete(connection, known)
                return
            values = {"thread": known.thread, "status": status, "now": time.time()}
            connection.execute(statements()["release"], values)

        await self._writer.do(action)

    # -- journals -------------------------------------------------------------------------------

    async def append(self, records: Sequence[Record]) -> set[ThreadId]:
        """Store records, of any number of threads; returns the threads that are fenced."""
        tenant, sql = self._tenant, statements()
        by_thread: dict[ThreadId, list[Record]] = {}
        for record in records:
            by_thread.setdefault(record.thread_id, []).append(record)

        def action(connection: sqlite3.Connection) -> set[ThreadId]:
            fenced = set[ThreadId]()
            events: list[tuple[int, int, int, bytes]] = []
            appended: list[tuple[int, int, int]] = []
            for thread_id, its_records in by_thread.items():
                found = connection.execute(sql["thread_to_append_to"], (tenant, thread_id))
                known: tuple[int, int, int, int | None] | None = found.fetchone()
                if known is None or any(record.epoch != known[3] for record in its_records):
                    fenced.add(thread_id)
                    continue
                thread, position, pruned, _ = known
                size = 0
                for record in _not_stored(connection, thread, position, pruned, its_records):
                    events.append((thread, record.position, record.epoch, record.data))
                    position = max(position, record.position)
                    size += len(record.data)
                appended.append((position, size, thread))
            connection.executemany(sql["append"], events)
            connection.executemany(sql["appended"], appended)
            return fenced

        return await self._writer.do(action)

    async def read(
        self, thread_id: ThreadId, after: int, upto: int | None = None, limit: int = 1000
    ) -> Sequence[Row]:
        """The thread's own events with positions above ``after`` and not above ``upto``."""
        values = {
            "tenant": self._tenant,
            "thread_id": thread_id,
            "after": after,
            "upto": _LAST_POSITION if upto is None else upto,
            "limit": limit,
        }
        return await self._reader.do(
            lambda connection: [
                Row(position, data)
                for position, data in connection.execute(statements()["read"], values)
            ]
        )

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread; ``None`` if there is none."""
        tenant = self._tenant

        def action(connection: sqlite3.Connection) -> ThreadRow | None:
            known = _find(connection, tenant, thread_id)
            return known.row(time.time()) if known is not None else None

        return await self._reader.do(action)

    async def threads(self, *, limit: int, before: ThreadRow | None = None) -> Sequence[ThreadRow]:
        """Threads, the last updated first, then by id; ``before``: those that come after it."""
        values: dict[str, Any] = {"tenant": self._tenant, "limit": limit}
        statement = statements()["threads"]
        if before is not None:
            values |= {"updated": before.updated, "thread_id": before.thread_id}
            statement = statements()["threads_before"]

        def action(connection: sqlite3.Connection) -> list[ThreadRow]:
            now = time.time()
            return [_Known(*row).row(now) for row in connection.execute(statement, values)]

        return await self._reader.do(action)

    # -- snapshots, pruning, forks --------------------------------------------------------------

    async def save_snapshot(
        self, thread_id: ThreadId, epoch: int, position: int, data: bytes
    ) -> bool:
        """Keep a snapshot of the thread at a position; ``False``: fenced."""
        tenant = self._tenant

        def action(connection: sqlite3.Connection) -> bool:
            known = _find(connection, tenant, thread_id)
            if known is None or known.epoch != epoch:
                return False
            values = {"thread": known.thread, "position": position, "data": data}
            connection.execute(statements()["save_snapshot"], values)
            return True

        return await self._writer.do(action)

    async def load_snapshot(self, thread_id: ThreadId, upto: int) -> Row | None:
        """The thread's own last snapshot at a position not above ``upto``."""
        values = {"tenant": self._tenant, "thread_id": thread_id, "upto": upto}

        def action(connection: sqlite3.Connection) -> Row | None:
            found = connection.execute(statements()["load_snapshot"], values).fetchone()
            return Row(*found) if found is not None else None

        return await self._reader.do(action)

    async def prune(self, thread_id: ThreadId, epoch: int, position: int) -> bool:
        """Remove the events up to a position at which there is a snapshot, and older snapshots."""
        tenant, sql = self._tenant, statements()

        def action(connection: sqlite3.Connection) -> bool:
            known = _find(connection, tenant, thread_id)
            if known is None or known.epoch != epoch:
                return False
            values: dict[str, Any] = {"thread": known.thread, "position": position}
            (has_snapshot,) = connection.execute(sql["has_snapshot"], values).fetchone()
            if not has_snapshot:
                raise StoreError(
                    f"thread {thread_id!r} has no snapshot at position {position}, so the events "
                    "before it are still needed: save one there first"
                )
            fork = _first_fork(connection, tenant, thread_id, before=position)
            if fork is not None:
                raise StoreError(
                    f"thread {fork[0]!r} begins with the events of {thread_id!r} up to position "
                    f"{fork[1]}, so these cannot be pruned up to {position}: delete that thread "
                    "first, or prune less"
                )
            (size,) = connection.execute(sql["size_upto"], values).fetchone()
            connection.execute(sql["delete_events"], values)
            connection.execute(sql["delete_snapshots"], values)
            connection.execute(sql["pruned"], values | {"size": size})
            return True

        return await self._writer.do(action)

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another up to position ``at``."""
        tenant = self._tenant

        def action(connection: sqlite3.Connection) -> None:
            there = _find(connection, tenant, new_thread_id)
            if there is not None and (there.origin_id, there.origin_position) == (thread_id, at):
                return
            known = _find(connection, tenant, thread_id)
            if known is None:
                raise ThreadNotFound(thread_id, "is not known, so there is nothing to fork")
            if there is not None:
                raise ThreadExists(new_thread_id, "exists already: choose another id for the fork")
            first = max(known.pruned, known.origin_position or 1)
            if not first <= at <= known.position:
                raise StoreError(
                    f"thread {thread_id!r} has no position {at} at which it could be forked: "
                    f"it has those from {first} to {known.position}"
                )
            values = {"tenant": tenant, "thread_id": new_thread_id, "position": at}
            values |= {"origin_id": thread_id, "now": time.time()}
            connection.execute(statements()["make_fork"], values)

        await self._writer.do(action)

    async def delete(self, thread_id: ThreadId) -> bool:
        """Remove a thread and all that belongs to it; ``False`` if there is none."""
        tenant = self._tenant

        def action(connection: sqlite3.Connection) -> bool:
            known = _find(connection, tenant, thread_id)
            if known is None:
                return False
            if known.is_held(time.time()):
                _refuse_busy(known)
            fork = _first_fork(connection, tenant, thread_id, before=_LAST_POSITION)
            if fork is not None:
                raise StoreError(
                    f"thread {fork[0]!r} begins with events of {thread_id!r}, so this one cannot "
                    "be deleted: delete that thread first"
                )
            _delete(connection, known)
            return True

        return await self._writer.do(action)

    # -- plans ------------------------------------------------------------------------------------

    async def save_plan(self, fingerprint: str, data: bytes) -> None:
        """Keep the description of a graph, if it is not there yet."""
        values = {"tenant": self._tenant, "fingerprint": fingerprint, "data": data}

        def action(connection: sqlite3.Connection) -> None:
            connection.execute(statements()["save_plan"], values)

        await self._writer.do(action)

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        values = {"tenant": self._tenant, "fingerprint": fingerprint}

        def action(connection: sqlite3.Connection) -> bytes | None:
            found = connection.execute(statements()["load_plan"], values).fetchone()
            return found[0] if found is not None else None

        return await self._reader.do(action)

    def transaction(self) -> NoReturn:
        """None is offered: a node that held the file's one lock would stop all other branches."""
        raise StoreError(
            "SQLite has one writer at a time, so a node with a transaction of its own would stop "
            "all other branches: take a store in PostgreSQL for ctx.transaction()"
        )

    async def close(self) -> None:
        """Finish what is under way; give back the file and the threads of execution."""
        workers = (self._reader, self._writer)
        for worker in workers:
            worker.end()
        limiter = anyio.CapacityLimiter(1)  # the common one may be taken by nodes
        await anyio.to_thread.run_sync(
            _join, workers, 2 * self._timeout, abandon_on_cancel=True, limiter=limiter
        )


def _stop(*workers: Worker) -> None:
    for worker in workers:
        worker.end()
    _join(workers, 1.0)


def _join(workers: Sequence[Worker], bound: float) -> None:
    """Block until workers have ended, for so many seconds at most."""
    deadline = time.monotonic() + bound
    for worker in workers:
        worker.join(deadline)


def _find(connection: sqlite3.Connection, tenant: str, thread_id: ThreadId) -> _Known | None:
    values = {"tenant": tenant, "thread_id": thread_id}
    found = connection.execute(statements()["thread"], values).fetchone()
    return _Known(*found) if found is not None else None


def _get(connection: sqlite3.Connection, tenant: str, thread_id: ThreadId) -> _Known:
    """A thread that was just written."""
    known = _find(connection, tenant, thread_id)
    assert known is not None
    return known


def _refuse_busy(known: _Known) -> NoReturn:
    raise ThreadBusy(
        known.thread_id,
        f"is held by {known.holder!r} at this moment: wait for it to finish, or for its lease to "
        "expire",
        holder=known.holder,
        expires=known.expires,
    )


def _first_fork(
    connection: sqlite3.Connection, tenant: str, thread_id: ThreadId, *, before: int
) -> tuple[ThreadId, int] | None:
    """A fork that begins before a position of a thread: its id, and where it begins."""
    values = {"tenant": tenant, "thread_id": thread_id, "position": before}
    found: tuple[ThreadId, int] | None
    found = connection.execute(statements()["first_fork"], values).fetchone()
    return found


def _not_stored(
    connection: sqlite3.Connection,
    thread: int,
    position: int,
    pruned: int,
    records: Sequence[Record],
) -> list[Record]:
    """Those of a thread's records that are not there yet; ``position`` is its last.

    Raises:
        StoreError: a position is taken by an event of an earlier lease.
    """
    missing: dict[int, Record] = {}
    for record in records:
        if record.position <= pruned:  # was stored once: a repetition that comes late
            continue
        if record.position <= position:
            place = (thread, record.position)
            found = connection.execute(statements()["find_event"], place).fetchone()
            if found is not None and found[0] == record.epoch:
                continue
            if found is not None:
                raise StoreError(
                    f"position {record.position} of thread {record.thread_id!r} holds an event of "
                    "an earlier lease: read the journal after the lease is taken, and append "
                    "behind its end"
                )
        missing.setdefault(record.position, record)
    return list(missing.values())


def _delete(connection: sqlite3.Connection, known: _Known) -> None:
    values = {"thread": known.thread, "position": _LAST_POSITION}
    for name in ("delete_events", "delete_snapshots", "delete_thread"):
        connection.execute(statements()[name], values)
