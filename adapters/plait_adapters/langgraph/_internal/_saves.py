"""Checkpoints on their way to a saver, in order, while the run goes on."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

if TYPE_CHECKING:
    from plait_adapters.langgraph.checkpoint._steps import Step

_IN_MEMORY = frozenset(
    ("plait_adapters.langgraph.checkpoint.memory", "langgraph.checkpoint.memory")
)


def keeps_in_memory(saver: Any) -> bool:
    """Whether a saver never waits, so that it may be called from anywhere.

    Only by its exact class: a subclass may do more.
    """
    cls = type(saver)
    return cls.__module__ in _IN_MEMORY and cls.__name__ in ("InMemorySaver", "MemorySaver")


class Line(Protocol):
    """A namespace of a thread, as one run puts into it; soon."""

    def put(self, step: Step, /) -> None:
        """Store a checkpoint."""
        ...

    def put_writes(
        self, checkpoint_id: str, writes: Sequence[tuple[str, Any]], task_id: str, path: str, /
    ) -> None:
        """Store writes of a task with a checkpoint."""
        ...


_MOST_AT_ONCE = 1_000
"""Records that are stored together, so that what takes long is seen to go on."""


_GATHERED_FOR = 5e-3
"""Seconds for which records are gathered at most before the first of them is stored: what a commit
takes that waits for a disk."""
_QUIET = 4
"""Turns of the event loop without a new record after which a run waits for something: tasks of a
step that do not wait take fewer to begin and to end."""


class Saves:
    """A saver as a run uses it.

    What is put is carried out in order, in the background unless ``durability`` is ``"sync"``; an
    error is raised by the next :meth:`settle`.

    A saver that takes records gets them made at once, and all that have come together meanwhile are
    stored in one go: a run that is faster than the disk makes few commits, and a step whose writes
    and checkpoint are there at the same time makes one.

    Args:
        saver: anything with the interface of ``BaseCheckpointSaver``.
        blocking: call its synchronous methods, and block; else await its asynchronous ones.
    """

    def __init__(self, saver: Any, *, blocking: bool) -> None:
        self.saver: Any = saver
        self.blocking: bool = blocking
        self.is_direct: bool = keeps_in_memory(saver)
        self._makes_records: bool = getattr(saver, "takes_records", False) is True
        self.is_prompt: bool = self.is_direct or self._makes_records
        """Whether what is put may be changed afterwards."""
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._error: BaseException | None = None
        self._settling = False
        self._worker: asyncio.Task[None] | Future[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._pool: ThreadPoolExecutor | None = None
        put_writes = saver.put_writes if blocking or self.is_direct else saver.aput_writes
        self._put_writes: Callable[..., Any] = put_writes
        self._takes_path = _takes_path(getattr(put_writes, "__func__", put_writes))

    # -- reading ------------------------------------------------------------------------------

    async def find(self, config: Mapping[str, Any]) -> Any:
        """The checkpoint that a configuration names, or the latest; ``None`` if there is none."""
        if self.blocking or self.is_direct:
            return self.saver.get_tuple(config)
        return await self.saver.aget_tuple(config)

    async def list(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> list[Any]:
        """Checkpoints of a thread, the newest first."""
        if self.blocking or self.is_direct:
            return list(self.saver.list(config, filter=filter, before=before, limit=limit))
        found = self.saver.alist(config, filter=filter, before=before, limit=limit)
        return [each async for each in found]

    async def history(
        self, config: Mapping[str, Any], channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """For each ``DeltaChannel``, the writes since its last snapshot, and that."""
        if self.blocking or self.is_direct:
            history = self.saver.get_delta_channel_history(config=config, channels=channels)
        else:
            history = await self.saver.aget_delta_channel_history(config=config, channels=channels)
        return history  # type: ignore[no-any-return]

    # -- writing now --------------------------------------------------------------------------

    async def put_now(self, config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        """Store a checkpoint, and return the configuration that names it."""
        if self.blocking or self.is_direct:
            return self.saver.put(config, checkpoint, metadata, versions)
        return await self.saver.aput(config, checkpoint, metadata, versions)

    async def put_writes_now(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str = ""
    ) -> None:
        """Store writes of a task with a checkpoint."""
        more = (path,) if self._takes_path and path else ()
        result = self._put_writes(config, writes, task_id, *more)
        if not (self.blocking or self.is_direct):
            await result

    # -- writing step by step -----------------------------------------------------------------

    def line(self, config: Any, namespace: str) -> Line | None:
        """What takes the steps of a run as what they have moved; ``None`` if the saver does not."""
        open_line = getattr(self.saver, "_line", None) if self.is_prompt else None
        thread_id = config["configurable"].get("thread_id")
        if open_line is None or thread_id is None:
            return None
        line = open_line(config, str(thread_id), namespace)
        return line if line is None or self.is_direct else _LineOfRecords(self, line)

    # -- writing in the background ------------------------------------------------------------

    def put(self, config: Any, checkpoint: Any, metadata: Any, versions: Any) -> None:
        """Store a checkpoint, soon."""
        if self.is_direct:
            self.saver.put(config, checkpoint, metadata, versions)
        elif self._makes_records:
            self._record(self.saver.record_of_checkpoint, config, checkpoint, metadata, versions)
        else:
            put = self.saver.put if self.blocking else self.saver.aput
            self._later(put, config, checkpoint, metadata, versions)

    def put_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> None:
        """Store writes of a task with a checkpoint, soon."""
        more = (path,) if self._takes_path else ()
        if self.is_direct:
            self._put_writes(config, writes, task_id, *more)
        elif self._makes_records:
            self._record(self.saver.record_of_writes, config, writes, task_id, *more)
        else:
            self._later(self._put_writes, config, writes, task_id, *more)

    def later(self, function: Callable[..., Any], *args: Any) -> None:
        """Call something else in the background, in its turn; with its asynchronous form if not
        blocking."""
        self._later(function, *args)

    def _record(self, make: Callable[..., Any], *args: Any) -> None:
        try:
            record = make(*args)
        except Exception as error:
            self._later(_raise, error)  # in its turn: what was put before is stored
        else:
            self._later(_RECORD, record)

    def _next(self) -> tuple[Any, ...]:
        """What is to be called next, and with what: all records that have come together."""
        waiting = self._waiting
        first = waiting.popleft()
        if first[0] is not _RECORD:
            return first
        records = [first[1]]
        while waiting and waiting[0][0] is _RECORD and len(records) < _MOST_AT_ONCE:
            records.append(waiting.popleft()[1])
        return (self.saver.save if self.blocking else self.saver.asave), records

    def _later(self, *operation: Any) -> None:
        self._waiting.append(operation)
        if self._worker is None or self._worker.done():
            if self.blocking:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(1, thread_name_prefix="plait-saves")
                self._worker = self._pool.submit(self._work_here)
            else:
                assert self._group is not None
                self._worker = self._group.create_task(self._work())

    def _work_here(self) -> None:
        while self._waiting and self._error is None:
            function, *args = self._next()
            try:
                function(*args)
            except BaseException as error:
                self._error = error

    async def _work(self) -> None:
        if self._makes_records:
            await self._wait_for_more()
        while self._waiting and self._error is None:
            function, *args = self._next()
            try:
                result: Awaitable[Any] = function(*args)
                await result
            except Exception as error:
                self._error = error

    async def _wait_for_more(self) -> None:
        """Let a run that waits for nothing put more of its steps, which are then stored at once."""
        count = quiet = 0
        until = perf_counter() + _GATHERED_FOR
        while not self._settling and quiet < _QUIET and perf_counter() < until:
            await asyncio.sleep(0)
            before, count = count, len(self._waiting)
            quiet = quiet + 1 if count == before else 0
            if count >= _MOST_AT_ONCE:
                break

    async def settle(self) -> None:
        """Wait until all that was put is stored.

        Raises:
            Exception: what the saver raised.
        """
        while self._worker is not None and (self._waiting or not self._worker.done()):
            if self._error is not None:
                break
            if isinstance(self._worker, Future):
                self._worker.result()
                if self._waiting and self._error is None:
                    assert self._pool is not None
                    self._worker = self._pool.submit(self._work_here)
            else:
                self._settling = True
                await asyncio.wait([self._worker])
                self._settling = False
        if self._error is not None:
            error, self._error = self._error, None
            self._waiting.clear()
            raise error

    @property
    def is_busy(self) -> bool:
        """Whether something is stored in the background, on the event loop."""
        return self._worker is not None and not self.blocking

    async def let_go_on(self) -> None:
        """Let what is stored in the background go on, since nodes may never wait for anything."""
        if self.is_busy:
            await asyncio.sleep(0)

    async def open(self) -> None:
        """Make ready for what is put in the background."""
        if not (self.blocking or self.is_direct):
            self._group = asyncio.TaskGroup()
            await self._group.__aenter__()

    async def close(self) -> None:
        """Wait until all is stored, even if the run is being cancelled."""
        try:
            if self._worker is not None and self.blocking:
                await self.settle()
            elif self._worker is not None:
                from anyio import CancelScope

                with CancelScope(shield=True):
                    await self.settle()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
            if self._group is not None:
                group, self._group = self._group, None
                await group.__aexit__(None, None, None)


class _LineOfRecords:
    """Has what is put made into records at once."""

    def __init__(self, saves: Saves, line: Any) -> None:
        self._record = saves._record
        self._line = line

    def put(self, step: Step) -> None:
        """Store a checkpoint, soon."""
        self._record(self._line.record_of_step, step)

    def put_writes(self, *writes: Any) -> None:
        """Store writes of a task with a checkpoint, soon."""
        self._record(self._line.record_of_writes, *writes)


_RECORD: Any = object()


@cache
def _takes_path(put_writes: Callable[..., Any]) -> bool:
    """Whether it takes the path of a task; savers that are older than paths do not."""
    return "task_path" in inspect.signature(put_writes).parameters


def _raise(error: Exception) -> NoReturn:
    raise error
