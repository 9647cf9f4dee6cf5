"""How many rows a second go into a SQLite file: ``python -m tests.adapters.sqlite.throughput``.

Each task appends one record at a time and waits until it is durable. In the same run, the same
rows through bare ``sqlite3`` with a commit for each, which is the floor without group commit.
The two take turns, and medians are printed, since disks and neighbours are not always as fast.
"""

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import anyio

from plait.backend import Grant
from tests.adapters.sqlite.files import lease, opened, records

PAYLOAD = os.urandom(300)


async def with_tasks(path: Path, tasks: int, seconds: float) -> float:
    """Rows a second of so many tasks, each of which appends to a thread of its own."""
    stored = 0
    async with opened(path) as backend:
        grants = [await lease(backend, f"thread {number}") for number in range(tasks)]
        end = time.perf_counter() + seconds

        async def write(grant: Grant) -> None:
            nonlocal stored
            position = 0
            while time.perf_counter() < end:
                position += 1
                await backend.append(records(grant, position, data=PAYLOAD))
                stored += 1

        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for grant in grants:
                group.start_soon(write, grant)
        return stored / (time.perf_counter() - began)


async def in_batches(path: Path, size: int, seconds: float) -> float:
    """Rows a second of one task that appends batches, a record for each of so many threads."""
    position = 0
    async with opened(path) as backend:
        grants = [await lease(backend, f"thread {number}") for number in range(size)]
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            position += 1
            await backend.append([r for g in grants for r in records(g, position, data=PAYLOAD)])
        return position * size / (time.perf_counter() - began)


def bare(path: Path, seconds: float) -> float:
    """Rows a second of bare sqlite3 with a commit for each."""
    stored = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("create table events (thread text, position integer, data blob)")
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            stored += 1
            connection.execute("insert into events values ('thread', ?, ?)", (stored, PAYLOAD))
        return stored / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    options = parser.parse_args()
    figures: dict[str, list[float]] = {}
    seconds = options.seconds
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            row = {"bare sqlite3, a commit for each row": bare(place / "bare", seconds)}
            for tasks in (1, 8, 64, 200):
                name = f"SQLiteBackend, {tasks} tasks"
                row[name] = anyio.run(with_tasks, place / name, tasks, seconds)
            row["SQLiteBackend, batches of 200"] = anyio.run(
                in_batches, place / "batches", 200, seconds
            )
        for name, figure in row.items():
            figures.setdefault(name, []).append(figure)
    floor = statistics.median(figures["bare sqlite3, a commit for each row"])
    for name, measured in figures.items():
        median = statistics.median(measured)
        print(f"{name:40} {median:10,.0f} rows/s {median / floor:8.2f} of the floor")


if __name__ == "__main__":
    main()
