"""What appends to PostgreSQL cost, beside bare asyncpg: ``python -m tests.postgres.measure``.

The two take turns, some hundred rows each, in one process and on one server; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from plait.backend import Record
from plait_adapters.postgres import PostgresBackend
from tests.postgres.server import Server

_ROWS = 200
"""In one turn, and in one batch."""


async def rate(rows: int, work: Callable[[], Awaitable[None]]) -> float:
    """Rows a second."""
    began = time.perf_counter()
    await work()
    return rows / (time.perf_counter() - began)


async def appends(url: str, size: int, turns: int, **options: Any) -> dict[str, float]:
    """Rows a second, one record at a time and in batches, and of bare inserts."""
    data = random.Random(0).randbytes(size)  # which does not compress
    bare = await asyncpg.connect(url)
    await bare.execute(
        "create table if not exists bare (thread_id text, position bigint, "
        "data bytea not null, primary key (thread_id, position))"
    )
    insert = await bare.prepare("insert into bare values ($1, $2, $3)")
    backend = PostgresBackend(url, **options)
    grant = await backend.acquire(f"thread {size}", f"{options}", 3600, "graph")
    known = await backend.thread(f"thread {size}")
    assert known is not None
    here = known.position
    await bare.execute("delete from bare")

    async def inserts() -> None:
        for _ in range(_ROWS):
            nonlocal here
            here += 1
            await insert.fetch(f"thread {size}", here, data)

    async def singles() -> None:
        for _ in range(_ROWS):
            nonlocal here
            here += 1
            await backend.append([Record(f"thread {size}", grant.epoch, here, data)])

    async def batches() -> None:
        nonlocal here
        for _ in range(5):
            batch = [Record(f"thread {size}", grant.epoch, here + i, data) for i in range(1, 201)]
            here += _ROWS
            await backend.append(batch)

    measured: dict[str, list[float]] = {"bare": [], "single": [], "batch": []}
    for _ in range(turns):
        measured["bare"].append(await rate(_ROWS, inserts))
        measured["single"].append(await rate(_ROWS, singles))
        measured["batch"].append(await rate(5 * _ROWS, batches))
    await backend.release(f"thread {size}", grant.epoch, "completed")
    await backend.close()
    await bare.close()
    return {name: statistics.median(rates) for name, rates in measured.items()}


async def stored(url: str, size: int) -> float:
    """Bytes that the table of events and its index take, as a multiple of the payload."""
    connection = await asyncpg.connect(url)
    taken, payload = await connection.fetchrow(
        "select pg_total_relation_size('plait.events'), sum(octet_length(data)) from plait.events"
    )
    await connection.execute("drop schema plait cascade")
    await connection.close()
    return float(taken / payload)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    print("fsync  bytes  cache    bare/s  single/s  ratio   batch/s   x  stored/payload")
    for fsync in ("on", "off"):
        with Server(fsync=fsync) as server:
            for size in (100, 1000, 8000):
                for cache in (None, 0):
                    rates = asyncio.run(
                        appends(server.url, size, turns, statement_cache_size=cache)
                    )
                    bare, single, batch = rates.values()
                    share = asyncio.run(stored(server.url, size))
                    print(
                        f"{fsync:5} {size:6} {cache!s:>6} {bare:9,.0f} {single:9,.0f} "
                        f"{single / bare:6.2f} {batch:9,.0f} {batch / bare:4.0f} {share:6.2f}"
                    )


if __name__ == "__main__":
    main()
