"""Stores of every kind, each on a place of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite

from plait_adapters.langgraph.store.memory import InMemoryStore
from plait_adapters.langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from plait_adapters.langgraph.store.sqlite import AsyncSqliteStore, SqliteStore
from tests.postgres.server import database, fresh_schema

__all__ = ["KINDS", "store_of"]

KINDS = [
    "memory",
    "sqlite",
    "sqlite-file",
    "sqlite-aio",
    "sqlite-aiosqlite",
    "postgres",
    "postgres-aio",
]


@asynccontextmanager
async def store_of(kind: str, **options: Any) -> AsyncIterator[Any]:
    """A store of one kind, on an empty place."""
    if kind == "memory":
        yield InMemoryStore(**options)
        return
    if kind.startswith("sqlite"):
        async with _sqlite_store_of(kind, options) as store:
            yield store
        return
    if kind == "postgres-aio":
        options = {"schema": fresh_schema()} | options
        async with AsyncPostgresStore.from_conn_string(database(), **options) as store:
            yield store
        return
    options.setdefault("schema", fresh_schema())
    other = PostgresStore(database(), **options)
    yield other
    await other.aclose()


@asynccontextmanager
async def _sqlite_store_of(kind: str, options: dict[str, Any]) -> AsyncIterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/items.db"
        if kind == "sqlite":
            with SqliteStore.from_conn_string(":memory:", **options) as store:
                yield store
        elif kind == "sqlite-file":
            with SqliteStore(path, **options) as store:
                yield store
        elif kind == "sqlite-aio":
            async with AsyncSqliteStore.from_conn_string(path, **options) as aio:
                yield aio
        else:
            async with (
                aiosqlite.connect(path) as connection,
                AsyncSqliteStore(connection, **options) as aio,
            ):
                yield aio
