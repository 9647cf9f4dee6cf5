"""A thread of execution that owns a connection, and carries out what tasks give to it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio

from plait.errors import PlaitError, StoreError, StoreUnavailable

from .file import DatabaseFile, is_locked

__all__ = ["Action", "Worker"]

T = TypeVar("T")

Action: TypeAlias = Callable[[sqlite3.Connection], T]
"""Does one thing with the rows; is called again if it has been rolled back."""

_Waker: TypeAlias = Callable[[Callable[[], object]], object]
"""Has a function called by an event loop; is itself called from any thread of execution."""

_MOST_AT_ONCE: Final = 1_000
"""How many jobs one transaction takes along, so that none waits long for the others."""


class _Job(Generic[T]):
    """An action, and the task that waits for it."""

    __slots__ = ("abandoned", "action", "done", "error", "result", "waker")

    def __init__(self, action: Action[T]) -> None:
        self.action = action
        self.waker = _current_waker()
        self.done = anyio.Event()
        self.abandoned = False
        self.result: T | None = None
        self.error: Exception | None = None


class Worker:
    """A thread of execution with a connection of its own; it is started when it is needed.

    It is a daemon, so a process that has forgotten to close it ends all the same. Nothing is lost
    by that, since what was acknowledged has been committed.

    Args:
        name: of the thread of execution.
        file: what to open.
        writes: whether the actions write. All that wait are then carried out in one transaction,
            with one commit (group commit).
    """

    def __init__(self, name: str, file: DatabaseFile, *, writes: bool) -> None:
        self._name = name
        self._file = file
        self._writes = writes
        self._queue: SimpleQueue[_Job[Any] | None] = SimpleQueue()  # None: there are no more
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        # What follows is the thread's own.
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    async def do(self, action: Action[T]) -> T:
        """Carry out an action; what it returns and raises, this does.

        If the caller is cancelled, an action that has begun is finished, and one that has not
        begun is dropped.

        Raises:
            StoreUnavailable: there is no answer within twice the timeout.
        """
        if self._closed:
            raise StoreError("the store is closed: open it again")
        if self._process != os.getpid():
            raise StoreError(
                "this process was forked from the one that opened the store, and SQLite would "
                "damage the file: open a store after the fork"
            )
        if self._thread is None:
            self._thread = self._start()
        job = _Job(action)
        self._queue.put(job)
        bound = 2 * self._file.timeout
        try:
            with anyio.move_on_after(bound):
                await job.done.wait()
        finally:
            job.abandoned = True
        if not job.done.is_set():
            raise StoreUnavailable(
                f"the SQLite file {str(self._file.path)!r} gave no answer within {bound:g} s: "
                "the disk is slow or stands still, or another process holds the lock"
            )
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def end(self) -> None:
        """Take no more jobs; finish those that wait, and give the connection back."""
        self._closed = True
        self._queue.put(None)

    def join(self, deadline: float) -> None:
        """Block until it has ended, or until a time of ``time.monotonic()``."""
        thread = self._thread
        if thread is None or thread is threading.current_thread() or self._process != os.getpid():
            return
        thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise StoreUnavailable(
                f"the SQLite file {str(self._file.path)!r} cannot be used: {error} (too many "
                "threads of execution)"
            ) from error
        return thread

    # -- in the thread of execution -------------------------------------------------------------

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs, ending = self._take()
            try:
                if self._writes:
                    self._write(jobs)
                else:
                    self._read(jobs)
            except Exception as error:  # a fault in here must not leave anybody waiting
                _fail(jobs, self._file, error)
                _answer(jobs)
            del jobs  # they refer to whoever gave them, who may be forgotten meanwhile
        self._disconnect()

    def _take(self) -> tuple[list[_Job[Any]], bool]:
        """Wait for jobs; returns all that there are, and whether they are the last."""
        jobs: list[_Job[Any]] = []
        job = self._queue.get()
        while job is not None:
            if not job.abandoned:
                jobs.append(job)
            if len(jobs) == _MOST_AT_ONCE:
                return jobs, False
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _read(self, jobs: Sequence[_Job[Any]]) -> None:
        for job in jobs:
            error = self._try([job])
            if error is not None:
                _fail([job], self._file, error)
            _answer([job])

    def _write(self, jobs: Sequence[_Job[Any]]) -> None:
        """Carry out jobs with one commit; where that fails, one by one, so that only those fail
        that are at fault."""
        error = self._try(jobs) if jobs else None
        if error is not None:
            if len(jobs) == 1 or _concerns_all(error):
                _fail(jobs, self._file, error)
            else:
                self._write_one_by_one(jobs)
        _answer(jobs)

    def _write_one_by_one(self, jobs: Sequence[_Job[Any]]) -> None:
        for number, job in enumerate(jobs):
            error = self._try([job])
            if error is None:
                continue
            if _concerns_all(error):
                _fail(jobs[number:], self._file, error)
                return
            _fail([job], self._file, error)

    def _try(self, jobs: Sequence[_Job[Any]]) -> Exception | None:
        """Carry out jobs, all or none; returns why it was none."""
        try:
            connection = self._connect()
            if self._writes:
                self._carry_out_in_a_transaction(connection, jobs)
            else:
                for job in jobs:
                    job.result = job.action(connection)
            self._check_identity()
        except Exception as error:
            if not is_locked(error) or (self._connection and self._connection.in_transaction):
                self._disconnect()  # it may be in any state
            return error
        return None

    def _carry_out_in_a_transaction(
        self, connection: sqlite3.Connection, jobs: Sequence[_Job[Any]]
    ) -> None:
        self._file.begin(connection)
        for job in jobs:
            job.error = None
            connection.execute("savepoint job")
            try:
                job.result = job.action(connection)
            except sqlite3.Error:
                raise  # it may have ended the transaction
            except Exception as error:
                connection.execute("rollback to job")
                job.error = error if isinstance(error, PlaitError) else self._file.explain(error)
            connection.execute("release job")
        connection.execute("commit")

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._file.open(for_writing=self._writes)
            self._identity = self._file.identity()
        return self._connection

    def _check_identity(self) -> None:
        """Find out whether what was done was done to the file that others see.

        Without this, what is written to a file that was removed or replaced would be
        acknowledged, and be gone when this process ends.
        """
        if self._file.identity() != self._identity:
            raise StoreError(
                f"the SQLite file {str(self._file.path)!r} was removed or replaced while it was "
                "in use, and what was written to it since is lost: put the right file back"
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:  # it is gone either way, and the error is known already
                pass


def _concerns_all(error: Exception) -> bool:
    """Whether it has nothing to do with any one job: the file could not be opened or locked."""
    return isinstance(error, StoreError) or is_locked(error)


def _fail(jobs: Sequence[_Job[Any]], file: DatabaseFile, cause: Exception) -> None:
    for job in jobs:
        job.error = file.explain(cause)  # one for each, since each is raised in a task of its own
        job.error.__cause__ = cause


def _answer(jobs: Sequence[_Job[Any]]) -> None:
    """Wake the tasks that wait, those of one event loop together."""
    events: dict[_Waker, list[anyio.Event]] = {}
    for job in jobs:
        events.setdefault(job.waker, []).append(job.done)
    for waker, waiting in events.items():
        try:
            waker(partial(_set, waiting))
        except RuntimeError:  # that event loop has ended, and so has whoever waited
            pass


def _set(events: Sequence[anyio.Event]) -> None:
    for event in events:
        event.set()


def _current_waker() -> _Waker:
    """What has a function called by the event loop in which this is called."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        waker: _Waker = trio.lowlevel.current_trio_token().run_sync_soon
        return waker
    return asyncio.get_running_loop().call_soon_threadsafe
