"""Time limits of one attempt of a node."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

from plait_adapters.langgraph.errors import NodeTimeoutError

from ._task import Task


def sync_timeout_unsupported(name: str, kind: Literal["Node", "Task"] = "Node") -> ValueError:
    """The error of a time limit for something that runs in a thread, which nothing can stop."""
    return ValueError(
        "Node timeouts are only supported for async nodes because sync Python execution cannot be "
        f"safely cancelled in-process. {kind} {name!r} is sync."
    )


async def call_within(
    task: Task, call: Callable[[Task], Awaitable[None]], *, blocking: bool
) -> None:
    """Call a node, and let go of it when a limit has passed.

    The call has a twin of the task, so that nothing which it does later reaches the run.

    Raises:
        NodeTimeoutError: a limit has passed; the call has been cancelled.
        ValueError: the caller is synchronous.
    """
    if blocking:
        raise sync_timeout_unsupported(task.name)
    policy = task.timeout
    assert policy is not None
    run_limit = cast("float | None", policy.run_timeout)
    idle_limit = cast("float | None", policy.idle_timeout)
    clock = asyncio.get_running_loop().time
    watch = _Watch(clock)
    twin = copy.copy(task)
    twin.renew()
    twin.writes = []
    twin.heartbeat = watch.touch
    if idle_limit is not None and policy.refresh_on == "auto":
        twin.progress = watch.touch
        if task.run.manager is None and "langchain_core.callbacks" in sys.modules:
            twin.callbacks = _listening(twin, watch)
    outer = task.writer or task.run.runtime.stream_writer

    def writer(value: Any) -> None:
        if watch.is_open:
            if policy.refresh_on == "auto":
                watch.touch()
            outer(value)

    twin.writer = writer
    begun = watch.last = clock()
    attempt = asyncio.ensure_future(call(twin))
    try:
        while True:
            now = clock()
            left: list[tuple[float, Literal["idle", "run"]]] = []
            if run_limit is not None:
                left.append((begun + run_limit - now, "run"))
            if idle_limit is not None:
                left.append((watch.last + idle_limit - now, "idle"))
            remaining, kind = min(left)
            if remaining <= 0:
                raise NodeTimeoutError(
                    task.name,
                    now - begun,
                    kind=kind,
                    idle_timeout=idle_limit,
                    run_timeout=run_limit,
                ) from TimeoutError()
            done, _ = await asyncio.wait((attempt,), timeout=remaining)
            if done:
                break
        attempt.result()
        task.writes.extend(twin.writes)
    finally:
        watch.is_open = False
        if not attempt.done():
            # A node that does not let itself be cancelled must not hold up the others.
            attempt.cancel()
            attempt.add_done_callback(_look_at)


def _look_at(attempt: asyncio.Future[None]) -> None:
    """Have asyncio know that somebody has seen how it ended."""
    if not attempt.cancelled():
        attempt.exception()


class _Watch:
    """When an attempt has made progress last, and whether anybody still cares."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.last = clock()
        self.is_open = True

    def touch(self, *_: Any, **__: Any) -> None:
        """Note progress."""
        self.last = self._clock()


def _listening(task: Task, watch: _Watch) -> Any:
    """Callbacks that also note as progress whatever langchain-core tells."""
    from ._tracing import progress_handler

    handler = progress_handler(watch.touch)
    callbacks = task.callbacks if task.callbacks is not None else task.run.config.get("callbacks")
    if callbacks is None:
        return [handler]
    if isinstance(callbacks, list):
        return [*callbacks, handler]
    callbacks = callbacks.copy()
    callbacks.add_handler(handler, inherit=True)
    return callbacks
