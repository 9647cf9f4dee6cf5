"""The points of a run at which something can go wrong, and what notes what nodes did.

A *point* is the moment before one callback of the event loop while the caller's task is not done:
every step of every task, every timer and every cancellation on its way is one callback. So
between two points nothing of the run happens, and the points are all the moments at which
somebody outside can act. They are counted, never timed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

from plait import Flow, NodeContext
from plait.events import BranchPath, JournalEvent, NodeCompleted
from plait.testing import VirtualClock

T = TypeVar("T")

Call = tuple[str, BranchPath]
"""A node and the branch in which it was called; one of a subgraph counts as the subgraph's."""


class Points:
    """Counts the points of a task, and cancels it at some of them."""

    def __init__(self, *cancel_at: int) -> None:
        self.count = 0
        self.requests = 0
        self._cancel_at = cancel_at
        self._task: asyncio.Task[Any] | None = None

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task whose points are counted, its first step being point 0."""
        loop = asyncio.get_running_loop()
        for name in ("call_soon", "call_at", "call_soon_threadsafe"):
            self._watch(loop, name)
        self._task = task = loop.create_task(coroutine)
        return task

    def _watch(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        schedule = getattr(loop, name)
        skip = 1 if name == "call_at" else 0

        def scheduled(*args: Any, **options: Any) -> Any:
            callback = args[skip]
            return schedule(*args[:skip], self._before, callback, *args[skip + 1 :], **options)

        vars(loop)[name] = scheduled

    def _before(self, callback: Callable[..., object], *args: Any) -> None:
        task = self._task
        if task is not None and not task.done():
            if self.count in self._cancel_at:
                self.requests += 1
                task.cancel()
            self.count += 1
        callback(*args)


class StepClock(VirtualClock):
    """A virtual clock whose worker threads go on only when every task waits.

    So it is certain at which point a thread comes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[threading.Event] = []

    def threads_are_busy(self) -> bool:
        busy = super().threads_are_busy()
        if busy:
            self.release()
        return busy

    def release(self) -> None:
        """Let all threads go on that have stopped at a gate."""
        while self.gates:
            self.gates.pop().set()

    def wait(self) -> None:
        """Stop the calling thread until every task waits."""
        gate = threading.Event()
        self.gates.append(gate)
        gate.wait(60)


class Calls:
    """Makes nodes, and notes which of them were called, and what they have not put away.

    Attributes:
        begun: every call, in order, each attempt once.
        open: what calls hold at this moment.
        interrupted: calls whose shielded clean-up did not come to its end.
    """

    def __init__(self, clock: StepClock | None = None) -> None:
        self.clock = clock or StepClock()
        self.begun: list[Call] = []
        self.open: set[object] = set()
        self.interrupted: list[Call] = []

    def _begin(self, ctx: NodeContext) -> Call:
        _, _, inside = ctx.thread_id.partition("/")
        path = ctx.branch
        if inside:
            path = tuple(map(int, inside.split(":")[0].split(".")))
        call = ("sub" if inside else ctx.node, path)
        self.begun.append(call)
        return call

    def node(self, takes: float = 1.0, tidy: float = 0.0, failures: int = 0, **writes: Any) -> Any:
        """A node that takes so many seconds, and so many to clean up, shielded.

        Its first ``failures`` attempts fail. It writes its name to ``items`` beside ``writes``.
        """

        async def work(_state: Any, ctx: NodeContext) -> Any:
            call, handle = self._begin(ctx), object()
            self.open.add(handle)
            try:
                await anyio.sleep(takes)
                if ctx.attempt <= failures:
                    raise ValueError("not yet")
            finally:
                try:
                    if tidy:
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(tidy)
                except BaseException:
                    self.interrupted.append(call)
                    raise
                finally:
                    self.open.discard(handle)
            return {"items": [ctx.node], **writes}

        return work

    def thread(self) -> Any:
        """A ``def`` node, whose thread comes back when every task waits."""

        def work(_state: Any, ctx: NodeContext) -> Any:
            self._begin(ctx)
            self.clock.wait()
            return {"items": [ctx.node]}

        return work


def completions(events: Any) -> list[tuple[BranchPath, str]]:
    """The branch and node of each completion in a journal, sorted."""
    return sorted(
        (event.branch, event.node) for event in events if isinstance(event, NodeCompleted)
    )


def rows(flow: Flow[Any]) -> list[JournalEvent]:
    """The journal of the thread ``t`` as it is at this moment."""
    journal = flow.store._journals.get("t")  # type: ignore[attr-defined]
    return list(journal.events) if journal is not None else []
