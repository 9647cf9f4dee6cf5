"""Graphs as functions: an entrypoint that calls tasks."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

from plait_adapters.langgraph._internal._cache_keys import cache_namespace
from plait_adapters.langgraph._internal._callables import Callee, is_async_callable
from plait_adapters.langgraph._internal._constants import END, MISSING, PREVIOUS, START
from plait_adapters.langgraph._internal._timeouts import sync_timeout_unsupported
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.channels.ephemeral_value import EphemeralValue
from plait_adapters.langgraph.channels.last_value import LastValue
from plait_adapters.langgraph.pregel._call import SyncAsyncFuture, call_function
from plait_adapters.langgraph.pregel._read import PregelNode
from plait_adapters.langgraph.pregel._write import ChannelWrite, ChannelWriteEntry
from plait_adapters.langgraph.pregel.main import Pregel
from plait_adapters.langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy
from plait_adapters.langgraph.typing import ContextT
from plait_adapters.langgraph.warnings import (
    LangGraphDeprecatedSinceV05,
    LangGraphDeprecatedSinceV10,
)

__all__ = ("entrypoint", "task")

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")


class _TaskFunction(Generic[P, T]):
    """A function that an entrypoint, a node or another task can call; made by :func:`task`."""

    def __init__(
        self,
        func: Callable[P, Awaitable[T]] | Callable[P, T],
        *,
        retry_policy: Sequence[RetryPolicy],
        cache_policy: CachePolicy[Any] | None = None,
        timeout: TimeoutPolicy | None = None,
        name: str | None = None,
    ) -> None:
        if name is not None:
            if hasattr(func, "__func__"):
                # A method is shared by all objects of its class; this is one object's.
                func = functools.partial(cast("Any", func).__func__, cast("Any", func).__self__)
            cast("Any", func).__name__ = name
        self.func: Callable[..., Any] = func
        self.retry_policy: Sequence[RetryPolicy] = retry_policy
        self.cache_policy: CachePolicy[Any] | None = cache_policy
        self.timeout: TimeoutPolicy | None = timeout
        functools.update_wrapper(self, self.func)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> SyncAsyncFuture[T]:
        """Begin the task. Await what this returns, or ask for its ``result()``."""
        return call_function(
            self.func,
            args,
            kwargs,
            retry_policy=self.retry_policy,
            cache_policy=self.cache_policy,
            timeout=self.timeout,
        )

    def clear_cache(self, cache: Any) -> None:
        """Forget what a cache keeps for this task."""
        if self.cache_policy is not None:
            cache.clear((cache_namespace(self.func),))

    async def aclear_cache(self, cache: Any) -> None:
        """As :meth:`clear_cache`, awaited."""
        if self.cache_policy is not None:
            await cache.aclear((cache_namespace(self.func),))


@overload
def task(
    __func_or_none__: None = None,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    **deprecated: Any,
) -> Callable[[Callable[P, Awaitable[T]] | Callable[P, T]], _TaskFunction[P, T]]: ...
@overload
def task(__func_or_none__: Callable[P, Awaitable[T]]) -> _TaskFunction[P, T]: ...
@overload
def task(__func_or_none__: Callable[P, T]) -> _TaskFunction[P, T]: ...
def task(
    __func_or_none__: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    **deprecated: Any,
) -> Any:
    """Have calls of a function be tasks: side by side, retried, cached, and not repeated on
    resuming.

    Calling it returns a future at once.

    Args:
        name: by default, that of the function.
        retry_policy: when it is tried again.
        cache_policy: keep what it returns in the cache, by its arguments.
        timeout: how long an attempt may take; for ``async`` functions.

    Raises:
        ValueError: it has a timeout, and is not ``async``.
    """
    retry_policy = _retry(deprecated, retry_policy)
    if deprecated:
        raise TypeError(f"task() got an unexpected keyword argument: {', '.join(deprecated)}")
    limits = TimeoutPolicy.coerce(timeout)
    policies = (
        ()
        if retry_policy is None
        else (retry_policy,)
        if isinstance(retry_policy, RetryPolicy)
        else retry_policy
    )

    def decorate(func: Callable[..., Any]) -> Any:
        if limits is not None and not is_async_callable(func):
            own_name = name or getattr(func, "__name__", type(func).__name__)
            raise sync_timeout_unsupported(str(own_name), kind="Task")
        return _TaskFunction(
            func, retry_policy=policies, cache_policy=cache_policy, timeout=limits, name=name
        )

    return decorate if __func_or_none__ is None else decorate(__func_or_none__)


def _retry(deprecated: dict[str, Any], given: Any) -> Any:
    retry = deprecated.pop("retry", MISSING)
    if retry is MISSING:
        return given
    warnings.warn(
        "`retry` is deprecated and will be removed. Please use `retry_policy` instead.",
        category=LangGraphDeprecatedSinceV05,
        stacklevel=3,
    )
    return retry if given is None else given


class entrypoint(Generic[ContextT]):  # noqa: N801 - it is used as a decorator
    """Makes a graph of a function that calls tasks.

    The function's first parameter is the input; what it returns is the output, and the next run on
    the thread sees it as ``previous``. On resuming, it runs again from its top; its tasks that have
    finished do not.

    Args:
        checkpointer: keeps what tasks gave, and what the function returned.
        store: for what it remembers across threads.
        cache: keeps what tasks with a cache policy gave.
        context_schema: what ``runtime.context`` is.
        cache_policy: for the function and for tasks without a policy of their own.
        retry_policy: for the function and for tasks without a policy of their own.
        timeout: how long an attempt of the function may take; for ``async`` functions.
    """

    def __init__(
        self,
        checkpointer: Any = None,
        store: Any = None,
        cache: Any = None,
        context_schema: type[ContextT] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        **deprecated: Any,
    ) -> None:
        config_schema = deprecated.pop("config_schema", MISSING)
        if config_schema is not MISSING:
            warnings.warn(
                "`config_schema` is deprecated and will be removed. Please use `context_schema` "
                "instead.",
                category=LangGraphDeprecatedSinceV10,
                stacklevel=2,
            )
            context_schema = context_schema or config_schema
        self.retry_policy: Any = _retry(deprecated, retry_policy)
        if deprecated:
            raise TypeError(
                f"entrypoint() got an unexpected keyword argument: {', '.join(deprecated)}"
            )
        self.checkpointer: Any = checkpointer
        self.store: Any = store
        self.cache: Any = cache
        self.cache_policy: CachePolicy[Any] | None = cache_policy
        self.timeout: TimeoutPolicy | None = TimeoutPolicy.coerce(timeout)
        self.context_schema: type[ContextT] | None = context_schema

    @dataclass(kw_only=True, slots=True, frozen=True)
    class final(Generic[R, S]):  # noqa: N801 - it stands beside its decorator
        """What an entrypoint returns to keep something else than its output."""

        value: R
        """The output."""
        save: S
        """What the next run on the thread sees as ``previous``."""

    def __call__(self, func: Callable[..., Any]) -> Pregel[Any, ContextT, Any, Any]:
        """The graph of a function.

        Raises:
            NotImplementedError: it is a generator.
            ValueError: it has no parameter.
            TypeError: its annotation of ``final`` has not two types.
        """
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise NotImplementedError("Generators are not supported in the Functional API.")
        signature = inspect.signature(func)
        first = next(iter(signature.parameters.values()), None)
        if first is None:
            raise ValueError("Entrypoint function must have at least one parameter")
        empty = inspect.Signature.empty
        input_type = Any if first.annotation is empty else first.annotation
        output_type: Any = Any
        save_type: Any = Any
        returned = signature.return_annotation
        if get_origin(returned) is entrypoint.final:
            if len(get_args(returned)) != 2:
                raise TypeError(
                    "Please provide an annotation for both the return and the save values: `-> "
                    "entrypoint.final[int, str]` for an output of type `int` and a saved value "
                    "of type `str`."
                )
            output_type, save_type = get_args(returned)
        elif returned is not empty and returned is not entrypoint.final:
            output_type = save_type = returned
        writes = [
            ChannelWriteEntry(END, mapper=_output),
            ChannelWriteEntry(PREVIOUS, mapper=_saved),
        ]
        return Pregel(
            nodes={
                func.__name__: PregelNode(
                    bound=Callee(func, func.__name__),
                    triggers=[START],
                    channels=START,
                    timeout=self.timeout,
                    writers=[ChannelWrite(writes)],
                )
            },
            channels={
                START: EphemeralValue(input_type),
                END: LastValue(output_type, END),
                PREVIOUS: LastValue(save_type, PREVIOUS),
            },
            input_channels=START,
            output_channels=END,
            stream_channels=END,
            stream_mode="updates",
            stream_eager=True,
            checkpointer=self._saver_for(func),
            store=self.store,
            cache=self.cache,
            cache_policy=self.cache_policy,
            retry_policy=self.retry_policy or (),
            context_schema=self.context_schema,
        )

    def _saver_for(self, func: Callable[..., Any]) -> Any:
        """The checkpointer, for the types that a function takes and gives."""
        if self.checkpointer is None or isinstance(self.checkpointer, bool):
            return self.checkpointer
        from plait_adapters.langgraph.checkpoint._letting_in import letting_in

        return letting_in(self.checkpointer, func, self.context_schema)


def _output(value: Any) -> Any:
    return value.value if isinstance(value, entrypoint.final) else value


def _saved(value: Any) -> Any:
    return value.save if isinstance(value, entrypoint.final) else value


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
