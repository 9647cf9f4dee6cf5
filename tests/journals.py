"""A journal around a journal, for stores that are slow or count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from plait.backend import Transaction
from plait.events import JournalEvent
from plait.store import LeasedJournal, Past, Store

__all__ = ["WrappedJournal", "events_in"]


class WrappedJournal:
    """Hands everything on to another journal."""

    def __init__(self, inner: LeasedJournal) -> None:
        self.inner = inner
        self.status = inner.status

    @property
    def past(self) -> Past:
        return self.inner.past

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        return self.inner.append(event)

    @property
    def check_lease(self) -> Callable[[], Awaitable[None] | None] | None:
        return self.inner.check_lease

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.inner.transaction()

    async def append_within(self, transaction: Transaction, event: JournalEvent) -> bool:
        return await self.inner.append_within(transaction, event)

    def watch(self, take_snapshot: Callable[[], bytes]) -> None:
        self.inner.watch(take_snapshot)

    async def find_cut(self, keep: int | None, keep_bytes: int | None) -> int:
        return await self.inner.find_cut(keep, keep_bytes)

    async def prune(self, position: int, snapshot: bytes) -> None:
        await self.inner.prune(position, snapshot)


async def events_in(store: Store, thread_id: str) -> Sequence[JournalEvent]:
    """The events of a thread in a store that keeps them as they are."""
    past = await store.past(thread_id)
    return past.events if past is not None else ()
