"""A disk that is full, and one that has room again."""

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from plait.backend import Grant
from plait.errors import StoreUnavailable
from plait_adapters.sqlite import SQLiteBackend
from plait_adapters.sqlite.file import DatabaseFile
from tests.adapters.sqlite.files import lease, opened, positions, records

KIBIBYTE = os.urandom(1024)


class Room:
    """How many pages a file may have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages = 100
        begin = DatabaseFile.begin

        def limited(file: DatabaseFile, connection: sqlite3.Connection) -> None:
            connection.execute(f"pragma max_page_count = {self.pages}")
            begin(file, connection)

        monkeypatch.setattr(DatabaseFile, "begin", limited)


async def fill(backend: SQLiteBackend, grant: Grant) -> int:
    """Append until there is no room; returns how many were acknowledged."""
    position = 0
    with pytest.raises(StoreUnavailable, match="the disk is full"):  # noqa: PT012
        while True:
            await backend.append(records(grant, position + 1, data=KIBIBYTE))
            position += 1
    return position


async def test_a_full_file_keeps_what_was_acknowledged_and_takes_more_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(monkeypatch)
    async with opened(tmp_path / "rows.db") as backend:
        grant = await lease(backend)
        stored = await fill(backend, grant)
        assert stored > 50
        assert await positions(backend) == list(range(1, stored + 1))
        room.pages = 1000
        assert await backend.append(records(grant, stored + 1, data=KIBIBYTE)) == set()
        assert len(await positions(backend)) == stored + 1


async def test_of_several_at_once_only_those_fail_for_which_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Room(monkeypatch)
    async with opened(tmp_path / "rows.db") as backend:
        grants = [await lease(backend, f"t{number}") for number in range(4)]
        failed: list[str] = []

        async def append(grant: Grant, size: int) -> None:
            try:
                await backend.append(records(grant, 1, data=bytes(size)))
            except StoreUnavailable:
                failed.append(grant.thread.thread_id)

        async with anyio.create_task_group() as tasks:
            for grant, size in zip(grants, [100, 10_000_000, 100, 10_000_000], strict=True):
                tasks.start_soon(append, grant, size)
        assert sorted(failed) == ["t1", "t3"]
        assert [len(await positions(backend, f"t{n}")) for n in range(4)] == [1, 0, 1, 0]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 1 MiB, where one may be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no file system may be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_keeps_what_was_acknowledged_and_takes_more_when_there_is_room(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    async with opened(small_disk / "rows.db", timeout=1.0) as backend:
        grant = await lease(backend)
        stored = await fill(backend, grant)
        assert stored > 20
        assert len(await positions(backend)) == stored
        ballast.unlink()
        assert await backend.append(records(grant, stored + 1, data=KIBIBYTE)) == set()
    async with opened(small_disk / "rows.db") as backend:
        assert await positions(backend) == list(range(1, stored + 2))
