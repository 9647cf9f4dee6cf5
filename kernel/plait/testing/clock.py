"""Virtual time: an event loop on which waiting takes none.

When every task waits, the clock jumps to the next timer. So a test of a timeout of an hour takes
a millisecond and always gives the same result. Real threads are waited for in real time, since
the clock cannot know what they are doing; the clock stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

import anyio.abc
import anyio.to_thread

__all__ = ["StalledError", "VirtualClock"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_THREAD_POLL = 0.001
"""Real seconds between looks at whether a worker thread is done, should its wake-up be missed."""

_RESOLUTION = 1e-5
"""Virtual seconds within which a timer counts as due. The loop adds it to the time, so it must not
vanish beside it: in a float, this one does not for the first thousand years."""


class StalledError(Exception):
    """Every task waits, and nothing is left that could wake one."""


class _VirtualSelector(selectors.DefaultSelector):
    """Asks the clock what to do where a selector would sleep."""

    clock: VirtualClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        while not ready and (timeout is None or timeout > 0):
            if self.clock.threads_are_busy():
                ready = super().select(_THREAD_POLL)
            elif self.clock.idle(timeout):
                break
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that tells the time of a :class:`VirtualClock`."""

    def __init__(self, clock: VirtualClock) -> None:
        selector = _VirtualSelector()
        selector.clock = clock
        self._clock = clock
        super().__init__(selector)
        self._clock_resolution = _RESOLUTION
        self.calls_in_threads = 0

    def time(self) -> float:
        return self._clock.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if math.isinf(when):  # sleep_forever: no timer at all, so that a stall is seen
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*Arguments], T],
        *args: *Arguments,
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.calls_in_threads += 1
        future.add_done_callback(self._note_end_in_thread)
        return future

    def _note_end_in_thread(self, _: asyncio.Future[Any]) -> None:
        self.calls_in_threads -= 1

    async def shutdown_default_executor(self, *args: Any, **keywords: Any) -> None:
        self.calls_in_threads += 1
        try:
            await super().shutdown_default_executor(*args, **keywords)
        finally:
            self.calls_in_threads -= 1

    def wall_time(self) -> float:
        """Seconds since the epoch, as the kernel writes them into events."""
        return self._clock.start + self._clock.now


class VirtualClock:
    """Runs coroutines in virtual time.

    ::

        clock = VirtualClock()
        result = clock.run(flow.run({...}))
        assert clock.now == 30.0

    Args:
        start: what the kernel takes for the time of day when the clock is at 0; in seconds since
            the epoch.

    Attributes:
        now: virtual seconds since the clock was made.
        on_idle: called when every task waits, before the clock jumps; returns whether it woke one.
        next_timer: while ``on_idle`` is called, seconds until the next timer; ``None`` if there is
            none.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.start = start
        self.now: float = 0.0
        self.next_timer: float | None = None
        self.on_idle: Callable[[], bool] | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._loop: _VirtualLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on a new event loop, and return its result.

        Raises:
            StalledError: every task waits, and there is no timer left.
        """
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            return runner.run(self._main(coroutine))

    def _new_loop(self) -> _VirtualLoop:
        self._loop = _VirtualLoop(self)
        return self._loop

    async def _main(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._limiter = anyio.to_thread.current_default_thread_limiter()
        try:
            return await coroutine
        finally:
            self._limiter = None

    def threads_are_busy(self) -> bool:
        """Whether a worker thread is running something."""
        if self._loop is not None and self._loop.calls_in_threads > 0:
            return True
        return self._limiter is not None and self._limiter.borrowed_tokens > 0

    def idle(self, timeout: float | None) -> bool:
        """Wake a task, or jump to the next timer, ``timeout`` seconds ahead."""
        self.next_timer = timeout
        if self.on_idle is not None and self.on_idle():
            return True
        if timeout is None:
            raise StalledError("every task waits, and there is no timer that could wake one")
        self.now += timeout
        return True
