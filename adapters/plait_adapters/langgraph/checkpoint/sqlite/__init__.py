"""Savers in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Self

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol

from ._saver import SavesInSqlite, connect

__all__ = ["SqliteSaver"]


class SqliteSaver(SavesInSqlite):
    """A saver in SQLite, made where there is no event loop; its asynchronous methods work, too.

    See :class:`SavesInSqlite` for its arguments.
    """

    @classmethod
    @contextmanager
    def from_conn_string(
        cls, conn_string: str, *, serde: SerializerProtocol | None = None
    ) -> Iterator[Self]:
        """A saver for the time of a ``with``.

        Args:
            conn_string: the path of a file, or ``":memory:"``.
            serde: makes bytes of values.
        """
        with closing(connect(conn_string)) as connection:
            yield cls(connection, serde=serde)

    def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used."""
        self.get_tuple({"configurable": {"thread_id": ""}})


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
