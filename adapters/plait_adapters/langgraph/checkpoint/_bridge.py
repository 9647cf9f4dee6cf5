"""Where synchronous callers of what reaches a database come in.

They have an event loop of their own, beside that of the engine: a node that runs on the engine's
loop may well call a synchronous method of a saver or a store, and would wait for itself otherwise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["finish", "run", "start"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run(function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Call an async function on an event loop in the background, and block until it is done."""
    return start(function, *args).result()


def start(
    function: Callable[..., Coroutine[Any, Any, T]], *args: Any
) -> concurrent.futures.Future[T]:
    """Call an async function on an event loop in the background, and go on."""
    return asyncio.run_coroutine_threadsafe(function(*args), _background())


def _background() -> asyncio.AbstractEventLoop:
    """One event loop for all synchronous callers; it ends with the process."""
    global _loop  # noqa: PLW0603 - one for the process
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_loop.run_forever, name="plait savers", daemon=True)
            thread.start()
        return _loop


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Carry a coroutine that never suspends to its end, here."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("something waited for an event loop in a synchronous call")
