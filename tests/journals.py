"""The journal of a store that keeps its events as they are."""

from __future__ import annotations

from collections.abc import Sequence

from plait.events import JournalEvent
from plait.store import Store

__all__ = ["events_in"]


async def events_in(store: Store, thread_id: str) -> Sequence[JournalEvent]:
    """The events of a thread in a store that keeps them as they are."""
    past = await store.past(thread_id)
    return past.events if past is not None else ()
