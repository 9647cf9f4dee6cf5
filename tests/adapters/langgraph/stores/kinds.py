"""Stores of every kind, each on a place of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from plait_adapters.langgraph.store.memory import InMemoryStore
from plait_adapters.langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from tests.postgres.server import database, fresh_schema

__all__ = ["KINDS", "store_of"]

KINDS = ["memory", "postgres", "postgres-aio"]


@asynccontextmanager
async def store_of(kind: str, **options: Any) -> AsyncIterator[Any]:
    """A store of one kind, on an empty place."""
    if kind == "memory":
        yield InMemoryStore(**options)
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
