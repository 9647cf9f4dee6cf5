"""Faults on purpose: a node that is held, a node that fails, a run whose process dies."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import anyio.to_thread
import typing_extensions

from plait.backend import ThreadRow, Transaction
from plait.codec import Codec, TypeRegistry
from plait.errors import PlaitError
from plait.events import JournalEvent, ThreadId
from plait.store import Journal, JournalFormat, LeasedJournal, Past, Store

__all__ = ["CrashAt", "Crashed", "FailAt", "Gate", "InjectedFault", "WrappedJournal"]

F = TypeVar("F", bound=Callable[..., Any])


class Gate:
    """Holds nodes until it is opened.

    ::

        gate = Gate()
        graph.add_node("research", gate(research))  # or `await gate.hold()` in a node
        ...
        await gate.wait_reached()
        gate.open()

    Attributes:
        reached: how many calls have come to the gate.
        waiting: how many of them are being held.
    """

    def __init__(self) -> None:
        self.reached: int = 0
        self.waiting: int = 0
        self._is_open = False
        self._changed: list[anyio.Event] = []

    def open(self) -> None:
        """Let everybody through, now and from now on."""
        self._is_open = True
        self._wake()

    def close(self) -> None:
        """Hold whoever comes from now on. Whoever has not left yet is held again."""
        self._is_open = False

    async def hold(self) -> None:
        """Wait until the gate is open."""
        self.reached += 1
        self.waiting += 1
        self._wake()
        try:
            await self._wait_until(lambda: self._is_open)
        finally:
            self.waiting -= 1

    async def wait_reached(self, calls: int = 1) -> None:
        """Wait until so many calls have come to the gate."""
        await self._wait_until(lambda: self.reached >= calls)

    def __call__(self, node: F) -> F:
        """The node, held before its work."""

        async def hold(call: Callable[[], Awaitable[Any]]) -> Any:
            await self.hold()
            return await call()

        return _wrap(node, hold)

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            changed = anyio.Event()
            self._changed.append(changed)
            try:
                await changed.wait()
            finally:
                self._changed.remove(changed)

    def _wake(self) -> None:
        for changed in self._changed:
            changed.set()


class InjectedFault(Exception):
    """What :class:`FailAt` raises unless it is given something else."""


class FailAt:
    """Makes some calls of a node fail.

    ::

        graph.add_node("research", FailAt(1, 2)(research), retry=Retry(attempts=3))

    Args:
        calls: which calls, counted from 1 over all branches and attempts, in the order in which
            they begin.
        error: what is raised; by default an :class:`InjectedFault`.
        after: raise only when the node has done its work, whose result is then lost.

    Attributes:
        calls: how many calls have begun.
    """

    def __init__(
        self, *calls: int, error: BaseException | None = None, after: bool = False
    ) -> None:
        self.calls: int = 0
        self._failing = frozenset(calls)
        self._error = error
        self._after = after

    def __call__(self, node: F) -> F:
        """The node, failing in those calls."""

        async def fail(call: Callable[[], Awaitable[Any]]) -> Any:
            self.calls += 1
            this = self.calls
            if this in self._failing and not self._after:
                raise self._fault(this)
            result = await call()
            if this in self._failing:
                raise self._fault(this)
            return result

        return _wrap(node, fail)

    def _fault(self, call: int) -> BaseException:
        return InjectedFault(f"call {call} was to fail") if self._error is None else self._error


Around: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Gets a call of a node as a function, and awaits it if and when it likes."""


def _wrap(node: F, around: Around) -> F:
    """The node with its name, signature and annotations, which the graph reads, and ``around`` it.

    A ``def`` node goes on running in a worker thread.
    """

    @functools.wraps(node)
    async def wrapped(*arguments: Any) -> Any:
        async def call() -> Any:
            if inspect.iscoroutinefunction(node):
                return await node(*arguments)
            result = await anyio.to_thread.run_sync(node, *arguments, abandon_on_cancel=True)
            return await result if inspect.isawaitable(result) else result

        return await around(call)

    wrapped.__signature__ = inspect.signature(node)  # type: ignore[attr-defined]
    try:  # annotations that are strings are to be read where the node was written
        wrapped.__annotations__ = typing_extensions.get_type_hints(node, include_extras=True)
    except Exception:  # names of a function's scope, or for type checkers only
        pass
    return cast("F", wrapped)


class Crashed(BaseException):
    """The process of a run has died, as far as the run can tell.

    No ``Exception``, since a process that dies is not caught by what it was running.
    """


class CrashAt:
    """A store under which a run ends as if its process had died.

    Once it has crashed, it is an ordinary store: what runs on it next is the next process::

        store = MemoryStore()
        flow = graph.compile(store=CrashAt(store, 3))
        with pytest.raises(Crashed):
            await flow.run({...}, thread_id="t")
        result = await flow.resume("t")

    The lease of the dead run is given back, as it would be when it had expired.

    Args:
        store: keeps the journals.
        event: the event at which to crash, counted from 1 over all threads.
        kept: whether that event is still written to the journal. Either way nothing follows
            from it before the crash.

    Attributes:
        crashed: whether it has happened.
    """

    def __init__(self, store: Store, event: int, *, kept: bool = False) -> None:
        self.crashed: bool = False
        self._store = store
        self._left = event
        self._kept = kept

    @asynccontextmanager
    async def lease(
        self, thread_id: ThreadId, format_: JournalFormat | None = None
    ) -> AsyncIterator[LeasedJournal]:
        """Hold a thread for writing, until the crash."""
        async with self._store.lease(thread_id, format_ or JournalFormat()) as journal:
            yield journal if self.crashed else _MortalJournal(journal, self)

    def make_codec(self, types: Callable[[], TypeRegistry]) -> Codec | None:
        """As the store's."""
        return self._store.make_codec(types)

    async def past(
        self,
        thread_id: ThreadId,
        format_: JournalFormat | None = None,
        upto: int | None = None,
        *,
        whole: bool = False,
    ) -> Past | None:
        """As the store's."""
        return await self._store.past(thread_id, format_ or JournalFormat(), upto, whole=whole)

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """As the store's."""
        return await self._store.thread(thread_id)

    async def threads(
        self, *, limit: int = 100, before: ThreadRow | None = None
    ) -> Sequence[ThreadRow]:
        """As the store's."""
        return await self._store.threads(limit=limit, before=before)

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """As the store's."""
        await self._store.fork(thread_id, at, new_thread_id)

    async def delete(self, thread_id: ThreadId) -> None:
        """As the store's."""
        await self._store.delete(thread_id)

    async def save_plan(self, fingerprint: str, description: bytes) -> None:
        """As the store's."""
        await self._store.save_plan(fingerprint, description)

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """As the store's."""
        return await self._store.load_plan(fingerprint)

    async def close(self) -> None:
        """As the store's."""
        await self._store.close()

    def append(self, journal: Journal, event: JournalEvent) -> Awaitable[None] | None:
        """Add an event to a journal, unless the process is dead or dies of it."""
        if self.crashed:
            raise Crashed("the process has died")
        self._left -= 1
        if self._left > 0:
            return journal.append(event)
        self.crashed = True
        crash = Crashed(f"the process was to die at {type(event).__name__}")
        durable = journal.append(event) if self._kept else None
        if durable is not None:
            return _finish(durable, crash)
        raise crash


class WrappedJournal:
    """Hands everything on to another journal; what is to be different, a subclass overrides."""

    def __init__(self, inner: LeasedJournal) -> None:
        self.inner: LeasedJournal = inner

    @property
    def status(self) -> str:
        """As the journal's."""
        return self.inner.status

    @status.setter
    def status(self, status: str) -> None:
        self.inner.status = status

    @property
    def past(self) -> Past:
        """As the journal's."""
        return self.inner.past

    @property
    def check_lease(self) -> Callable[[], Awaitable[None] | None] | None:
        """As the journal's."""
        return self.inner.check_lease

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        """As the journal's."""
        return self.inner.append(event)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """As the journal's."""
        return self.inner.transaction()

    async def append_within(self, transaction: Transaction, event: JournalEvent) -> bool:
        """As the journal's."""
        return await self.inner.append_within(transaction, event)

    def watch(
        self,
        take_snapshot: Callable[[], bytes],
        is_alone: Callable[[], bool],
        fail: Callable[[PlaitError], None],
    ) -> None:
        """As the journal's."""
        self.inner.watch(take_snapshot, is_alone, fail)

    async def find_cut(self, keep: int | None, keep_bytes: int | None) -> int:
        """As the journal's."""
        return await self.inner.find_cut(keep, keep_bytes)

    async def prune(self, position: int, snapshot: bytes) -> None:
        """As the journal's."""
        await self.inner.prune(position, snapshot)


class _MortalJournal(WrappedJournal):
    """The journal of a run that is going to die; after that it takes nothing."""

    def __init__(self, journal: LeasedJournal, store: CrashAt) -> None:
        super().__init__(journal)
        self._store = store

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        return self._store.append(self.inner, event)


async def _finish(durable: Awaitable[None], crash: Crashed) -> None:
    await durable
    raise crash
