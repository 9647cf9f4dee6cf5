"""A store in SQLite that is made in an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.sqlite._saver import connect
from plait_adapters.langgraph.store._stored import SweepsInTask
from plait_adapters.langgraph.store.base import TTLConfig
from plait_adapters.langgraph.store.base.batch import AsyncBatchedBaseStore
from plait_adapters.sqlite.file import Synchronous

from ._items import Deserializer
from .base import BaseSqliteStore, SqliteIndexConfig

__all__ = ["AsyncSqliteStore"]


class AsyncSqliteStore(BaseSqliteStore, SweepsInTask, AsyncBatchedBaseStore):
    """A store in SQLite, made in an event loop, that carries out what several tasks ask for at the
    same time in one transaction.

    See :class:`BaseSqliteStore` for its arguments.
    """

    def __init__(
        self,
        conn: Any,
        *,
        deserializer: Deserializer | None = None,
        index: SqliteIndexConfig | None = None,
        ttl: TTLConfig | None = None,
        timeout: float = 10.0,
        synchronous: Synchronous = "FULL",
    ) -> None:
        AsyncBatchedBaseStore.__init__(self)
        self._open(conn, deserializer, index, ttl, timeout, synchronous)

    @classmethod
    @asynccontextmanager
    async def from_conn_string(cls, conn_string: str, **options: Any) -> AsyncIterator[Self]:
        """A store for the time of an ``async with``.

        Args:
            conn_string: the path of a file, or ``":memory:"``.
            options: those of the class.
        """
        if conn_string.startswith(":"):
            with closing(connect(conn_string)) as connection:
                async with cls(connection, **options) as store:
                    yield store
            return
        async with cls(conn_string, **options) as store:
            yield store

    async def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used."""
        await self.abatch([])

    async def _release(self) -> None:
        await anyio.to_thread.run_sync(self._close_file)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
