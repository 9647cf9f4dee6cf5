"""The tasks of one run: whoever starts them waits for all of them, always.

A task group of anyio means the same, and is what other event loops get. On asyncio its tasks cost
three times what asyncio's own do, and a run whose branches wait is little else, so there a crew
keeps asyncio's tasks itself. What makes that safe:

- Each task has one cancel scope of anyio, made before the task is. To end the run is to cancel
  these scopes and never the tasks, so that shielded clean-up in a node completes. (``Task.cancel``
  pierces anyio's shields.)
- Nothing but the waiting is done in the caller's task, since ``Task.cancel`` and
  ``asyncio.timeout`` cancel that one, as often as they like. When it is cancelled, it ends the
  crew, goes on waiting behind a shield, so that nobody cancels it at each turn of the loop, and
  then raises what it was cancelled with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import anyio
import anyio.lowlevel

__all__ = ["Crew", "GroupCrew", "TaskCrew", "Work", "make_crew"]

Work: TypeAlias = Callable[[anyio.CancelScope], Coroutine[Any, Any, None]]
"""What a task does: all of it within the scope it is given, which it enters itself."""


class Crew(Protocol):
    """The tasks of one run; for one use."""

    @property
    def ending(self) -> bool:
        """Whether all tasks have been cancelled: nothing new is to begin."""
        ...

    def start(self, work: Work) -> anyio.CancelScope:
        """Start a task, and return what cancels it; called by a task of the crew.

        In a crew that is ending, the task's scope is cancelled before it is entered.
        """
        ...

    def stay(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that the crew waits for, and that it never cancels."""
        ...

    def end(self) -> None:
        """Cancel all tasks but those that stay."""
        ...

    async def run(self, first: Work) -> BaseException | None:
        """Start the first task, and wait until all have ended, whatever happens.

        A task that raises, or that is cancelled past its scope, ends the crew; so does cancelling
        the caller.

        Returns:
            What a task has raised; if several have, a group of it.
        """
        ...

    async def __aenter__(self) -> Self:
        """Have a block of the caller's own beside the tasks, which wait for each other at its end.

        A block that raises or is cancelled ends the crew. What a task has raised, the block raises
        when it is left; it may be cancelled by that before.
        """
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class TaskCrew:
    """A crew of asyncio's own tasks."""

    __slots__ = ("_errors", "_loop", "_over", "_scopes", "ending")

    _scope_type: ClassVar[type[anyio.CancelScope] | None] = None
    """What ``anyio.CancelScope()`` makes on asyncio. To find that out takes four times as long as
    to make one, so it is done once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if TaskCrew._scope_type is None:
            TaskCrew._scope_type = type(anyio.CancelScope())
        self.ending: bool = False
        self._loop = loop
        self._scopes: dict[asyncio.Task[None], anyio.CancelScope | None] = {}
        self._errors: tuple[BaseException, ...] = ()
        self._over: asyncio.Future[None] | None = None  # for whoever waits

    def start(self, work: Work) -> anyio.CancelScope:
        assert self._scope_type is not None
        scope = self._scope_type()
        if self.ending:
            scope.cancel()
        # Not by the loop's task factory: an eager one would begin in the middle of whoever calls.
        task = asyncio.Task(work(scope), loop=self._loop, name="plait")
        self._scopes[task] = scope
        task.add_done_callback(self._has_ended)
        return scope

    def stay(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.Task(work(), loop=self._loop, name="plait")
        self._scopes[task] = None
        task.add_done_callback(self._has_ended)

    def end(self) -> None:
        # Scopes can be cancelled in a running loop only. Where asyncio.run ends, or the caller is
        # thrown away, there may be none; then all tasks are cancelled, and the caller comes back.
        if not self.ending and self._loop.is_running():
            self.ending = True
            for scope in self._scopes.values():
                if scope is not None:
                    scope.cancel()

    async def run(self, first: Work | None) -> BaseException | None:
        """As for any crew; ``None`` if all have been started."""
        if first is not None:
            self.start(first)
        elif not self._scopes:
            return _as_one(self._errors) if self._errors else None
        over = _Over(loop=self._loop)
        over.crew, self._over = self, over
        cancelled: asyncio.CancelledError | None = None
        try:
            await over
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # a caller that is thrown away cannot wait, but it can tell
            self.end()
            raise
        finally:
            del over.crew, over
        if cancelled is not None:
            self.end()
            cancelled = await self._wait_on(cancelled)
        if self._errors:
            return _as_one(self._errors)
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # its traceback has this frame
        return None

    async def _wait_on(self, error: asyncio.CancelledError) -> asyncio.CancelledError:
        """Wait, however often the caller is cancelled; return what it was cancelled with."""
        with anyio.CancelScope(shield=True):
            while self._scopes:
                self._over = self._loop.create_future()
                try:
                    await self._over
                except asyncio.CancelledError as again:  # by Task.cancel, which outdoes a scope
                    error = again
        return error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.end()
            if isinstance(error, GeneratorExit):  # thrown away: it cannot wait
                return
        if (found := await self.run(None)) is not None:
            raise found

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        del self._scopes[task]
        if task.cancelled():
            self.end()
        elif (error := task.exception()) is not None:
            self._errors = (*self._errors, error)
            self.end()
        if not self._scopes and self._over is not None and not self._over.done():
            self._over.set_result(None)


class _Over(asyncio.Future[None]):
    """What the caller of a crew waits for. Whoever cancels the caller cancels this first."""

    __slots__ = ("crew",)
    crew: TaskCrew

    def cancel(self, msg: object = None) -> bool:
        # At once: by the time that the caller has its turn, a task may have begun something new.
        self.crew.end()
        return super().cancel(msg)


class GroupCrew:
    """A crew that is a task group of anyio, on whatever backend."""

    def __init__(self) -> None:
        self._group = anyio.create_task_group()

    @property
    def ending(self) -> bool:
        return self._group.cancel_scope.cancel_called

    def start(self, work: Work) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        if self.ending:
            scope.cancel()
        self._group.start_soon(self._carry_out, work, scope)
        return scope

    def stay(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._group.start_soon(self._carry_through, work)

    async def _carry_through(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with anyio.CancelScope(shield=True):
            await work()

    async def _carry_out(self, work: Work, scope: anyio.CancelScope) -> None:
        # A task that was cancelled before its first step hears of it at its first await only.
        await anyio.lowlevel.checkpoint_if_cancelled()
        await work(scope)

    def end(self) -> None:
        self._group.cancel_scope.cancel()

    async def run(self, first: Work) -> BaseException | None:
        try:
            async with self._group:
                self.start(first)
        except BaseExceptionGroup as group:
            return _as_one(group.exceptions)
        return None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            raise _as_one(group.exceptions) from None


def make_crew() -> Crew:
    """A crew of the kind that suits the running event loop."""
    try:
        return TaskCrew(asyncio.get_running_loop())
    except RuntimeError:  # another backend
        return GroupCrew()


def _as_one(errors: Sequence[BaseException]) -> BaseException:
    if len(errors) == 1:
        return errors[0]
    return BaseExceptionGroup("several tasks of a run have failed", errors)
