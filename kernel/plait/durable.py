"""Stores that outlive the process: group commit, leases and retries, over any backend.

A writer never waits for a commit of its own. Whoever needs an event to be durable, and finds no
commit under way, becomes the leader: it takes along all that is waiting by then, of all branches
and all runs in the process, in one transaction and one round trip. The others wait for the leader.

What keeps two writers apart is the epoch, which the backend checks in the same step in which it
stores; the lease and its expiry only decide when somebody else may take a thread over.
"""

from __future__ import annotations

import math
import os
import random
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus

from .backend import Backend, Grant, Record, Row, ThreadRow, Transaction
from .codec import Codec, TypeRegistry
from .codec.faults import DecodingError
from .errors import (
    LeaseLost,
    LimitError,
    PlaitError,
    StoreError,
    StoreUnavailable,
    ThreadBusy,
    ThreadNotFound,
)
from .events import JournalEvent, ThreadId
from .store import JournalFormat, LeasedJournal, Past, Store

__all__ = ["DurableStore", "Limits", "open_store"]

T = TypeVar("T")

_PAGE: Final = 1_000
"""How many records are read at a time."""

_MOST_AT_ONCE: Final = 5_000
_MOST_BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""What one commit takes along at most, so that it stays well within its timeout."""

_BACKLOG: Final = 2_000
"""How many events may be on their way with durability "async" before the run waits for them."""

_FIRST_SNAPSHOT: Final = 64 * 1024
"""A thread with fewer bytes of events than this is replayed faster than a snapshot is read."""

_LONGEST_ID: Final = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """What a thread may take. Going over is an error before anything is stored."""

    max_value_bytes: int = 2 * 1024 * 1024
    """Bytes of one value: a write, or the argument of a ``Send``."""
    max_history_bytes: int = 50 * 1024 * 1024
    """Bytes of all events of a thread that were not pruned."""
    max_history_events: int = 51_200
    """How many events a thread may have that were not pruned."""


class DurableStore:
    """A store over a backend. SQLite and PostgreSQL are subclasses that bring their own.

    May be used from one event loop at a time, by any number of Flows.

    Args:
        backend: where the rows are.
        lease_ttl: seconds for which a thread is held; renewed every third of it. When a process
            dies, this is how long its threads wait until another may take them over.
        patience: seconds for which a run waits and tries again while the store is unavailable;
            after that it fails with a ``StoreError``.
        limits: what a value and a thread may take.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        lease_ttl: float = 30.0,
        patience: float = 30.0,
        limits: Limits | None = None,
    ) -> None:
        for name, value in (("lease_ttl", lease_ttl), ("patience", patience)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value!r} must be seconds above 0")
        self.backend = backend
        self.lease_ttl = lease_ttl
        self.patience = patience
        self.limits = limits or Limits()
        self.committer = _Committer(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back connections, files and threads of execution."""
        await self.backend.close()

    def make_codec(self, types: Callable[[], TypeRegistry]) -> Codec:
        """What makes bytes of events."""
        return Codec(types(), max_value_bytes=self.limits.max_value_bytes)

    # -- writing ------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(
        self, thread_id: ThreadId, format_: JournalFormat | None = None
    ) -> AsyncIterator[LeasedJournal]:
        """Hold a thread for writing; see :class:`plait.store.Store`."""
        format_ = format_ or JournalFormat()
        check_thread_id(thread_id)
        journal = _DurableJournal(self, thread_id, format_)
        failure: BaseException | None = None
        unhandled = (anyio.get_cancelled_exc_class(), GeneratorExit)
        async with anyio.create_task_group() as group:
            try:
                # A task of its own takes the lease and gives it back, since a cancellation from
                # outside anyio pierces the shields of the task in which the caller waits.
                await group.start(journal.keep, group.cancel_scope)
                await journal.load()
                yield journal
            except unhandled:
                raise
            except BaseException as error:  # past the task group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if journal.failure is not None:
            raise journal.failure

    async def persist(self, action: Callable[[], Awaitable[T]]) -> T:
        """Do something with the backend, and again while it is unavailable, within the bound."""
        began = anyio.current_time()
        delay = 0.05
        while True:
            try:
                return await action()
            except StoreUnavailable as error:
                left = began + self.patience - anyio.current_time()
                if left <= 0:
                    raise StoreError(
                        f"the store has been unavailable for {self.patience:g} s, and the run "
                        f"cannot go on without it ({error}); when it is back, resume the thread"
                    ) from error
                _log().warning("store unavailable", error=str(error), retry_in=delay)
                await anyio.sleep(min(delay, left))
                delay = min(delay * 2, 2.0) * random.uniform(0.8, 1.2)

    # -- reading ------------------------------------------------------------------------------

    async def past(
        self,
        thread_id: ThreadId,
        format_: JournalFormat | None = None,
        upto: int | None = None,
        *,
        whole: bool = False,
    ) -> Past | None:
        """What is known of a thread, up to a position; ``None`` for one that is not known.

        ``whole``: from the first position that is kept, and not only from the last snapshot.

        Raises ``StoreError`` if that position was pruned.
        """
        thread = await self.thread(thread_id)
        if thread is None or thread.position == 0:
            return None
        return await self.read(thread, format_ or JournalFormat(), upto, whole=whole)

    async def read(
        self,
        thread: ThreadRow,
        format_: JournalFormat,
        upto: int | None = None,
        *,
        whole: bool = False,
    ) -> Past:
        """A thread's past: its snapshot and its events, those of its origin before its own."""
        backend, thread_id = self.backend, thread.thread_id
        begin = thread.origin[1] if thread.origin is not None else 0
        start, snapshot = 0, None
        events: list[JournalEvent] = []
        last = thread.position if upto is None else upto
        found = None
        latest = min(last, thread.pruned) if whole else last
        if latest > begin:
            found = await self.persist(lambda: backend.load_snapshot(thread_id, latest))
        if found is not None:
            start, snapshot = found.position, self.unseal(thread_id, found)
        elif last < thread.pruned:
            raise StoreError(
                f"position {last} of thread {thread_id!r} was pruned: the first that is kept is "
                f"{thread.pruned}"
            )
        elif thread.origin is not None:
            source = await self.persist(partial(backend.thread, thread.origin[0]))
            if source is None:
                raise StoreError(
                    f"thread {thread_id!r} is a fork of {thread.origin[0]!r}, which is gone"
                )
            start, snapshot, inherited = await self.read(
                source, format_, min(begin, last), whole=whole
            )
            events += inherited
        after = start + len(events)
        while after < last or upto is None:
            rows = await self.persist(
                partial(backend.read, thread_id, max(after, begin), upto, _PAGE)
            )
            for row in rows:
                after += 1
                if row.position != after:
                    raise StoreError(
                        f"the journal of thread {thread_id!r} has no event {after}, but has "
                        f"{row.position}: rows were removed by hand, or come from elsewhere"
                    )
                events.append(self._decode(thread_id, row, format_))
            if len(rows) < _PAGE:
                break
        return Past(start, snapshot, events)

    def _decode(self, thread_id: ThreadId, row: Row, format_: JournalFormat) -> JournalEvent:
        assert format_.codec is not None
        try:
            return format_.codec.decode_event(self.unseal(thread_id, row))
        except DecodingError as error:
            raise StoreError(
                f"event {row.position} of thread {thread_id!r} cannot be read: {error}"
            ) from error

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread without reading its journal; ``None`` if there is none."""
        check_thread_id(thread_id)
        return await self.persist(lambda: self.backend.thread(thread_id))

    async def threads(
        self, *, limit: int = 100, before: ThreadRow | None = None
    ) -> Sequence[ThreadRow]:
        """The threads, the last updated first; ``before``: those that come after it."""
        return await self.persist(lambda: self.backend.threads(limit=limit, before=before))

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread that begins as another up to a position; the prefix is shared.

        Raises:
            ThreadNotFound: there is no such thread.
            ThreadExists: the new id is taken.
            StoreError: the position is not there, or was pruned.
        """
        check_thread_id(new_thread_id)
        thread = await self._thread(thread_id)
        if not 0 < at <= thread.position:
            raise StoreError(
                f"thread {thread_id!r} has positions 1 to {thread.position} to fork from, not {at}"
            )
        while thread.origin is not None and at < thread.origin[1]:
            thread = await self._thread(thread.origin[0])
        source = thread.thread_id
        await self.persist(lambda: self.backend.fork(source, at, new_thread_id))

    async def delete(self, thread_id: ThreadId) -> None:
        """Remove a thread and its journal.

        Raises:
            ThreadNotFound: there is no such thread.
            ThreadBusy: somebody holds it.
            StoreError: a fork begins in it.
        """
        check_thread_id(thread_id)
        if not await self.persist(lambda: self.backend.delete(thread_id)):
            raise _unknown(thread_id)

    async def _thread(self, thread_id: ThreadId) -> ThreadRow:
        thread = await self.thread(thread_id)
        if thread is None:
            raise _unknown(thread_id)
        return thread

    async def save_plan(self, fingerprint: str, description: bytes) -> None:
        """Keep the description of a graph under its fingerprint."""
        await self.persist(lambda: self.backend.save_plan(fingerprint, description))

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        return await self.persist(lambda: self.backend.load_plan(fingerprint))

    # -- protecting ---------------------------------------------------------------------------

    def seal(self, thread_id: ThreadId, position: int, data: bytes) -> bytes:
        """What is stored in place of the bytes of an event or snapshot."""
        return data

    def unseal(self, thread_id: ThreadId, row: Row) -> bytes:
        """The bytes that were sealed. Raises ``DecodingError``."""
        return row.data


class _DurableJournal:
    """The journal of a thread under a lease."""

    def __init__(self, store: DurableStore, thread_id: ThreadId, format_: JournalFormat) -> None:
        self.thread_id: ThreadId = thread_id
        self.epoch = 0
        self.status = "running"
        self.position = 0
        """Of the last event that was added."""
        self.durable = 0
        """Of the last event that is known to be durable."""
        self.failure: PlaitError | None = None
        """Why nothing can be added any more."""
        self.past = Past(0, None, ())
        self._store = store
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._thread: ThreadRow
        self._format = format_
        self._commit = store.committer
        self._wake = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self._take_snapshot: Callable[[], bytes] | None = None
        self._snapshot: Row | None = None  # waits to be saved
        self._size = 0
        self._fresh = 0.0  # bytes of events since the last snapshot
        self._enough = float(_FIRST_SNAPSHOT)  # of which it is worth while to try another

    async def load(self) -> None:
        """Read what is there."""
        thread = self._thread
        if thread.position == 0:
            return
        self.past = await self._store.read(thread, self._format)
        position, snapshot, events = self.past
        self.position = self.durable = position + len(events)
        self._size = thread.size
        self._fresh = thread.size * len(events) / max(1, self.position - thread.pruned)
        if snapshot is not None:
            self._enough = max(_FIRST_SNAPSHOT, 2 * len(snapshot))

    def watch(self, take_snapshot: Callable[[], bytes]) -> None:
        self._take_snapshot = take_snapshot

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        if self.failure is not None:
            raise self.failure
        assert self._format.codec is not None
        data = self._format.codec.encode_event(event)
        self._check_limits(len(data))
        if self._fresh >= self._enough and self._take_snapshot is not None:
            self._offer_snapshot(self._take_snapshot())
        self.position += 1
        self._size += len(data)
        self._fresh += len(data)
        sealed = self._store.seal(self.thread_id, self.position, data)
        self._commit.add(self, Record(self.thread_id, self.epoch, self.position, sealed))
        durability = self._format.durability
        if durability == "sync":
            return self._commit.wait_until(self, self.position)
        if durability == "async":
            self._wake.set()
            if self.position - self.durable > _BACKLOG:
                return self._commit.wait_until(self, self.position - _BACKLOG)
        return None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as stack:

            async def begin() -> Transaction:
                return await stack.enter_async_context(self._store.backend.transaction())

            yield await self._store.persist(begin)

    async def append_within(self, transaction: Transaction, event: JournalEvent) -> bool:
        if self.failure is not None:
            raise self.failure
        assert self._format.codec is not None
        data = self._format.codec.encode_event(event)
        self._check_limits(len(data))
        await self._commit.wait_until(self, self.position)
        position = self.position + 1
        sealed = self._store.seal(self.thread_id, position, data)
        try:
            stored = await transaction.commit(
                [Record(self.thread_id, self.epoch, position, sealed)]
            )
        except StoreUnavailable as error:
            _log().warning("commit in doubt", thread_id=self.thread_id, error=str(error))
            if not await self._happened(position):
                return False
        else:
            if not stored:
                self.fail(lease_lost(self.thread_id))
                raise lease_lost(self.thread_id)
        self.position = self.durable = position
        self._size += len(data)
        self._fresh += len(data)
        return True

    async def _happened(self, position: int) -> bool:
        """Whether a commit whose outcome is unknown has stored an event at this position.

        A new epoch comes first: it waits for the commit to end, or makes it impossible.
        """
        try:
            await self._acquire()
        except ThreadBusy as error:
            self.fail(lease_lost(self.thread_id))
            raise lease_lost(self.thread_id) from error
        read = partial(self._store.backend.read, self.thread_id, position - 1, position, 1)
        return bool(await self._store.persist(read))

    def _check_limits(self, size: int) -> None:
        limits = self._store.limits
        if self.position + 1 - self._thread.pruned > limits.max_history_events:
            raise LimitError(
                "max_history_events",
                f"thread {self.thread_id!r} has {self.position - self._thread.pruned:,} events, "
                f"and may have {limits.max_history_events:,}: prune it, or begin another thread",
            )
        if self._size + size > limits.max_history_bytes:
            raise LimitError(
                "max_history_bytes",
                f"thread {self.thread_id!r} has {self._size:,} bytes of events, and may have "
                f"{limits.max_history_bytes:,}: prune it, or begin another thread",
            )

    def _offer_snapshot(self, data: bytes) -> None:
        """Keep a snapshot if the events since the last one are at least twice its size.

        So all snapshots together take at most half of what the events take, and what is replayed
        behind the last one is linear in its size. A state that only grows is never worth one: its
        journal is not larger than itself.
        """
        if self._fresh >= 2 * len(data):
            sealed = self._store.seal(self.thread_id, self.position, data)
            self._snapshot = Row(self.position, sealed)
            self._fresh = 0
            self._wake.set()
        self._enough = max(_FIRST_SNAPSHOT, 2 * len(data), 2 * self._fresh)

    def fail(self, error: PlaitError) -> None:
        """Nothing can be added any more; whoever runs is cancelled."""
        if self.failure is None:
            self.failure = error
            if self._scope is not None:
                self._scope.cancel()

    async def find_cut(self, keep: int | None, keep_bytes: int | None) -> int:
        """The lowest position from which on at most so many events, and bytes, are kept."""
        thread = self._thread
        begin = max(thread.pruned, thread.origin[1] if thread.origin is not None else 0)
        cut = begin if keep is None else max(begin, self.position - keep)
        if keep_bytes is None:
            return cut
        sizes: list[int] = []
        while cut + len(sizes) < self.position:
            after = cut + len(sizes)
            rows = await self._store.persist(
                partial(self._store.backend.read, self.thread_id, after, None, _PAGE)
            )
            sizes += [len(row.data) for row in rows]
            if not rows:
                break
        kept = sum(sizes)
        for size in sizes:
            if kept <= keep_bytes:
                break
            kept -= size
            cut += 1
        return cut

    async def prune(self, position: int, snapshot: bytes) -> None:
        """Put a snapshot in place of all events up to a position, which are durable.

        Raises ``StoreError`` if a fork begins before it.
        """
        backend, epoch = self._store.backend, self.epoch
        data = self._store.seal(self.thread_id, position, snapshot)
        for step in (
            partial(backend.save_snapshot, self.thread_id, epoch, position, data),
            partial(backend.prune, self.thread_id, epoch, position),
        ):
            if not await self._store.persist(step):
                raise lease_lost(self.thread_id)

    # -- the task that keeps it ---------------------------------------------------------------

    async def keep(
        self,
        scope: anyio.CancelScope,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take the lease, renew it and store what is on its way, until cancelled; then close."""
        await self._acquire()
        self.status = self._thread.status or "running"
        ttl = self._store.lease_ttl
        renew_at = anyio.current_time() + ttl / 3
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
            self._scope = scope
            task_status.started()
            while True:
                with anyio.move_on_after(renew_at - anyio.current_time()):
                    await self._wake.wait()
                if anyio.current_time() >= renew_at:
                    await self._renew()
                    renew_at = anyio.current_time() + ttl / 3
                if self._wake.is_set():
                    self._wake = anyio.Event()
                    await self._store_the_rest()
        except PlaitError as error:
            self.fail(error)
        finally:
            self._scope = None
            with anyio.CancelScope(shield=True):
                await self._close()

    async def _acquire(self) -> None:
        backend, ttl, graph = self._store.backend, self._store.lease_ttl, self._format.graph
        holder = self._holder

        async def attempt() -> Grant:
            grant: Grant | None = None
            with anyio.CancelScope(shield=True):  # else nobody would know to give it back
                grant = await backend.acquire(self.thread_id, holder, ttl, graph)
            assert grant is not None
            return grant

        self.epoch, self._thread = await self._store.persist(attempt)

    async def _renew(self) -> None:
        epoch = self.epoch
        try:
            lost = await self._store.backend.renew([(self.thread_id, epoch)], self._store.lease_ttl)
        except StoreUnavailable as error:
            # Nobody else can have reached it either, or else the next append will say so.
            _log().warning("lease not renewed", thread_id=self.thread_id, error=str(error))
            return
        if lost and epoch == self.epoch:  # else this journal has taken a new one meanwhile
            self.fail(lease_lost(self.thread_id))

    async def _store_the_rest(self) -> None:
        await self._commit.wait_until(self, self.position)
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            save = partial(self._store.backend.save_snapshot, self.thread_id, self.epoch, *snapshot)
            await self._store.persist(save)

    async def _close(self) -> None:
        """Store what is not stored, within the bound of patience, and give the lease back."""
        store = self._store
        try:
            if self.failure is None:
                await self._store_the_rest()
            if not isinstance(self.failure, LeaseLost):
                await store.backend.release(self.thread_id, self.epoch, self.status)
        except StoreUnavailable as error:  # the lease will expire by itself
            _log().warning("lease not released", thread_id=self.thread_id, error=str(error))
        except PlaitError as error:
            self.failure = self.failure or error


class _Committer:
    """Stores what all journals of a store want stored, one transaction after another.

    There is no task behind it: of those who wait, one leads.
    """

    def __init__(self, store: DurableStore) -> None:
        self._store = store
        self._queue: list[tuple[_DurableJournal, Record]] = []
        self._leading = False
        self._turn = anyio.Event()

    def add(self, journal: _DurableJournal, record: Record) -> None:
        self._queue.append((journal, record))

    async def wait_until(self, journal: _DurableJournal, position: int) -> None:
        """Return when the journal is durable up to a position; raise why it will not be."""
        while journal.durable < position:
            if journal.failure is not None:
                raise journal.failure
            if self._leading:
                await self._turn.wait()
            else:
                await self._lead()

    async def _lead(self) -> None:
        """Store what is waiting."""
        self._leading = True
        self._turn = anyio.Event()
        batch: list[tuple[_DurableJournal, Record]] = []
        try:
            # Whoever is about to add something comes along: one more turn of the loop is much
            # cheaper than one more commit.
            count = 0
            while len(self._queue) > count:
                count = len(self._queue)
                await anyio.lowlevel.checkpoint()
            batch = self._take()
            with anyio.CancelScope(shield=True):  # others wait for it as well
                await self._store_batch(batch)
        except BaseException:  # cancelled: repeating what has happened does no harm
            self._queue[:0] = batch
            raise
        finally:
            self._leading = False
            self._turn.set()

    def _take(self) -> list[tuple[_DurableJournal, Record]]:
        queue = self._queue
        size = count = 0
        for _, record in queue[:_MOST_AT_ONCE]:
            size += len(record.data)
            if count and size > _MOST_BYTES_AT_ONCE:
                break
            count += 1
        self._queue = queue[count:]
        return queue[:count]

    async def _store_batch(self, batch: Sequence[tuple[_DurableJournal, Record]]) -> None:
        batch = [item for item in batch if item[0].failure is None]
        if not batch:
            return
        records = [record for _, record in batch]
        try:
            fenced = await self._store.persist(partial(self._store.backend.append, records))
        except StoreError as error:
            journals = dict.fromkeys(journal for journal, _ in batch)
            if len(journals) > 1 and not isinstance(error.__cause__, StoreUnavailable):
                for journal in journals:  # one of them may be at fault, and not the others
                    await self._store_batch([item for item in batch if item[0] is journal])
                return
            for journal in journals:
                journal.fail(_not_stored(journal, error))
            return
        for journal, record in batch:
            if record.thread_id in fenced:
                journal.fail(lease_lost(record.thread_id))
            else:
                journal.durable = record.position


def _not_stored(journal: _DurableJournal, cause: StoreError) -> StoreError:
    error = StoreError(
        f"thread {journal.thread_id!r} is durable up to position {journal.durable}; the "
        f"{journal.position - journal.durable} events behind it may not be stored: {cause}"
    )
    error.__cause__ = cause
    return error


def _unknown(thread_id: ThreadId) -> ThreadNotFound:
    return ThreadNotFound(thread_id, "is not known: begin it with run(...)")


def lease_lost(thread_id: ThreadId) -> LeaseLost:
    """The error for a thread that somebody else has taken over."""
    return LeaseLost(
        thread_id,
        "was taken over by another process, since this one did not renew its lease in time (it was "
        "paused, cut off or overloaded): the run goes on over there",
    )


def check_thread_id(thread_id: object) -> None:
    """Refuse ids that not every store can keep. Raises ``ValueError`` or ``TypeError``."""
    if not isinstance(thread_id, str):
        raise TypeError(f"a thread_id is a string, not {type(thread_id).__name__}: {thread_id!r}")
    if not thread_id.isprintable():  # NUL and lone surrogates are not, either
        raise ValueError(f"the thread_id {thread_id!r} has characters that cannot be printed")
    if not thread_id or len(thread_id.encode()) > _LONGEST_ID:
        raise ValueError(
            f"a thread_id has 1 to {_LONGEST_ID} bytes in UTF-8, and {thread_id[:40]!r} has "
            f"{len(thread_id.encode())}"
        )


def open_store(url: str, **options: Any) -> Store:
    """Open a store by its URL; the part before ``:`` says which.

    ``sqlite:///runs.db``, ``postgresql://localhost/plait``, ``memory:``. Stores of other packages
    are found by their entry point in the group ``plait.stores``. Options are those of the store's
    own class, such as ``tenant``, ``lease_ttl``, ``patience`` and ``limits``.

    Raises:
        StoreError: no such store is known, or what it needs is not installed.
    """
    from importlib.metadata import entry_points

    scheme, colon, _ = url.partition(":")
    if scheme == "memory" and colon:
        from .store import MemoryStore

        return MemoryStore(**options)
    known = {point.name: point for point in entry_points(group="plait.stores")}
    if not colon or scheme not in known:
        names = ", ".join(sorted([*known, "memory"]))
        raise StoreError(
            f"no store is known for {url.partition('@')[0]!r}: a URL begins with one of {names}"
        )
    try:
        class_ = known[scheme].load()
    except ImportError as error:
        raise StoreError(
            f"the store for {scheme!r} needs a package that is not installed "
            f"({error.name}): pip install 'plait[{scheme.replace('postgresql', 'postgres')}]'"
        ) from error
    store: Store = class_.from_url(url, **options)
    return store


def _log() -> Any:
    import structlog

    return structlog.get_logger("plait")
