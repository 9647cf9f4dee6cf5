"""Connections: whose they are, how long they live, and in what state they are lent."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import anyio
import asyncpg
import pytest

from plait.backend import Record
from plait.errors import StoreError, StoreUnavailable
from plait_adapters.postgres import PostgresBackend, PostgresStore
from plait_adapters.postgres.connections import Link, Slots
from tests.postgres.server import database, fresh_schema


async def session(backend: PostgresBackend, expression: str) -> Any:
    """What a session of the backend says."""
    async with backend.transaction() as transaction:
        return await transaction.connection.fetchval(f"select {expression}")


async def test_a_pool_that_was_given_is_left_open(schema: str) -> None:
    async with asyncpg.create_pool(database(), min_size=1, max_size=2) as pool:
        backend = PostgresBackend(pool, schema=schema)
        await backend.acquire("t", "me", 60, "graph")
        await backend.close()
        assert await pool.fetchval(f"select count(*) from {schema}.threads") == 1


async def test_of_a_pool_that_was_given_one_connection_is_kept_for_journals(schema: str) -> None:
    async with asyncpg.create_pool(database(), min_size=0, max_size=2) as pool:
        backend = PostgresBackend(pool, schema=schema, timeout=0.3)
        async with backend.transaction():
            assert await backend.threads(limit=1) == []
            with pytest.raises(StoreUnavailable):
                async with backend.transaction():
                    pass  # pragma: no cover
        async with pool.acquire(), pool.acquire():
            with pytest.raises(StoreUnavailable):
                await backend.threads(limit=1)
        assert await backend.threads(limit=1) == []


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_one_event_loop_may_follow_another() -> None:
    backend = PostgresBackend(database(), schema=fresh_schema())

    async def acquire(name: str) -> int:
        return (await backend.acquire(name, "me", 60, "graph")).epoch

    assert [asyncio.run(acquire(name)) for name in "abc"] == [1, 2, 3]
    asyncio.run(backend.close())
    gc.collect()  # Python complains of sockets that a loop left open, here and not elsewhere


def test_an_event_loop_in_another_thread_has_its_own_connections() -> None:
    backend = PostgresBackend(database(), schema=fresh_schema())

    async def append(name: str) -> None:
        grant = await backend.acquire(name, "me", 60, "graph")
        for position in range(1, 20):
            await backend.append([Record(name, grant.epoch, position, b"")])

    async def main() -> None:
        await backend.upgrade()
        here = asyncio.create_task(append("here"))
        await asyncio.to_thread(run_there)
        await here
        assert {row.position for row in await backend.threads(limit=9)} == {19}
        await backend.close()

    def run_there() -> None:
        there = asyncio.new_event_loop()
        there.run_until_complete(append("there"))
        there.run_until_complete(end_side())
        there.close()

    async def end_side() -> None:
        side = backend._sides.pop(asyncio.get_running_loop())
        await side.connections.close()

    asyncio.run(main())


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_told_that_asyncpg_needs_asyncio(schema: str) -> None:
    backend = PostgresBackend(database(), schema=schema)
    with pytest.raises(StoreError, match="needs asyncio"):
        await backend.threads(limit=1)


async def test_a_store_that_is_closed_says_so(backend: PostgresBackend) -> None:
    await backend.threads(limit=1)
    await backend.close()
    with pytest.raises(StoreError, match="closed"):
        await backend.threads(limit=1)


async def test_closing_waits_for_what_is_under_way(backend: PostgresBackend, schema: str) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    other = await asyncpg.connect(database())
    async with anyio.create_task_group() as group, other.transaction():
        await other.execute(f"select from {schema}.threads for update")
        group.start_soon(backend.append, [Record("t", grant.epoch, 1, b"")])
        await anyio.sleep(0.05)
        group.start_soon(backend.close)
        await anyio.sleep(0.05)
    assert await other.fetchval(f"select count(*) from {schema}.events") == 1
    await other.close()


async def test_no_more_connections_are_made_than_allowed(schema: str) -> None:
    backend = PostgresBackend(database(application_name=schema), schema=schema, pool_size=3)
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(backend.thread, f"{number}")
    count = await session(
        backend, f"count(*) from pg_stat_activity where application_name = '{schema}'"
    )
    assert count == 3
    await backend.close()


async def test_cancelling_leaves_no_task_and_no_connection_in_use(backend: PostgresBackend) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    for step in range(60):
        with anyio.move_on_after(step / 20_000):
            await backend.append([Record("t", grant.epoch, step + 1, b"")])
        assert await backend.append([Record("t", grant.epoch, step + 1, b"")]) == set()
    await anyio.sleep(0.01)
    assert len(asyncio.all_tasks()) <= 2  # the test's and the plugin's
    assert len(await backend.read("t", 0)) == 60


async def test_what_a_node_has_set_does_not_stay_set(backend: PostgresBackend) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    async with backend.transaction() as transaction:
        await transaction.connection.execute("set search_path = nowhere; set role pg_monitor")
        with pytest.raises(StoreError, match="role needs usage of the schema"):
            await transaction.commit([Record("t", grant.epoch, 1, b"")])
    async with backend.transaction() as transaction:
        await transaction.connection.execute("set search_path = nowhere")
        assert await transaction.commit([Record("t", grant.epoch, 1, b"")])
    assert await session(backend, "current_setting('search_path')") == '"$user", public'


async def test_a_transaction_may_have_savepoints(backend: PostgresBackend, schema: str) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    async with backend.transaction() as transaction:
        connection = transaction.connection
        await connection.execute(f"create table {schema}.effects (number integer)")
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.execute("select 1 / 0")
        await connection.execute(f"insert into {schema}.effects values (1)")
        assert await transaction.commit([Record("t", grant.epoch, 1, b"")])
    assert await session(backend, f"count(*) from {schema}.effects") == 1


async def test_a_transaction_with_a_failed_statement_is_not_committed(
    backend: PostgresBackend,
) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    async with backend.transaction() as transaction:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await transaction.connection.execute("select 1 / 0")
        with pytest.raises(StoreError, match="has failed before"):
            await transaction.commit([Record("t", grant.epoch, 1, b"")])
    assert await backend.read("t", 0) == []


@pytest.mark.parametrize("statement", ["commit", "rollback"])
async def test_a_transaction_that_the_node_has_ended_itself_is_refused(
    backend: PostgresBackend, statement: str
) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    async with backend.transaction() as transaction:
        await transaction.connection.execute(statement)
        with pytest.raises(StoreError, match="leave commit and rollback"):
            await transaction.commit([Record("t", grant.epoch, 1, b"")])
    assert await backend.read("t", 0) == []


async def test_a_transaction_commits_once(backend: PostgresBackend) -> None:
    async with backend.transaction() as transaction:
        assert await transaction.commit([])
        with pytest.raises(StoreError, match="has ended"):
            await transaction.commit([])


async def test_a_node_that_is_cancelled_leaves_its_transaction_at_once(
    backend: PostgresBackend,
) -> None:
    await backend.threads(limit=1)
    began = time.monotonic()
    with anyio.move_on_after(0.05):
        async with backend.transaction() as transaction:
            await transaction.connection.execute("select pg_sleep(5)")
    assert time.monotonic() - began < 4
    assert await backend.threads(limit=1) == []


def test_options_may_stand_in_a_url() -> None:
    store = PostgresStore.from_url(
        "postgres://me:s%40crt@host/app?tenant=acme&timeout=3&lease_ttl=9&sslmode=disable",
        lease_ttl=12.0,
    )
    backend = store.backend
    assert isinstance(backend, PostgresBackend)
    assert (backend.tenant, backend._timeout, store.lease_ttl) == ("acme", 3.0, 12.0)
    assert backend._database == "postgres://me:s%40crt@host/app?sslmode=disable"
    with pytest.raises(ValueError, match="pool_size='many'"):
        PostgresStore.from_url("postgres://host/app?pool_size=many")


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": float("inf")},
        {"pool_size": 1},
        {"tenant": "x" * 513},
        {"tenant": "\0"},
    ],
)
def test_options_out_of_range_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        PostgresBackend(database(), **options)


async def test_a_place_goes_to_who_has_waited_longest_and_is_still_there() -> None:
    slots, order = Slots(1), list[str]()
    await slots.take()

    async def wait(name: str) -> None:
        await slots.take()
        order.append(name)
        slots.give_back()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait(name)) for name in "abc"]
        await asyncio.sleep(0)
        tasks[0].cancel()
        slots.give_back()
        tasks[1].cancel()  # it has the place already, and cannot take it
        assert not slots.take_at_once()
    assert order == ["c"]
    assert slots.take_at_once()


async def test_one_timer_serves_many_statements_and_ends_the_one_that_takes_too_long() -> None:
    link = Link(await asyncpg.connect(database()), prepare=True)
    for _ in range(3):
        with link.bounded(0.3):
            await link.fetch("select 1")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.4 s"), link.bounded(0.4):
        await link.fetch("select pg_sleep(60)")
    assert 0.35 < time.monotonic() - began < 5
    assert link.connection.is_closed()


async def test_a_bound_within_a_longer_one_counts_and_then_the_longer_one_does() -> None:
    link = Link(await asyncpg.connect(database()), prepare=True)
    with link.bounded(60):
        with link.bounded(0.2):
            await link.fetch("select 1")
        await link.fetch("select pg_sleep(0.25)")
        with pytest.raises(TimeoutError), link.bounded(0.2):
            await link.fetch("select pg_sleep(60)")
