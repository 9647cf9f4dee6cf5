"""Savers of every kind, each on a place of its own."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from plait_adapters.langgraph.checkpoint.sqlite import SqliteSaver
from plait_adapters.langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from tests.postgres.server import database, fresh_schema

__all__ = ["KINDS", "saver_of"]

KINDS = ["memory", "sqlite", "sqlite-aio", "postgres"]


@asynccontextmanager
async def saver_of(kind: str, **options: Any) -> AsyncIterator[Any]:
    """A saver of one kind, on an empty place."""
    if kind == "memory":
        yield InMemorySaver(**options)
    elif kind == "sqlite":
        with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
            yield SqliteSaver(connection, **options)
    elif kind == "postgres":
        options = {"schema": fresh_schema()} | options
        async with AsyncPostgresSaver.from_conn_string(database(), **options) as saver:
            yield saver
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "checkpoints.db")
            async with AsyncSqliteSaver.from_conn_string(path, **options) as saver:
                yield saver
