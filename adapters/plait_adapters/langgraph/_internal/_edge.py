"""Where synchronous callers come in.

The engine is written once, as coroutines. A synchronous caller carries its coroutine forward in its
own thread: there, whatever the engine would wait for blocks instead, so the coroutine never
suspends. What only an event loop can carry out (an ``async`` node, say) goes to one in a thread in
the background, which all synchronous callers of the process share; so they need none, and may have
one running.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

from ._callables import as_coroutine, in_context

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The event loop in the background; started by the first who asks, and ends with the
    process."""
    global _loop  # noqa: PLW0603 - one for the process
    with _lock:
        if _loop is None or _loop.is_closed():
            loop = asyncio.new_event_loop()
            threading.Thread(
                target=loop.run_forever, name="plait-langgraph-loop", daemon=True
            ).start()
            _loop = loop
        return _loop


def wait_in_background(awaitable: Awaitable[T], context: Context | None = None) -> T:
    """Await something on the loop in the background, and block until it is done."""
    loop = background_loop()
    coroutine: Any = as_coroutine(awaitable)
    if _running_here() is loop:
        coroutine.close()
        raise RuntimeError(
            "a synchronous call from within an async node that a synchronous caller runs would "
            "wait for "
            "itself: await the asynchronous method instead"
        )
    entered: Any = in_context(coroutine, context or copy_context())
    future = asyncio.run_coroutine_threadsafe(entered, loop)
    try:
        result: T = future.result()
    except BaseException:
        future.cancel()
        raise
    return result


def _running_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def finish(coroutine: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Carry a coroutine that never suspends to its end, here.

    Raises:
        RuntimeError: it does suspend.
    """
    steps: Any = coroutine
    try:
        steps.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    steps.close()
    raise RuntimeError("something waited for an event loop in a synchronous call")


def iterate(items: AsyncGenerator[T, None]) -> Iterator[T]:
    """The items of an async generator that never suspends. May be abandoned midway."""
    try:
        while True:
            try:
                item = finish(items.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        finish(items.aclose())


def run(function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Call an async function on the loop in the background, and block until it is done."""
    result: T = wait_in_background(as_coroutine(function(*args, **kwargs)))
    return result
