"""Where journals live: the protocol, and the store in memory.

A store keeps one journal for each thread. Whoever runs a thread holds its lease, so that a
thread has one writer at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from .errors import StoreError, ThreadBusy, ThreadExists, ThreadNotFound
from .events import JournalEvent, ThreadId

__all__ = ["UNNAMED", "Journal", "MemoryStore", "Store"]

UNNAMED: Final = "run-"
"""What the ids begin with that a Flow makes up."""


class Journal(Protocol):
    """The journal of a thread, as its one writer sees it."""

    @property
    def events(self) -> Sequence[JournalEvent]:
        """All events so far, in order."""
        ...

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        """Add an event at the end.

        The order of the calls is the order of the journal. Returns ``None`` if the event is as
        durable as it will get, else something to await before anything that follows from the
        event may be done.
        """
        ...


class Store(Protocol):
    """Where journals live."""

    def lease(self, thread_id: ThreadId) -> AbstractAsyncContextManager[Journal]:
        """Hold a thread for writing. Raises ``ThreadBusy`` if somebody else holds it."""
        ...

    async def read(self, thread_id: ThreadId) -> Sequence[JournalEvent]:
        """The events of a thread, in order; empty for a thread that is not known."""
        ...

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another up to position ``at``.

        Raises:
            ThreadNotFound: there is no such thread.
            ThreadExists: there is a thread of the new name.
            StoreError: the thread has no such position.
        """
        ...


class _MemoryJournal:
    """A list of events."""

    __slots__ = ("events", "leased")

    def __init__(self) -> None:
        self.events: list[JournalEvent] = []
        self.leased = False

    def append(self, event: JournalEvent) -> None:
        self.events.append(event)


class MemoryStore:
    """Journals in this process; they are gone when it is.

    Args:
        unnamed: how many threads to keep whose ids a Flow made up; the oldest go first, but none
            whose run failed or goes on. ``None`` keeps all.
    """

    def __init__(self, *, unnamed: int | None = None) -> None:
        self._journals: dict[ThreadId, _MemoryJournal] = {}
        self._unnamed = unnamed
        self._finished: deque[ThreadId] = deque()

    @asynccontextmanager
    async def lease(self, thread_id: ThreadId) -> AsyncIterator[Journal]:
        """Hold a thread for writing. Raises ``ThreadBusy`` if another run holds it."""
        journal = self._journals.get(thread_id) or _MemoryJournal()
        if journal.leased:
            raise ThreadBusy(thread_id, "is being run at this moment: wait for that run to end")
        self._journals[thread_id] = journal
        journal.leased = True
        try:
            yield journal
            if self._unnamed is not None and thread_id.startswith(UNNAMED):
                self._finished.append(thread_id)
                if len(self._finished) > self._unnamed:
                    del self._journals[self._finished.popleft()]
        finally:
            journal.leased = False
            if not journal.events:  # nothing has happened, so there is no such thread
                del self._journals[thread_id]

    async def read(self, thread_id: ThreadId) -> Sequence[JournalEvent]:
        """The events of a thread, in order; empty for a thread that is not known."""
        journal = self._journals.get(thread_id)
        return tuple(journal.events) if journal is not None else ()

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another; see :class:`Store`."""
        source = self._journals.get(thread_id)
        if source is None or not source.events:
            raise ThreadNotFound(thread_id, "is not known: begin it with run(...)")
        if not 1 <= at <= len(source.events):
            raise StoreError(f"thread {thread_id!r} has positions 1 to {len(source.events)}: {at}")
        if new_thread_id in self._journals:
            raise ThreadExists(new_thread_id, "exists: give the fork an id of its own")
        fork = self._journals[new_thread_id] = _MemoryJournal()
        fork.events += source.events[:at]
