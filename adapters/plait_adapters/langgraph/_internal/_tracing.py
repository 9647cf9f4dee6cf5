"""Callbacks of langchain-core, for runs that somebody listens to.

Only where handlers are there: a run that nobody listens to makes no managers.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ._callables import Callee, in_context, is_graph
from ._constants import CONF
from ._langchain import is_runnable, is_traced, need

if TYPE_CHECKING:
    from ._crew import Crew
    from ._run import Run
    from ._task import Task

_SECRET = ("key", "token", "secret", "password", "auth")


def _shown(configurable: dict[str, Any]) -> dict[str, Any]:
    """What of ``configurable`` tracers may record."""
    return {
        key: value
        for key, value in configurable.items()
        if not key.startswith("__")
        and isinstance(value, (str, int, float, bool))
        and not any(part in key.casefold() for part in _SECRET)
    }


def manager_for(config: dict[str, Any], *, blocking: bool) -> Any:
    """The manager of the callbacks that a configuration or the environment asks for, if any."""
    module: Any = sys.modules.get("langchain_core.callbacks.manager")
    if module is None:
        if not config.get("callbacks") and not is_traced():
            return None
        module = need("langchain_core.callbacks.manager", "a run with callbacks")
    cls = module.CallbackManager if blocking else module.AsyncCallbackManager
    callbacks = config.get("callbacks")
    tags, metadata = config.get("tags"), config.get("metadata")
    if callbacks and isinstance(callbacks, cls):
        if tags:
            callbacks.add_tags(tags)
        if metadata:
            callbacks.add_metadata(metadata)
        return callbacks
    more = {}
    if _takes_tracing_metadata(cls):
        more["langsmith_inheritable_metadata"] = _shown(config.get(CONF) or {}) or None
    return cls.configure(
        inheritable_callbacks=callbacks,
        inheritable_tags=tags,
        inheritable_metadata=metadata,
        **more,
    )


@cache
def _takes_tracing_metadata(cls: type[Any]) -> bool:
    return "langsmith_inheritable_metadata" in inspect.signature(cls.configure).parameters


async def begin(
    manager: Any, given: Any, name: str | None, run_id: Any = None, *, blocking: bool
) -> Any:
    """Tell that something begins. Returns the manager of its run."""
    started = manager.on_chain_start(None, given, name=name, run_id=run_id)
    return started if blocking else await started


async def end(run_manager: Any, output: Any, *, blocking: bool) -> None:
    """Tell what something gave."""
    ended = run_manager.on_chain_end(output)
    if not blocking:
        await ended


async def fail(run_manager: Any, error: BaseException, *, blocking: bool) -> None:
    """Tell why something failed."""
    failed = run_manager.on_chain_error(error)
    if not blocking:
        import anyio

        with anyio.CancelScope(shield=True):
            await failed


def follow(manager: Any) -> None:
    """Have what LangSmith traces in this context, ``@traceable`` functions say, be part of a run.

    Args:
        manager: for children of the run.
    """
    module: Any = sys.modules.get("langchain_core.tracers.langchain")
    if module is None or getattr(manager, "parent_run_id", None) is None:
        return
    for handler in manager.handlers:
        if isinstance(handler, module.LangChainTracer):
            traced = handler.run_map.get(str(manager.parent_run_id))
            if traced is not None:
                helpers: Any = need("langsmith.run_helpers", "LangSmith's tracer")
                helpers._set_tracing_context({"parent": traced})
            return


def hears_stream(handler: Any) -> bool:
    """Whether a handler wants to see outputs as they come: that of ``astream_events``."""
    module: Any = sys.modules.get("langchain_core.tracers._streaming")
    return module is not None and module._StreamingCallbackHandler in type(handler).__mro__


def streams(run: Run) -> bool:
    """Whether somebody wants to see what nodes give as it comes."""
    from plait_adapters.langgraph.pregel._messages import StreamMessagesHandler

    return any(
        hears_stream(handler) and not isinstance(handler, StreamMessagesHandler)
        for handler in run.manager.handlers
    )


def _recorded(value: Any, transform: Callable[[Any], Any] | None) -> Any:
    if transform is None:
        return value
    try:
        return transform(value)
    except Exception:
        from ._events import logger

        logger.exception("trace input/output processor raised; recording untransformed payload")
        return value


def _split(manager: Any) -> tuple[Any, Any]:
    """A manager's handlers that record runs, and the others, as managers of their own."""
    import copy

    from langchain_core.tracers.base import BaseTracer

    others, tracers = copy.copy(manager), copy.copy(manager)
    tracers.handlers = [
        each for each in manager.handlers if isinstance(each, BaseTracer) and not hears_stream(each)
    ]
    others.handlers = [each for each in manager.handlers if each not in tracers.handlers]
    return others, tracers


async def call_traced(crew: Crew, task: Task) -> None:
    """Call a node, and have callbacks hear of it."""
    run, node, blocking = task.run, task.node, crew.blocking
    bound = node.bound
    if bound is None and not any(writer.waits for writer in node.flat_writers):
        await crew._write(task, task.input)
        return
    # What the task was given: a task that another one calls is told within what called it.
    given, task.callbacks = task.callbacks, None
    task.renew()
    manager = _manager_of(task, given, blocking=blocking)
    policy = node.trace_policy
    shown = recorded = arguments_of(task) if task.is_call else task.input
    if policy is not None:
        recorded = _recorded(shown, policy.process_inputs)
    if recorded is shown:
        node_run = await begin(manager, shown, task.name, blocking=blocking)
    else:
        others, tracers = _split(manager)
        node_run = await begin(others, shown, task.name, blocking=blocking)
        await begin(tracers, recorded, task.name, node_run.run_id, blocking=blocking)
        node_run.handlers = manager.handlers
    shows = not blocking and streams(run)
    try:
        steps = _steps_of(bound)
        output = await _call_steps(crew, task, steps, node_run, shows=shows)
        place = 1 + len(steps)
        for writer in node.flat_writers:
            if writer.waits:
                _enter(task, node_run, place)
                await writer.route(output, task)
            else:
                writer.write(output, task)
                # To LangGraph, every edge before a condition is a step of its own.
                place += len(getattr(writer, "always", ()))
            place += 1
        if shows:
            await _show(node_run, output)
    except BaseException as error:
        await fail(node_run, error, blocking=blocking)
        raise
    finally:
        task.callbacks = given
    recorded = output if policy is None else _recorded(output, policy.process_outputs)
    if recorded is output:
        await end(node_run, output, blocking=blocking)
    else:
        others, tracers = _split(node_run)
        await end(tracers, recorded, blocking=blocking)
        await end(others, output, blocking=blocking)


def _manager_of(task: Task, given: Any, *, blocking: bool) -> Any:
    """The manager of a task's run, with what the task's configuration adds to it."""
    manager = _child(task.run.manager, given, task.step, blocking=blocking)
    config = task.config
    if config.get("tags"):
        manager.add_tags(config["tags"])
    manager.add_metadata(config["metadata"])
    if task.progress is not None:
        manager.add_handler(progress_handler(task.progress), inherit=True)
    return manager


def _child(manager: Any, given: Any, step: int, *, blocking: bool) -> Any:
    """The manager of a task's run: within what called the task, or within the graph's run."""
    if given is None:
        return manager.get_child(f"graph:step:{step}")
    inner = manager_for({"callbacks": given}, blocking=blocking)
    return inner.copy() if inner is given else inner


def _enter(task: Task, node_run: Any, place: int) -> None:
    """Have what is called next be told as a step of a node's run."""
    task.callbacks = node_run.get_child(f"seq:step:{place}")
    task.renew()


def _steps_of(bound: Any) -> Sequence[Any]:
    """What a node calls, one after the other; nothing where it passes its input on."""
    if bound is None:
        return ()
    base: Any = sys.modules.get("langchain_core.runnables.base")
    if base is not None and isinstance(bound, base.RunnableSequence):
        return bound.steps  # type: ignore[no-any-return]
    return (bound,)


async def _call_steps(
    crew: Crew, task: Task, steps: Sequence[Any], node_run: Any, *, shows: bool
) -> Any:
    """Call the steps of a node, each as a step of its run."""
    if shows and steps and is_runnable(steps[0]) and not is_graph(steps[0]):
        return await in_context(_stream_steps(task, steps, node_run), task.context())
    output = task.input
    for place, step in enumerate(steps, start=1):
        _enter(task, node_run, place)
        if type(step) is Callee and step.trace:
            output = await call_function(crew, task, step, output)
        else:
            output = await crew.call_bound(task, step, output)
    return output


async def _stream_steps(task: Task, steps: Sequence[Any], node_run: Any) -> Any:
    """Call Runnables so that what they give is seen as it comes, and put that together."""
    _enter(task, node_run, 1)
    chunks = steps[0].astream(task.input, task.config)
    for place, step in enumerate(steps[1:], start=2):
        _enter(task, node_run, place)
        chunks = step.atransform(chunks, task.config)
    return _sum([chunk async for chunk in chunks])


def arguments_of(task: Task) -> Any:
    """The arguments of a task of the functional interface, by name."""
    args, kwargs = task.input
    bound = inspect.signature(task.node.bound.function).bind_partial(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name, {}))
    arguments.pop("self", None)
    arguments.pop("cls", None)
    return arguments


async def call_function(crew: Crew, task: Task, callee: Callee, given: Any) -> Any:
    """Call a condition, or a function that has a run of its own, and have callbacks hear of it."""
    blocking, outer = crew.blocking, task.callbacks
    name: Any = callee.name or ("RunnableCallable" if blocking else None)
    manager = outer
    if outer is None:  # the node's own run has ended with a command that came out of a nested graph
        manager, name = _manager_of(task, None, blocking=blocking), task.name
    run_manager = await begin(manager, given, name, blocking=blocking)
    task.callbacks = run_manager.get_child()
    task.renew()
    try:
        output = await crew.call_bound(task, callee, given)
    except BaseException as error:
        await fail(run_manager, error, blocking=blocking)
        raise
    finally:
        task.callbacks = outer
        task.renew()
    await end(run_manager, output, blocking=blocking)
    return output


async def _show(run_manager: Any, output: Any) -> None:
    """Have those who want to see outputs as they come see one."""
    for handler in run_manager.handlers:
        if hears_stream(handler):
            async for _ in handler.tap_output_aiter(run_manager.run_id, _only(output)):
                pass


async def _only(item: Any) -> AsyncIterator[Any]:
    yield item


def _sum(chunks: Sequence[Any]) -> Any:
    """Chunks put together, where they can be; else the last."""
    total: Any = None
    for index, chunk in enumerate(chunks):
        if index == 0:
            total = chunk
            continue
        try:
            total = total + chunk
        except TypeError:
            total = chunk
    return total


def progress_handler(touch: Callable[..., None]) -> Any:
    """A handler to which everything is progress."""
    from langchain_core.callbacks import BaseCallbackHandler

    names = [name for name in dir(BaseCallbackHandler) if name.startswith("on_")]

    def heard(_: Any, *args: Any, **kwargs: Any) -> None:
        touch()

    cls = type(
        "ProgressHandler",
        (BaseCallbackHandler,),
        {**dict.fromkeys(names, heard), "run_inline": True},
    )
    return cls()


def handlers_of(callbacks: Any) -> Iterator[Any]:
    """The handlers of what may be given as callbacks."""
    if callbacks is None:
        return
    yield from callbacks if isinstance(callbacks, list) else callbacks.handlers
