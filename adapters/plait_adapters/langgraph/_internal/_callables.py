"""A function as a node, a condition or a task: how it is called, and what it is given beside its
input."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph.types import StreamWriter

from ._constants import MISSING

if TYPE_CHECKING:
    from ._task import Task

_GIVEN_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_async_callable(function: Any) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(function) or (
        inspect.iscoroutinefunction(_call_of(function))
    )


def _call_of(value: Any) -> Any:
    """The method by which an object can be called; ``None`` if it has none."""
    return getattr(type(value), "__call__", None)  # noqa: B004 - the method itself


def is_generator(function: Any) -> bool:
    """Whether calling it gives a generator, of either kind."""
    call = _call_of(function)
    return (
        inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isasyncgenfunction(call)
    )


def name_of(function: Any) -> str | None:
    """The name of a function; ``None`` for a lambda."""
    name = getattr(function, "__name__", None)
    return None if name == "<lambda>" else name


def _is_named(annotation: Any, name: str, *, optional: bool) -> bool:
    """Whether an annotation is a class of a name, from wherever it comes, or its name."""
    if annotation is inspect.Parameter.empty:
        return not optional
    if isinstance(annotation, str):
        text = annotation.replace(" ", "")
        forms = (f"Optional[{name}]", f"{name}|None") if optional else (name,)
        return text.rpartition(".")[2] in forms or text in forms
    arguments = typing.get_args(annotation)
    if arguments and type(None) in arguments:
        return optional and any(
            _is_named(each, name, optional=False) for each in arguments if each is not type(None)
        )
    return not optional and getattr(annotation, "__name__", None) == name


def _wanted(function: Any) -> tuple[tuple[str, bool], ...]:
    """Which of the things that can be given a function asks for; and whether it must have them."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # something of C
        return ()
    wanted: list[tuple[str, bool]] = []
    for name, parameter in parameters.items():
        if parameter.kind not in _GIVEN_BY_NAME:
            continue
        annotation = parameter.annotation
        if name == "config":
            if _is_named(annotation, "RunnableConfig", optional=False) or _is_named(
                annotation, "RunnableConfig", optional=True
            ):
                wanted.append((name, True))
            else:
                warnings.warn(
                    "The 'config' parameter should be typed as 'RunnableConfig' or "
                    f"'RunnableConfig | None', not '{annotation}'. ",
                    UserWarning,
                    stacklevel=5,
                )
        elif name == "writer":
            if annotation in (StreamWriter, "StreamWriter", inspect.Parameter.empty):
                wanted.append((name, False))
        elif name == "store":
            if _is_named(annotation, "BaseStore", optional=False):
                wanted.append((name, True))
            elif _is_named(annotation, "BaseStore", optional=True):
                wanted.append((name, False))
        elif name in ("previous", "runtime"):
            wanted.append((name, True))
        elif (
            name == "error"
            and annotation is not inspect.Parameter.empty
            and _is_named(annotation, "NodeError", optional=False)
        ):
            wanted.append((name, False))
    return tuple(wanted)


class Callee:
    """A user's function, ready to be called by the engine.

    Attributes:
        function: as the user gave it.
        name: what tracers call it; ``None`` for a lambda.
        is_async: calling it gives a coroutine.
        spreads: its input is a pair of arguments and keyword arguments.
        trace: whether tracers see a run of its own.
        is_quick: it has been seen to take no time, as a condition.
    """

    __slots__ = ("_wanted", "function", "is_async", "is_quick", "name", "spreads", "trace")

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        *,
        spreads: bool = False,
        trace: bool = False,
    ) -> None:
        self.function: Callable[..., Any] = function
        self.name: str | None = name or name_of(function)
        self.is_async: bool = is_async_callable(function)
        self.spreads: bool = spreads
        self.trace: bool = trace
        self.is_quick: bool = False
        self._wanted = _wanted(function)

    @property
    def func(self) -> Callable[..., Any] | None:
        """The function, if it is no ``async`` one."""
        return None if self.is_async else self.function

    @property
    def afunc(self) -> Callable[..., Any] | None:
        """The function, if it is ``async``."""
        return self.function if self.is_async else None

    def arguments(self, task: Task, input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the function is called with."""
        if self.spreads:
            positional, named = input
            return positional, {**self._given(task, named), **named} if self._wanted else named
        return (input,), self._given(task, ()) if self._wanted else {}

    def _given(self, task: Task, already: Any) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name, _ in self._wanted:
            if name in already:
                continue
            if name == "config":
                given[name] = task.config
            elif name == "runtime":
                given[name] = task.runtime
            elif name == "writer":
                given[name] = task.runtime.stream_writer
            elif name == "error":
                given[name] = task.node_error
            else:
                given[name] = getattr(task.runtime, name)
        return given

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{self.name or type(self).__name__}({self.function!r})"


def coerce(thing: Any, name: str | None = None, *, trace: bool = False) -> Any:
    """What a user gave for a node or a condition, as the engine calls it.

    A function becomes a :class:`Callee`; a graph and a Runnable of langchain-core stay what they
    are. Generators and mappings of Runnables are langchain-core's.

    Raises:
        TypeError: it cannot be called.
    """
    from ._langchain import is_runnable, need

    if isinstance(thing, Callee) or is_graph(thing) or is_runnable(thing):
        return thing
    if is_generator(thing):
        runnables = need("langchain_core.runnables", "a generator as a node")
        return runnables.RunnableLambda(thing, name=name)
    if callable(thing):
        return Callee(thing, name, trace=trace)
    if isinstance(thing, dict):
        return need("langchain_core.runnables", "a mapping as a node").RunnableParallel(thing)
    raise TypeError(
        f"Expected a Runnable, callable or dict. Instead got an unsupported type: {type(thing)}"
    )


def is_cancellable(thing: Any) -> bool:
    """Whether what a node calls is ``async`` all through, so that it can be stopped.

    A Runnable of a class of the user's with an ``ainvoke`` of its own is taken at its word.
    """
    if thing is None or is_graph(thing):
        return True
    if isinstance(thing, Callee):
        return thing.is_async
    base: Any = sys.modules.get("langchain_core.runnables.base")
    if base is None or not isinstance(thing, base.Runnable):
        return True
    while isinstance(thing, base.RunnableBindingBase):
        thing = thing.bound
    if isinstance(thing, base.RunnableSequence):
        return all(map(is_cancellable, thing.steps))
    if isinstance(thing, base.RunnableParallel):
        return all(map(is_cancellable, thing.steps__.values()))
    if isinstance(thing, base.RunnableLambda):
        return hasattr(thing, "afunc")
    return is_graph(thing) or type(thing).ainvoke is not base.Runnable.ainvoke


def is_graph(thing: Any) -> bool:
    """Whether something is a compiled graph of this package."""
    return getattr(type(thing), "is_plait_graph", False) is True


@types.coroutine
def in_context(coroutine: Coroutine[Any, Any, Any], context: Context) -> Generator[Any, Any, Any]:
    """Run a coroutine in a context, so that variables which a node sets are its own.

    Nodes share tasks of asyncio, and such a task has one context; entering the node's own for each
    of its steps costs a tenth of what a task of its own would.
    """
    run = context.run
    try:
        waiting = run(coroutine.send, None)
        while True:
            try:
                value = yield waiting
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as error:
                waiting = run(coroutine.throw, error)
            else:
                waiting = run(coroutine.send, value)
    except StopIteration as stop:
        return stop.value


def as_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    """A coroutine that awaits something which may be none itself."""
    return awaitable if type(awaitable) is types.CoroutineType else _await(awaitable)


async def _await(awaitable: Any) -> Any:
    return await awaitable


def unbound(function: Any) -> Any:
    """A function without the object or the arguments that are bound to it."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


__all__ = [
    "MISSING",
    "Callee",
    "as_coroutine",
    "coerce",
    "in_context",
    "is_async_callable",
    "is_cancellable",
    "is_generator",
    "is_graph",
    "name_of",
    "unbound",
]
