"""Every store does what a Flow asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from plait import MemoryStore
from plait.durable import DurableStore
from plait.seal import Cipher
from plait.testing.memory_backend import MemoryBackend
from plait.testing.store_suite import MakeStore, StoreSuite
from plait_adapters.postgres import PostgresStore
from plait_adapters.sqlite import SQLiteStore
from tests.postgres.server import database, fresh_schema


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
class TestMemoryStore(StoreSuite):
    prunes = False

    @pytest.fixture
    def make_store(self) -> MakeStore:
        store = MemoryStore()
        return lambda: store


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
class TestDurableStore(StoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        rows = MemoryBackend()
        return lambda: DurableStore(rows.view())


class TestEncryptedStore(StoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        rows = MemoryBackend()
        return lambda: DurableStore(rows.view(), seal=Cipher({"key": bytes(range(32))}))


class TestSlowStore(StoreSuite):
    """Every method lets others have a turn, before its effect and after it."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        rows = MemoryBackend()

        async def turn(_method: str, _when: str) -> None:
            await asyncio.sleep(0)

        return lambda: DurableStore(rows.view(fault=turn))


class TestSQLiteStore(StoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda: SQLiteStore(tmp_path / "runs.db")


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    async def schema(self) -> AsyncIterator[str]:
        name = fresh_schema()
        yield name
        connection = await asyncpg.connect(database())
        try:
            await connection.execute(f"drop schema if exists {name} cascade")
        finally:
            await connection.close()

    @pytest.fixture
    def make_store(self, schema: str) -> MakeStore:
        return lambda: PostgresStore(database(), schema=schema)
