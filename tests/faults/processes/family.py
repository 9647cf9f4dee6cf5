"""Starting processes in a few milliseconds each, and ending them.

They are forked from a server that has imported everything, and that has no threads of execution.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio

from tests.faults.processes.life import Life, Report, live

__all__ = ["Being", "barrier", "live_on"]

_ROOT: Final = Path(__file__).parents[3]
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.processes.warm"])

_LONGEST: Final = 120.0
"""Seconds until a process that does not end counts as stuck."""


@contextmanager
def _import_path() -> Iterator[None]:
    """The server finds the modules where this process does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(_ROOT / "kernel"), str(_ROOT / "adapters"), str(_ROOT)]
    )
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def barrier(parties: int) -> Barrier:
    """What so many processes wait for, to begin at the same instant."""
    with _import_path():
        return _CONTEXT.Barrier(parties)


class Being:
    """A process. ``async with Being(life) as being``: it does not outlive the block."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self._reports, sender = _CONTEXT.Pipe(duplex=False)
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=live, args=(life, sender), name=life.name, daemon=True
        )
        with _import_path():
            forkserver.ensure_running()
            self._process.start()
        sender.close()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def memory(self) -> float:
        """The MB that it has in memory, as Linux counts them; 0 elsewhere."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0.0
        return int(pages) * resource.getpagesize() / 1e6

    async def wait_until_ready(self) -> None:
        """Wait until it is about to begin."""
        with anyio.fail_after(_LONGEST):
            await anyio.wait_readable(self._reports)
        self._reports.recv()

    async def wait(self) -> Report | None:
        """Wait until it has ended; what it said, or ``None`` if it was killed.

        Raises ``TimeoutError`` if it is stuck.
        """
        with anyio.fail_after(_LONGEST):
            await anyio.wait_readable(self._process.sentinel)
        self._process.join()
        said: Report | None = None
        try:
            while self._reports.poll():
                said = self._reports.recv() or said
        except EOFError:
            pass
        if said is None and self._process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{self.life.name} ended with {self._process.exitcode}")
        return said

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        """Make it stand still, if it has not ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on, if it has not ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._reports.close()


async def live_on(life: Life) -> Report | None:
    """A whole life; ``None`` if it was cut short."""
    async with Being(life) as being:
        return await being.wait()
