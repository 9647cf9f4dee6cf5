"""Carries out the tasks of one step: side by side, with retries and time limits. Awaits user code.

On an event loop, workers are tasks of asyncio on demand: a worker stays with what it runs, and one
more stands by and takes over when all others are suspended. So nodes that never suspend share one
task, and nodes that wait side by side have one each. For a synchronous caller, a step's only task
runs in the caller's thread, and several run in a pool of threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph.errors import (
    GraphBubbleUp,
    GraphInterrupt,
    NodeCancelledError,
    ParentCommand,
    is_invalid_resume,
)
from plait_adapters.langgraph.types import Command

from . import _edge
from ._callables import Callee, as_coroutine, in_context, is_graph
from ._config import without_ids
from ._constants import NS_SEP
from ._ids import path_key
from ._langchain import is_runnable
from ._retries import delay, policy_for
from ._task import Task

if TYPE_CHECKING:
    from ._outlet import Outlet
    from ._run import Run

logger = logging.getLogger(__name__)

_SWALLOWED_CANCELLATIONS = 10
"""So many times a node that does not let itself be cancelled is told so."""
_TASKS_BETWEEN_TURNS = 64
"""A worker whose nodes never suspend lets the event loop turn after this many of them."""

_STALLED = 0.5e-3
"""A thread that takes no further task for so long, in seconds, gets others beside it."""
_QUICK = 20e-6
"""A condition that takes less, in seconds, is called on the event loop the next time."""
_SLOW = 1e-3
"""A condition that takes more, in seconds, is called in a thread the next time."""


class Crew:
    """Carries out the tasks of one step of a run.

    Args:
        run: the run.
        tasks: what is to be done.
    """

    def __init__(self, run: Run, tasks: Iterable[Task]) -> None:
        self.run: Run = run
        self.blocking: bool = run.blocking
        self._ready: deque[Task] = deque(tasks)
        self._failures: list[tuple[Task, BaseException]] = []
        self._signals: list[tuple[Task, GraphBubbleUp]] = []
        self._group: asyncio.TaskGroup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: dict[asyncio.Task[None], Task | None] = {}
        self._standby = 0
        self._rests = True
        """Whether nobody is at work, and not since all wait."""
        self._max_workers: float = run.config.get("max_concurrency") or float("inf")
        self._pool: ThreadPoolExecutor | None = None
        self._futures: set[concurrent.futures.Future[Any]] = set()

    # -- a step -------------------------------------------------------------------------------

    async def work(self) -> None:
        """Carry out the step.

        Raises:
            GraphInterrupt: tasks have asked something; all others have finished.
            BaseException: what the first failing task raised; the others have been cancelled.
        """
        limit = self.run.graph.step_timeout
        if limit is None:
            await self._work()
        elif self.blocking:
            self._work_within(limit)
        else:
            try:
                await asyncio.wait_for(self._work(), limit)
            except TimeoutError as error:
                raise TimeoutError("Timed out") from error
        self._raise()

    async def _work(self) -> None:
        ready = self._ready
        if len(ready) > 1:
            if self.blocking:
                self._work_in_threads()
            else:
                await self._work_with_workers()
            return
        task = ready.popleft()
        bound = task.node.bound
        if self.blocking:
            self._note(task, await self._attempt(task))
            if ready or self._futures:
                self._work_in_threads()
            return
        if not (type(bound) is Callee and bound.is_async) and bound is not None:
            # Its thread may call tasks, and a group can be opened from within a task only.
            await self._open_group()
        try:
            self._note(task, await self._attempt(task))
            if self._ends():  # nobody is left who wants what it has called
                for worker in self._workers:
                    worker.cancel()
        finally:
            if self._group is not None or ready:
                await self._work_with_workers()

    def _note(self, task: Task, outcome: BaseException | None) -> None:
        """Note how a task has ended, and begin what follows from it within the step."""
        if task.future is not None:
            self._tell_caller(task, outcome)
            return
        if outcome is None:
            return
        if isinstance(outcome, GraphBubbleUp):
            self._signals.append((task, outcome))
            return
        handler = self.run.handler_task(task, outcome)
        if handler is None:
            self._failures.append((task, outcome))
            return
        with self.run.lock:
            self.run.tasks.append(handler)
            self.run.reapply_call(handler)
        if not handler.writes:
            self._ready.append(handler)

    def _ends(self) -> bool:
        """Whether a failure ends the step, so that nothing new begins."""
        return any(not is_invalid_resume(error) for _, error in self._failures)

    def _raise(self) -> None:
        """Raise what the step has to say, once all has ended."""
        if self._failures:
            raise self._failures[0][1]
        asked: list[Any] = []
        others = [each for each in self._signals if not isinstance(each[1], GraphInterrupt)]
        if others:
            raise min(others, key=lambda each: path_key(each[0].path))[1]
        for _, signal in self._signals:
            asked.extend(signal.args[0] if signal.args else ())
        if self._signals:
            raise GraphInterrupt(tuple(asked))

    async def watched(self, reader: Outlet) -> AsyncGenerator[None, None]:
        """Carry out the step, and yield whenever the reader of the stream should look."""
        if self.blocking:
            pool = self._threads()
            future = pool.submit(copy_context().run, _edge.finish, self.work())
            future.add_done_callback(lambda _: reader.wake())
            try:
                while not future.done():
                    await reader.wait()
                    yield
            finally:
                concurrent.futures.wait([future])
                pool.shutdown()
            future.result()
            return
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(_outcome(self.work()))
            worker.add_done_callback(lambda _: reader.wake())
            left: BaseException | None = None
            try:
                while not worker.done():
                    await reader.wait()
                    yield
            except BaseException as signal:  # nobody reads any more
                worker.cancel()
                left = signal
        if left is not None:
            raise left
        error = worker.result()
        if error is not None:
            raise error

    # -- on an event loop ---------------------------------------------------------------------

    async def _open_group(self) -> asyncio.TaskGroup:
        if self._group is None:
            self._loop = asyncio.get_running_loop()
            self._group = asyncio.TaskGroup()
            await self._group.__aenter__()
        return self._group

    async def _work_with_workers(self) -> None:
        group = await self._open_group()
        if self._ready:
            self._call_standby()
        try:
            await group.__aexit__(None, None, None)
        except BaseExceptionGroup as error:  # a KeyboardInterrupt, say
            raise error.exceptions[0] from None

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Carry out something else by the end of the step."""
        if self._group is None:
            self._loop = asyncio.get_running_loop()
            self._group = asyncio.TaskGroup()
            _edge.finish(self._group.__aenter__())
        return self._group.create_task(coroutine)

    def _call_standby(self, number: int = 1) -> None:
        """Have some workers start as soon as all others are suspended, unless some are about to."""
        if self._standby:
            return
        assert self._group is not None
        while self._standby < number and len(self._workers) < self._max_workers:
            self._standby += 1
            worker = self._group.create_task(self._take_over())
            self._workers[worker] = None

    async def _take_over(self) -> None:
        """Carry out tasks, one after another, until there is none."""
        self._standby -= 1
        # Unless it rests, the one before is suspended in its node, and others will be: all of them
        # are to begin together.
        number, self._rests = 1 if self._rests else len(self._ready), False
        me = asyncio.current_task()
        assert me is not None
        ready, done = self._ready, 0
        try:
            while ready and not self._ends():
                task = ready.popleft()
                if ready:
                    self._call_standby(number)
                number = 1
                self._workers[me] = task
                self._note(task, await self._attempt(task))
                self._workers[me] = None
                if self._ends():
                    self._begin_the_rest()
                    for worker, theirs in self._workers.items():
                        if worker is not me and theirs is not None:
                            worker.cancel()
                done += 1
                if done % _TASKS_BETWEEN_TURNS == 0:
                    self._rests = True
                    await asyncio.sleep(0)
        finally:
            del self._workers[me]
            if ready and not self._ends() and not me.cancelling():
                self._call_standby()

    def _begin_the_rest(self) -> None:
        """Begin what is left of a step that has failed: who waits for nothing still completes.

        All tasks of a step begin together, and one that fails cancels those that wait.
        """
        while self._ready:
            task = self._ready.popleft()
            attempt = self._attempt(task)
            try:
                attempt.send(None)
                for _ in range(_SWALLOWED_CANCELLATIONS):
                    attempt.throw(asyncio.CancelledError)
                attempt.close()
            except StopIteration as stop:
                if not isinstance(stop.value, NodeCancelledError):
                    self._note(task, stop.value)
            except asyncio.CancelledError:
                pass

    # -- in threads ---------------------------------------------------------------------------

    def _threads(self) -> ThreadPoolExecutor:
        limit = self.run.config.get("max_concurrency")
        return ThreadPoolExecutor(limit, thread_name_prefix="plait-langgraph")

    def _work_in_threads(self) -> None:
        self._open_pool()
        pool = self._pool
        assert pool is not None
        ready = self._ready
        try:
            before = len(ready)
            if ready:
                self._submit(self._work_here)
            while self._futures:
                # A worker that has waited for anything has not taken another task meanwhile; who
                # does take them needs no company.
                done, _ = concurrent.futures.wait(
                    tuple(self._futures),
                    timeout=_STALLED if ready else None,
                    return_when=concurrent.futures.FIRST_COMPLETED,
                )
                self._futures.difference_update(done)
                for future in done:
                    future.result()
                if not ready or self._ends():
                    continue
                if not self._futures:
                    self._submit(self._work_here)
                elif len(ready) >= before:
                    for _ in range(min(len(ready), pool._max_workers - len(self._futures))):
                        self._submit(self._work_here)
                before = len(ready)
        finally:
            self._pool = None
            pool.shutdown()

    def _open_pool(self) -> None:
        if self._pool is None:
            self._pool = self._threads()

    def _submit(self, function: Any, *args: Any) -> None:
        assert self._pool is not None
        self._futures.add(self._pool.submit(copy_context().run, function, *args))

    def _work_here(self) -> None:
        """Carry out tasks in this thread, one after another, until there is none."""
        while self._ready and not self._ends():
            self._run_next()
        if not self._ends():
            return
        # All that have a thread each begin together, so these had begun when another one failed.
        pool = self._pool
        for _ in range(pool._max_workers if pool is not None else 0):
            self._run_next()

    def _run_next(self) -> None:
        try:
            task = self._ready.popleft()
        except IndexError:
            return
        self._note(task, _edge.finish(self._attempt(task)))

    def _work_within(self, limit: float) -> None:
        """As ``_work``, but let go of threads that take too long."""
        pool = self._threads()
        future = pool.submit(copy_context().run, _edge.finish, self._work())
        try:
            future.result(limit)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            raise TimeoutError("Timed out") from None
        finally:
            pool.shutdown(wait=False)

    # -- tasks that tasks call ----------------------------------------------------------------

    def call(self, task: Task) -> Any:
        """Begin a task that another one calls. Returns a future of what it gives.

        It is one of asyncio where the caller is on the run's event loop, else one that blocks.
        """
        run = self.run
        if self.blocking:
            future: Any = concurrent.futures.Future()
            task.future = future
            with run.lock:
                run.add_call(task)
                _edge.finish(run.match_call(task))
            if task.writes:
                self._tell_caller(task, None)
            else:
                self._open_pool()
                self._submit(self._run_call, task)
            return future
        try:
            here: Any = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not None and (self._loop is None or here is self._loop):
            self._loop = here
            future = here.create_future()
            task.future = future
            self._follow(task, self.spawn(self._begin_call(task)))
        else:
            assert self._loop is not None
            future = concurrent.futures.Future()
            task.future = future
            self._loop.call_soon_threadsafe(self._spawn_call, task, copy_context())
        return future

    def _run_call(self, task: Task) -> None:
        self._note(task, _edge.finish(self._attempt(task)))

    def _spawn_call(self, task: Task, context: Context) -> None:
        assert self._group is not None
        worker = self._group.create_task(self._begin_call(task), context=context)
        self._follow(task, worker)

    def _follow(self, task: Task, worker: asyncio.Task[Any]) -> None:
        """Have a task end whose caller does not want it any more."""
        loop = worker.get_loop()

        def cancel(future: Any) -> None:
            if future.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(worker.cancel)

        task.future.add_done_callback(cancel)

    async def _begin_call(self, task: Task) -> None:
        self.run.add_call(task)
        await self.run.match_call(task)
        if task.writes:
            self._tell_caller(task, None)
            return
        if len(self._workers) >= self._max_workers:
            self._ready.append(task)
            return
        me = asyncio.current_task()
        assert me is not None
        self._workers[me] = task
        try:
            self._note(task, await self._attempt(task))
        except asyncio.CancelledError:
            task.future.cancel()
            raise
        finally:
            del self._workers[me]
            if self._ready and not self._ends() and not me.cancelling():
                self._call_standby()

    def _tell_caller(self, task: Task, outcome: BaseException | None) -> None:
        from ._constants import ERROR, MISSING, RETURN

        future = task.future
        if future.done():
            return
        value: Any = MISSING
        for name, each in task.writes:
            if name == RETURN:
                value = each
            elif name == ERROR and outcome is None:
                outcome = each if isinstance(each, BaseException) else Exception(each)
        if value is not MISSING:
            future.set_result(value)
        elif outcome is not None:
            future.set_exception(outcome)
        else:
            future.set_result(None)

    # -- one task -----------------------------------------------------------------------------

    async def _attempt(self, task: Task) -> BaseException | None:
        """Carry out a task, with its retries, and commit it. Returns why it failed, or a signal."""
        run = self.run
        outcome: BaseException | None = None
        while True:
            try:
                if task.timeout is None:
                    await self._call(task)
                else:
                    from ._timeouts import call_within

                    await call_within(task, self._call, blocking=self.blocking)
            except GraphBubbleUp as signal:
                if isinstance(signal, ParentCommand) and not await self._readdress(task, signal):
                    break
                outcome = signal
            except asyncio.CancelledError as error:
                if self._is_cancelled():
                    if (
                        self._ends()
                    ):  # a sibling's failure is part of the step; a caller's wish is not
                        run.commit(task, error)
                    raise
                outcome = NodeCancelledError(task.name)
                outcome.__cause__ = error
            except Exception as error:
                error.add_note(f"During task with name '{task.name}' and id '{task.id}'")
                wait = self._wait(task, error)
                if wait is not None:
                    if self.blocking:
                        time.sleep(wait)  # noqa: ASYNC251 - there is no event loop here
                    else:
                        await asyncio.sleep(wait)
                    logger.info(
                        "Retrying task %s after %.2f seconds (attempt %d) after %s %s",
                        task.name,
                        wait,
                        task.attempt,
                        type(error).__name__,
                        error,
                        exc_info=error,
                    )
                    task.writes.clear()
                    task.again()
                    continue
                outcome = error
            break
        if isinstance(task.future, asyncio.Future):
            self._tell_caller(task, outcome)  # it goes on before the reader of the stream does
        run.commit(task, outcome)
        return outcome

    def _is_cancelled(self) -> bool:
        """Whether somebody has cancelled what runs here, and not a node raised
        ``CancelledError``."""
        if self.blocking:
            return False
        me = asyncio.current_task()
        return me is None or me.cancelling() > 0

    def _wait(self, task: Task, error: Exception) -> float | None:
        """Seconds until the next attempt; ``None`` if there is none."""
        if not task.retry:
            return None
        policy = policy_for(task.retry, error)
        if policy is None or task.attempt >= policy.max_attempts:
            return None
        return delay(policy, task.attempt)

    async def _readdress(self, task: Task, signal: ParentCommand) -> bool:
        """Carry out a command that came out of a nested graph. Whether it is for a graph further
        out."""
        namespace, command = task.namespace, signal.args[0]
        if command.graph in (namespace, without_ids(namespace), task.name):
            await self._write(task, command)
            return False
        if command.graph == Command.PARENT:
            signal.args = (replace(command, graph=_outer(namespace)),)
        return True

    async def _call(self, task: Task) -> None:
        """Call the node once, and make writes of its output."""
        if self.run.manager is not None:
            from ._tracing import call_traced

            await call_traced(self, task)
            return
        bound = task.node.bound
        output = task.input if bound is None else await self.call_bound(task, bound, task.input)
        await self._write(task, output)

    async def _write(self, task: Task, output: Any) -> None:
        for writer in task.node.flat_writers:
            if writer.waits:
                await writer.route(output, task)
            else:
                writer.write(output, task)

    async def call_condition(self, task: Task, path: Any, value: Any) -> Any:
        """Ask a condition for the way on from a task."""
        if type(path) is not Callee or path.is_async or self.blocking:
            return await self.call_bound(task, path, value)
        # A thread for what takes a microsecond is a loop that spends its time in going there. Who
        # took less than it takes to wait for anything has waited for nothing, so it may be called
        # here.
        args, kwargs = path.arguments(task, value)
        context = task.context()
        begun = perf_counter()
        if path.is_quick:
            chosen = context.run(path.function, *args, **kwargs)
            path.is_quick = perf_counter() - begun < _SLOW
        else:
            chosen, took = await call_in_thread(context, _timed, (path.function, args, kwargs), {})
            path.is_quick = took < _QUICK
        if is_runnable(chosen) or is_graph(chosen):
            return await self.call_bound(task, chosen, value)
        return chosen

    async def call_bound(
        self,
        task: Task,
        bound: Any,
        input: Any,
        context: Context | None = None,
    ) -> Any:
        """Call what a user gave for a node or a condition, in a context of its own."""
        if type(bound) is Callee:
            args, kwargs = bound.arguments(task, input)
            if context is None:
                context = task.context()
            if bound.is_async:
                coroutine = as_coroutine(context.run(bound.function, *args, **kwargs))
                if self.blocking:
                    output = _edge.wait_in_background(coroutine, context)
                else:
                    output = await in_context(coroutine, context)
            elif self.blocking:
                output = context.run(bound.function, *args, **kwargs)
            else:
                output = await call_in_thread(context, bound.function, args, kwargs)
            if is_runnable(output) or is_graph(output):
                return await self.call_bound(task, output, input)
            return output
        if context is None:
            context = task.context()
        if is_graph(bound):
            return await in_context(bound.call_nested(input, task.config, self.blocking), context)
        if self.blocking:
            return context.run(bound.invoke, input, task.config)
        return await in_context(as_coroutine(bound.ainvoke(input, task.config)), context)


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> BaseException | None:
    """Await something, and return what it raises."""
    try:
        await coroutine
    except Exception as error:
        return error
    return None


async def call_in_thread(context: Context, function: Any, args: Any, kwargs: Any) -> Any:
    """Call a function in the event loop's own pool of threads, in a context."""
    call: Any = functools.partial(context.run, _no_stop_iteration, function, args, kwargs)
    return await asyncio.get_running_loop().run_in_executor(None, call)


def _timed(function: Any, args: Any, kwargs: Any) -> tuple[Any, float]:
    """Call a function, and say how long it took."""
    begun = perf_counter()
    return function(*args, **kwargs), perf_counter() - begun


def _no_stop_iteration(function: Any, args: Any, kwargs: Any) -> Any:
    """Call a function. A future cannot carry ``StopIteration``."""
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        raise RuntimeError(f"the node raised {error!r}") from error


def _outer(namespace: str) -> str:
    """The namespace of the graph around a task's graph, as its own task has it."""
    parts = namespace.split(NS_SEP)
    while parts and parts[-1].isdigit():
        parts.pop()
    if parts:
        parts.pop()
    while parts and parts[-1].isdigit():
        parts.pop()
    return NS_SEP.join(parts)
