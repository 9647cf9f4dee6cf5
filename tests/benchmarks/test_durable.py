"""W6 measures work that is done: each workload on real stores, at a tiny size."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

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
