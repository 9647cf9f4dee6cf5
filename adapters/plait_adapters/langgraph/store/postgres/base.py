"""Stores in PostgreSQL: what they have in common, and the one made where there is no event loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, cast

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint._bridge import run
from plait_adapters.langgraph.checkpoint.postgres._address import Conn, database_of
from plait_adapters.langgraph.store._stored import StoredStore, SweepsInBackground
from plait_adapters.langgraph.store.base import BaseStore, IndexConfig, Op, Result, TTLConfig

from ._items import PostgresItems
from ._near import NearIndex

__all__ = [
    "ANNIndexConfig",
    "BasePostgresStore",
    "HNSWConfig",
    "IVFFlatConfig",
    "PoolConfig",
    "PostgresIndexConfig",
    "PostgresStore",
]


class PoolConfig(TypedDict, total=False):
    """How many connections there may be."""

    min_size: int
    """Has nothing to do: connections are made when they are needed."""
    max_size: int | None
    """By default 8."""


class ANNIndexConfig(TypedDict, total=False):
    """An index of pgvector's, by which a search need not look at every vector."""

    kind: Literal["hnsw", "ivfflat", "flat"]
    """Which; by default ``"hnsw"``. With ``"flat"`` there is none."""
    vector_type: Literal["vector", "halfvec"]
    """How exact the numbers in the index are: four bytes each, or two. The table has eight."""


class HNSWConfig(ANNIndexConfig, total=False):
    """A graph in layers, each vector linked with some that are near."""

    kind: Literal["hnsw"]  # type: ignore[misc]  # narrower
    m: int
    """How many links a vector has in each layer at most; by default pgvector's, 16."""
    ef_construction: int
    """How many candidates for them are kept; by default pgvector's, 64. At least twice ``m``."""


class IVFFlatConfig(ANNIndexConfig, total=False):
    """Lists of vectors that are near each other. To be made once there are items to learn from:
    give this to a store that has some."""

    kind: Literal["ivfflat"]  # type: ignore[misc]  # narrower
    nlist: int
    """How many lists; by default pgvector's, 100. A search reads its square root of them."""


class PostgresIndexConfig(IndexConfig, total=False):
    """By what searches find items. A search is exact and looks at every vector, unless
    ``ann_index_config`` is given."""

    ann_index_config: ANNIndexConfig
    """Which index of pgvector's to make and use. The server must have the extension, and ``dims``
    may be 2,000 at most, or 4,000 with ``"halfvec"``. The nearest are found as a rule, not always;
    where a filter leaves fewer than were asked for, every vector is looked at."""
    distance_type: Literal["l2", "inner_product", "cosine"]
    """What near means; by default the cosine."""


class BasePostgresStore(StoredStore):
    """What stores in PostgreSQL have in common.

    Their tables are in a schema of their own, made when they are first used if the role may do
    that, otherwise by ``setup()`` with one that may.

    Args:
        conn: a URL; a pool of asyncpg's, which is left open; or a connection or pool of psycopg's,
            whose address is taken.
        index: makes searches by meaning possible.
        ttl: how long items live.
        schema: where the tables are.
        timeout: seconds within which the server has to answer.
        patience: seconds for which a batch is tried again while the server cannot be reached.
        pool_size: connections at most for each event loop. Not with a pool.
        statement_cache_size: 0 behind a proxy that pools transactions. Not with a pool.

    Raises:
        ValueError: the index is not as it must be, or asks for what there is not.
    """

    def _open(
        self,
        conn: Conn,
        index: PostgresIndexConfig | None,
        ttl: TTLConfig | None,
        schema: str,
        timeout: float,
        patience: float,
        pool_size: int,
        statement_cache_size: int | None,
    ) -> None:
        metric = self._set_up(index, ttl)
        near = NearIndex.of(cast("dict[str, Any]", index or {}), metric)
        self.conn: Any = conn
        self._items = self._tables = PostgresItems(
            database_of(conn),
            schema=schema,
            timeout=timeout,
            patience=patience,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
            metric=metric,
            near=near,
            texts=self._index.count if self._index is not None else 1,
            omit_expired=bool((ttl or {}).get("omit_expired")),
        )

    async def _upgrade(self) -> None:
        await self._tables.upgrade()

    async def aclose(self) -> None:
        """End the connections, but not a pool that was given."""
        await self._tables.close()


class PostgresStore(BasePostgresStore, SweepsInBackground, BaseStore):
    """A store in PostgreSQL, made where there is no event loop; its asynchronous methods work, too.

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
        options = (schema, timeout, patience, pool_size, statement_cache_size)
        self._open(conn, index, ttl, *options)

    @classmethod
    @contextmanager
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,
        pool_config: PoolConfig | None = None,
        **options: Any,
    ) -> Iterator[Self]:
        """A store for the time of a ``with``.

        Args:
            conn_string: a URL, or a connection string of libpq's.
            pipeline: has nothing to do: a batch is one transaction, with and without it.
            pool_config: how many connections there may be.
            options: those of the class.
        """
        store = cls(conn_string, **pool_options(pool_config), **options)
        try:
            yield store
        finally:
            store.close()

    def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used.

        Raises:
            StoreError: the role may not.
        """
        run(self._upgrade)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in one transaction; a result for each, in their order."""
        return run(self.abatch, ops)

    def close(self) -> None:
        """End the connections, but not a pool that was given."""
        self.stop_ttl_sweeper()
        run(self.aclose)


def pool_options(config: PoolConfig | None) -> dict[str, Any]:
    """What a pool's configuration asks for, as an argument of a store."""
    most = (config or {}).get("max_size")
    return {} if most is None else {"pool_size": max(2, most)}


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
