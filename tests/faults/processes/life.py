"""What a process does from its birth to its death: run or resume one thread.

Started by :mod:`tests.faults.processes.family`, in a process of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeAlias

import anyio
import structlog

from plait.backend import Backend, Grant, Record, Transaction
from plait.durable import DurableStore, open_store
from plait.errors import PlaitError, ThreadNotFound
from plait.events import ThreadId
from plait.flow import Flow, RunResult
from plait.store import Durability
from plait_adapters.sqlite.file import DatabaseFile
from tests.faults.processes import program
from tests.faults.processes.program import Effects, World

__all__ = ["Death", "Life", "Report", "When", "live"]

When: TypeAlias = Literal["before", "within", "after"]

Job: TypeAlias = Callable[["Flow[Any]", "Life", World], Any]


class Death(NamedTuple):
    """When a process kills itself: at one of the commits of its journal."""

    at: int
    """The number of the commit, from 1."""
    when: When


@dataclass(frozen=True)
class Life:
    """What a process is to do. Goes to it as a pickle."""

    name: str
    """What it is called in the table of effects."""
    store: str
    """The URL of the store."""
    effects: str
    """The path of the table of effects."""
    thread_id: ThreadId
    durability: Durability = "sync"
    seed: int = 0
    pace: float = 0.001
    death: Death | None = None
    brief: bool = True
    """Whether its leases expire at once, as if somebody had waited for that: whoever comes after
    its death need not. For one process at a time."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the store."""
    compile: Callable[..., Flow[Any]] = program.compiled
    """The program, on a store and with a durability."""
    say: str = ""
    """What it brings along, for its job."""
    job: Job | None = None
    """What is done with it; by default it is run or resumed until it is complete."""
    barrier: Barrier | None = None
    """What it waits for with others, to begin at the same instant."""


class Report(NamedTuple):
    """What a process says at its end."""

    status: str
    """That of the result, or the name of an error."""
    state: Any = None
    message: str = ""
    commits: int = 0
    """How many commits of a journal it has made."""


_EXPIRED: Final = 0.001
"""Seconds."""


def live(life: Life, report: Connection) -> None:
    """Be a process; tells ``report`` that it is ready, and what came of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report.send(None)
    if life.barrier is not None:
        life.barrier.wait(60)
    report.send(anyio.run(_live, life))


async def _live(life: Life) -> Report:
    store = open_store(life.store, **life.options)
    assert isinstance(store, DurableStore)
    mortal: Any = Mortal(store.backend, life)  # all else is handed on
    store.backend = mortal
    flow = life.compile(store, life.durability)
    try:
        with Effects.opened(life.effects, life.name) as effects:
            world = World(effects, life.seed, life.pace)
            result = await (life.job or finish)(flow, life, world)
    except Exception as error:
        told = str(error) if isinstance(error, PlaitError) else traceback.format_exc()
        return Report(type(error).__name__, None, told, mortal.commits)
    finally:
        await store.close()
    return Report(result.status, result.state, "", mortal.commits)


async def finish(flow: Flow[Any], life: Life, world: World) -> RunResult[Any]:
    """Bring the thread to its end, wherever it stands."""
    try:
        result = await flow.resume(life.thread_id, context=world)
    except ThreadNotFound:
        given = program.input_of(life.seed)
        result = await flow.run(given, life.thread_id, context=world)
    while result.status == "suspended":
        answers = program.answers_to(result.interrupts)
        result = await flow.resume(life.thread_id, answers, context=world)
    return result


def die() -> NoReturn:
    """End at once, as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody outlives that")


class Mortal:
    """A backend whose process kills itself at one of its commits."""

    def __init__(self, backend: Backend, life: Life) -> None:
        self.commits = 0
        self._backend = backend
        self._death = life.death
        self._brief = life.brief
        self._condemned = False
        if life.death is not None and life.death.when == "within":
            self._watch_sqlite()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def acquire(self, thread_id: ThreadId, holder: str, ttl: float, graph: str) -> Grant:
        ttl = _EXPIRED if self._brief else ttl
        return await self._backend.acquire(thread_id, holder, ttl, graph)

    async def renew(self, leases: Collection[tuple[ThreadId, int]], ttl: float) -> set[ThreadId]:
        return await self._backend.renew(leases, _EXPIRED if self._brief else ttl)

    async def append(self, records: Sequence[Record]) -> set[ThreadId]:
        fenced: set[ThreadId] = await self._commit(partial(self._backend.append, records))
        return fenced

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._backend.transaction() as transaction:
            yield _MortalTransaction(transaction, self._commit)

    async def _commit(self, commit: Callable[[], Any]) -> Any:
        self.commits += 1
        death = self._death
        if death is None or death.at != self.commits:
            return await commit()
        if death.when == "before":
            die()
        if death.when == "within":
            await self._die_within(commit)
        await commit()
        die()

    async def _die_within(self, commit: Callable[[], Any]) -> NoReturn:
        self._condemned = True
        async with anyio.create_task_group() as group:
            group.start_soon(commit)
            # On SQLite, the end comes before these are over. On PostgreSQL, the statement is on
            # its way, more or less far; what the server makes of it nobody here will know.
            for _ in range(1 + self.commits % 4):
                await asyncio.sleep(0)
            if type(self._backend).__name__ == "SQLiteBackend":
                await anyio.sleep(10)
            die()
        raise AssertionError("nobody outlives that")

    def _watch_sqlite(self) -> None:
        """Die when the rows are written, and the commit is about to begin."""
        open_ = DatabaseFile.open

        def commits(statement: str) -> None:
            if self._condemned and statement == "commit":
                die()

        def opened(file: DatabaseFile, *, for_writing: bool) -> sqlite3.Connection:
            connection = open_(file, for_writing=for_writing)
            if for_writing:
                connection.set_trace_callback(commits)
            return connection

        DatabaseFile.open = opened  # type: ignore[method-assign, assignment]


class _MortalTransaction:
    def __init__(self, transaction: Transaction, commit: Callable[[Any], Any]) -> None:
        self._transaction = transaction
        self._commit = commit

    @property
    def connection(self) -> Any:
        return self._transaction.connection

    async def commit(self, records: Sequence[Record]) -> bool:
        stored: bool = await self._commit(partial(self._transaction.commit, records))
        return stored
