"""Leases that are taken, and given back, at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from plait.backend import Grant, Record
from plait.errors import PlaitError, StoreError, StoreUnavailable, ThreadBusy
from plait_adapters.postgres import PostgresBackend
from tests.postgres.server import database

NAMES = [f"thread {number}" for number in range(60)]


async def acquire_all(
    backend: PostgresBackend, names: Sequence[str], holder: str = "me", ttl: float = 60
) -> list[Grant | BaseException]:
    calls = [backend.acquire(name, holder, ttl, f"graph of {name}") for name in names]
    return await asyncio.gather(*calls, return_exceptions=True)


async def commits_of(work: Callable[[], Awaitable[Any]]) -> tuple[Any, int]:
    """What some work comes to, and how many transactions have written something meanwhile: its own,
    and some of the server's."""
    connection = await asyncpg.connect(database())
    count = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    try:
        before = await connection.fetchval(count)
        result = await work()
        return result, await connection.fetchval(count) - before
    finally:
        await connection.close()


async def test_leases_of_many_threads_are_taken_by_one_commit(backend: PostgresBackend) -> None:
    await backend.threads(limit=1)
    grants, commits = await commits_of(lambda: acquire_all(backend, NAMES))
    assert commits < 5
    assert len({grant.epoch for grant in grants}) == len(NAMES)
    for name, grant in zip(NAMES, grants, strict=True):
        row = await backend.thread(name)
        assert row is not None
        assert grant.thread == row._replace(status="")
        assert (row.thread_id, row.holder, row.graph) == (name, "me", f"graph of {name}")


async def test_leases_of_many_threads_are_given_back_by_one_commit(
    backend: PostgresBackend,
) -> None:
    grants: list[Any] = await acquire_all(backend, NAMES)
    await backend.append(
        [Record(name, grant.epoch, 1, b"12") for name, grant in zip(NAMES, grants, strict=True)]
    )

    async def release() -> None:
        async with asyncio.TaskGroup() as group:
            for name, grant in zip(NAMES, grants, strict=True):
                group.create_task(backend.release(name, grant.epoch, f"end of {name}"))

    _, commits = await commits_of(release)
    assert commits < 5
    for name in NAMES:
        row = await backend.thread(name)
        assert row is not None
        assert (row.position, row.size, row.holder, row.status) == (1, 2, None, f"end of {name}")


async def test_of_many_that_ask_at_the_same_time_each_has_its_own_answer(
    backend: PostgresBackend,
) -> None:
    held = await backend.acquire("held", "another", 60, "graph")
    expired = await backend.acquire("expired", "another", 0, "graph")
    await backend.append([Record("expired", expired.epoch, 1, b"kept")])
    ours = await backend.acquire("ours", "me", 60, "graph")
    names = ["held", "new", "expired", "new", "a\0b", "ours"]
    busy, new, taken, again, bad, repeated = await acquire_all(backend, names)
    assert isinstance(busy, ThreadBusy)
    assert busy.holder == "another"
    assert isinstance(new, Grant)
    assert isinstance(again, Grant)  # the same holder: as if it had not heard of the first
    assert new.epoch != again.epoch
    assert isinstance(taken, Grant)
    assert (taken.thread.position, taken.thread.status) == (1, "running")
    assert isinstance(bad, StoreError)
    assert not isinstance(bad, StoreUnavailable)
    assert isinstance(repeated, Grant)
    assert repeated.epoch > ours.epoch
    assert await backend.append([Record("held", held.epoch, 1, b"")]) == set()


async def test_of_two_that_want_the_same_new_thread_one_is_told(backend: PostgresBackend) -> None:
    calls = [backend.acquire("t", f"holder {number}", 60, "graph") for number in range(5)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, Grant) for each in found) == 1
    assert sum(isinstance(each, ThreadBusy) for each in found) == 4


async def test_of_many_that_are_given_back_each_counts_for_itself(backend: PostgresBackend) -> None:
    grants: list[Any] = await acquire_all(backend, ["kept", "empty", "lost"])
    kept, empty, lost = (grant.epoch for grant in grants)
    await backend.append([Record("kept", kept, 1, b""), Record("lost", lost, 1, b"")])
    await backend.renew([("lost", lost)], 0)
    heir = await backend.acquire("lost", "heir", 60, "graph")
    epochs = {"kept": kept, "empty": empty, "lost": lost, "unknown": 7}
    await asyncio.gather(*[backend.release(*each, "completed") for each in epochs.items()])
    row = await backend.thread("kept")
    assert row is not None
    assert (row.holder, row.status) == (None, "completed")
    assert await backend.thread("empty") is None
    row = await backend.thread("lost")
    assert row is not None
    assert row.holder == "heir"
    assert await backend.append([Record("lost", heir.epoch, 2, b"")]) == set()


async def test_nobody_waits_for_the_row_of_somebody_else(schema: str) -> None:
    backend = PostgresBackend(database(), schema=schema, timeout=0.5)
    grants: list[Any] = await acquire_all(backend, ["a", "b", "c"])
    other = await asyncpg.connect(database())
    async with other.transaction():
        await other.execute(f"select from {schema}.threads where thread_id = 'b' for update")
        calls = [
            backend.release(name, grant.epoch, "completed")
            for name, grant in zip("abc", grants, strict=True)
        ]
        released = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in released] == [type(None), StoreUnavailable, type(None)]
        found = await acquire_all(backend, ["a", "b", "c"])
        assert [type(each) for each in found] == [Grant, StoreUnavailable, Grant]
    await other.close()
    await backend.close()


@pytest.mark.parametrize("turns", range(6))
async def test_who_leads_may_be_cancelled_and_the_others_can_ask_again(
    backend: PostgresBackend, turns: int
) -> None:
    await backend.threads(limit=1)
    leader = asyncio.ensure_future(backend.acquire("leader", "me", 60, "graph"))
    others = [asyncio.ensure_future(backend.acquire(name, "me", 60, "")) for name in NAMES]
    for _ in range(turns):
        await asyncio.sleep(0)
    leader.cancel()
    found = await asyncio.gather(leader, *others, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError | Grant)
    for name, each in zip(NAMES, found[1:], strict=True):
        assert isinstance(each, Grant | StoreUnavailable)
        grant = each if isinstance(each, Grant) else await backend.acquire(name, "me", 60, "")
        assert await backend.append([Record(name, grant.epoch, 1, b"")]) == set()


async def test_who_follows_may_be_cancelled_and_the_others_have_their_leases(
    backend: PostgresBackend,
) -> None:
    await backend.threads(limit=1)
    tasks = [asyncio.ensure_future(backend.acquire(name, "me", 60, "")) for name in NAMES]
    await asyncio.sleep(0)
    for task in tasks[10:20]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, Grant) for each in found] == [
        not 10 <= number < 20 for number in range(len(NAMES))
    ]


async def test_when_the_server_is_gone_everybody_is_told() -> None:
    backend = PostgresBackend("postgresql://postgres@127.0.0.1:1/app", timeout=1)
    found = await acquire_all(backend, NAMES)
    assert {type(each) for each in found} == {StoreUnavailable}
    assert len({id(each) for each in found}) == len(NAMES)  # no error is raised in two tasks
    await backend.close()


async def test_more_than_one_statement_takes_are_taken_all_the_same(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plait_adapters.postgres.gathering._MOST_AT_ONCE", 25)
    await backend.threads(limit=1)
    found, commits = await commits_of(lambda: acquire_all(backend, NAMES))
    assert not [each for each in found if isinstance(each, PlaitError)]
    assert 3 <= commits < 8
