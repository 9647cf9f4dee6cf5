"""Stores in SQLite: what they have in common, and the one made where there is no event loop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint._bridge import finish, run
from plait_adapters.langgraph.checkpoint.sqlite._access import open_access
from plait_adapters.langgraph.checkpoint.sqlite._saver import connect
from plait_adapters.langgraph.store._stored import StoredStore, SweepsInBackground
from plait_adapters.langgraph.store.base import BaseStore, IndexConfig, Op, Result, TTLConfig
from plait_adapters.sqlite.file import Synchronous

from ._items import TABLES, Deserializer, SqliteItems

__all__ = ["BaseSqliteStore", "SqliteIndexConfig", "SqliteStore"]


class SqliteIndexConfig(IndexConfig, total=False):
    """By what searches find items. The search is exact, and looks at every vector within the
    namespace; sqlite-vec is not needed."""

    distance_type: Literal["l2", "inner_product", "cosine"]
    """What near means; by default the cosine."""
    text_fields: list[str] | str | None
    """As ``fields``, which LangGraph's store in SQLite knows by this name."""


class BaseSqliteStore(StoredStore):
    """What stores in SQLite have in common.

    Their tables are made when they are first used, or brought up to date.

    Args:
        conn: a connection of sqlite3's, made with ``check_same_thread=False``, or of aiosqlite's;
            or the path of a file, which is then read by one thread of execution and written by
            another.
        deserializer: makes a value of the JSON that is stored of it; by default ``json.loads``.
        index: makes searches by meaning possible.
        ttl: how long items live. Reading does not begin their time anew, unless it says so.
        timeout: seconds to wait for another process that writes. Not with a connection.
        synchronous: ``"FULL"``: what was stored survives a loss of power; ``"NORMAL"``: the last of
            it may not. Not with a connection.

    Raises:
        ValueError: the index is not as it must be, or asks for what there is not.
        TypeError: ``conn`` is none of what it may be.
    """

    def _open(
        self,
        conn: Any,
        deserializer: Deserializer | None,
        index: IndexConfig | None,
        ttl: TTLConfig | None,
        timeout: float,
        synchronous: Synchronous,
    ) -> None:
        if index is not None and "fields" not in index:
            fields: Any = index.get("text_fields")
            index = cast("IndexConfig", {**index, "fields": fields})
        if (cast("dict[str, Any]", index or {}).get("ann_index_config") or {}).get("kind") not in {
            None,
            "flat",
        }:
            raise ValueError(
                "ann_index_config is not supported: searches are exact and look at every vector"
            )
        options: dict[str, Any] = {
            "metric": self._set_up(index, ttl),
            "omit_expired": bool((ttl or {}).get("omit_expired")),
            "deserializer": deserializer or json.loads,
        }
        self.conn: Any = conn
        opened = open_access(conn, TABLES, timeout=timeout, synchronous=synchronous)
        self._file = opened.file
        self._items = SqliteItems(opened.access, **options)
        self._here = SqliteItems(opened.here, **options) if opened.here is not None else None

    def _refreshes(self, refresh_ttl: bool | None) -> bool:
        if refresh_ttl is not None:
            return refresh_ttl
        return bool((self.ttl_config or {}).get("refresh_on_read"))

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


class SqliteStore(BaseSqliteStore, SweepsInBackground, BaseStore):
    """A store in SQLite, made where there is no event loop; its asynchronous methods work, too.

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
        self._open(conn, deserializer, index, ttl, timeout, synchronous)

    @classmethod
    @contextmanager
    def from_conn_string(cls, conn_string: str, **options: Any) -> Iterator[Self]:
        """A store for the time of a ``with``.

        Args:
            conn_string: the path of a file, or ``":memory:"``.
            options: those of the class.
        """
        with closing(connect(conn_string)) as connection, cls(connection, **options) as store:
            yield store

    def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used."""
        self.batch([])

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in one transaction; a result for each, in their order."""
        if self._here is None:
            return run(self.abatch, ops)
        plan = self._plan(ops)
        if self._index is None:
            return finish(self._here.carry_out(plan, {}, {}))
        queries = self._index.embed(plan.queries)
        vectors = self._index.embed(text.text for text in plan.texts)
        return finish(self._here.carry_out(plan, queries, vectors))

    def close(self) -> None:
        """Give the file back; a connection that was given stays as it is."""
        self.stop_ttl_sweeper()
        self._close_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
