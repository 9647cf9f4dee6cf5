"""Something that tasks wait for, and that costs next to nothing as long as none does.

An event of anyio's takes a microsecond to make and asyncio's takes 700 bytes, also where nobody
ever waits for it; a run has several, and hundreds of tasks may wait for one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator

import anyio

__all__ = ["Bell"]


class Bell:
    """Wakes those who wait for it, once; from then on nobody has to wait.

    Attributes:
        has_rung: whether it has.
    """

    __slots__ = ("_waiting", "has_rung")

    def __init__(self) -> None:
        self.has_rung: bool = False
        self._waiting: list[asyncio.Future[None] | anyio.Event] | None = None

    def ring(self) -> None:
        """Wake all who wait."""
        self.has_rung = True
        waiting, self._waiting = self._waiting, None
        for each in waiting or ():
            if isinstance(each, anyio.Event):
                each.set()
            elif not each.done():  # whoever waited may have been cancelled
                each.set_result(None)

    def wait(self) -> Awaitable[None]:
        """Wait until it rings; not at all if it has."""
        if self.has_rung:
            return _NOTHING
        if self._waiting is None:
            self._waiting = []
        try:
            turn: asyncio.Future[None] = asyncio.Future(loop=asyncio.get_running_loop())
        except RuntimeError:  # another backend
            event = anyio.Event()
            self._waiting.append(event)
            return event.wait()
        self._waiting.append(turn)
        return turn


class _Nothing:
    """Nothing to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_NOTHING = _Nothing()
