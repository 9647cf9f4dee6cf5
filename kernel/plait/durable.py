"""Stores that outlive the process: group commit, leases and retries, over any backend.

A writer never waits for a commit of its own. Whoever needs an event to be durable, and finds no
commit under way, becomes the leader: it takes along all that is waiting by then, of all branches
and all runs in the process, in one transaction and one round trip. The others wait for the leader.

What keeps two writers apart is the epoch, which the backend checks in the same step in which it
stores; the lease and its expiry only decide when somebody else may take a thread over.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from functools import cache, partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar

import anyio
import anyio.lowlevel

from .backend import Backend, Grant, Record, Row, ThreadRow, Transaction
from .bell import Bell
from .codec import Codec, TypeRegistry
from .codec.faults import DecodingError
from .crew import Crew, make_crew
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
from .seal import Protection, Seal
from .store import (
    JournalFormat,
    LeasedJournal,
    Past,
    Store,
    check_id,
    check_seconds,
    check_thread_id,
)

__all__ = ["DurableStore", "Limits", "check_thread_id", "open_store"]

T = TypeVar("T")

_PAGE: Final = 1_000
"""How many records are read at a time."""

_MOST_AT_ONCE: Final = 5_000
_MOST_BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""What one commit takes along at most, so that it stays well within its timeout."""

_MOST_TURNS: Final = 16
"""Turns of the event loop for which a commit waits at most for more to come along."""

_FIRST_DELAY: Final = 0.05
"""Seconds until what failed for lack of a store is tried again; then twice as many each time."""

_BACKLOG: Final = 2_000
"""How many events may be on their way with durability "async" before the run waits for them."""

_FIRST_SNAPSHOT: Final = 64 * 1024
"""A thread with fewer bytes of events than this is replayed faster than a snapshot is read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a thread may take. Going over is an error before anything is stored."""

    max_value_bytes: int = 2 * 1024 * 1024
    """Bytes of one value: a write, or the argument of a ``Send``."""
    max_history_bytes: int = 50 * 1024 * 1024
    """Bytes of all events of a thread that were not pruned; of a fork, those of its own."""
    max_history_events: int = 51_200
    """How many events a thread may have that were not pruned; a fork has those it begins with."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{field.name}={value!r:.80} must be a count, 1 or more")


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
        seal: a :class:`~plait.seal.Signer` or :class:`~plait.seal.Cipher`, which protects all rows
            against those who can write to (or, with a cipher, read) the backend, and have no key;
            see :mod:`plait.seal` for what it cannot do. Rows that were not sealed with one of its
            keys, for the very place where they are, are refused with a ``StoreError``.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        lease_ttl: float = 30.0,
        patience: float = 30.0,
        limits: Limits | None = None,
        seal: Seal | None = None,
    ) -> None:
        for name, value in (("lease_ttl", lease_ttl), ("patience", patience)):
            check_seconds(name, value)
        if not isinstance(limits, Limits | None):
            raise TypeError(f"limits={limits!r:.80} must be Limits(...)")
        check_id("tenant", backend.tenant)
        self.backend: Backend = backend
        self.protection: Protection = Protection(seal, backend.tenant)
        self.lease_ttl: float = lease_ttl
        self.patience: float = patience
        self.limits: Limits = limits or Limits()
        self.committer: _Committer = _Committer(self)

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

    def lease(
        self, thread_id: ThreadId, format_: JournalFormat | None = None
    ) -> AbstractAsyncContextManager[LeasedJournal]:
        """Hold a thread for writing; see :class:`plait.store.Store`."""
        return _DurableJournal(self, thread_id, format_ or JournalFormat())

    async def persist(
        self,
        action: Callable[[], Awaitable[T]],
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> T:
        """Do something with the backend, and again while it is unavailable, within the bound.

        Args:
            pause: waits for so many seconds, or raises what ends all this.
        """
        now = _clock()
        began = now()
        delay = _FIRST_DELAY
        while True:
            try:
                return await action()
            except StoreUnavailable as error:
                left = began + self.patience - now()
                if left <= 0:
                    raise _out_of_patience(self.patience, error) from error
                _log().warning("store unavailable", error=str(error), retry_in=delay)
                await pause(min(delay, left))
                delay = _next_delay(delay)

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

        Args:
            whole: begin with the first event that was not pruned, whatever snapshots there are.

        Raises ``StoreError`` if that position was pruned.
        """
        check_thread_id(thread_id)
        format_ = format_ or JournalFormat()
        thread = await self._row(thread_id)
        while thread is not None and thread.position > 0:
            try:
                return (await self.read(thread, format_, upto, whole=whole)).past
            except StoreError:
                before, thread = thread, await self._row(thread_id)
                if thread is not None and thread.pruned == before.pruned:
                    raise  # else it was pruned or deleted in the meantime
        return None

    async def read(
        self,
        thread: ThreadRow,
        format_: JournalFormat,
        upto: int | None = None,
        *,
        whole: bool = False,
    ) -> _Read:
        """A thread's past: its snapshot and its events, those of its origin before its own."""
        lineage = [(thread, upto)]
        last = thread.position if upto is None else upto
        found: Row | None = None
        while True:
            source = lineage[-1][0]
            begin = _begin_of(source)
            if last < source.pruned:
                raise StoreError(
                    f"position {last} of thread {source.thread_id!r} was pruned: the first that "
                    f"is kept is {source.pruned}"
                )
            if last > begin or source.pruned == last > 0:
                # Not one at the position itself: whoever looks there wants the event, too.
                latest = source.pruned if whole else max(source.pruned, last - 1)
                found = await self._snapshot_of(source, latest)
            if found is not None or source.origin is None:
                break
            last = min(begin, last)
            lineage.append((await self._origin_of(source), last))
        start, snapshot, link = 0, None, b""
        if found is not None:
            start = found.position
            snapshot, link = self.protection.open_snapshot(source.thread_id, start, found.data)
        events: list[JournalEvent] = []
        size = 0
        for each, end in reversed(lineage):
            after = start + len(events)
            rows, size = await self._rows(each, max(after, _begin_of(each)), end)
            for row in rows:
                after += 1
                if row.position != after:
                    raise _gap(each.thread_id, after, row.position)
                record, link = self.protection.open_event(each.thread_id, after, link, row.data)
                events.append(_decode(each.thread_id, after, record, format_))
            if after < (each.position if end is None else min(end, each.position)):
                raise _gap(each.thread_id, after + 1)
        return _Read(Past(start, snapshot, events, thread.thread_id), size, link)

    async def _rows(self, thread: ThreadRow, after: int, upto: int | None) -> tuple[list[Row], int]:
        """The thread's own records, and their bytes."""
        rows: list[Row] = []
        size = 0
        while upto is None or after < upto:
            read = partial(self.backend.read, thread.thread_id, after, upto, _PAGE)
            page = await self.persist(read)
            rows += page
            size += sum([len(row.data) for row in page])
            if len(page) < _PAGE:
                break
            after = page[-1].position
        return rows, size

    async def _snapshot_of(self, thread: ThreadRow, upto: int) -> Row | None:
        if upto == 0:
            return None
        return await self.persist(partial(self.backend.load_snapshot, thread.thread_id, upto))

    async def _origin_of(self, thread: ThreadRow) -> ThreadRow:
        assert thread.origin is not None
        source = await self._row(thread.origin[0])
        if source is None:
            raise StoreError(
                f"thread {thread.thread_id!r} is a fork of {thread.origin[0]!r}, which is gone"
            )
        return source

    async def _row(self, thread_id: ThreadId) -> ThreadRow | None:
        return await self.persist(lambda: self.backend.thread(thread_id))

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
            raise ThreadNotFound(thread_id)

    async def _thread(self, thread_id: ThreadId) -> ThreadRow:
        thread = await self.thread(thread_id)
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread

    async def save_plan(self, fingerprint: str, description: bytes) -> None:
        """Keep the description of a graph under its fingerprint."""
        row = self.protection.seal_plan(fingerprint, description)
        await self.persist(lambda: self.backend.save_plan(fingerprint, row))

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        row = await self.persist(lambda: self.backend.load_plan(fingerprint))
        return self.protection.open_plan(fingerprint, row) if row is not None else None


def _decode(
    thread_id: ThreadId, position: int, record: bytes, format_: JournalFormat
) -> JournalEvent:
    assert format_.codec is not None
    try:
        return format_.codec.decode_event(record)
    except DecodingError as error:
        raise StoreError(
            f"event {position} of thread {thread_id!r} cannot be read: {error}"
        ) from error


class _Read(NamedTuple):
    """What was read of a thread."""

    past: Past
    size: int
    """Bytes of those of its events that are its own."""
    link: bytes
    """To which the next event is bound, where rows are sealed."""


class _Left(Exception):
    """Whoever waited for a lease has gone."""


class _DurableJournal:
    """The journal of a thread under a lease, which is held for a block: ``async with``.

    A task of its own takes the lease, stores what nobody waits for, and gives the lease back. It is
    told when to end, and nothing cancels it, whereas a cancellation from outside anyio pierces the
    shields of the task that has the block.
    """

    def __init__(self, store: DurableStore, thread_id: ThreadId, format_: JournalFormat) -> None:
        self.thread_id: ThreadId = thread_id
        self.epoch: int = 0
        self.status: str = "running"
        self.position: int = 0
        """Of the last event that was added."""
        self.durable: int = 0
        """Of the last event that is known to be durable."""
        self.waits_since: float | None = None
        """Since when something of it is being stored that is not durable yet."""
        self.failure: PlaitError | None = None
        """Why nothing can be added any more."""
        self.past: Past = Past(0, None, (), thread_id)
        self.is_alone: Callable[[], bool] = _never
        """Whether nothing in the run can add an event before the one that waits has gone on."""
        self._store = store
        self._holder = f"{_host()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._thread: ThreadRow
        self._format = format_
        self._commit = store.committer
        self._crew: Crew = make_crew()
        self._held = Bell()  # the lease has been taken, or cannot be
        self._fail_run: Callable[[PlaitError], None] | None = None
        self._acquiring: Bell | None = None  # rings when it has been taken again
        self._held_until = 0.0  # by time(): when the lease expires, unless it is renewed
        self.time: Callable[[], float] = _clock()
        self._wake = Bell()  # for the task that keeps it
        self._leaving = False
        self._given_back = False
        self._timer: asyncio.TimerHandle | None = None  # fires when the lease is to be renewed
        self._renewal: anyio.CancelScope | None = None
        self._take_snapshot: Callable[[], bytes] | None = None
        self._snapshot: Row | None = None  # waits to be saved
        self._later: list[Record] = []  # to be stored at the end
        self._link = b""  # to which the next event is bound
        self._last = 0  # position that the thread may have
        self._size = 0
        self._most_bytes = store.limits.max_history_bytes
        self._fresh = 0  # bytes of its own events since the last snapshot
        self._enough = _FIRST_SNAPSHOT  # of which it is worth while to try another

    async def __aenter__(self) -> Self:
        check_thread_id(self.thread_id)
        check_id("graph's name", self._format.graph or "unnamed")
        await self._crew.__aenter__()
        self._crew.stay(self._keep)
        try:
            await self._held.wait()
            if self.failure is not None:
                raise self.failure
            await self._load()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        if error is None or isinstance(error, Exception):
            await self._crew.__aexit__(None, None, None)  # a task group would wrap the error
            # That what has finished is not durable is worse than whatever else has happened.
            if self.failure is not None and self.failure is not error:
                raise self.failure from error
        else:
            await self._crew.__aexit__(kind, error, traceback)

    def _leave(self) -> None:
        """Nothing more will be added: what is on its way is stored, and the lease given back."""
        self._leaving = True
        self._take_snapshot = self._fail_run = None  # they know the run, which knows its journal
        self.is_alone = _never
        self._wake.ring()

    async def _load(self) -> None:
        """Read what is there."""
        thread = self._thread
        self._last = thread.pruned + self._store.limits.max_history_events
        if thread.position == 0:
            return
        self.past, self._fresh, self._link = await self._store.read(thread, self._format)
        position, snapshot, events, _ = self.past
        self.position = self.durable = position + len(events)
        self._size = thread.size
        if snapshot is not None:
            self._enough = max(_FIRST_SNAPSHOT, 2 * len(snapshot))

    def watch(
        self,
        take_snapshot: Callable[[], bytes],
        is_alone: Callable[[], bool],
        fail: Callable[[PlaitError], None],
    ) -> None:
        self._check_limits(0)  # before a node is called whose result could not be stored
        if self.failure is not None:
            raise self.failure
        self._take_snapshot = take_snapshot
        self._fail_run = fail
        if self._format.durability == "sync":  # else it does not wait for its commits
            self.is_alone = is_alone

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        if self.failure is not None:
            raise self.failure
        assert self._format.codec is not None
        row, link = self._format.codec.encode_event(event), b""
        if self._store.protection.is_on:
            row, link = self._seal(row)
        size = len(row)
        if self.position >= self._last or self._size + size > self._most_bytes:
            self._check_limits(size)
        if self._fresh >= self._enough:
            self._try_snapshot()
        self.position += 1
        self._link = link
        self._size += size
        self._fresh += size
        record = Record(self.thread_id, self.epoch, self.position, row)
        durability = self._format.durability
        if durability == "exit":  # in nobody's way before
            self._later.append(record)
            return None
        self._commit.add(self, record)
        if durability == "sync":
            return self._commit.wait_until(self, self.position)
        if durability == "async":
            self._wake.ring()
            if self.position - self.durable > _BACKLOG:
                return self._commit.wait_until(self, self.position - _BACKLOG)
        return None

    def _seal(self, record: bytes) -> tuple[bytes, bytes]:
        """The row of the next event, and the link for the one after it."""
        return self._store.protection.seal_event(
            self.thread_id, self.position + 1, self._link, record
        )

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
        row, link = self._seal(self._format.codec.encode_event(event))
        self._check_limits(len(row))
        await self._store_all()
        position = self.position + 1
        record = Record(self.thread_id, self.epoch, position, row)
        stored = False
        try:
            stored = await transaction.commit([record])
        except StoreUnavailable as error:
            _log().warning("commit in doubt", thread_id=self.thread_id, error=str(error))
            try:
                stored = await self._happened(record)
            except Exception as failure:  # nobody knows what comes at this place
                self.fail(_as_plait_error(failure))
        else:
            if not stored:
                self.fail(lease_lost(self.thread_id))
        if self.failure is not None:
            raise self.failure
        if not stored:
            return False
        self.position = self.durable = position
        self._link = link
        self._size += len(row)
        self._fresh += len(row)
        return True

    async def _happened(self, record: Record) -> bool:
        """Whether a commit whose outcome is unknown has stored this record.

        A new epoch comes first: it waits for the commit to end, or makes it impossible. Raises
        ``LeaseLost`` if somebody else has been there meanwhile.
        """
        try:
            await self._acquire()
        except ThreadBusy as error:
            raise lease_lost(self.thread_id) from error
        position = record.position
        read = partial(self._store.backend.read, self.thread_id, position - 1, position, 1)
        rows = await self._store.persist(read)
        if self._thread.position > position or any(row.data != record.data for row in rows):
            raise lease_lost(self.thread_id)
        return bool(rows)

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

    def _try_snapshot(self) -> None:
        """Keep a snapshot if the events since the last one are at least twice its size.

        So all snapshots together take at most half of what the events take, and what is replayed
        behind the last one is linear in its size. A state that only grows is never worth one: its
        journal is not larger than itself.
        """
        if self._take_snapshot is None:
            return
        try:
            data = self._take_snapshot()
            sealed = self._store.protection.seal_snapshot(
                self.thread_id, self.position, self._link, data
            )
        except Exception as error:  # what a reducer made of the writes need not be storable
            _log().warning("no snapshots", thread_id=self.thread_id, error=str(error))
            self._take_snapshot = None
            return
        if self._fresh >= 2 * len(sealed):
            self._snapshot = Row(self.position, sealed)
            self._fresh = 0
            if self._format.durability != "exit":
                self._wake.ring()
        self._enough = max(_FIRST_SNAPSHOT, 2 * len(sealed), 2 * self._fresh)

    def fail(self, error: PlaitError) -> None:
        """Nothing can be added any more, and so the run ends."""
        if self.failure is None:
            self.failure = error
            if self._fail_run is not None:
                self._fail_run(error)

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
        link = b""
        if self._store.protection.is_on:  # that of the event in whose place the snapshot stands
            link = (await self._store.read(self._thread, self._format, position)).link
        data = self._store.protection.seal_snapshot(self.thread_id, position, link, snapshot)
        for step in (
            partial(backend.save_snapshot, self.thread_id, epoch, position, data),
            partial(backend.prune, self.thread_id, epoch, position),
        ):
            if not await self._store.persist(step):
                raise lease_lost(self.thread_id)

    # -- the tasks that keep it ---------------------------------------------------------------

    async def _keep(self) -> None:
        """Take the lease and store what is on its way, until left; then close."""
        self._commit.journals += 1
        try:
            await self._serve()
            if self.epoch:
                await self._close()
        except BaseException as error:  # the event loop is ending, and the run with it
            self.fail(_as_plait_error(error))
            raise
        finally:
            self._held.ring()
            self._commit.journals -= 1

    async def _serve(self) -> None:
        try:
            await self._acquire(self._pause)
            self._renew_later()
            self._held.ring()
            while not self._leaving:
                await self._wake.wait()
                if not self._leaving:
                    self._wake = Bell()
                    await self._store_the_rest()
        except _Left:
            pass
        except Exception as error:
            self.fail(_as_plait_error(error))

    async def _pause(self, seconds: float) -> None:
        """Wait for so long. Raises ``_Left`` if nobody wants the lease any more."""
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        if self._leaving:
            raise _Left

    async def _acquire(self, pause: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        """Take the lease, or a new epoch if it is held already; ``pause`` as for ``persist``."""
        acquired = self._acquiring = Bell()
        try:
            self.epoch, self._thread = await self._store.persist(self._ask, pause)
        except _Left:
            await self._give_back()
            raise
        finally:
            self._acquiring = None
            acquired.ring()
        if not self._held.has_rung:
            # What the row says may be what an earlier attempt left; the journal knows better.
            self.status = self._thread.status if self._thread.position else "running"

    async def _ask(self) -> Grant:
        """Ask for the lease. Raises ``ThreadBusy``."""
        began, ttl = self.time(), self._store.lease_ttl
        grant = await self._store.backend.acquire(
            self.thread_id, self._holder, ttl, self._format.graph
        )
        self._held_until = began + ttl
        return grant

    async def _give_back(self) -> None:
        """Give back a lease that may have been given without an answer."""
        try:
            epoch, thread = await self._ask()
            await self._store.backend.release(self.thread_id, epoch, thread.status)
        except Exception as error:  # the lease will expire by itself
            _log().warning("lease not released", thread_id=self.thread_id, error=str(error))

    def _renew_later(self) -> None:
        """Renew the lease when a third of its time has passed, as few runs live to see."""
        delay = self._store.lease_ttl / 3
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another backend
            self._crew.stay(partial(self._renew, delay))
        else:
            self._timer = loop.call_later(delay, self._crew.stay, self._renew)

    async def _renew(self, delay: float = 0.0) -> None:
        """Hold the lease until what is on its way is stored, though the run be cancelled."""
        ttl = self._store.lease_ttl
        with anyio.CancelScope() as self._renewal:
            while self.failure is None and not self._given_back:
                await anyio.sleep(delay)
                try:
                    await self._hold()
                    delay = ttl / 3
                except StoreUnavailable as error:
                    # What is stored next will say whether somebody else has taken it over.
                    _log().warning("lease not renewed", thread_id=self.thread_id, error=str(error))
                    delay = min(1.0, ttl / 10)
                except Exception as error:
                    self.fail(_as_plait_error(error))
                except BaseException as error:
                    if not self._given_back:  # the event loop is ending, and the run with it
                        self.fail(_as_plait_error(error))
                    raise

    def _stop_renewing(self) -> None:
        self._given_back = True
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()

    async def _hold(self) -> None:
        epoch, began = self.epoch, self.time()
        ttl = self._store.lease_ttl
        lost = await self._store.backend.renew([(self.thread_id, epoch)], ttl)
        if not lost:
            self._held_until = max(self._held_until, began + ttl)
        else:
            self._lose(epoch)

    def _lose(self, epoch: int) -> None:
        """Somebody has taken this epoch's place: another process, unless it was given back
        meanwhile, or this one is about to have a new one."""
        if epoch == self.epoch and self._acquiring is None and not self._given_back:
            self.fail(lease_lost(self.thread_id))

    async def _store_all(self) -> None:
        later, self._later = self._later, []
        for record in later:
            self._commit.add(self, record)
        await self._commit.wait_until(self, self.position)

    def check_lease(self) -> Awaitable[None] | None:
        # The record of what a node returned is fenced by the epoch. But a process that was stopped
        # for a while finds nodes that are ready, and somebody else may have called them already.
        return None if self.time() < self._held_until else self._make_certain()

    async def _make_certain(self) -> None:
        while self.time() >= self._held_until or self.failure is not None:
            if self.failure is not None:
                raise self.failure
            if self._acquiring is not None:
                await self._acquiring.wait()
                continue
            try:
                await self._store.persist(self._hold)
            except Exception as error:
                self.fail(_as_plait_error(error))

    async def _store_the_rest(self) -> None:
        # The snapshot of now, and not one that is taken meanwhile: its events must be durable
        # before it is, or else others could take their places behind a crash.
        snapshot, self._snapshot = self._snapshot, None
        await self._store_all()
        if snapshot is None:
            return
        epoch = self.epoch
        try:
            saved = await self._store.backend.save_snapshot(self.thread_id, epoch, *snapshot)
        except StoreError as error:  # it only saves time
            _log().warning("snapshot not saved", thread_id=self.thread_id, error=str(error))
            return
        if not saved:
            self._lose(epoch)

    async def _close(self) -> None:
        """Store what is not stored and give the lease back, each within the bound of patience."""
        try:
            if self.failure is None:
                await self._store_the_rest()
        except Exception as error:
            self.fail(_as_plait_error(error))
        finally:
            self._stop_renewing()
        if isinstance(self.failure, LeaseLost):
            return
        status = self.status if self.failure is None else "running"
        release = partial(self._store.backend.release, self.thread_id, self.epoch, status)
        try:
            if self.failure is None:
                await self._store.persist(release)
            else:
                await release()
        except Exception as error:  # the lease will expire by itself, and all is stored
            _log().warning("lease not released", thread_id=self.thread_id, error=str(error))


class _Committer:
    """Stores what all journals of a store want stored, one transaction after another.

    There is no task behind it: of those who wait, one leads.
    """

    def __init__(self, store: DurableStore) -> None:
        self._store = store
        self._queue: list[_Item] = []
        self._leading = False
        self._turn: Bell | None = None  # made for the first who waits for the leader
        self.journals = 0
        """How many are open, any of which may add something at any time."""

    def add(self, journal: _DurableJournal, record: Record) -> None:
        self._queue.append((journal, record))

    async def wait_until(self, journal: _DurableJournal, position: int) -> None:
        """Return when the journal is durable up to a position; raise why it will not be."""
        if journal.waits_since is None and journal.durable < position:
            journal.waits_since = journal.time()
        while True:
            if journal.failure is not None:  # also where this much is durable: nothing begins
                raise journal.failure
            if journal.durable >= position:
                return
            if not self._leading:
                await self._lead(journal)
                continue
            if self._turn is None:
                self._turn = Bell()
            await self._turn.wait()

    async def _lead(self, journal: _DurableJournal) -> None:
        """Store what is waiting, one of this journal's events with it."""
        self._leading = True
        batch: list[_Item] = []
        try:
            # Of a run that is alone, no more can come, and nobody else will wait for its commit:
            # if it is cancelled, its journal is about to be closed, and what is not known to be
            # durable is stored then. So it pays neither for a turn nor for a shield.
            alone = self.journals == 1 and journal.is_alone()
            if not alone:
                await self._wait_for_more()
            batch = self._take()
            if alone:
                await self._store_batch(batch)
            else:
                with anyio.CancelScope(shield=True):  # others wait for it as well
                    await self._store_batch(batch)
        except BaseException:  # cancelled: repeating what has happened does no harm
            self._queue[:0] = batch
            raise
        finally:
            self._leading = False
            if self._turn is not None:
                self._turn.ring()
                self._turn = None

    async def _wait_for_more(self) -> None:
        """Let whoever is about to add something come along.

        One more turn of the loop is much cheaper than one more commit. But some never cease to.
        """
        count = 0
        for _ in range(_MOST_TURNS):
            if len(self._queue) == count:
                break
            count = len(self._queue)
            await anyio.lowlevel.checkpoint()

    def _take(self) -> list[_Item]:
        queue = self._queue
        if len(queue) == 1 and queue[0][0].failure is None:
            self._queue = []
            return queue
        queue = [item for item in queue if item[0].failure is None]
        size = count = 0
        for _, record in queue[:_MOST_AT_ONCE]:
            size += len(record.data)
            if count and size > _MOST_BYTES_AT_ONCE:
                break
            count += 1
        self._queue = queue[count:]
        return queue[:count]

    async def _store_batch(self, batch: list[_Item]) -> None:
        """Store records, or fail the journals whose patience is at its end or that are at fault."""
        delay = _FIRST_DELAY
        while batch:
            began = batch[0][0].time()
            try:
                fenced = await self._store.backend.append([record for _, record in batch])
            except StoreUnavailable as error:
                left = self._patience_left(_journals_of(batch), began, error)
                if left == 0:  # of those that go on waiting, somebody else leads
                    self._queue[:0] = batch
                    return
                _log().warning("store unavailable", error=str(error), retry_in=delay)
                await anyio.sleep(min(delay, left))
                delay = _next_delay(delay)
                batch = [item for item in batch if item[0].failure is None]
            except Exception as error:
                journals = _journals_of(batch)
                if len(journals) > 1:  # one of them may be at fault, and not the others
                    await self._store_apart(batch, journals)
                else:
                    journals[0].fail(_not_stored(journals[0], _as_plait_error(error)))
                return
            else:
                await self._settle(batch, fenced)
                return

    def _patience_left(
        self, journals: Sequence[_DurableJournal], began: float, error: StoreUnavailable
    ) -> float:
        """Seconds until the first of them loses patience; 0: one has, and has failed.

        ``began``: since when those wait that have not said so themselves.
        """
        patience = self._store.patience
        lefts: list[float] = []
        for journal in journals:
            if journal.waits_since is None:
                journal.waits_since = began
            left = max(0.0, journal.waits_since + patience - journal.time())
            if left == 0:
                journal.fail(_not_stored(journal, _out_of_patience(patience, error)))
            lefts.append(left)
        return min(lefts)

    async def _store_apart(
        self, batch: Sequence[_Item], journals: Sequence[_DurableJournal]
    ) -> None:
        for journal in journals:
            if journal.failure is None:
                await self._store_batch([item for item in batch if item[0] is journal])

    async def _settle(self, batch: Sequence[_Item], fenced: set[ThreadId]) -> None:
        """Note what became of records that a backend has answered for."""
        suspects: dict[_DurableJournal, None] = {}
        for journal, record in batch:
            if record.thread_id in fenced:
                suspects[journal] = None
            else:
                journal.durable = record.position
                if journal.durable == journal.position:
                    journal.waits_since = None
        for thread_id in fenced:
            journals = [journal for journal in suspects if journal.thread_id == thread_id]
            if len(journals) == 1:
                journals[0].fail(lease_lost(thread_id))
            else:  # an earlier holder in this same process, whose records came along
                await self._store_apart(batch, journals)


_Item: TypeAlias = "tuple[_DurableJournal, Record]"


def _journals_of(batch: Sequence[_Item]) -> list[_DurableJournal]:
    """Each once, in order."""
    return list(dict.fromkeys([journal for journal, _ in batch]))


@cache
def _host() -> str:
    return socket.gethostname()


def _never() -> bool:
    return False


def _next_delay(delay: float) -> float:
    return min(delay * 2, 2.0) * random.uniform(0.8, 1.2)


def _clock() -> Callable[[], float]:
    """The event loop's clock; under asyncio its own, since anyio's takes ten times as long."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # another backend
        return anyio.current_time
    # The plain loop's time() is monotonic(), with a frame more.
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def _as_plait_error(error: BaseException) -> PlaitError:
    """What a backend raised; anything but a ``PlaitError`` is a fault of the backend itself."""
    if isinstance(error, PlaitError):
        return error
    wrapped = StoreError(f"the store failed ({type(error).__name__}: {error})")
    wrapped.__cause__ = error
    return wrapped


def _out_of_patience(patience: float, cause: StoreUnavailable) -> StoreError:
    error = StoreError(
        f"the store has been unavailable for {patience:g} s, and the run cannot go on without it "
        f"({cause}); when it is back, resume the thread"
    )
    error.__cause__ = cause
    return error


def _not_stored(journal: _DurableJournal, cause: PlaitError) -> StoreError:
    error = StoreError(
        f"thread {journal.thread_id!r} is durable up to position {journal.durable}; the "
        f"{journal.position - journal.durable} events behind it may not be stored: {cause}"
    )
    error.__cause__ = cause
    return error


def _gap(thread_id: ThreadId, missing: int, found: int | None = None) -> StoreError:
    but = f", but has {found}" if found is not None else ""
    return StoreError(
        f"the journal of thread {thread_id!r} has no event {missing}{but}: rows were removed by "
        "hand, or come from elsewhere"
    )


def _begin_of(thread: ThreadRow) -> int:
    """The position behind which a thread's own events begin."""
    return thread.origin[1] if thread.origin is not None else 0


def lease_lost(thread_id: ThreadId) -> LeaseLost:
    """The error for a thread that somebody else has taken over."""
    return LeaseLost(
        thread_id,
        "was taken over by another process, since this one did not renew its lease in time (it was "
        "paused, cut off or overloaded): the run goes on over there",
    )


def open_store(url: str, **options: Any) -> Store:
    """Open a store by its URL; the part before ``:`` says which.

    ``sqlite:///runs.db``, ``postgresql://localhost/plait``, ``memory:``. Stores of other packages
    are found by their entry point in the group ``plait.stores``. Options are those of the store's
    own class, such as ``tenant``, ``lease_ttl``, ``patience``, ``limits`` and ``seal``.

    Raises:
        StoreError: no such store is known, or what it needs is not installed.
        ValueError, TypeError: an option is not what it should be.
    """
    from importlib.metadata import entry_points

    if not isinstance(url, str):
        raise TypeError(f"a URL is a string, not {type(url).__name__}: {url!r:.80}")
    scheme, colon, _ = url.partition(":")
    if scheme == "memory" and colon:
        from .store import MemoryStore

        return MemoryStore(**options)
    known = {point.name: point for point in entry_points(group="plait.stores")}
    if not colon or scheme not in known:
        names = ", ".join(sorted([*known, "memory"]))
        raise StoreError(f"no store is known for {scheme!r:.80}: a URL begins with one of {names}")
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
