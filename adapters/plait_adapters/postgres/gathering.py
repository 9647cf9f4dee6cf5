"""Calls that are made at the same time, done by one statement.

Runs come in crowds: a hundred that begin together would make a hundred transactions to take their
leases, each with a wait for the disk of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from plait.errors import StoreUnavailable

from .connections import Link

__all__ = ["Gathering"]

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_Group: TypeAlias = list[tuple[Request, "asyncio.Future[Answer | None]"]]

_MOST_TURNS: Final = 16
"""Turns of the event loop for which a call waits at most for more to come along."""

_MOST_AT_ONCE: Final = 1_000
"""Calls that one statement does, so that it stays well within its timeout."""


class Gathering(Generic[Request, Answer]):
    """Does calls together that are made at about the same time. Belongs to one event loop.

    The first of them leads: it takes along all that come until it has a connection. Nobody waits
    for a statement that was sent already, so a call takes no longer than one that is made alone.

    Args:
        do: does some work with a connection, within a bound.
        answer: answers requests, all in one transaction; ``None`` for those that it left undone.
    """

    def __init__(
        self,
        do: Callable[[Callable[[Link], Awaitable[None]]], Awaitable[None]],
        answer: Callable[[Link, Sequence[Request]], Awaitable[Sequence[Answer | None]]],
    ) -> None:
        self._do = do
        self._answer = answer
        self._coming: _Group[Request, Answer] = []

    async def call(self, request: Request) -> Answer | None:
        """The answer to a request; ``None`` if nothing was done, so that it is to be made alone.

        Raises ``StoreUnavailable`` if the outcome is unknown.
        """
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        group = self._coming
        if 0 < len(group) < _MOST_AT_ONCE:
            group.append((request, answer))
        else:
            group = self._coming = [(request, answer)]
            await self._lead(group)
        return await answer

    async def _lead(self, group: _Group[Request, Answer]) -> None:
        async def work(link: Link) -> None:
            self._close(group)
            answers = await self._answer(link, [request for request, _ in group])
            for (_, waiting), answer in zip(group, answers, strict=True):
                if not waiting.done():  # it may have been cancelled
                    waiting.set_result(answer)

        fate = "whoever asked for several leases at once was cancelled"
        try:
            await self._wait_for_more(group)
            if len(group) > 1:
                await self._do(work)
            fate = ""
        except StoreUnavailable as error:
            fate = str(error)
            raise
        except Exception:  # one of them may be at fault, and not the others
            fate = ""
        finally:
            self._close(group)
            for _, waiting in group:
                if waiting.done():
                    continue
                if not fate:
                    waiting.set_result(None)
                elif waiting is not group[0][1]:  # who leads has an error of its own
                    waiting.set_exception(StoreUnavailable(fate))

    async def _wait_for_more(self, group: _Group[Request, Answer]) -> None:
        count = 0
        for _ in range(_MOST_TURNS):
            if len(group) == count:
                break
            count = len(group)
            await asyncio.sleep(0)

    def _close(self, group: _Group[Request, Answer]) -> None:
        """Whoever comes from now on comes too late for this group."""
        if self._coming is group:
            self._coming = []
