"""A saver in SQLite that is made in an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio.to_thread

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol

from ._saver import SavesInSqlite, connect

__all__ = ["AsyncSqliteSaver"]


class AsyncSqliteSaver(SavesInSqlite):
    """A saver in SQLite, made in an event loop; its synchronous methods work, too, from anywhere.

    See :class:`SavesInSqlite` for its arguments.
    """

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls, conn_string: str, *, serde: SerializerProtocol | None = None
    ) -> AsyncIterator[Self]:
        """A saver for the time of an ``async with``.

        Args:
            conn_string: the path of a file, or ``":memory:"``.
            serde: makes bytes of values.
        """
        if conn_string.startswith(":"):
            with closing(connect(conn_string)) as connection:
                yield cls(connection, serde=serde)
            return
        async with cls(conn_string, serde=serde) as saver:
            yield saver

    async def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used."""
        await self.aget_tuple({"configurable": {"thread_id": ""}})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await anyio.to_thread.run_sync(self.close)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
