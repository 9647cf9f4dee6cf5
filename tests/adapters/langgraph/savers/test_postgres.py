"""Savers in PostgreSQL: what they need of the server, and what they survive."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import anyio.to_thread
import asyncpg
import psycopg
import pytest

from plait.errors import StoreError, StoreUnavailable
from plait_adapters.langgraph._internal._edge import run
from plait_adapters.langgraph.checkpoint.base import empty_checkpoint
from plait_adapters.langgraph.checkpoint.postgres import PostgresSaver
from plait_adapters.langgraph.checkpoint.postgres._address import database_of
from plait_adapters.langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from plait_adapters.langgraph.checkpoint.postgres.shallow import (
    AsyncShallowPostgresSaver,
    ShallowPostgresSaver,
)
from plait_adapters.langgraph.store.postgres import PostgresStore
from tests.adapters.langgraph.savers.programs import LANGGRAPH, deltas, questions
from tests.postgres.server import Server, database, fresh_schema

CONFIG: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}


def test_a_plain_script_needs_no_event_loop() -> None:
    with PostgresSaver.from_conn_string(database(), schema=fresh_schema()) as saver:
        saver.setup()
        saver.put(CONFIG, empty_checkpoint(), {"step": 1}, {})

        assert [found.metadata["step"] for found in saver.list(CONFIG)] == [1]


async def test_many_may_set_up_the_tables_at_once() -> None:
    schema = fresh_schema()
    savers = [AsyncPostgresSaver(database(), schema=schema) for _ in range(6)]
    await asyncio.gather(*(saver.setup() for saver in savers))
    await asyncio.gather(
        *(saver.aput(CONFIG, empty_checkpoint(), {"step": 1}, {}) for saver in savers)
    )
    found = [one async for one in savers[0].alist(CONFIG)]
    for saver in savers:
        await saver.aclose()

    assert len(found) == 6


async def test_a_pool_of_asyncpgs_is_used_and_left_open() -> None:
    async with asyncpg.create_pool(database(), min_size=1, max_size=3) as pool:
        saver = AsyncPostgresSaver(pool, schema=fresh_schema())
        await saver.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
        await saver.aclose()

        assert await pool.fetchval("select 1") == 1


async def test_a_role_that_may_only_read_and_write_rows_is_enough() -> None:
    schema = fresh_schema()
    owner = AsyncPostgresSaver(database(), schema=schema)
    await owner.setup()
    connection = await asyncpg.connect(database())
    await connection.execute(
        f"""
        create role {schema}_worker login;
        grant usage on schema {schema} to {schema}_worker;
        grant select, insert, update, delete on all tables in schema {schema} to {schema}_worker;
        """
    )
    await connection.close()
    url = database(user=f"{schema}_worker")
    worker = AsyncPostgresSaver(url, schema=schema)
    await worker.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
    await worker.aprune(["thread"])
    found = await worker.aget_tuple(CONFIG)
    stranger = AsyncPostgresSaver(url, schema=fresh_schema())
    with pytest.raises(StoreError, match=r"setup\(\)"):
        await stranger.aget_tuple(CONFIG)
    for saver in (owner, worker, stranger):
        await saver.aclose()

    assert found is not None


async def test_a_restart_of_the_server_is_survived_and_its_end_is_told() -> None:
    with Server() as server:
        saver = AsyncPostgresSaver(server.url, timeout=2.0, patience=20.0)
        await saver.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
        server.stop()
        later = asyncio.create_task(saver.aput(CONFIG, empty_checkpoint(), {"step": 2}, {}))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.start)
        await later
        steps = [found.metadata["step"] async for found in saver.alist(CONFIG)]
        hasty = AsyncPostgresSaver(server.url, timeout=2.0, patience=0.2)
        server.stop()
        with pytest.raises(StoreUnavailable):
            await hasty.aget_tuple(CONFIG)
        await saver.aclose()
        await hasty.aclose()

    assert steps == [2, 1]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("postgresql://me@host/app?sslmode=disable", "postgresql://me@host/app?sslmode=disable"),
        ("host=/run port=5433 dbname=app", "postgresql:///app?host=%2Frun&port=5433"),
        (
            "user=m@e password='a b' host=db dbname=app",
            "postgresql://m%40e:a%20b@/app?host=db",
        ),
    ],
)
def test_an_address_may_be_a_url_or_libpqs(given: str, url: str) -> None:
    assert database_of(given) == url


def test_a_pool_or_connection_of_psycopgs_is_asked_for_its_address() -> None:
    class Info:
        password = "s"

        def get_parameters(self) -> dict[str, str]:
            return {"user": "me", "dbname": "app", "host": "db"}

    pool = type("ConnectionPool", (), {"conninfo": "dbname=app"})()
    connection = type("Connection", (), {"info": Info()})()

    assert database_of(pool) == "postgresql:///app"
    assert database_of(connection) == "postgresql://me:s@/app?host=db"
    with pytest.raises(TypeError, match="postgresql://"):
        database_of(object())


async def test_a_pipeline_has_nothing_to_do() -> None:
    saver = PostgresSaver(database(), object(), schema=fresh_schema())
    await saver.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})

    found = await saver.aget_tuple(CONFIG)
    assert found is not None
    assert found.metadata == {"step": 1}
    await saver.aclose()


URLS = {
    "postgresql://me@db/app?sslmode=require&connect_timeout=5&keepalives=1": (
        "postgresql://me@db/app?sslmode=require"
    ),
    "postgresql://db/app?gssencmode=prefer&sslcertmode=allow&channel_binding=prefer": (
        "postgresql://db/app"
    ),
    "postgresql://db/app?application_name=x&options=-c%20timezone%3DUTC": (
        "postgresql://db/app?application_name=x&options=-c%20timezone%3DUTC"
    ),
    "dbname=app connect_timeout=3": "postgresql:///app",
}


@pytest.mark.parametrize("url", URLS)
def test_what_only_libpq_knows_is_left_out_of_an_address(url: str) -> None:
    assert database_of(url) == URLS[url]


def test_what_libpq_must_do_for_safety_is_refused() -> None:
    with pytest.raises(ValueError, match="channel_binding"):
        database_of("postgresql://db/app?channel_binding=require")


async def test_a_shallow_saver_keeps_the_latest_checkpoint_only() -> None:
    async with AsyncShallowPostgresSaver.from_conn_string(
        database(), schema=fresh_schema()
    ) as saver:
        *_, done, history = await questions(LANGGRAPH, saver)
        assert done["log"] == ["left: l", "right: r"]
        assert len(history) == 1
    async with AsyncShallowPostgresSaver.from_conn_string(
        database(), schema=fresh_schema()
    ) as saver:
        _, second, history = await deltas(LANGGRAPH, saver)
        assert len(second["log"]) == 1 + 24
    with ShallowPostgresSaver.from_conn_string(database(), schema=fresh_schema()) as other:
        for step in range(3):
            other.put(CONFIG, empty_checkpoint(), {"step": step}, {})
        assert [found.metadata["step"] for found in other.list(CONFIG)] == [2]


async def test_a_synchronous_call_works_on_the_loop_of_synchronous_runs() -> None:
    saver = PostgresSaver(database(), schema=fresh_schema())
    saver.put(CONFIG, empty_checkpoint(), {"step": 1}, {})

    async def node() -> Any:
        return saver.get_tuple(CONFIG)

    found = await anyio.to_thread.run_sync(run, node)
    saver.close()

    assert found.metadata == {"step": 1}


@pytest.mark.parametrize("kind", [PostgresSaver, PostgresStore], ids=["saver", "store"])
def test_one_that_is_forgotten_leaves_no_connection(kind: Any) -> None:
    name = f"forgotten {fresh_schema()}"
    forgotten = kind(database(application_name=name), schema=fresh_schema())
    forgotten.setup()
    sql = "select count(*) from pg_stat_activity where application_name = %s"
    with psycopg.connect(database()) as admin:

        def sessions() -> int:
            row = admin.execute(sql, [name]).fetchone()
            admin.commit()
            return row[0] if row is not None else 0

        assert sessions() == 1
        del forgotten
        gc.collect()
        deadline = time.monotonic() + 20
        while sessions() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sessions() == 0
