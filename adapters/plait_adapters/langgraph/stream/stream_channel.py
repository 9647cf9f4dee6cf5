"""A queue of items from a transformer to its one reader."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from plait_adapters.langgraph._internal import _edge
from plait_adapters.langgraph._support import missing

T = TypeVar("T")


class StreamChannel(Generic[T]):
    """Items on their way to one reader, who carries the run forward while it waits for the next.

    Only what is pushed after the reader has come is kept, and only until it is read. For several
    readers there are :meth:`tee` and :meth:`atee`. Whether it is read with ``for`` or with ``async
    for`` is decided by the run, which also closes it.

    Args:
        name: have every item appear in the run's log of events, too, as an event with this name.
        maxlen: not used: a reader who carries the run forward is never far behind it. Accepted
            since LangGraph accepts it, where it has no effect either.

    Raises:
        ValueError: ``maxlen`` is not positive.
    """

    def __init__(self, name: str | None = None, *, maxlen: int | None = None) -> None:
        if maxlen is not None and maxlen <= 0:
            raise ValueError(f"maxlen of a StreamChannel is a positive int or None, not {maxlen}")
        self.name = name
        self._items: deque[tuple[int, T]] = deque()
        self._closed = False
        self._error: BaseException | None = None
        self._is_async: bool | None = None
        self._subscribed = False
        self._stamp: Callable[[], int] = int  # of items of one channel, the order is plain
        self._request_more: Callable[[], Any] | None = None
        self._wire_fn: Callable[[T], None] | None = None

    def _bind(self, *, is_async: bool) -> None:
        """Decide how it is read."""
        if self._is_async is not None:
            raise RuntimeError("this StreamChannel is already bound to a run")
        self._is_async = is_async

    def _wire(self, forward: Callable[[T], None]) -> None:
        """Give every item to a function, too."""
        self._wire_fn = forward

    # -- the writer's side --------------------------------------------------------------------

    def push(self, item: T) -> None:
        """Add an item.

        Raises:
            RuntimeError: the channel is closed, and has a reader who would miss the item.
        """
        if self._subscribed:
            if self._closed:
                raise RuntimeError("Cannot push to a closed StreamChannel")
            self._items.append((self._stamp(), item))
        if self._wire_fn is not None:
            self._wire_fn(item)

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True

    def fail(self, err: BaseException) -> None:
        """Nothing more comes but an error, after what is there."""
        self._error = err
        self._closed = True

    # -- the reader's side --------------------------------------------------------------------

    def _subscribe(self, *, is_async: bool) -> None:
        if self._is_async is None:
            raise TypeError(
                "this StreamChannel has not been bound to a run: a transformer gives it in init()"
            )
        if self._is_async is not is_async:
            bound, right = ("async", "async for") if self._is_async else ("sync", "for")
            raise TypeError(f"this StreamChannel is bound to {bound} mode: read it with '{right}'")
        if self._subscribed:
            way = "atee(n)" if is_async else "tee(n)"
            raise RuntimeError(f"this StreamChannel already has a subscriber; for several: {way}")
        self._subscribed = True

    def __iter__(self) -> Iterator[T]:
        """Read it. Once only.

        Raises:
            TypeError: it belongs to no run, or to one of ``astream_events``.
            RuntimeError: somebody reads it already.
        """
        self._subscribe(is_async=False)
        return _edge.iterate(self._cursor())

    def __aiter__(self) -> AsyncIterator[T]:
        """Read it, as by :meth:`__iter__`, on an event loop."""
        self._subscribe(is_async=True)
        return self._cursor()

    async def _cursor(self) -> AsyncGenerator[T, None]:
        while await self._ready():
            yield self._items.popleft()[1]

    async def _ready(self) -> bool:
        """Carry the run forward until there is an item; False if none comes any more."""
        while not self._items:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return False
            if self._request_more is None:
                return False
            more = self._request_more()
            if self._is_async:
                more = await more
            if not more and not self._items and not self._closed:
                return False
        return True

    def tee(self, n: int = 2) -> tuple[Iterator[T], ...]:
        """Several readers, each of whom gets every item; what one has not read yet is kept.

        Args:
            n: how many.

        Raises:
            ValueError: ``n`` is less than 1.
            TypeError: as of :meth:`__iter__`.
            RuntimeError: as of :meth:`__iter__`.
        """
        return tuple(map(_edge.iterate, self._tee(n, is_async=False)))

    def atee(self, n: int = 2) -> tuple[AsyncIterator[T], ...]:
        """As :meth:`tee`, on an event loop."""
        return self._tee(n, is_async=True)

    def _tee(self, n: int, *, is_async: bool) -> tuple[AsyncGenerator[T, None], ...]:
        if n < 1:
            raise ValueError(f"a channel is read by at least one reader, not by {n}: n >= 1")
        self._subscribe(is_async=is_async)
        kept: tuple[deque[T], ...] = tuple(deque() for _ in range(n))
        turn: Any = anyio.Lock(fast_acquire=True) if is_async else nullcontext()

        async def reader(mine: deque[T]) -> AsyncGenerator[T, None]:
            while True:
                while mine:
                    yield mine.popleft()
                async with turn:
                    if mine:
                        continue
                    if not await self._ready():
                        return
                    item = self._items.popleft()[1]
                    for each in kept:
                        each.append(item)

        return tuple(map(reader, kept))


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
