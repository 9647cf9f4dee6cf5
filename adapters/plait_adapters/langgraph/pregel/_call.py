"""Tasks that a node calls, of the functional interface."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from plait_adapters.langgraph._internal._cache_keys import cache_key
from plait_adapters.langgraph._internal._callables import Callee, is_async_callable
from plait_adapters.langgraph._internal._constants import CONF, CONFIG_KEY_TASK, PUSH, RETURN
from plait_adapters.langgraph._internal._ids import path_key
from plait_adapters.langgraph._internal._task import Task
from plait_adapters.langgraph._internal._timeouts import sync_timeout_unsupported
from plait_adapters.langgraph.config import get_config
from plait_adapters.langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

from ._read import PregelNode
from ._write import ChannelWrite, ChannelWriteEntry

__all__ = ("SyncAsyncFuture", "call", "call_function")

T = TypeVar("T")


class SyncAsyncFuture(concurrent.futures.Future[T], Generic[T]):
    """What a task gives, for type checkers: can be awaited, and has a ``result()`` that blocks.

    Which of the two works depends on where the task was called: on an event loop, or in a thread.
    """

    def __await__(self) -> Generator[T, None, T]:
        """Wait for what the task gives."""
        # What is returned on an event loop is one of asyncio's.
        return (yield from asyncio.wrap_future(self).__await__())


def call(
    func: Callable[..., Any],
    *args: Any,
    retry_policy: Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    **kwargs: Any,
) -> SyncAsyncFuture[Any]:
    """Call a function as a task of the node in which this is called."""
    return call_function(
        func,
        args,
        kwargs,
        retry_policy=retry_policy,
        cache_policy=cache_policy,
        timeout=TimeoutPolicy.coerce(timeout),
    )


def call_function(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    retry_policy: Sequence[RetryPolicy] | None,
    cache_policy: CachePolicy[Any] | None,
    timeout: TimeoutPolicy | None,
) -> SyncAsyncFuture[Any]:
    """Begin a task. Returns a future.

    Raises:
        RuntimeError: no node is running here.
        ValueError: it has a timeout, and is not ``async``.
    """
    if timeout is not None and not is_async_callable(func):
        name = getattr(func, "__name__", type(func).__name__)
        raise sync_timeout_unsupported(name, kind="Task")
    config = get_config()
    caller: Task = config[CONF][CONFIG_KEY_TASK]
    run = caller.run
    crew = run.crew
    name = _name(func)
    node = PregelNode(
        bound=Callee(func, name, spreads=True),
        triggers=(PUSH,),
        channels=[],
        writers=[ChannelWrite([ChannelWriteEntry(RETURN)])],
        subgraphs=(),
    )
    index = caller.next_call()
    task = Task(
        run,
        node,
        name,
        (args, kwargs),
        (PUSH, caller.path, index, True),
        (PUSH,),
        (PUSH, path_key(caller.path), str(index)),
    )
    task.parent = caller
    task.callbacks = config.get("callbacks")
    task.retry = retry_policy or run.graph.retry_policy
    task.timeout = timeout
    policy = cache_policy or run.graph.cache_policy
    if policy is not None:
        task.cache_key = cache_key(policy, func, policy.key_func(*args, **kwargs))
    if caller.progress is not None:
        caller.progress()
    return cast("SyncAsyncFuture[Any]", crew.call(task))


def _name(func: Any) -> str:
    for function in (func, getattr(func, "func", None), type(func)):
        name = getattr(function, "__name__", None)
        if name is not None:
            return str(name)
    return str(func)
