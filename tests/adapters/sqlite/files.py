"""What the tests of the SQLite store share: short ways to rows, and processes of their own."""

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plait.backend import Grant, Record
from plait_adapters.sqlite import SQLiteBackend

ROOT = Path(__file__).parents[3]

PRELUDE = f"""
import sys
sys.path[:0] = {[str(ROOT / "kernel"), str(ROOT / "adapters"), str(ROOT)]!r}
import anyio
from plait.backend import Record
from plait.errors import *
from plait_adapters.sqlite import SQLiteBackend
path = sys.argv[1]
"""


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SQLiteBackend]:
    """A backend that is closed in the end."""
    backend = SQLiteBackend(path, **options)
    try:
        yield backend
    finally:
        await backend.close()


async def lease(backend: SQLiteBackend, thread_id: str = "t", holder: str = "a") -> Grant:
    return await backend.acquire(thread_id, holder, 3600.0, "graph")


def records(grant: Grant, *positions: int, data: bytes = b"data") -> list[Record]:
    return [Record(grant.thread.thread_id, grant.epoch, p, data) for p in positions]


async def positions(backend: SQLiteBackend, thread_id: str = "t") -> list[int]:
    return [row.position for row in await backend.read(thread_id, 0, limit=100_000)]


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


def start(program: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs a program, which finds ``path`` and ``sys.argv[2:]``."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRELUDE + program, str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What processes print until they end, none of which may fail or take long."""
    printed = [process.communicate(timeout=60) for process in processes]
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in printed]
