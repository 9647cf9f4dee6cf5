"""A journal around a journal, for stores that are slow or count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from plait.events import JournalEvent
from plait.store import Journal, Past, Store

__all__ = ["WrappedJournal", "events_in"]


class WrappedJournal:
    """Hands everything on to another journal."""

    def __init__(self, inner: Journal) -> None:
        self.inner = inner
        self.status = inner.status

    @property
    def past(self) -> Past:
        return self.inner.past

    def append(self, event: JournalEvent) -> Awaitable[None] | None:
        return self.inner.append(event)

    def watch(self, take_snapshot: Callable[[], bytes]) -> None:
        self.inner.watch(take_snapshot)


async def events_in(store: Store, thread_id: str) -> Sequence[JournalEvent]:
    """The events of a thread in a store that keeps them as they are."""
    past = await store.past(thread_id)
    return past.events if past is not None else ()
