"""An event loop in virtual time that stands still between the steps of a state machine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

from plait.testing import VirtualClock
from plait.testing.clock import _VirtualLoop

T = TypeVar("T")


class Stepper:
    """Runs one coroutine after another on the same loop; tasks live on in between."""

    def __init__(self) -> None:
        clock = VirtualClock()
        self._runner = asyncio.Runner(loop_factory=lambda: _VirtualLoop(clock))

    def step(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and then all tasks until each of them waits."""
        return self._runner.run(self._settled(coroutine))

    async def _settled(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result = await coroutine
        await asyncio.sleep(1)  # the clock jumps when every task waits
        return result

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task, and let it come to where it waits."""

        async def start() -> asyncio.Task[T]:
            return asyncio.create_task(coroutine)

        return self.step(start())

    def cancel(self, task: asyncio.Task[Any], times: int = 1) -> None:
        """Cancel a task so many times, a turn of the loop apart."""

        async def stop() -> None:
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)

        self.step(stop())

    def close(self) -> None:
        self._runner.close()


class Held:
    """A call of a node that waits to be told how to end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: Exception | None = None
        self._told = anyio.Event()

    async def wait(self) -> None:
        await self._told.wait()
        if self.error is not None:
            raise self.error

    async def end(self, error: Exception | None = None) -> None:
        """Let the call return, or raise."""
        self.error = error
        self._told.set()
