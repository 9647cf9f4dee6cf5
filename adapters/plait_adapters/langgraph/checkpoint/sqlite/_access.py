"""How a SQLite file is reached: in a thread of its own, or by a connection of the user's."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import anyio.to_thread

from plait.errors import StoreError
from plait_adapters.sqlite.file import DatabaseFile, Synchronous, Tables
from plait_adapters.sqlite.worker import Action, Worker

__all__ = ["Access", "AioConnection", "Direct", "InThread", "Opened", "OwnFile", "open_access"]

T = TypeVar("T")


class Access(Protocol):
    """Carries out actions on a connection, each in a transaction."""

    async def read(self, action: Action[T]) -> T:
        """Carry out an action that changes nothing."""
        ...

    async def write(self, action: Action[T]) -> T:
        """Carry out an action, all of it or nothing."""
        ...


class OwnFile:
    """A file, read by one thread of execution and written by another, with group commit.

    Args:
        path: of the file.
        tables: what is to be in it.
        timeout: seconds to wait for another process that writes.
        synchronous: how long a commit waits for the disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tables: Tables,
        *,
        timeout: float,
        synchronous: Synchronous,
    ) -> None:
        file = DatabaseFile(Path(path).absolute(), timeout, synchronous, tables)
        self._timeout = timeout
        self._reader = Worker("plait checkpoints reader", file, writes=False)
        self._writer = Worker("plait checkpoints writer", file, writes=True)
        # For whoever forgets to close: at the end of the process, or when nobody refers to this.
        weakref.finalize(self, _end, 1.0, self._reader, self._writer)

    async def read(self, action: Action[T]) -> T:
        """Carry out an action that changes nothing."""
        return await self._reader.do(action)

    async def write(self, action: Action[T]) -> T:
        """Carry out an action with others that wait, in one transaction."""
        return await self._writer.do(action)

    def close(self) -> None:
        """Finish what is under way, and give the file back. Blocks for that long."""
        _end(2 * self._timeout, self._reader, self._writer)


def _end(seconds: float, *workers: Worker) -> None:
    """Have workers finish what is under way; blocks for so long at most."""
    for worker in workers:
        worker.end()
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(deadline)


class Direct:
    """A connection of sqlite3's, used where the caller is, by one at a time.

    Its methods never suspend.
    """

    def __init__(self, connection: sqlite3.Connection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables
        self._lock = threading.Lock()
        self._is_ready = False

    async def read(self, action: Action[T]) -> T:
        """Carry out an action that changes nothing."""
        return self.do(action, writes=False)

    async def write(self, action: Action[T]) -> T:
        """Carry out an action in a transaction, which begins and ends here."""
        return self.do(action, writes=True)

    def do(self, action: Action[T], *, writes: bool) -> T:
        """Carry out an action.

        Raises:
            StoreError: SQLite refuses.
        """
        with self._lock:
            try:
                if not self._is_ready:
                    self._prepare()
                    self._is_ready = True
                return (
                    in_transaction(self._connection, action) if writes else action(self._connection)
                )
            except sqlite3.ProgrammingError as error:
                raise StoreError(
                    f"the SQLite connection cannot be used: {error}. A saver is called from "
                    "several threads of execution: connect with check_same_thread=False, and "
                    "close it last"
                ) from error
            except sqlite3.Error as error:
                raise StoreError(
                    f"the SQLite connection cannot be used: {type(error).__name__}: {error}"
                ) from error

    def _prepare(self) -> None:
        """Bring the tables up to date. Where they are, another process may be writing."""
        if self._tables.version(self._connection, _PLACE) < self._tables.migrations[-1][0]:
            in_transaction(self._connection, lambda one: self._tables.migrate(one, _PLACE))


_PLACE = "the SQLite database of the connection"


def in_transaction(connection: sqlite3.Connection, action: Action[T]) -> T:
    """Carry out an action in a transaction of its own, all or nothing."""
    if connection.in_transaction:  # the user's own, as LangGraph's saver commits it
        connection.commit()
    connection.execute("begin immediate")
    try:
        result = action(connection)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return result


class InThread:
    """A connection of sqlite3's, used in worker threads, so that no event loop waits for it."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct

    async def read(self, action: Action[T]) -> T:
        """Carry out an action that changes nothing."""
        return await anyio.to_thread.run_sync(lambda: self._direct.do(action, writes=False))

    async def write(self, action: Action[T]) -> T:
        """Carry out an action in a transaction, which begins and ends here."""
        return await anyio.to_thread.run_sync(lambda: self._direct.do(action, writes=True))


class AioConnection:
    """A connection of aiosqlite's, used in the thread of execution that it has."""

    def __init__(self, connection: Any, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables
        self._direct: Direct | None = None

    async def read(self, action: Action[T]) -> T:
        """Carry out an action that changes nothing."""
        return await self._do(action, writes=False)

    async def write(self, action: Action[T]) -> T:
        """Carry out an action in a transaction, which begins and ends here."""
        return await self._do(action, writes=True)

    async def _do(self, action: Action[T], *, writes: bool) -> T:
        # aiosqlite has no public way to do several things at once with nothing in between.
        connection = self._connection
        if connection._connection is None:
            await connection
        direct = self._direct
        if direct is None:
            direct = self._direct = Direct(connection._conn, self._tables)
        result: T = await connection._execute(direct.do, action, writes=writes)
        return result


class Opened(NamedTuple):
    """How a database is reached."""

    access: Access
    """From an event loop."""
    here: Direct | None
    """In such a way that no method ever suspends; ``None``: there is none."""
    file: OwnFile | None
    """What is to be closed."""


def open_access(conn: Any, tables: Tables, *, timeout: float, synchronous: Synchronous) -> Opened:
    """How to reach what a saver or a store was given: a connection of sqlite3's or aiosqlite's, or
    the path of a file.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(conn, (str, os.PathLike)):
        file = OwnFile(conn, tables, timeout=timeout, synchronous=synchronous)
        return Opened(file, None, file)
    if isinstance(conn, sqlite3.Connection):
        direct = Direct(conn, tables)
        return Opened(InThread(direct), direct, None)
    if hasattr(conn, "execute_fetchall"):
        return Opened(AioConnection(conn, tables), None, None)
    raise TypeError(
        f"conn={conn!r:.80} must be a connection of sqlite3's or aiosqlite's, or a path"
    )
