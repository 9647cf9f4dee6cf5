"""The server goes away and comes back, has no room or no rights to give, or is not the one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest

from plait.backend import Record
from plait.errors import StoreError, StoreUnavailable
from plait_adapters.postgres import PostgresBackend
from tests.postgres.server import Server, database

T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
async def backend(server: Server, schema: str) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(server.url, schema=schema, timeout=2)
    yield backend
    await backend.close()


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call again while the store is unavailable, for some seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return await call()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await anyio.sleep(0.01)


ENDS: dict[str, Callable[[Server], None]] = {
    "stopped": lambda server: server.stop("fast"),
    "stopped at once": lambda server: server.stop("immediate"),
    "killed": lambda server: server.kill(),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_server_that_ends_is_unavailable_until_it_is_back(
    server: Server, backend: PostgresBackend, end: str
) -> None:
    grant = await backend.acquire("t", "me", 60, "graph")
    await backend.append([Record("t", grant.epoch, 1, b"kept")])
    await anyio.to_thread.run_sync(ENDS[end], server)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await backend.append([Record("t", grant.epoch, 2, b"")])
    await anyio.to_thread.run_sync(server.start)
    assert await insist(lambda: backend.append([Record("t", grant.epoch, 2, b"")])) == set()
    assert [row.position for row in await backend.read("t", 0)] == [1, 2]


@pytest.mark.parametrize("end", ["fast", "immediate", "kill", "terminate"])
async def test_what_fifty_writers_were_told_is_stored_is_there_after_a_restart(
    server: Server, backend: PostgresBackend, end: str
) -> None:
    stored: dict[str, int] = {}
    is_over = False

    async def write(name: str) -> None:
        grant = await insist(lambda: backend.acquire(name, "me", 60, "graph"))
        while not is_over:
            record = Record(name, grant.epoch, stored.get(name, 0) + 1, name.encode())
            assert await insist(lambda record=record: backend.append([record])) == set()  # type: ignore[misc]
            stored[name] = record.position

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(write, f"{number}")
        for _ in range(2):
            await anyio.sleep(0.3)
            await anyio.to_thread.run_sync(disturb, server, end)
        await anyio.sleep(0.3)
        is_over = True
    for name, last in stored.items():
        assert [row.position for row in await backend.read(name, 0, limit=10**6)] == [
            *range(1, last + 1)
        ]
    assert len(stored) == 50


def disturb(server: Server, end: str) -> None:
    if end == "terminate":
        anyio.run(terminate_connections, server)
    elif end == "kill":
        server.kill()
        server.start()
    elif end == "fast":
        server.restart("fast")
    else:
        server.restart("immediate")


async def terminate_connections(server: Server) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
    await connection.close()


async def test_a_pool_without_a_free_connection_is_unavailable(schema: str) -> None:
    backend = PostgresBackend(database(), schema=schema, timeout=0.3, pool_size=2)
    await backend.threads(limit=1)
    async with backend.transaction():
        assert await backend.threads(limit=1) == []  # one is kept for the journals
        with pytest.raises(StoreUnavailable, match="raise pool_size"):
            async with backend.transaction():
                pass  # pragma: no cover
    async with backend.transaction():
        pass
    await backend.close()


async def test_a_server_that_takes_no_more_connections_is_unavailable(schema: str) -> None:
    with Server(max_connections="5", superuser_reserved_connections="0") as server:
        backend = PostgresBackend(server.url, schema=schema, timeout=1)
        others = [await asyncpg.connect(server.url) for _ in range(5)]
        with pytest.raises(StoreUnavailable, match="too many clients"):
            await backend.threads(limit=1)
        for other in others:
            await other.close()
        assert await insist(lambda: backend.threads(limit=1)) == []
        await backend.close()


async def test_the_address_of_nobody_is_unavailable_in_time() -> None:
    backend = PostgresBackend("postgresql://postgres:secret@127.0.0.1:1/app", timeout=1)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/app") as raised:
        await backend.threads(limit=1)
    assert time.monotonic() - began < 10
    assert "secret" not in str(raised.value)
    await backend.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (lambda: urlsplit(database())._replace(path="/nowhere").geturl(), "create the database"),
        (lambda: database(user="nobody"), "check user and password"),
    ],
    ids=["database", "user"],
)
async def test_what_repeating_does_not_help_is_said(url: Callable[[], str], message: str) -> None:
    backend = PostgresBackend(url())
    with pytest.raises(StoreError, match=message) as raised:
        await backend.threads(limit=1)
    assert not isinstance(raised.value, StoreUnavailable)
    await backend.close()


async def test_a_server_that_only_reads_says_where_to_go(schema: str) -> None:
    backend = PostgresBackend(database(), schema=schema)
    await backend.upgrade()
    await backend.close()
    standby = PostgresBackend(database(default_transaction_read_only="on"), schema=schema)
    assert await standby.threads(limit=1) == []
    with pytest.raises(StoreError, match="address of the primary") as raised:
        await standby.acquire("t", "me", 60, "graph")
    assert not isinstance(raised.value, StoreUnavailable)
    await standby.close()


async def test_isolation_and_locks_of_the_database_do_not_matter(schema: str) -> None:
    url = database(default_transaction_isolation="serializable")
    backends = [PostgresBackend(url, schema=schema) for _ in range(2)]
    grant = await backends[0].acquire("t", "me", 60, "graph")

    async def append(position: int) -> None:
        record = Record("t", grant.epoch, position, b"")
        assert await insist(lambda: backends[position % 2].append([record])) == set()

    async with anyio.create_task_group() as group:
        for position in range(1, 41):
            group.start_soon(append, position)
    assert len(await backends[0].read("t", 0)) == 40
    for backend in backends:
        await backend.close()


async def test_a_statement_that_waits_for_a_lock_ends_in_time(schema: str) -> None:
    backend = PostgresBackend(database(), schema=schema, timeout=0.3)
    grant = await backend.acquire("t", "me", 60, "graph")
    other = await asyncpg.connect(database())
    async with other.transaction():
        await other.execute(f"select from {schema}.threads for update")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await backend.append([Record("t", grant.epoch, 1, b"")])
        assert time.monotonic() - began < 10
    assert await backend.append([Record("t", grant.epoch, 1, b"")]) == set()
    await other.close()
    await backend.close()
