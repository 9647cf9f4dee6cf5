"""Several processes on one file, and processes that end without a word."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plait.backend import Grant, Record
from plait.errors import StoreUnavailable
from plait_adapters.sqlite import SQLiteBackend
from tests.adapters.sqlite.files import finish, lease, opened, positions, records, start

WAIT_FOR_THE_OTHERS = """
import pathlib, time
folder, number, others = pathlib.Path(path).parent, sys.argv[2], int(sys.argv[3])
(folder / f"ready {number}").touch()
while len(list(folder.glob("ready *"))) < others:
    time.sleep(0.001)
"""

OPEN = (
    WAIT_FOR_THE_OTHERS
    + """
async def main():
    backend = SQLiteBackend(path)
    grant = await backend.acquire(f"t{number}", number, 60.0, "graph")
    assert await backend.append([Record(f"t{number}", grant.epoch, 1, b"")]) == set()
    await backend.close()
    print(grant.epoch)
anyio.run(main)
"""
)


@pytest.mark.parametrize("attempt", range(3))
async def test_eight_processes_open_a_new_file_at_once(tmp_path: Path, attempt: int) -> None:
    processes = [start(OPEN, tmp_path / "rows.db", str(n), "8") for n in range(8)]
    epochs = sorted(int(output) for output in finish(processes))
    assert epochs == list(range(1, 9))
    async with opened(tmp_path / "rows.db") as backend:
        assert len(await backend.threads(limit=10)) == 8


WRITE = (
    WAIT_FOR_THE_OTHERS
    + """
async def main():
    backend = SQLiteBackend(path)
    grants = [await backend.acquire(f"{number}.{n}", number, 60.0, "graph") for n in range(8)]
    async def write(n, grant):
        for position in range(1, 251):
            record = Record(f"{number}.{n}", grant.epoch, position, b"x")
            assert await backend.append([record]) == set()
    async with anyio.create_task_group() as tasks:
        for n, grant in enumerate(grants):
            tasks.start_soon(write, n, grant)
    await backend.close()
anyio.run(main)
"""
)


async def test_two_processes_that_write_all_the_time_both_come_to_an_end(tmp_path: Path) -> None:
    finish([start(WRITE, tmp_path / "rows.db", str(number), "2") for number in range(2)])
    async with opened(tmp_path / "rows.db") as backend:
        for number in range(2):
            for n in range(8):
                assert await positions(backend, f"{number}.{n}") == list(range(1, 251))


CONTEND = (
    WAIT_FOR_THE_OTHERS
    + """
async def main():
    backend = SQLiteBackend(path)
    stored = 0
    while stored < 40:
        try:
            grant = await backend.acquire("t", number, 0.0, "graph")  # expires at once
        except ThreadBusy:
            continue
        for step in range(1, 4):
            position = grant.thread.position + step
            record = Record("t", grant.epoch, position, f"{number} {position}".encode())
            if await backend.append([record]):
                break
            print(position)
            stored += 1
    await backend.close()
anyio.run(main)
"""
)


async def test_of_two_processes_that_take_a_thread_from_each_other_one_appends(
    tmp_path: Path,
) -> None:
    outputs = finish([start(CONTEND, tmp_path / "rows.db", str(n), "2") for n in range(2)])
    acknowledged = {
        int(position): number for number, text in enumerate(outputs) for position in text.split()
    }
    assert len(acknowledged) == sum(len(text.split()) for text in outputs)
    async with opened(tmp_path / "rows.db") as backend:
        rows = await backend.read("t", 0)
    assert {row.position: int(row.data.split()[0]) for row in rows} == acknowledged
    assert sorted(acknowledged) == list(range(1, len(acknowledged) + 1))


APPEND_FOREVER = """
async def main():
    backend = SQLiteBackend(path)
    async def write(thread_id):
        grant = await backend.acquire(thread_id, thread_id, 0.0, "graph")
        position = grant.thread.position
        while True:
            position += 1
            await backend.append([Record(thread_id, grant.epoch, position, b"x" * 500)])
            print(thread_id, position, flush=True)
    async with anyio.create_task_group() as tasks:
        for n in range(4):
            tasks.start_soon(write, f"t{n}")
anyio.run(main)
"""


async def test_killed_while_it_appends_a_process_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    acknowledged = dict.fromkeys((f"t{n}" for n in range(4)), 0)
    for lines in (1, 3, 10, 40, 100, 250):
        process = start(APPEND_FOREVER, tmp_path / "rows.db")
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        complete = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        for line in (*printed, *complete):
            thread_id, position = line.split()
            acknowledged[thread_id] = int(position)
        async with opened(tmp_path / "rows.db") as backend:
            for thread_id, last in acknowledged.items():
                stored = await positions(backend, thread_id)
                assert stored == list(range(1, len(stored) + 1))
                assert len(stored) >= last
    with closing(sqlite3.connect(tmp_path / "rows.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


FORGET_TO_CLOSE = """
backend = SQLiteBackend(path)
async def main():
    grant = await backend.acquire("t", "a", 60.0, "graph")
    await backend.append([Record("t", grant.epoch, 1, b"")])
    await backend.read("t", 0)
anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_a_process_that_forgets_to_close_ends_and_loses_nothing(
    tmp_path: Path, loop: str
) -> None:
    finish([start(FORGET_TO_CLOSE, tmp_path / "rows.db", loop)])
    async with opened(tmp_path / "rows.db") as backend:
        assert await positions(backend) == [1]


USE_AFTER_A_FORK = """
import os
backend = SQLiteBackend(path)
anyio.run(backend.acquire, "t", "a", 60.0, "graph")
child = os.fork()
if child == 0:
    try:
        anyio.run(backend.read, "t", 0)
    except StoreError as error:
        print(error, flush=True)
    sys.exit(0)
os.waitpid(child, 0)
anyio.run(backend.close)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_process_that_was_forked_cannot_use_the_store_of_its_parent(
    tmp_path: Path,
) -> None:
    program = "import warnings; warnings.simplefilter('ignore')\n" + USE_AFTER_A_FORK
    (output,) = finish([start(program, tmp_path / "rows.db")])
    assert "open a store after the fork" in output


async def test_a_process_that_stood_still_is_fenced(tmp_path: Path) -> None:
    process = start(APPEND_FOREVER, tmp_path / "rows.db")
    assert process.stdout is not None
    process.stdout.readline()
    async with opened(tmp_path / "rows.db", timeout=0.2) as backend:
        grant: Grant | None = None
        while grant is None:
            process.send_signal(signal.SIGSTOP)
            try:
                grant = await lease(backend, "t0", "b")
            except StoreUnavailable:  # it stands still in a commit, and holds the lock
                process.send_signal(signal.SIGCONT)
        stored = await positions(backend, "t0")
        process.send_signal(signal.SIGCONT)
        for position in range(len(stored) + 1, len(stored) + 20):
            await repeat(backend, records(grant, position, data=b"mine"))
        process.kill()
        process.communicate(timeout=30)
        rows = await backend.read("t0", len(stored))
    assert [row.data for row in rows] == [b"mine"] * 19


async def repeat(backend: SQLiteBackend, batch: list[Record]) -> None:
    """Append in the presence of a process that writes all the time."""
    for _ in range(50):
        try:
            assert await backend.append(batch) == set()
            return
        except StoreUnavailable:
            continue
    raise AssertionError("the file was locked all the time")
