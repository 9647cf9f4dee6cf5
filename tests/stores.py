"""Durable stores on rows in memory, in virtual time, with faults on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, cast

import anyio
import structlog

from plait import Flow
from plait.backend import Backend, Record, Row, ThreadRow
from plait.durable import DurableStore
from plait.errors import StoreUnavailable
from plait.events import JournalEvent
from plait.testing import VirtualClock
from plait.testing.memory_backend import Fault, MemoryBackend

__all__ = ["Outage", "Simulation", "Watched", "quiet_logs"]

T = TypeVar("T")

When = Literal["before", "after"]


class Simulation:
    """Rows in memory on a virtual clock, and any number of stores on them, as processes have them.

    Attributes:
        rows: a handle that never fails.
        skew: seconds by which the clock of a process goes wrong, for the tasks that set it. That
            of the rows is always right.
    """

    def __init__(self) -> None:
        self.skew: ContextVar[float] = ContextVar("skew", default=0.0)
        self.clock = VirtualClock(start=1e9)
        self.rows = MemoryBackend(clock=lambda: self.clock.start + self.clock.now)

    def store(self, fault: Fault | None = None, **options: Any) -> DurableStore:
        """A store of its own on the same rows."""
        return DurableStore(self.rows.view(fault=fault), **options)

    def watched(self, fault: Fault | None = None, **options: Any) -> tuple[DurableStore, Watched]:
        """A store, and what notes the commits that it makes."""
        backend = Watched(self.rows.view(fault=fault))
        return DurableStore(cast("Backend", backend), **options), backend

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with quiet_logs():
            return self.clock.run(self._run(coroutine))

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop: Any = asyncio.get_running_loop()
        right: Callable[[], float] = loop.wall_time
        loop.wall_time = lambda: right() + self.skew.get()
        return await coroutine

    async def thread(self, thread_id: str = "t") -> ThreadRow | None:
        return await self.rows.thread(thread_id)

    async def read(self, thread_id: str = "t") -> Sequence[Row]:
        return await self.rows.read(thread_id, 0, None, 1_000_000)

    async def events(self, flow: Flow[Any], thread_id: str = "t") -> list[JournalEvent]:
        """What is durable of a thread, event by event."""
        codec = flow._past.format.codec
        assert codec is not None
        return [codec.decode_event(row.data) for row in await self.read(thread_id)]


class Watched:
    """Hands everything on to a backend, and notes commits, which it may refuse.

    Attributes:
        commits: the records of every append that was tried.
        refuse: given the records of an append, what to raise in place of it.
        takes: seconds that an append takes.
    """

    def __init__(self, inner: MemoryBackend) -> None:
        self.inner = inner
        self.commits: list[list[Record]] = []
        self.refuse: Callable[[Sequence[Record]], Exception | None] = lambda _: None
        self.takes = 0.0

    async def append(self, records: Sequence[Record]) -> set[str]:
        self.commits.append(list(records))
        if self.takes:
            await anyio.sleep(self.takes)
        error = self.refuse(records)
        if error is not None:
            raise error
        return await self.inner.append(records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def places(self, thread_id: str = "t") -> list[list[int]]:
        """The positions of a thread's records, commit by commit."""
        found = [[r.position for r in each if r.thread_id == thread_id] for each in self.commits]
        return [each for each in found if each]


class Outage:
    """A store that is unavailable for a while, to some methods.

    Args:
        begin, end: seconds of the virtual clock.
        methods: by default all.
        when: whether what is asked for happens all the same, and only the answer is lost.
        takes: seconds until the error comes.
    """

    def __init__(
        self,
        clock: VirtualClock,
        begin: float,
        end: float,
        *methods: str,
        when: When = "before",
        takes: float = 0.0,
    ) -> None:
        self.clock = clock
        self.begin, self.end = begin, end
        self.methods = methods
        self.when = when
        self.takes = takes
        self.struck = 0

    def __call__(self, method: str, when: When) -> Awaitable[None] | None:
        if when != self.when or (self.methods and method not in self.methods):
            return None
        if not self.begin <= self.clock.now < self.end:
            return None
        self.struck += 1
        return self._strike()

    async def _strike(self) -> None:
        await anyio.sleep(self.takes)
        raise StoreUnavailable("the wire was cut")


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Without warnings about what is broken on purpose."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        yield
    finally:
        structlog.configure(**before)
