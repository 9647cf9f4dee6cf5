"""What a run has to tell, on its way to whoever reads the stream."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

Chunk: TypeAlias = tuple[tuple[str, ...], str, Any]
"""Namespace of the graph, mode, payload."""


class Outlet:
    """Keeps chunks for a reader, and wakes it. Any thread may put some in.

    Args:
        modes: what the reader wants to hear.
        blocking: the reader blocks its thread while it waits; else it awaits.
    """

    def __init__(self, modes: Collection[str], *, blocking: bool) -> None:
        self.modes: frozenset[str] = frozenset(modes)
        self._chunks: deque[Chunk] = deque()
        self._event = threading.Event() if blocking else None
        self._loop = None if blocking else asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, chunk: Chunk) -> None:
        """Add a chunk."""
        self._chunks.append(chunk)
        self.wake()

    def wake(self) -> None:
        """Have the reader look."""
        if self._event is not None:
            self._event.set()
        elif self._waiter is not None:
            if threading.get_ident() == self._thread:
                self._wake()
            else:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until somebody wakes the reader, or has done so since the last look."""
        if self._event is not None:
            self._event.wait()
            self._event.clear()
        elif not self._chunks:
            assert self._loop is not None
            self._waiter = self._loop.create_future()
            # A thread that did not see the waiter has put its chunk in before.
            if self._chunks:
                self._wake()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def drain(self) -> Iterator[Chunk]:
        """The chunks that are there."""
        while self._chunks:
            yield self._chunks.popleft()


class Fork:
    """Gives what a nested run tells to its own reader and to that of the run around it."""

    def __init__(self, *outlets: Any) -> None:
        self._outlets = outlets
        self.modes: frozenset[str] = frozenset().union(*(outlet.modes for outlet in outlets))

    def put(self, chunk: Chunk) -> None:
        """Add a chunk wherever its mode is wanted."""
        for outlet in self._outlets:
            if chunk[1] in outlet.modes:
                outlet.put(chunk)
