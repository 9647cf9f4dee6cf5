"""The statements: a finite list, whatever the ids; no plan that reads a whole table; few bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait.backend import Record, Row
from plait.errors import StoreError
from plait_adapters.postgres import PostgresBackend
from plait_adapters.postgres.statements import Statements
from tests.postgres.server import Server, database

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
"""Ids beyond those that the store lets through."""


@pytest.fixture
async def admin() -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database())
    yield connection
    await connection.close()


async def everything(backend: PostgresBackend, thread_id: str, text: str) -> None:
    """Each method once, with the same hostile text wherever text may be."""
    grant = await backend.acquire(thread_id, text, 60, text)
    key = thread_id, grant.epoch
    data = text.encode()
    assert await backend.append([Record(*key, 1, data)]) == set()
    assert await backend.append([Record(*key, 2, data), Record(*key, 3, data)]) == set()
    assert await backend.renew([key], 60) == set()
    assert await backend.save_snapshot(*key, 1, data)
    assert await backend.load_snapshot(thread_id, 2) == Row(1, data)
    assert await backend.prune(*key, 1)
    await backend.fork(thread_id, 2, f"fork of {thread_id}")
    assert await backend.read(thread_id, 1) == [Row(2, data), Row(3, data)]
    row = await backend.thread(thread_id)
    assert row is not None
    assert (row.thread_id, row.holder, row.graph) == (thread_id, text, text)
    listed = await backend.threads(limit=9, before=row._replace(updated=row.updated + 9))
    assert {row.thread_id for row in listed} == {thread_id, f"fork of {thread_id}"}
    await backend.save_plan(text, data)
    assert await backend.load_plan(text) == data
    await backend.release(*key, text)
    await both_at_once(backend, [f"{number} of {thread_id}" for number in (1, 2)], text)
    assert await backend.delete(f"fork of {thread_id}")
    assert await backend.delete(thread_id)


async def both_at_once(backend: PostgresBackend, names: list[str], text: str) -> None:
    grants = await asyncio.gather(*[backend.acquire(name, text, 60, text) for name in names])
    epochs = [(name, grant.epoch) for name, grant in zip(names, grants, strict=True)]
    assert await backend.append([Record(*each, 1, text.encode()) for each in epochs]) == set()
    await asyncio.gather(*[backend.release(*each, text) for each in epochs])
    for name in names:
        row = await backend.thread(name)
        assert row is not None
        assert (row.holder, row.status, row.graph, row.position) == (None, text, text, 1)
        assert await backend.delete(name)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(thread_id=IDS, text=IDS)
async def test_any_text_is_data(backend: PostgresBackend, thread_id: str, text: str) -> None:
    await everything(backend, thread_id, text)


async def test_the_server_sees_the_same_statements_whatever_the_ids() -> None:
    with Server(shared_preload_libraries="pg_stat_statements") as server:
        backend = PostgresBackend(server.url)
        admin = await asyncpg.connect(server.url)
        await admin.execute("create extension pg_stat_statements")
        seen = "select count(distinct queryid) from pg_stat_statements where query ~ 'plait'"
        await everything(backend, "t", "t")
        counts = [await admin.fetchval(seen)]
        for text in ("'; drop table plait.events; --", "$1", "%s", '"', "\\", "👻"):
            await everything(backend, text, text)
            counts.append(await admin.fetchval(seen))
        assert counts == [counts[0]] * 7
        await admin.close()
        await backend.close()


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
async def test_text_that_cannot_be_stored_is_refused(backend: PostgresBackend, text: str) -> None:
    with pytest.raises(StoreError):
        await backend.acquire(text, "me", 60, "graph")
    assert await backend.threads(limit=9) == []


async def test_the_longest_ids_fit_into_the_indexes(schema: str) -> None:
    rng = random.Random(0)
    tenant, thread_id = ("".join(chr(rng.randrange(33, 127)) for _ in range(512)) for _ in "ab")
    backend = PostgresBackend(database(), schema=schema, tenant=tenant)
    await everything(backend, thread_id, "text")
    await backend.close()


async def test_no_statement_reads_a_whole_table(
    backend: PostgresBackend, schema: str, admin: Any
) -> None:
    await backend.upgrade()
    await admin.execute(
        f"insert into {schema}.threads (tenant, thread_id, status, graph, created, updated)"
        "select 'default', number, '', '', now(), now() from generate_series(1, 20000) number;"
        f"insert into {schema}.events (tenant, thread_id, position, epoch, data)"
        "select 'default', number / 50, number % 50, 1, '' from generate_series(1, 50000) number;"
        f"analyze {schema}.threads, {schema}.events"
    )
    await admin.execute("set plan_cache_mode = force_generic_plan")
    statements = Statements(schema)
    for name in (
        "acquire",
        "acquire_new",
        "append",
        "append_one",
        "fork",
        "read",
        "release",
        "release_all",
        "renew",
        "thread",
        "threads",
        "prune",
        "delete",
        "load_snapshot",
        "save_snapshot",
        "remove_empty",
    ):
        statement = await admin.prepare(getattr(statements, name))
        count = len(statement.get_parameters())
        await admin.execute(f"prepare p as {getattr(statements, name)}")
        rows = await admin.fetch(f"explain execute p({', '.join(['null'] * count)})")
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan" not in plan, plan
        await admin.execute("deallocate p")


@pytest.mark.parametrize(("size", "share"), [(200, 2.0), (1_000, 1.35), (10_000, 1.35)])
async def test_stored_bytes_are_near_the_payload(
    backend: PostgresBackend, schema: str, admin: Any, size: int, share: float
) -> None:
    rng = random.Random(0)
    grant = await backend.acquire("thread 1", "me", 60, "graph")
    for first in range(1, 1_000, 100):
        batch = [
            Record("thread 1", grant.epoch, position, rng.randbytes(size))
            for position in range(first, first + 100)
        ]
        await backend.append(batch)
    taken = await admin.fetchval("select pg_total_relation_size($1)", f"{schema}.events")
    assert taken < share * 1_000 * size
