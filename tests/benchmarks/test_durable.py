"""W6 measures work that is done: each workload on real stores, at a tiny size."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import asyncpg
import pytest

from benchmarks import durable, report
from benchmarks.durable import (
    JOBS,
    STEP_BYTES,
    BareAsyncpg,
    BareGroupCommit,
    BareSQLite,
    Job,
    Keeper,
    PlaitKeeper,
    kilobyte,
)
from benchmarks.workloads.base import WrongResultError
from plait_adapters.sqlite import SQLiteStore
from tests.postgres.server import Server

KEEPERS: dict[str, Callable[[], Keeper]] = {
    "bare asyncpg": lambda: BareAsyncpg(1),
    "bare asyncpg, 3 connections": lambda: BareAsyncpg(3),
    "bare group commit": BareGroupCommit,
    "bare sqlite3": BareSQLite,
    "Plait, SQLite, sync": lambda: PlaitKeeper("SQLite", "sync"),
    "Plait, SQLite, exit": lambda: PlaitKeeper("SQLite", "exit"),
    "Plait, PostgreSQL, async": lambda: PlaitKeeper("PostgreSQL", "async"),
}
"""Peers live in an environment of their own."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is opened here is closed when the test is over."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CHAIN": 4, "FORK": 5, "RUNS": 3, "RUN_OF": 2, "STEPS": (30, 60)}.items():
        monkeypatch.setattr(durable, name, value)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", KEEPERS)
async def test_a_contender_does_the_work(
    stack: AsyncExitStack, url: str, tmp_path: Path, name: str
) -> None:
    keeper = KEEPERS[name]()
    await keeper.open(stack, str(tmp_path) if keeper.system == "SQLite" else url)
    for job in JOBS:
        elapsed, cpu = await durable._run(keeper, job, f"{name}-{job.key}")
        assert elapsed > 0
        assert cpu >= 0
    assert await keeper.grow(f"{name}-grow", 7) == 7


class Idle(Keeper):
    """Says that it has done something."""

    name = "idle"
    system = "SQLite"

    async def chain(self, thread: str, nodes: int) -> int:
        return 0

    async def fork(self, thread: str, branches: int) -> int:
        return branches - 1


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.key)
async def test_nobody_wins_by_not_doing_the_work(job: Job) -> None:
    with pytest.raises(WrongResultError, match="idle"):
        await durable._run(Idle(), job, "t")


async def test_what_plait_has_done_is_in_its_file(stack: AsyncExitStack, tmp_path: Path) -> None:
    keeper = PlaitKeeper("SQLite", "exit")
    await keeper.open(stack, str(tmp_path))
    await keeper.chain("chain", 4)
    await keeper.grow("grow", 3)
    async with SQLiteStore(tmp_path / "plait_exit.db") as store:
        rows = {row.thread_id: row for row in await store.threads()}
    assert {row.status for row in rows.values()} == {"completed"}
    assert rows["chain"].position == 1 + 4  # what it began with, and a completion for each node
    assert rows["grow"].size > 3 * STEP_BYTES


def test_a_kilobyte_is_one_that_does_not_compress() -> None:
    text = kilobyte(1)
    assert len(text) == STEP_BYTES
    assert text == kilobyte(1) != kilobyte(2)
    assert len(zlib.compress(text.encode())) > 0.7 * STEP_BYTES


@pytest.mark.usefixtures("tiny")
async def test_a_step_of_a_chain_is_one_commit_and_all_is_in_the_tables(url: str) -> None:
    found = await durable.measure(1, (), url, quick=True)
    assert [each.reason for each in found] == [None] * len(found)
    commits = {each.contender: each.commits for each in found if each.system == "PostgreSQL"}
    assert commits["bare asyncpg"]["chain"] == [1 + 4]
    # The lease is taken and given back; what the run begins with is an event, too.
    assert commits["Plait, sync"]["chain"] == [1 + 1 + 4 + 1]
    assert commits["Plait, async"]["chain"][0] < 7
    assert commits["Plait, exit"]["chain"] == [3]
    assert not any(each.commits for each in found if each.system == "SQLite")
    tables = report.durable_tables(found)
    assert tables.count("| Plait, sync ") == 6
    assert tables.count("### W6") == 3


@pytest.mark.usefixtures("tiny")
async def test_what_is_slow_is_run_once_and_said_to_be(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "SLOW", 0.0)
    found = await durable.measure(3, (), url, quick=True)
    assert all(each.once == [job.key for job in JOBS] for each in found)
    assert {len(each.cpu[job.key]) for each in found for job in JOBS} == {1}
    assert report.durable_tables(found).count("¹ of one run only") == 2
    bare, group = found[0], found[2]
    bare.cpu["runs"], group.cpu["runs"], group.once = [1.0], [2.0, 4.0, 9.0], []
    assert bare.ratio(group, "runs") == 0.25


async def commits(stack: AsyncExitStack, url: str, durability: str, runs: int, nodes: int) -> int:
    """In how many transactions chains that run at once are stored."""
    keeper = PlaitKeeper("PostgreSQL", durability)
    await keeper.open(stack, url)
    await keeper.chain(f"warm-{nodes}", nodes)
    count = await durable._commits_of(stack, url)
    before = await count()
    async with anyio.create_task_group() as group:
        for number in range(runs):
            group.start_soon(keeper.chain, f"{durability}-{runs}-{nodes}-{number}", nodes)
    return await count() - before


async def test_twice_the_steps_are_exactly_as_many_commits_more(
    stack: AsyncExitStack, url: str
) -> None:
    of_25, of_50, of_100 = [await commits(stack, url, "sync", 1, n) for n in (25, 50, 100)]
    assert (of_50 - of_25, of_100 - of_50) == (25, 50)


async def test_a_step_that_need_not_be_durable_at_once_shares_its_commit(
    stack: AsyncExitStack, url: str
) -> None:
    assert await commits(stack, url, "async", 1, 100) <= 0.2 * 100


async def test_runs_at_once_share_their_commits(stack: AsyncExitStack, url: str) -> None:
    # Each of them waits for all of its own, so there are at least as many as one run has steps.
    assert 10 <= await commits(stack, url, "sync", 50, 10) <= 0.2 * 50 * 10


async def test_a_step_stores_as_many_bytes_among_400_as_among_25(
    stack: AsyncExitStack, url: str
) -> None:
    keeper = PlaitKeeper("PostgreSQL", "sync")
    await keeper.open(stack, url)
    stored = {}
    for steps in (25, 400):
        await keeper.grow(f"long-{steps}", steps)
        stored[steps] = await bytes_of(url, f"long-{steps}") / steps
    assert stored[25] < 1.4 * STEP_BYTES
    assert stored[400] < 1.1 * stored[25]


async def bytes_of(url: str, thread: str) -> int:
    """What the rows of a thread take, its snapshots included."""
    connection = await asyncpg.connect(url)
    try:
        sizes = [
            await connection.fetchval(
                f"select coalesce(sum(pg_column_size(t)), 0) from plait_sync.{table} t "
                "where thread_id = $1",
                thread,
            )
            for table in ("threads", "events", "snapshots")
        ]
    finally:
        await connection.close()
    return int(sum(sizes))
