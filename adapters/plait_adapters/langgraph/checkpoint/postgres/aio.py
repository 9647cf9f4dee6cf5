"""A saver in PostgreSQL that is made in an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from plait_adapters.langgraph._support import missing

from ._address import Conn
from .base import BasePostgresSaver, KeepsLatest

__all__ = ["AsyncPostgresSaver", "AsyncShallowPostgresSaver", "Conn"]


class AsyncPostgresSaver(BasePostgresSaver):
    """A saver in PostgreSQL, made in an event loop; its synchronous methods work, too.

    See :class:`BasePostgresSaver` for its arguments.
    """

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls, conn_string: str, *, pipeline: bool = False, **options: Any
    ) -> AsyncIterator[Self]:
        """A saver for the time of an ``async with``.

        Args:
            conn_string: a URL, or a connection string of libpq's.
            pipeline: has nothing to do: each operation is one round trip, with and without it.
            options: those of the class.
        """
        saver = cls(conn_string, **options)
        try:
            yield saver
        finally:
            await saver.aclose()

    async def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used.

        Raises:
            StoreError: the role may not.
        """
        await self._upgrade()


class AsyncShallowPostgresSaver(KeepsLatest, AsyncPostgresSaver):
    """As :class:`AsyncPostgresSaver`; keeps the latest checkpoint of each namespace only."""


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
