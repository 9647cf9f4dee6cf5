"""Connections, lent for a bounded time, and thrown away when anything went wrong with them.

asyncpg's own timeouts ask the server, by another connection, to cancel the statement, and wait
until it has: on a wire that is stalled that takes as long as the wire likes. Here a statement that
takes too long ends with its connection, at once; the server finds out by itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Protocol
from weakref import finalize

import asyncpg
from asyncpg.protocol import NO_TIMEOUT

from plait.errors import PlaitError, StoreUnavailable

__all__ = ["Connections", "GivenConnections", "Link", "Loan", "OwnConnections", "Slots"]

_ENDED: Final = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""What asyncpg raises where the connection has ended."""

_IDLE: Final = 120.0
"""Seconds after which an idle connection is not used again: routers forget those that are silent
for some minutes, and say so to nobody."""


class Link:
    """A connection of asyncpg's, and the statements that were prepared on it."""

    __slots__ = ("_looks_at", "_prepared", "_timer", "connection", "loop", "since", "until")

    def __init__(self, connection: Any, *, prepare: bool) -> None:
        self.connection = connection
        self.since = 0.0
        """When it was given back last, by ``time.monotonic()``."""
        self.until = math.inf
        """When it is ended, with what is running on it, by the clock of its event loop."""
        self._prepared: dict[str, Any] | None = {} if prepare else None
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf  # when the timer fires

    def fetch(
        self, statement: str, *arguments: object, timeout: float | None = None
    ) -> Awaitable[list[Any]]:
        """Run a statement; its rows. ``timeout``: in place of that of the connection."""
        if self._prepared is None:
            fetched: Awaitable[list[Any]]
            fetched = self.connection.fetch(statement, *arguments, timeout=timeout)
            return fetched
        # Without named statements, `fetch` would ask for the types each time before it runs the
        # statement: two round trips in place of one.
        prepared = self._prepared.get(statement)
        if prepared is None:
            return self._fetch_first(statement, arguments, timeout)
        # Where the block is bounded, asyncpg's own timer would never be the first to fire.
        bounded = timeout is None and self.until < math.inf
        fetched = prepared.fetch(*arguments, timeout=NO_TIMEOUT if bounded else timeout)
        return fetched

    async def _fetch_first(
        self, statement: str, arguments: tuple[object, ...], timeout: float | None
    ) -> list[Any]:
        assert self._prepared is not None
        prepared = self._prepared[statement] = await self.connection.prepare(statement)
        rows: list[Any] = await prepared.fetch(*arguments, timeout=timeout)
        return rows

    async def first(self, statement: str, *arguments: object) -> Any:
        """Run a statement; its first row, or ``None``."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    def bounded(self, seconds: float) -> Bounded:
        """End the connection, and so what is running on it, after so many seconds.

        Raises ``TimeoutError`` then.
        """
        return Bounded(self, seconds)

    def end_at(self, until: float) -> None:
        """End the connection at a time of its event loop's clock; ``inf``: not for now.

        A timer is not taken back when a statement has been answered: it serves the next one.
        """
        self.until = until
        if until < self._looks_at and until < math.inf:
            self._set_timer()

    def _set_timer(self) -> None:
        self.forget_timer()
        self._looks_at = self.until
        self._timer = self.loop.call_at(self.until, self._look_at_time)

    def forget_timer(self) -> None:
        """Where the connection has ended."""
        self._looks_at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_time(self) -> None:
        self.forget_timer()
        if self.until <= self.loop.time():
            self.connection.terminate()
        elif self.until < math.inf:
            self._set_timer()

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

    __slots__ = ("_link", "_outer", "_seconds", "_until")

    def __init__(self, link: Link, seconds: float) -> None:
        self._link = link
        self._seconds = seconds

    def __enter__(self) -> None:
        link = self._link
        self._outer = link.until
        self._until = link.loop.time() + self._seconds
        link.end_at(min(self._until, self._outer))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._link.until = self._outer  # the timer looks at it when it fires
        if isinstance(error, _ENDED) and self._until <= self._link.loop.time():
            raise TimeoutError(f"no answer within {self._seconds:g} s") from error


class Connections(Protocol):
    """Where connections come from. Belongs to one event loop."""

    @property
    def size(self) -> int:
        """How many there may be at once."""
        ...

    def take_idle(self) -> Link | None:
        """A connection that nobody else uses, if it can be had without waiting."""
        ...

    async def take(self) -> Link:
        """A connection that nobody else uses; waits for one. The caller bounds the time."""
        ...

    def give_back(self, link: Link) -> Awaitable[None] | None:
        """Give back an open connection on which nothing is under way; raises nothing. Returns
        something to await where that takes time."""
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
        self._slots = Slots(size)
        self._idle: list[Link] = []
        self._all: set[Link] = set()
        self._ending: finalize[Any, Any] | None = None

    def end_with(self, owner: object) -> None:
        """End all connections when an object is forgotten without having been closed: the event
        loop knows their sockets, and would keep them as long as it runs."""
        self._ending = finalize(owner, _let_go, self, asyncio.get_running_loop())
        self._ending.atexit = False

    def take_idle(self) -> Link | None:
        if not self._idle or not self._slots.take_at_once():
            return None
        link = self._pop()
        if link is None:
            self._slots.give_back()
        return link

    def _pop(self) -> Link | None:
        oldest = time.monotonic() - _IDLE
        while self._idle:
            link = self._idle.pop()
            if link.since > oldest and not link.connection.is_closed():
                return link
            self._end(link)
        return None

    async def take(self) -> Link:
        await self._slots.take()
        try:
            link = self._pop()
            if link is not None:
                return link
            connection = await asyncpg.connect(self._url, **self._options)
        except BaseException:
            self._slots.give_back()
            raise
        link = Link(connection, prepare=True)
        self._all.add(link)
        return link

    def give_back(self, link: Link) -> None:
        link.since = time.monotonic()
        self._idle.append(link)
        self._slots.give_back()

    async def discard(self, link: Link, *, distrust: bool) -> None:
        self._end(link)
        while distrust and self._idle:
            self._end(self._idle.pop())
        self._slots.give_back()

    def _end(self, link: Link) -> None:
        self._all.discard(link)
        link.forget_timer()
        link.connection.terminate()

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(self.size):
                    await self._slots.take()
                while self._idle:
                    link = self._idle.pop()
                    await link.connection.close(timeout=self._timeout)
                    link.forget_timer()
                    self._all.discard(link)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        finally:
            self.abandon()
        await asyncio.sleep(0)  # a transport that was aborted closes its socket a turn later

    def abandon(self) -> None:
        """End all connections at once."""
        if self._ending is not None:
            self._ending.detach()
        for link in tuple(self._all):
            try:
                self._end(link)
            except RuntimeError:
                pass  # its event loop is closed
        self._idle.clear()


def _let_go(connections: OwnConnections, loop: asyncio.AbstractEventLoop) -> None:
    """End connections that nobody can use any more, from whichever thread of execution."""
    try:
        loop.call_soon_threadsafe(connections.abandon)
    except RuntimeError:  # it is closed
        connections.abandon()


class Slots:
    """Places for connections: a semaphore that can also be asked without waiting."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_at_once(self) -> bool:
        """Take a place, if nobody waits for it."""
        if not self._free:  # as long as anybody waits, none is free: they are handed on
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Take a place; waits for one."""
        if self.take_at_once():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            else:
                self.give_back()  # it was handed on, and nobody is there to take it
            raise

    def give_back(self) -> None:
        """Hand a place on to who has waited longest, if anybody does."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class GivenConnections:
    """Connections of a pool that is somebody else's."""

    def __init__(self, pool: Any, *, timeout: float) -> None:
        self.size: int = pool.get_max_size()
        self._pool = pool
        self._timeout = timeout

    def take_idle(self) -> Link | None:
        return None  # it does not say

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
        link = self._connections.take_idle()
        if link is None:
            async with asyncio.timeout(self._timeout):
                link = await self._connections.take()
        self._link = link
        return link

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if _is_fit(self._link.connection, error):
            leaving = self._connections.give_back(self._link)
            if leaving is not None:
                await leaving
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
