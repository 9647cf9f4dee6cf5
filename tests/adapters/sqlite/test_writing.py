"""Group commit, locks, cancellation, time-outs, and the ends of threads of execution."""

import gc
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from plait.backend import Grant, Record
from plait.errors import StoreError, StoreUnavailable, ThreadBusy
from plait_adapters.sqlite import SQLiteBackend
from plait_adapters.sqlite.file import DatabaseFile
from tests.adapters.sqlite.files import lease, opened, positions, records


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process has begun to write, as far as the backend can tell."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield connection


def threads_of_execution() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("plait sqlite")}


class Transactions:
    """Counts those that begin to write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        begin = DatabaseFile.begin

        def counted(file: DatabaseFile, connection: sqlite3.Connection) -> None:
            begin(file, connection)
            self.count += 1

        monkeypatch.setattr(DatabaseFile, "begin", counted)


both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@both_loops
async def test_what_waits_for_the_lock_is_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "rows.db") as backend:
        grants = [await lease(backend, f"t{number}") for number in range(50)]
        transactions = Transactions(monkeypatch)
        async with anyio.create_task_group() as tasks:
            with locked(tmp_path / "rows.db"):
                for grant in grants:
                    tasks.start_soon(backend.append, records(grant, 1))
                await anyio.sleep(0.02)
        assert transactions.count <= 2  # what came first, and all that came meanwhile
        assert [await positions(backend, f"t{number}") for number in range(50)] == [[1]] * 50


@both_loops
async def test_a_job_that_is_refused_voids_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "rows.db") as backend:
        grant = await lease(backend)
        refused: list[type[Exception]] = []

        async def attempt(call: Callable[[], object]) -> None:
            try:
                await call()  # type: ignore[misc]
            except (StoreError, ThreadBusy) as error:
                refused.append(type(error))

        calls: list[Callable[[], object]] = [
            lambda: backend.append(records(grant, 1)),
            lambda: lease(backend, holder="b"),
            lambda: backend.append([Record("t", grant.epoch, 2, "no bytes \ud800")]),  # type: ignore[arg-type]
            lambda: backend.prune("t", grant.epoch, 7),
            lambda: backend.append(records(grant, 3)),
        ]
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(attempt, call)
        assert sorted(error.__name__ for error in refused) == [
            "StoreError",
            "StoreError",
            "ThreadBusy",
        ]
        assert await positions(backend) == [1, 3]


@both_loops
async def test_a_lock_that_is_held_too_long_makes_the_store_unavailable(tmp_path: Path) -> None:
    async with opened(tmp_path / "rows.db", timeout=0.1) as backend:
        grant = await lease(backend)
        with locked(tmp_path / "rows.db"):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="holds its lock"):
                await backend.append(records(grant, 1))
            assert time.monotonic() - began < 3
            assert await positions(backend) == []  # readers do not wait
        assert await backend.append(records(grant, 1)) == set()


async def test_a_new_file_that_is_locked_makes_the_store_unavailable(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "rows.db", isolation_level=None)) as connection:
        connection.execute("begin exclusive")
        async with opened(tmp_path / "rows.db", timeout=0.1) as backend:
            with pytest.raises(StoreUnavailable):
                await lease(backend)
            with pytest.raises(StoreUnavailable):
                await positions(backend)
            connection.execute("rollback")
            assert (await lease(backend)).epoch == 1


@both_loops
async def test_a_disk_that_stands_still_is_waited_for_within_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = threading.Event()
    async with opened(tmp_path / "rows.db", timeout=0.05) as backend:
        grant = await lease(backend)
        monkeypatch.setattr(DatabaseFile, "begin", lambda *_: still.wait(30))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer"):
            await backend.append(records(grant, 1))
        await backend.close()
        assert time.monotonic() - began < 10
        still.set()


@both_loops
async def test_cancelled_before_it_began_a_job_is_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path / "rows.db") as backend:
        grant = await lease(backend)
        with locked(tmp_path / "rows.db"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(backend.append, records(grant, 1))
                await anyio.sleep(0.02)
                with anyio.move_on_after(0.02) as scope:
                    await backend.append(records(grant, 2))
                assert scope.cancelled_caught
                tasks.cancel_scope.cancel()
        await backend.append(records(grant, 3))
        assert await positions(backend) == [1, 3]  # the first had begun, and is finished


def test_event_loops_come_and_go(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "rows.db")
    grants: list[Grant] = []

    async def begin() -> None:
        grants.append(await lease(backend))

    async def go_on(position: int) -> None:
        await backend.append(records(grants[0], position))
        assert await positions(backend) == list(range(1, position + 1))

    anyio.run(begin)
    for position, loop in enumerate(["asyncio", "trio", "asyncio", "trio"], 1):
        anyio.run(go_on, position, backend=loop)
    anyio.run(backend.close, backend="trio")
    assert threads_of_execution() == set()


def test_an_event_loop_that_has_ended_is_not_told(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "rows.db")

    async def give_up() -> None:
        with anyio.move_on_after(0.05):
            await lease(backend)

    anyio.run(lease, backend)
    with locked(tmp_path / "rows.db"):
        anyio.run(give_up)
    anyio.run(lease, backend)  # the writer is well
    anyio.run(backend.close)


@both_loops
async def test_closing_ends_the_threads_of_execution(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "rows.db")
    assert threads_of_execution() == set()
    grant = await lease(backend)
    await positions(backend)
    assert threads_of_execution() == {"plait sqlite reader", "plait sqlite writer"}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.append, records(grant, 1))
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            tasks.start_soon(backend.close)
    assert threads_of_execution() == set()
    with pytest.raises(StoreError, match="closed"):
        await positions(backend)


@both_loops
async def test_a_backend_that_is_forgotten_is_closed(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "rows.db")
    await lease(backend)
    await positions(backend)
    del backend
    gc.collect()
    assert threads_of_execution() == set()


async def test_two_backends_on_one_file_take_turns(tmp_path: Path) -> None:
    async with opened(tmp_path / "rows.db") as one, opened(tmp_path / "rows.db") as two:
        grants = [await lease(one, "one"), await lease(two, "two")]

        async def write(backend: SQLiteBackend, grant: Grant) -> None:
            for position in range(1, 101):
                assert await backend.append(records(grant, position)) == set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, one, grants[0])
            tasks.start_soon(write, two, grants[1])
        for name in ("one", "two"):
            assert await positions(one, name) == list(range(1, 101))


async def test_there_are_no_transactions_and_the_error_says_where(tmp_path: Path) -> None:
    async with opened(tmp_path / "rows.db") as backend:
        with pytest.raises(StoreError, match="PostgreSQL"):
            backend.transaction()


async def test_bytes_stored_are_near_the_payload(tmp_path: Path) -> None:
    data = os.urandom(300)
    async with opened(tmp_path / "rows.db", synchronous="OFF") as backend:
        grants = [await lease(backend, f"a thread with a long name {n}") for n in range(50)]
        for position in range(1, 101):
            batch = [r for grant in grants for r in records(grant, position, data=data)]
            await backend.append(batch)
    size = (tmp_path / "rows.db").stat().st_size
    assert size < 1.25 * 50 * 100 * len(data)
