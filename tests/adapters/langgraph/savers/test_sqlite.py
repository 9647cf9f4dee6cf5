"""Savers in SQLite: how the file is reached."""

from __future__ import annotations

import gc
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import anyio.to_thread
import pytest

from plait.errors import StoreError
from plait_adapters.langgraph.checkpoint.base import empty_checkpoint
from plait_adapters.langgraph.checkpoint.sqlite import SqliteSaver
from plait_adapters.langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from plait_adapters.sqlite import SQLiteStore

CONFIG: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}


async def test_all_ways_to_a_file_lead_to_the_same_checkpoints(tmp_path: Path) -> None:
    path = str(tmp_path / "checkpoints.db")
    with SqliteSaver.from_conn_string(path) as first:
        first.setup()
        first.put(CONFIG, empty_checkpoint(), {"step": 1}, {})
    async with AsyncSqliteSaver.from_conn_string(path) as second:
        await second.setup()
        await second.aput(CONFIG, empty_checkpoint(), {"step": 2}, {})
    async with aiosqlite.connect(path) as connection:
        third = AsyncSqliteSaver(connection)
        await third.aput(CONFIG, empty_checkpoint(), {"step": 3}, {})
        assert [found.metadata["step"] async for found in third.alist(CONFIG)] == [3, 2, 1]
        found = await anyio.to_thread.run_sync(third.get_tuple, CONFIG)
        assert found is not None
        assert found.metadata["step"] == 3


@pytest.mark.parametrize("saver", [SqliteSaver, AsyncSqliteSaver])
async def test_a_saver_may_be_in_memory(saver: Any) -> None:
    if saver is SqliteSaver:
        with saver.from_conn_string(":memory:") as made:
            await made.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
            assert [found.metadata["step"] for found in made.list(CONFIG)] == [1]
        return
    async with saver.from_conn_string(":memory:") as made:
        await made.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
        assert [found.metadata["step"] for found in made.list(CONFIG)] == [1]


async def test_journals_and_checkpoints_may_be_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "all.db"
    async with SQLiteStore(path) as store, AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
        assert await store.threads() == []
        found = await saver.aget_tuple(CONFIG)
        assert found is not None


async def test_a_connection_for_one_thread_only_is_refused_with_the_way_out() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        saver = SqliteSaver(connection)
        with pytest.raises(StoreError, match="check_same_thread=False"):
            await saver.aget_tuple(CONFIG)


def test_what_is_no_connection_is_refused() -> None:
    with pytest.raises(TypeError, match="sqlite3"):
        SqliteSaver(object())


def test_a_failed_write_leaves_nothing_behind() -> None:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        saver = SqliteSaver(connection)
        saver.setup()
        connection.execute("drop table plait_checkpoints")
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"]["x"] = 1
        with pytest.raises(StoreError, match="plait_checkpoints"):
            saver.put(CONFIG, checkpoint, {}, {"x": "1"})

        assert connection.execute("select count(*) from plait_channel_values").fetchone() == (0,)
        assert not connection.in_transaction


async def test_a_saver_that_nobody_refers_to_gives_its_file_back(tmp_path: Path) -> None:
    saver: Any = AsyncSqliteSaver(tmp_path / "checkpoints.db")
    await saver.aput(CONFIG, empty_checkpoint(), {}, {})
    threads = {thread for thread in threading.enumerate() if "checkpoints" in thread.name}
    del saver
    gc.collect()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join, 5)

    assert threads
    assert not any(thread.is_alive() for thread in threads)


def test_tables_that_are_there_can_be_read_while_another_process_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "checkpoints.db")
    with SqliteSaver.from_conn_string(path) as saver:
        saver.put(CONFIG, empty_checkpoint(), {"step": 1}, {})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
        with closing(connection):
            saver = SqliteSaver(connection)
            saver.setup()
            assert [found.metadata for found in saver.list(CONFIG)] == [{"step": 1}]
