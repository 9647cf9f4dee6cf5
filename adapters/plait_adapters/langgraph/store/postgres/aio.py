"""A store in PostgreSQL that is made in an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.postgres._address import Conn
from plait_adapters.langgraph.store._stored import SweepsInTask
from plait_adapters.langgraph.store.base import TTLConfig
from plait_adapters.langgraph.store.base.batch import AsyncBatchedBaseStore

from .base import BasePostgresStore, PoolConfig, PostgresIndexConfig, pool_options

__all__ = ["AsyncPostgresStore"]


class AsyncPostgresStore(BasePostgresStore, SweepsInTask, AsyncBatchedBaseStore):
    """A store in PostgreSQL, made in an event loop, that carries out what several tasks ask for at
    the same time in one transaction.

    See :class:`BasePostgresStore` for its arguments.
    """

    def __init__(
        self,
        conn: Conn,
        *,
        index: PostgresIndexConfig | None = None,
        ttl: TTLConfig | None = None,
        schema: str = "plait_items",
        timeout: float = 10.0,
        patience: float = 30.0,
        pool_size: int = 8,
        statement_cache_size: int | None = None,
    ) -> None:
        AsyncBatchedBaseStore.__init__(self)
        options = (schema, timeout, patience, pool_size, statement_cache_size)
        self._open(conn, index, ttl, *options)

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,
        pool_config: PoolConfig | None = None,
        **options: Any,
    ) -> AsyncIterator[Self]:
        """A store for the time of an ``async with``.

        Args:
            conn_string: a URL, or a connection string of libpq's.
            pipeline: has nothing to do: a batch is one transaction, with and without it.
            pool_config: how many connections there may be.
            options: those of the class.
        """
        async with cls(conn_string, **pool_options(pool_config), **options) as store:
            yield store

    async def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used.

        Raises:
            StoreError: the role may not.
        """
        await self._upgrade()

    async def _release(self) -> None:
        await self.aclose()


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
