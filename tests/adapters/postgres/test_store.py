"""A graph whose journal is in PostgreSQL."""

from __future__ import annotations

import operator
import subprocess
import sys
from typing import Annotated, Any, TypedDict

import asyncpg

from plait import END, START, Graph, open_store
from plait_adapters.postgres import PostgresStore
from tests.postgres.server import database


class Counting(TypedDict):
    total: Annotated[int, operator.add]


def counting(steps: int) -> Graph[Any]:
    """Adds one in each step, one step after another."""
    graph = Graph(Counting)
    previous = START
    for number in range(steps):

        async def step(state: Counting) -> dict[str, int]:
            return {"total": 1}

        graph.add_node(f"step {number}", step)
        graph.add_edge(previous, f"step {number}")
        previous = f"step {number}"
    graph.add_edge(previous, END)
    return graph


async def test_a_run_is_found_by_another_process(schema: str) -> None:
    async with PostgresStore(database(), schema=schema) as store:
        result = await counting(5).compile(store=store).run({}, thread_id="t")
    assert result.state["total"] == 5
    async with PostgresStore(database(), schema=schema) as store:
        snapshot = await counting(5).compile(store=store).state("t")
        [row] = await store.threads()
    assert snapshot.state["total"] == 5
    assert (row.thread_id, row.status, row.holder) == ("t", "completed", None)


async def test_a_store_is_opened_by_its_url(schema: str) -> None:
    store: Any = open_store(database(schema=schema, tenant="acme", lease_ttl="7"))
    assert isinstance(store, PostgresStore)
    async with store:
        await counting(1).compile(store=store).run({}, thread_id="t")
    connection = await asyncpg.connect(database())
    assert await connection.fetchval(f"select tenant from {schema}.threads") == "acme"
    await connection.close()


async def test_the_tables_are_brought_up_to_date_once(schema: str) -> None:
    async with PostgresStore(database(), schema=schema) as store:
        first = await store.upgrade()
        assert first
        assert not await store.upgrade()


def test_the_command_line_makes_the_tables(schema: str) -> None:
    command = [sys.executable, "-m", "plait.cli", "db", "upgrade", "--store"]
    done = subprocess.run(
        [*command, database(schema=schema)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
