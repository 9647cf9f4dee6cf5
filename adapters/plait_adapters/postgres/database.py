"""Tables in a schema of a PostgreSQL database: connections to it, and migrations."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

import asyncpg

from plait.errors import StoreError, StoreUnavailable
from plait.store import check_seconds

from .connections import Connections, GivenConnections, Link, Loan, OwnConnections
from .faults import as_store_error, translated
from .statements import Schema

__all__ = ["Database", "Side", "lock_number"]

T = TypeVar("T")
S = TypeVar("S", bound=Schema)

_SHORTEST, _LONGEST = 0.05, 2.0
"""Seconds between two attempts to reach the server."""


class Database(Generic[S]):
    """Some tables in a schema of their own, used from any number of event loops.

    They are made, and brought up to date, when they are first used, if the role may do that.

    Args:
        database: a URL, as asyncpg takes it, or a pool of asyncpg's, which is left open.
        statements: what makes the tables, and is done with them.
        timeout: seconds within which the server has to answer. A method takes at most twice as
            long, whatever the server and the network do: it may have to make a connection first.
        pool_size: connections at most for each event loop, at least 2. Not with a pool.
        statement_cache_size: 0 behind a proxy that pools transactions. Not with a pool.
        upgrade: how a role that may make the tables does it, for errors: ``run ...``.
    """

    def __init__(
        self,
        database: Any,
        statements: S,
        *,
        timeout: float,
        pool_size: int,
        statement_cache_size: int | None,
        upgrade: str,
    ) -> None:
        check_seconds("timeout", timeout)
        given: object = pool_size  # whatever was passed
        if not isinstance(given, int) or given < 2:
            raise ValueError(f"pool_size={pool_size!r} must be 2 or more")
        self._sql = statements
        self._database = database
        self._timeout = timeout
        self._pool_size = pool_size
        self._statement_cache_size = statement_cache_size
        self._way_out = upgrade
        self._place = _place(database)
        self._sides: WeakKeyDictionary[asyncio.AbstractEventLoop, Side] = WeakKeyDictionary()
        self._last_side: Side | None = None  # the one that was asked for last
        self._checked = False
        self._closed = False

    # -- the tables -------------------------------------------------------------------------------

    async def upgrade(self, *, timeout: float = 600.0) -> Sequence[str]:
        """Make the tables, or bring them up to date. Returns the names of what was applied.

        Any number of processes may do so at once: one does it, the others wait for it, up to
        ``timeout`` seconds. The role must be allowed to create a schema, or tables in it.

        Raises:
            StoreError: the role may not, or the tables are newer than this version of Plait.
        """
        side = self._side()
        with translated(self._place):
            async with asyncio.timeout(timeout), Loan(side.connections, timeout) as link:
                applied = await self._migrate(link, timeout)
        self._checked = True
        return applied

    async def _prepare(self, side: Side) -> None:
        """See that the tables are there."""
        with translated(self._place):
            async with asyncio.timeout(self._timeout), side.preparing:
                if not self._checked:
                    async with Loan(side.connections, self._timeout) as link:
                        await self._check(link)
        self._checked = True

    async def _check(self, link: Link) -> None:
        try:
            row = await link.first(self._sql.version)
            version: int = row["version"]
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            version = 0
        latest = self._sql.migrations[-1].version
        if version > latest:
            raise self._newer(version)
        if version < latest:
            try:
                await self._migrate(link, self._timeout)
            except (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError) as no:
                found = f"are those of version {version}" if version else "are missing"
                raise StoreError(
                    f"the tables in schema {self._sql.schema} at {self._place} {found}, version "
                    f"{latest} is needed, and this role may not make them ({no}): "
                    f"{self._way_out} with one that may"
                ) from no

    async def _migrate(self, link: Link, timeout: float) -> list[str]:
        execute, applied = partial(link.connection.execute, timeout=timeout), list[str]()
        async with link.transaction():
            number = lock_number(self._sql.schema)
            await link.fetch(self._sql.lock_migrations, number, timeout=timeout)
            there = await link.first(self._sql.is_installed, self._sql.schema)
            if not there["schema"]:
                await execute(self._sql.create_schema)
            row = await link.first(self._sql.version) if there["migrations"] else None
            version = row["version"] if row is not None else 0
            if version > self._sql.migrations[-1].version:
                raise self._newer(version)
            for migration in self._sql.migrations[version:]:
                await execute(migration.script)
                await link.fetch(self._sql.record_migration, migration.version, migration.name)
                applied.append(migration.name)
        return applied

    def _newer(self, version: int) -> StoreError:
        return StoreError(
            f"the tables in schema {self._sql.schema} at {self._place} are those of version "
            f"{version}, and this version of Plait knows them up to "
            f"{self._sql.migrations[-1].version}: use a newer one"
        )

    # -- connections ------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the connections, but not a pool that was given; waits for what is under way, up to
        the timeout. Those of other event loops are ended at once."""
        self._closed = True
        loop = _running_loop()
        for other, side in tuple(self._sides.items()):
            if other is not loop and isinstance(side.connections, OwnConnections):
                side.connections.abandon()
        side_here = self._sides.get(loop)
        self._sides.clear()
        self._last_side = None
        if side_here is not None:
            await side_here.connections.close()

    async def _do(self, work: Callable[[Link], Awaitable[T]], *, since: float | None = None) -> T:
        """Do something with a connection, within twice the timeout.

        Args:
            since: when that time began, by ``time.monotonic()``; by default now.
        """
        side, timeout = self._side(), self._timeout
        if not self._checked:
            await self._prepare(side)
        if since is not None:
            timeout = max(0.0, timeout - (time.monotonic() - since) / 2)
        try:
            async with Loan(side.connections, timeout) as link:
                with link.bounded(timeout):
                    return await work(link)
        except Exception as error:
            other = as_store_error(error, self._place)
            if other is error:
                raise
            raise other from error

    async def _insist(self, work: Callable[[Link], Awaitable[T]], patience: float) -> T:
        """Do something that may be repeated, and again while the server cannot be reached, for so
        many seconds."""
        deadline, pause = time.monotonic() + patience, _SHORTEST
        while True:
            try:
                return await self._do(work)
            except StoreUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST)

    def _side(self) -> Side:
        if self._closed:
            raise StoreError("the store is closed: open it again")
        loop = _running_loop()
        side = self._last_side
        if side is not None and side.loop is loop:
            return side
        side = self._sides.get(loop)
        if side is None:
            for other, left in tuple(self._sides.items()):
                if other.is_closed() and isinstance(left.connections, OwnConnections):
                    left.connections.abandon()
                    del self._sides[other]
            side = self._sides[loop] = self._make_side(self._make_connections())
        self._last_side = side
        return side

    def _make_side(self, connections: Connections) -> Side:
        return Side(connections)

    def _make_connections(self) -> Connections:
        if isinstance(self._database, asyncpg.Pool):
            return GivenConnections(self._database, timeout=self._timeout)
        own = OwnConnections(
            self._database,
            size=self._pool_size,
            timeout=self._timeout,
            statement_cache_size=self._statement_cache_size,
        )
        own.end_with(self)
        return own


class Side:
    """What belongs to one event loop."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.loop = asyncio.get_running_loop()
        self.preparing = asyncio.Lock()
        self.transactions = asyncio.Semaphore(max(1, connections.size - 1))


def _place(database: Any) -> str:
    """The address of a server, without what is secret in it."""
    if not isinstance(database, str):
        return "the server of the pool"
    parts = urlsplit(database)
    host = parts.netloc.rpartition("@")[2] or "".join(parse_qs(parts.query).get("host", ["local"]))
    return f"{host}{parts.path}"


def lock_number(schema: str) -> int:
    """A number for migrations of a schema, that nothing else locks."""
    digest = hashlib.sha256(f"plait migrations of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise StoreError(
            "PostgreSQL is reached by asyncpg, which needs asyncio: run on anyio's asyncio backend"
        ) from None
