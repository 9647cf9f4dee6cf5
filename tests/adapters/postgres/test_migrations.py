"""The tables are made once, whoever comes first, and only where they may be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncpg
import pytest

from plait.errors import StoreError
from plait_adapters.postgres import PostgresBackend
from tests.postgres.server import database

APPEND = """
import asyncio, sys
from plait.backend import Record
from plait_adapters.postgres import PostgresBackend

async def main(url, schema, name):
    backend = PostgresBackend(url, schema=schema)
    grant = await backend.acquire(name, "me", 60, "graph")
    assert await backend.append([Record(name, grant.epoch, 1, b"")]) == set()
    await backend.close()

sys.stdin.readline()  # all begin at the same moment
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def admin() -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database())
    yield connection
    await connection.close()


@pytest.fixture
async def worker(admin: Any, schema: str) -> AsyncIterator[PostgresBackend]:
    """A backend whose role may not make anything."""
    await admin.execute(f"create role {schema} login")
    worker = PostgresBackend(database(user=schema), schema=schema)
    yield worker
    await worker.close()
    await admin.execute(f"drop owned by {schema}; drop role {schema}")


async def grant_rows(admin: Any, schema: str) -> None:
    await admin.execute(
        f"grant usage on schema {schema} to {schema};"
        f"grant select, insert, update, delete on all tables in schema {schema} to {schema}"
    )


def begin_in_processes(count: int, schema: str) -> list[int]:
    """Let processes append at the same moment; how they ended."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, database(), schema, f"{number}"], stdin=subprocess.PIPE
        )
        for number in range(count)
    ]
    for process in processes:
        process.communicate(b"\n", timeout=60)
    return [process.returncode for process in processes]


async def test_eight_processes_that_come_first_all_succeed(
    backend: PostgresBackend, schema: str
) -> None:
    assert await anyio.to_thread.run_sync(begin_in_processes, 8, schema) == [0] * 8
    assert [row.position for row in await backend.threads(limit=10)] == [1] * 8


async def test_upgrading_again_does_nothing(backend: PostgresBackend) -> None:
    assert await backend.upgrade() == ["journals"]
    assert await backend.upgrade() == []


async def test_a_role_that_may_not_make_the_tables_is_told_who_does(
    worker: PostgresBackend,
) -> None:
    with pytest.raises(StoreError, match=r"are missing.*run `plait db upgrade`"):
        await worker.threads(limit=1)


async def test_a_role_that_may_only_write_rows_uses_tables_that_others_made(
    backend: PostgresBackend, worker: PostgresBackend, admin: Any, schema: str
) -> None:
    await backend.upgrade()
    with pytest.raises(StoreError, match="role needs usage of the schema"):
        await worker.threads(limit=1)
    await grant_rows(admin, schema)
    assert (await worker.acquire("t", "me", 60, "graph")).epoch == 1


async def test_tables_of_an_older_version_are_refused_where_they_cannot_be_upgraded(
    backend: PostgresBackend, worker: PostgresBackend, admin: Any, schema: str
) -> None:
    await backend.upgrade()
    await grant_rows(admin, schema)
    await admin.execute(f"update {schema}.migrations set version = 0")
    with pytest.raises(StoreError, match="`plait db upgrade`"):
        await worker.threads(limit=1)


async def test_tables_of_a_newer_version_are_refused(
    backend: PostgresBackend, admin: Any, schema: str
) -> None:
    await backend.upgrade()
    await admin.execute(f"insert into {schema}.migrations values (1000, 'from the future')")
    newer = PostgresBackend(database(), schema=schema)
    with pytest.raises(StoreError, match=r"version 1000.*use a newer one"):
        await newer.threads(limit=1)
    with pytest.raises(StoreError, match=r"version 1000.*use a newer one"):
        await newer.upgrade()
    await newer.close()


async def test_a_schema_that_an_administrator_has_made_is_used(
    worker: PostgresBackend, admin: Any, schema: str
) -> None:
    await admin.execute(f"create schema {schema} authorization {schema}")
    assert await worker.threads(limit=1) == []


@pytest.mark.parametrize(
    "name", ["", "a-b", 'a"; drop schema public', "1a", "pg_catalog", "é", "a" * 64]
)
def test_a_schema_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="schema="):
        PostgresBackend("postgresql://", schema=name)


async def test_the_names_of_tables_elsewhere_do_not_matter(schema: str, admin: Any) -> None:
    await admin.execute(f"create schema {schema}_trap")
    for table in ("threads", "events", "snapshots", "plans", "migrations"):
        await admin.execute(f"create table {schema}_trap.{table} (nothing integer)")
    backend = PostgresBackend(database(search_path=f"{schema}_trap"), schema=schema)
    assert (await backend.acquire("t", "me", 60, "graph")).epoch == 1
    await backend.close()
