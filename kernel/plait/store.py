"""Where journals live: the protocol that a Flow uses, and the store in memory.

A store keeps one journal for each thread. Whoever runs a thread holds its lease, so that a
thread has one writer at a time.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

from .backend import ThreadRow, Transaction
from .errors import PlaitError, StoreError, ThreadBusy, ThreadExists, ThreadNotFound
from .events import JournalEvent, ThreadId

if TYPE_CHECKING:
    from .codec import Codec, TypeRegistry

__all__ = [
    "UNNAMED",
    "Durability",
    "Journal",
    "JournalFormat",
    "LeasedJournal",
    "ListJournal",
    "MemoryStore",
    "Past",
    "Store",
    "check_id",
    "check_seconds",
    "check_thread_id",
]

UNNAMED: Final = "run-"
"""What the ids begin with that a Flow makes up."""

Durability: TypeAlias = Literal["sync", "async", "exit"]
"""When an event is durable: before anything follows from it, soon after, or when the run ends."""


@dataclass(frozen=True, slots=True)
class JournalFormat:
    """How a Flow wants its journals kept."""

    graph: str = ""
    """The name of the graph."""
    codec: Codec | None = None
    """Makes bytes of events; ``None`` for a store that keeps them as they are."""
    durability: Durability = "sync"


class Past(NamedTuple):
    """What a journal holds of a thread: a snapshot, if there is one, and what came after it."""

    position: int
    """The position of the snapshot; 0 without one, where a new thread begins."""
    snapshot: bytes | None
    events: Sequence[JournalEvent]
    """All behind that position, in order."""
    thread_id: ThreadId = ""


class Journal(Protocol):
    """What a run writes to."""

    @property
    def status(self) -> str:
        """How the thread stands: ``"completed"``, ``"suspended"``, or ``"running"`` as long as a
        run is not finished. The writer sets it; the store shows it in its list of threads."""
        ...

    @status.setter
    def status(self, status: str) -> None: ...

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        """Add an event at the end.

        The order of the calls is the order of the journal. Returns ``None`` if the event is as
        durable as it will get, else something to await before anything that follows from the
        event may be done.

        Raises:
            EncodingError: the event holds a value that cannot be stored; nothing was added.
            LimitError: the thread would outgrow what it may take; nothing was added.
            StoreError, LeaseLost: an earlier event could not be stored; nothing was added.
        """
        ...

    @property
    def check_lease(self) -> Callable[[], Awaitable[None] | None] | None:
        """What to ask before a node is called; ``None`` if nobody else can have the thread.

        It returns ``None`` if the thread is still held for certain, else something to await that
        makes certain, and raises ``LeaseLost`` if somebody else has taken the thread over, or
        ``StoreError`` if that cannot be found out.
        """
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the store's own, for a node's statements; rolled back when left.

        Raises ``StoreError`` if there are none here.
        """
        ...

    async def append_within(self, transaction: Transaction, event: JournalEvent) -> bool:
        """Add an event at the end, and commit the transaction with it: both, or neither.

        Nothing else may be added meanwhile. ``False``: neither, since the connection was lost.

        Raises:
            CodecError, LimitError, StoreError, LeaseLost: as ``append``; neither.
        """
        ...


class LeasedJournal(Journal, Protocol):
    """The journal of a thread, as its one writer holds it."""

    @property
    def past(self) -> Past:
        """What was there when the lease was taken."""
        ...

    def watch(
        self,
        take_snapshot: Callable[[], bytes],
        is_alone: Callable[[], bool],
        fail: Callable[[PlaitError], None],
    ) -> None:
        """Be told of the run that is about to begin or to go on.

        Args:
            take_snapshot: makes a snapshot of the thread as of the last event that was added.
            is_alone: whether nothing in the run can add another event before who waits for the
                last one has gone on.
            fail: ends the run with an error, when no more can be added.
        """
        ...

    async def find_cut(self, keep: int | None, keep_bytes: int | None) -> int:
        """The lowest position from which on at most so many events, and bytes, are kept."""
        ...

    async def prune(self, position: int, snapshot: bytes) -> None:
        """Put a snapshot in place of all events up to a position.

        Raises ``StoreError`` if a fork begins before it, or the store keeps no snapshots.
        """
        ...


class Store(Protocol):
    """Where journals live."""

    def make_codec(self, types: Callable[[], TypeRegistry]) -> Codec | None:
        """What makes bytes of events for this store; ``None`` if it keeps them as they are."""
        ...

    def lease(
        self, thread_id: ThreadId, format_: JournalFormat = ...
    ) -> AbstractAsyncContextManager[LeasedJournal]:
        """Hold a thread for writing.

        Raises:
            TypeError, ValueError: what is given is no thread's id.
            ThreadBusy: somebody else holds it.
            LeaseLost: when the block is left: somebody has taken it over.
            StoreError: the store cannot be reached, or, when the block is left, not all that was
                added is durable.
        """
        ...

    async def past(
        self,
        thread_id: ThreadId,
        format_: JournalFormat = ...,
        upto: int | None = None,
        *,
        whole: bool = False,
    ) -> Past | None:
        """What is known of a thread, up to a position; ``None`` for a thread that is not known.

        Args:
            whole: begin with the first event that was not pruned, whatever snapshots there are.

        Raises ``StoreError`` if that position was pruned.
        """
        ...

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread without reading its journal; ``None`` if there is none."""
        ...

    async def threads(
        self, *, limit: int = 100, before: ThreadRow | None = None
    ) -> Sequence[ThreadRow]:
        """The threads, the last updated first; ``before``: those that come after it."""
        ...

    async def delete(self, thread_id: ThreadId) -> None:
        """Remove a thread and its journal.

        Raises:
            ThreadNotFound: there is no such thread.
            ThreadBusy: somebody holds it.
            StoreError: a fork begins in it.
        """
        ...

    async def save_plan(self, fingerprint: str, description: bytes) -> None:
        """Keep the description of a graph under its fingerprint."""
        ...

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph; ``None`` if there is none."""
        ...

    async def close(self) -> None:
        """Give back what the store holds: connections, files."""
        ...

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another up to position ``at``.

        Raises:
            ThreadNotFound: there is no such thread.
            ThreadExists: there is a thread of the new name.
            StoreError: the thread has no such position.
        """
        ...


class ListJournal:
    """A journal that is a list of events, in this process alone."""

    __slots__ = ("events", "status")

    check_lease = None

    def __init__(self) -> None:
        self.events: list[JournalEvent] = []
        self.status: str = "running"

    def append(self, event: JournalEvent) -> None:
        """Add an event at the end."""
        self.events.append(event)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Raises ``StoreError``: there are none."""
        raise StoreError(
            "a store in memory has no transactions for a node's own statements: use PostgreSQL"
        )

    async def append_within(self, transaction: Transaction, event: JournalEvent) -> bool:
        """Never called, since there are no transactions."""
        raise AssertionError("there are no transactions here")


class _MemoryJournal(ListJournal):
    """The journal of one thread in memory."""

    __slots__ = ("graph", "leased", "past")

    def __init__(self) -> None:
        self.events: list[JournalEvent] = []
        self.status: str = "running"
        self.leased: bool = False
        self.graph: str = ""
        self.past: Past = _NO_PAST

    def watch(
        self,
        take_snapshot: Callable[[], bytes],
        is_alone: Callable[[], bool],
        fail: Callable[[PlaitError], None],
    ) -> None:
        return None

    async def find_cut(self, keep: int | None, keep_bytes: int | None) -> int:
        raise StoreError("a store in memory keeps whole journals: delete the thread instead")

    async def prune(self, position: int, snapshot: bytes) -> None:
        raise StoreError("a store in memory keeps no snapshots")


def check_thread_id(thread_id: object) -> None:
    """Refuse ids that not every store can keep. Raises ``ValueError`` or ``TypeError``."""
    check_id("thread_id", thread_id)


def check_id(what: str, given: object) -> None:
    """The same for ``what`` else is part of a key."""
    if not isinstance(given, str):
        raise TypeError(f"a {what} is a string, not {type(given).__name__}: {given!r:.80}")
    if not given.isprintable():  # NUL and lone surrogates are not, either
        raise ValueError(f"the {what} {given[:40]!r} has characters that cannot be printed")
    if not given or len(given.encode()) > _LONGEST_ID:
        raise ValueError(
            f"a {what} has 1 to {_LONGEST_ID} bytes in UTF-8, and {given[:40]!r} has "
            f"{len(given.encode())}"
        )


def check_seconds(what: str, given: object) -> None:
    """Refuse what is no time above 0. Raises ``ValueError``."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not (is_number and math.isfinite(given) and given > 0):  # type: ignore[arg-type, operator]
        raise ValueError(f"{what}={given!r:.80} must be seconds above 0")


_LONGEST_ID: Final = 512

_PLAIN: Final = JournalFormat()
_NO_PAST: Final = Past(0, None, ())


class MemoryStore:
    """Journals in this process; they are gone when it is.

    Args:
        unnamed: how many threads to keep whose ids a Flow made up; the oldest go first, but none
            whose run failed, goes on or waits for an answer. ``None`` keeps all.
        unnamed_events: how many events these may have together. The last finished one is kept
            however many it has.
    """

    def __init__(self, *, unnamed: int | None = None, unnamed_events: float = math.inf) -> None:
        self._shelf = _Shelf(unnamed, unnamed_events)
        self._journals = self._shelf.journals
        self._plans: dict[str, bytes] = {}

    def make_codec(self, types: Callable[[], TypeRegistry]) -> None:
        """None: events are kept as they are."""

    def lease(
        self, thread_id: ThreadId, format_: JournalFormat = _PLAIN
    ) -> AbstractAsyncContextManager[LeasedJournal]:
        """Hold a thread for writing. Raises ``ThreadBusy`` if another run holds it."""
        return _MemoryLease(self._shelf, thread_id, format_.graph)

    async def past(
        self,
        thread_id: ThreadId,
        format_: JournalFormat = _PLAIN,
        upto: int | None = None,
        *,
        whole: bool = False,
    ) -> Past | None:
        """What is known of a thread; ``None`` for one that is not known."""
        check_id("thread_id", thread_id)
        journal = self._journals.get(thread_id)
        if journal is None or not journal.events:
            return None
        events = journal.events[: None if upto is None else max(0, upto)]
        return Past(0, None, tuple(events), thread_id)

    async def read(self, thread_id: ThreadId) -> Sequence[JournalEvent]:
        """The events of a thread, in order; empty for a thread that is not known."""
        past = await self.past(thread_id)
        return past.events if past is not None else ()

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread; ``None`` if there is none."""
        check_id("thread_id", thread_id)
        journal = self._journals.get(thread_id)
        return _row_of(thread_id, journal) if journal is not None else None

    async def threads(
        self, *, limit: int = 100, before: ThreadRow | None = None
    ) -> Sequence[ThreadRow]:
        """The threads, the last updated first."""
        rows = [_row_of(thread_id, journal) for thread_id, journal in self._journals.items()]
        rows.sort(key=_newest_first)
        if before is not None:
            rows = [row for row in rows if _newest_first(row) > _newest_first(before)]
        return rows[:limit]

    async def delete(self, thread_id: ThreadId) -> None:
        """Remove a thread and its journal. Raises ``ThreadNotFound`` or ``ThreadBusy``."""
        check_id("thread_id", thread_id)
        journal = self._journals.get(thread_id)
        if journal is None:
            raise ThreadNotFound(thread_id)
        if journal.leased:
            raise _busy(thread_id)
        del self._journals[thread_id]

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another; see :class:`Store`."""
        check_id("thread_id", thread_id)
        check_id("thread_id", new_thread_id)
        source = self._journals.get(thread_id)
        if source is None or not source.events:
            raise ThreadNotFound(thread_id)
        if not 1 <= at <= len(source.events):
            raise StoreError(f"thread {thread_id!r} has positions 1 to {len(source.events)}: {at}")
        if new_thread_id in self._journals:
            raise ThreadExists(new_thread_id, "exists already: choose another id for the fork")
        fork = self._journals[new_thread_id] = _MemoryJournal()
        fork.events += source.events[:at]

    async def save_plan(self, fingerprint: str, description: bytes) -> None:
        """Keep the description of a graph under its fingerprint."""
        self._plans.setdefault(fingerprint, description)

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        return self._plans.get(fingerprint)

    async def close(self) -> None:
        """Nothing is held; the journals stay."""


@dataclass(slots=True)
class _Shelf:
    """The journals of a store in memory."""

    unnamed: int | None
    """How many finished ones to keep whose ids a Flow made up."""
    unnamed_events: float
    """How many events these may have together."""
    journals: dict[ThreadId, _MemoryJournal] = field(default_factory=dict)
    finished: dict[ThreadId, int] = field(default_factory=dict)
    """Of those that a Flow named, the oldest first: how many events they have."""
    events: int = 0
    """The sum of these."""


@dataclass(slots=True)
class _MemoryLease:
    """Holds a thread for a block; a generator of contextlib's would take half a kilobyte more."""

    shelf: _Shelf
    thread_id: ThreadId
    graph: str
    journal: _MemoryJournal | None = None

    async def __aenter__(self) -> LeasedJournal:
        check_id("thread_id", self.thread_id)
        check_id("graph's name", self.graph or "unnamed")
        journals = self.shelf.journals
        journal = self.journal = journals.get(self.thread_id) or _MemoryJournal()
        if journal.leased:
            raise _busy(self.thread_id)
        journals[self.thread_id] = journal
        journal.leased = True
        journal.graph = self.graph
        journal.past = Past(0, None, tuple(journal.events), self.thread_id)
        return journal

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shelf, journal = self.shelf, self.journal
        assert journal is not None
        journal.leased = False
        if not journal.events:  # nothing has happened, so there is no such thread
            del shelf.journals[self.thread_id]
        if (
            kind is None
            and shelf.unnamed is not None
            and self.thread_id.startswith(UNNAMED)
            and journal.status == "completed"
        ):
            events = len(journal.events)
            shelf.events += events - shelf.finished.pop(self.thread_id, 0)
            shelf.finished[self.thread_id] = events
            while len(shelf.finished) > shelf.unnamed or (
                shelf.events > shelf.unnamed_events and len(shelf.finished) > 1
            ):
                oldest = next(iter(shelf.finished))
                shelf.events -= shelf.finished.pop(oldest)
                there = shelf.journals.get(oldest)
                if there is not None and there.status == "completed" and not there.leased:
                    del shelf.journals[oldest]


def _busy(thread_id: ThreadId) -> ThreadBusy:
    return ThreadBusy(thread_id, "is being run at this moment: wait for that run to end")


def _row_of(thread_id: ThreadId, journal: _MemoryJournal) -> ThreadRow:
    events = journal.events
    created, updated = (events[0].at, events[-1].at) if events else (0.0, 0.0)
    return ThreadRow(
        thread_id=thread_id,
        position=len(events),
        pruned=0,
        size=0,
        status="running" if journal.leased else journal.status,
        graph=journal.graph,
        holder="this process" if journal.leased else None,
        expires=None,
        created=created,
        updated=updated,
        origin=None,
    )


def _newest_first(row: ThreadRow) -> tuple[float, ThreadId]:
    return -row.updated, row.thread_id
