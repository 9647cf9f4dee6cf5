"""What the savers in SQLite have in common."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Any, Self

from plait_adapters.langgraph.checkpoint._stored import Rows, StoredSaver
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol
from plait_adapters.langgraph.checkpoint.sqlite._access import open_access
from plait_adapters.langgraph.checkpoint.sqlite._rows import TABLES, SqliteRows
from plait_adapters.sqlite.file import Synchronous

__all__ = ["SavesInSqlite", "connect"]


class SavesInSqlite(StoredSaver):
    """A saver in SQLite.

    Its tables are made when it is first used, or brought up to date.

    Args:
        conn: a connection of sqlite3's, made with ``check_same_thread=False``, or of aiosqlite's;
            or the path of a file, which is then read by one thread of execution and written by
            another.
        serde: makes bytes of values.
        timeout: seconds to wait for another process that writes. Not with a connection.
        synchronous: ``"FULL"``: what was stored survives a loss of power; ``"NORMAL"``: the last of
            it may not. Not with a connection.
    """

    def __init__(
        self,
        conn: Any,
        *,
        serde: SerializerProtocol | None = None,
        timeout: float = 10.0,
        synchronous: Synchronous = "FULL",
    ) -> None:
        super().__init__(serde=serde)
        self.conn: Any = conn
        opened = open_access(conn, TABLES, timeout=timeout, synchronous=synchronous)
        self._file = opened.file
        self._sqlite = SqliteRows(opened.access)
        self._here = SqliteRows(opened.here) if opened.here is not None else None

    _dotted = True

    @property
    def _rows(self) -> Rows:
        return self._sqlite

    @property
    def _rows_here(self) -> Rows | None:
        return self._here

    def close(self) -> None:
        """Give the file back; a connection that was given stays as it is."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def connect(path: str) -> sqlite3.Connection:
    """A connection for several threads of execution, one at a time."""
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma trusted_schema = off")
    except BaseException:
        connection.close()
        raise
    return connection
