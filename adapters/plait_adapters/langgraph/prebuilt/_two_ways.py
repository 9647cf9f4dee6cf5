"""Runnables that serve plain and suspending callers from one function.

The function is a coroutine function that never awaits anything itself: whatever may suspend it asks
of a `Way`. On the plain way nothing suspends, so that the coroutine runs from its first line to its
last in one step.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, get_executor_for_config

T = TypeVar("T")
Job: TypeAlias = Callable[[], Coroutine[Any, Any, T]]


class Way(Protocol):
    """How a caller came in."""

    suspends: bool
    """Whether the caller awaits; coroutine functions can be called only then."""

    async def invoke(self, runnable: Any, given: Any, config: RunnableConfig) -> Any:
        """Invoke a Runnable."""
        ...

    async def together(self, jobs: Sequence[Job[T]], config: RunnableConfig) -> list[T]:
        """Do several jobs at the same time; the results in their order."""
        ...


class _Plain:
    suspends = False

    async def invoke(self, runnable: Any, given: Any, config: RunnableConfig) -> Any:
        return runnable.invoke(given, config)

    async def together(self, jobs: Sequence[Job[T]], config: RunnableConfig) -> list[T]:
        with get_executor_for_config(config) as executor:
            return list(executor.map(lambda job: at_once(job()), jobs))


class _Suspending:
    suspends = True

    async def invoke(self, runnable: Any, given: Any, config: RunnableConfig) -> Any:
        return await runnable.ainvoke(given, config)

    async def together(self, jobs: Sequence[Job[T]], config: RunnableConfig) -> list[T]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job()) for job in jobs]
        except BaseExceptionGroup as several:
            # A caller expects what one of them raised, as it would be without the others.
            raise several.exceptions[0] from None
        return [task.result() for task in tasks]


PLAIN, SUSPENDING = _Plain(), _Suspending()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine function was awaited by a plain caller: use ainvoke or astream")


class TwoWays(Runnable[Any, Any]):
    """A Runnable of one function of the input, the configuration and the way.

    Attributes:
        func: the function.
        afunc: the same.
    """

    def __init__(
        self,
        work: Callable[[Any, RunnableConfig, Way], Coroutine[Any, Any, Any]],
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        self.func = self.afunc = work
        self.name = name
        self.tags = list(tags) if tags else None

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do the work, in this thread."""
        return at_once(self.func(input, ensure_config(config), PLAIN))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do the work."""
        return await self.func(input, ensure_config(config), SUSPENDING)


def runtime_of(config: RunnableConfig) -> Any:
    """The runtime of the graph that a node runs in.

    Raises:
        ValueError: there is none, since it runs outside a graph.
    """
    runtime = config.get("configurable", {}).get("__pregel_runtime")
    if runtime is None:
        raise ValueError(
            "Missing required config key '__pregel_runtime': this node needs the runtime of a "
            "graph; call it as a node of one"
        )
    return runtime


async def call(function: Callable[..., Any], state: Any, config: RunnableConfig, way: Way) -> Any:
    """Call a user's function with the state, and what else of a node's its signature names.

    Raises:
        TypeError: it is a coroutine function, and the caller is a plain one.
    """
    offered: dict[str, Callable[[], Any]] = {
        "config": lambda: config,
        "runtime": lambda: runtime_of(config),
        "store": lambda: runtime_of(config).store,
        "writer": lambda: runtime_of(config).stream_writer,
    }
    try:
        names = list(inspect.signature(function).parameters)[1:]
    except ValueError:  # a builtin
        names = []
    result = function(state, **{name: offered[name]() for name in names if name in offered})
    if not inspect.isawaitable(result):
        return result
    if not way.suspends:
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f'No synchronous function provided to "{getattr(function, "__name__", function)}".\n'
            "Either initialize with a synchronous function or invoke via the async API (ainvoke, "
            "astream, etc.)"
        )
    return await _awaited(result)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
