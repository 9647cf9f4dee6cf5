"""The rows under a durable store: the contract that each outside system fulfils in its own way.

A backend knows nothing of events and codecs: it keeps sealed records (bytes), each in its place,
and it keeps writers apart. What every durable store has in common, group commit, leases,
retries, snapshots, is in :mod:`plait.durable`, and stands on this.

Rules that hold for every method:

* It is one transaction: it happens as a whole, or not at all.
* It may be repeated with the same arguments when its outcome is unknown, and does no harm then.
* It ends within a bound, whatever the server does. Where repeating it may help, it raises
  ``StoreUnavailable`` (the outcome is then unknown), otherwise another ``StoreError``.
* Being cancelled, it leaves nothing behind but an outcome that is unknown.
* Expiry is judged by the clock of the backend, never by that of a client.
* The tenant is part of every key; it is given to the backend when that is made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from .events import ThreadId

__all__ = ["Backend", "Grant", "Record", "Row", "ThreadRow", "Transaction"]


class Record(NamedTuple):
    """One event on its way into a journal."""

    thread_id: ThreadId
    epoch: int
    """The fencing token of the writer's lease."""
    position: int
    """The event's place in the journal, from 1."""
    data: bytes


class Row(NamedTuple):
    """A stored record, as it is read back."""

    position: int
    data: bytes


class ThreadRow(NamedTuple):
    """What is known of a thread without reading its journal."""

    thread_id: ThreadId
    position: int
    """The position of the last event; that of ``origin`` for a fork without events of its own."""
    pruned: int
    """Events up to this position are gone; a snapshot stands in their place. 0: none."""
    size: int
    """Bytes of the thread's own events that are kept."""
    status: str
    """As the last release left it: ``"completed"``, ``"suspended"`` or ``"running"`` (a run has
    not been finished); ``"running"`` while it is leased; ``""`` for a fork that nobody has run
    yet. In a ``Grant``: what it was before."""
    graph: str
    """The name of the graph that last held it."""
    holder: str | None
    """Who holds the lease; ``None`` if nobody does, or it has expired."""
    expires: float | None
    """When the lease expires: seconds since the epoch, by the backend's clock."""
    created: float
    """Seconds since the epoch."""
    updated: float
    """Seconds since the epoch: when the lease was last taken or given back."""
    origin: tuple[ThreadId, int] | None
    """For a fork: the thread whose journal up to that position is the beginning of this one."""


class Grant(NamedTuple):
    """A lease that was given."""

    epoch: int
    """The fencing token: larger than any that this backend has given before."""
    thread: ThreadRow


class Transaction(Protocol):
    """A transaction that a node's own statements and the record of its completion share."""

    @property
    def connection(self) -> Any:
        """The connection of the outside system's own driver, inside the transaction."""
        ...

    async def commit(self, records: Sequence[Record]) -> bool:
        """Store records and commit, all or nothing; ``False``: fenced, and rolled back.

        Raises ``StoreUnavailable`` if the outcome is unknown: look for the records then.
        """
        ...


class Backend(Protocol):
    """Where the rows of a durable store are. See the module for what holds for every method."""

    @property
    def tenant(self) -> str:
        """Whose rows this handle reads and writes; part of every key."""
        ...

    async def acquire(self, thread_id: ThreadId, holder: str, ttl: float, graph: str) -> Grant:
        """Take the lease of a thread for ``ttl`` seconds; makes the thread if it is new.

        ``holder`` is different for every lease. If it holds the lease already (an earlier call
        whose outcome was unknown), it is given a new epoch. A lease that has expired is taken
        over.

        Raises:
            ThreadBusy: somebody else holds it; names the holder and the expiry.
        """
        ...

    async def renew(self, leases: Collection[tuple[ThreadId, int]], ttl: float) -> set[ThreadId]:
        """Hold leases (thread and epoch) for ``ttl`` more seconds; returns those that are lost.

        A lease that has expired and that nobody has taken over is not lost: it is renewed.
        """
        ...

    async def release(self, thread_id: ThreadId, epoch: int, status: str) -> None:
        """Give a lease back and note how the thread stands.

        A thread without events that is no fork is removed. A lease that is lost is left alone.
        """
        ...

    async def append(self, records: Sequence[Record]) -> set[ThreadId]:
        """Store records, of any number of threads; returns the threads whose epoch is not the
        current one. Of these nothing is stored; the records of all others are durable.

        A record that is there already, with the same epoch, counts as stored. Checking the epoch
        and storing are one step: no record of an old epoch is stored after a new one was granted.
        Whether the lease has expired makes no difference, as long as nobody has taken it over.
        """
        ...

    async def read(
        self, thread_id: ThreadId, after: int, upto: int | None = None, limit: int = 1000
    ) -> Sequence[Row]:
        """The thread's own events (not those of its origin) with positions above ``after`` and
        not above ``upto``, the first ``limit`` of them, in order; fewer than ``limit`` only where
        there are no more."""
        ...

    async def thread(self, thread_id: ThreadId) -> ThreadRow | None:
        """What is known of a thread; ``None`` if there is none."""
        ...

    async def threads(self, *, limit: int, before: ThreadRow | None = None) -> Sequence[ThreadRow]:
        """Threads, the last updated first, then by id; ``before``: those that come after it."""
        ...

    async def save_snapshot(
        self, thread_id: ThreadId, epoch: int, position: int, data: bytes
    ) -> bool:
        """Keep a snapshot of the thread at a position, in place of another one there.
        ``False``: the epoch is not the current one, and nothing was kept."""
        ...

    async def load_snapshot(self, thread_id: ThreadId, upto: int) -> Row | None:
        """The thread's own last snapshot at a position not above ``upto``."""
        ...

    async def prune(self, thread_id: ThreadId, epoch: int, position: int) -> bool:
        """Remove the events up to a position at which there is a snapshot, and older snapshots.

        ``False``: the epoch is not the current one, and nothing was removed.

        Raises:
            StoreError: there is no snapshot at that position, or a fork begins before it.
        """
        ...

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> None:
        """Make a thread whose journal begins with that of another up to position ``at``.

        ``at`` is a position of the other's own events or, where it is a fork itself, that at
        which it begins. Being repeated, it finds the fork it has made and leaves it.

        Raises:
            ThreadNotFound: there is no such thread.
            ThreadExists: there is a thread of the new name, and it is not this fork.
            StoreError: the thread has no such position (it was pruned, or not reached).
        """
        ...

    async def delete(self, thread_id: ThreadId) -> bool:
        """Remove a thread and all that belongs to it; ``False`` if there is none.

        Raises:
            ThreadBusy: somebody holds it.
            StoreError: a fork begins in it.
        """
        ...

    async def save_plan(self, fingerprint: str, data: bytes) -> None:
        """Keep the description of a graph, if it is not there yet."""
        ...

    async def load_plan(self, fingerprint: str) -> bytes | None:
        """The description of a graph."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction for a node's own statements; rolled back unless committed.

        Raises ``StoreError`` where the backend has none to offer.
        """
        ...

    async def close(self) -> None:
        """Give back connections, files and threads of execution. Waits for what is under way,
        within a bound."""
        ...
