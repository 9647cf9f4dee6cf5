"""Connections, lent for a bounded time, and thrown away when anything went wrong with them.

asyncpg's own timeouts ask the server, by another connection, to cancel the statement, and wait
until it has: on a wire that is stalled that takes as long as the wire likes. Here a statement that
takes too long ends with its connection, at once; the server finds out by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Protocol

import asyncpg

from plait.errors import PlaitError, StoreUnavailable

__all__ = ["Connections", "GivenConnections", "Link", "Loan", "OwnConnections"]

_ENDED: Final = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""What asyncpg raises where the connection has ended."""

_IDLE: Final = 120.0
"""Seconds after which an idle connection is not used again: routers forget those that are silent
for some minutes, and say so to nobody."""


class Link:
    """A connection of asyncpg's, and the statements that were prepared on it."""

    __slots__ = ("_prepared", "connection", "since")

    def __init__(self, connection: Any, *, prepare: bool) -> None:
        self.connection = connection
        self.since = 0.0
        """When it was given back last, by ``time.monotonic()``."""
        self._prepared: dict[str, Any] | None = {} if prepare else None

    async def fetch(
        self, statement: str, *arguments: object, timeout: float | None = None
    ) -> list[Any]:
        """Run a statement; its rows. ``timeout``: in place of that of the connection."""
        rows: list[Any]
        if self._prepared is None:
            rows = await self.connection.fetch(statement, *arguments, timeout=timeout)
            return rows
        # Without named statements, `fetch` would ask for the types each time before it runs the
        # statement: two round trips in place of one.
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = await self.connection.prepare(statement)
        rows = await prepared.fetch(*arguments, timeout=timeout)
        return rows

    async def first(self, statement: str, *arguments: object) -> Any:
        """Run a statement; its first row, or ``None``."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    def bounded(self, seconds: float) -> Bounded:
        """End the connection, and so what is running on it, after so many seconds.

        Raises ``TimeoutError`` then.
        """
        return Bounded(self.connection, seconds)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit at the end, or roll back. Each statement sees what was committed before it."""
        transaction = self.connection.transaction(isolation="read_committed")
        await transaction.start()
        try:
            yield
        except Exception:
            await self.roll_back(transaction)
            raise
        except BaseException:  # cancelled: a rollback would have to wait for the wire
            self.connection.terminate()
            raise
        await transaction.commit()

    async def roll_back(self, transaction: Any) -> None:
        """Roll back, or else end the connection, which comes to the same. Raises nothing."""
        try:
            await transaction.rollback()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self.connection.terminate()


class Bounded:
    """Bounds the time that a block takes with a connection: see :meth:`Link.bounded`."""

    __slots__ = ("_connection", "_loop", "_seconds", "_timer")

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._connection.terminate)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if isinstance(error, _ENDED) and self._timer.when() <= self._loop.time():
            raise TimeoutError(f"no answer within {self._seconds:g} s") from error


class Connections(Protocol):
    """Where connections come from. Belongs to one event loop."""

    @property
    def size(self) -> int:
        """How many there may be at once."""
        ...

    @property
    def has_idle(self) -> bool:
        """Whether one can be taken without waiting."""
        ...

    async def take(self) -> Link:
        """A connection that nobody else uses; waits for one. The caller bounds the time."""
        ...

    async def give_back(self, link: Link) -> None:
        """Give back a connection on which nothing is under way. Raises nothing."""
        ...

    async def discard(self, link: Link, *, distrust: bool) -> None:
        """Give back a connection that nobody is to use again; ``distrust``: the others that are
        idle are likely to be no better. Raises nothing and waits for nothing."""
        ...

    async def close(self) -> None:
        """End all connections, and wait for those that are in use, within the timeout."""
        ...


class OwnConnections:
    """Connections made when they are needed, up to a number, and kept."""

    def __init__(
        self, url: str, *, size: int, timeout: float, statement_cache_size: int | None
    ) -> None:
        self.size = size
        self._url = url
        self._timeout = timeout
        self._options: dict[str, Any] = {"timeout": timeout, "command_timeout": timeout}
        if statement_cache_size is not None:
            self._options["statement_cache_size"] = statement_cache_size
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Link] = []
        self._all: set[Link] = set()

    @property
    def has_idle(self) -> bool:
        return bool(self._idle) and not self._slots.locked()

    def _pop(self) -> Link | None:
        oldest = time.monotonic() - _IDLE
        while self._idle:
            link = self._idle.pop()
            if link.since > oldest and not link.connection.is_closed():
                return link
            self._end(link)
        return None

    async def take(self) -> Link:
        await self._slots.acquire()
        try:
            link = self._pop()
            if link is not None:
                return link
            connection = await asyncpg.connect(self._url, **self._options)
        except BaseException:
            self._slots.release()
            raise
        link = Link(connection, prepare=True)
        self._all.add(link)
        return link

    async def give_back(self, link: Link) -> None:
        if link.connection.is_closed():
            self._end(link)
        else:
            link.since = time.monotonic()
            self._idle.append(link)
        self._slots.release()

    async def discard(self, link: Link, *, distrust: bool) -> None:
        self._end(link)
        while distrust and self._idle:
            self._end(self._idle.pop())
        self._slots.release()

    def _end(self, link: Link) -> None:
        self._all.discard(link)
        link.connection.terminate()

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(self.size):
                    await self._slots.acquire()
                while self._idle:
                    link = self._idle.pop()
                    await link.connection.close(timeout=self._timeout)
                    self._all.discard(link)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        finally:
            self.abandon()
        await asyncio.sleep(0)  # a transport that was aborted closes its socket a turn later

    def abandon(self) -> None:
        """End all connections at once."""
        for link in tuple(self._all):
            try:
                self._end(link)
            except RuntimeError:
                pass  # its event loop is closed
        self._idle.clear()


class GivenConnections:
    """Connections of a pool that is somebody else's."""

    def __init__(self, pool: Any, *, timeout: float) -> None:
        self.size: int = pool.get_max_size()
        self._pool = pool
        self._timeout = timeout

    @property
    def has_idle(self) -> bool:
        return False  # it does not say

    async def take(self) -> Link:
        return Link(await self._pool.acquire(), prepare=False)

    async def give_back(self, link: Link) -> None:
        try:
            with link.bounded(self._timeout):
                await self._pool.release(link.connection, timeout=self._timeout)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # the pool has thrown it away

    async def discard(self, link: Link, *, distrust: bool) -> None:
        link.connection.terminate()  # which gives it back, too

    async def close(self) -> None:
        """Leave the pool as it is."""


class Loan:
    """Lends a connection to a block, and decides whether somebody may use it afterwards.

    Raises ``StoreUnavailable`` if there is none within the timeout.
    """

    __slots__ = ("_connections", "_link", "_timeout")

    def __init__(self, connections: Connections, timeout: float) -> None:
        self._connections = connections
        self._timeout = timeout

    async def __aenter__(self) -> Link:
        if self._connections.has_idle:
            self._link = await self._connections.take()
        else:
            async with asyncio.timeout(self._timeout):
                self._link = await self._connections.take()
        return self._link

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if _is_fit(self._link.connection, error):
            await self._connections.give_back(self._link)
        else:
            distrust = isinstance(error, (StoreUnavailable, TimeoutError, OSError, *_ENDED))
            await self._connections.discard(self._link, distrust=distrust)


def _is_fit(connection: Any, error: BaseException | None) -> bool:
    """Whether a connection is in a known state after a block that ended like this."""
    if connection.is_closed() or connection.is_in_transaction():
        return False
    # An error of our own was raised after the server had answered, unless another is its cause.
    return error is None or (
        isinstance(error, PlaitError)
        and not isinstance(error, StoreUnavailable)
        and error.__cause__ is None
    )
