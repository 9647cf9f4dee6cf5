"""Savers in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint._bridge import run

from ._address import Conn
from .base import BasePostgresSaver, KeepsLatest

__all__ = ["BasePostgresSaver", "Conn", "PostgresSaver", "ShallowPostgresSaver"]


class PostgresSaver(BasePostgresSaver):
    """A saver in PostgreSQL, made where there is no event loop; its asynchronous methods work, too.

    See :class:`BasePostgresSaver` for its arguments.
    """

    @classmethod
    @contextmanager
    def from_conn_string(
        cls, conn_string: str, *, pipeline: bool = False, **options: Any
    ) -> Iterator[Self]:
        """A saver for the time of a ``with``.

        Args:
            conn_string: a URL, or a connection string of libpq's.
            pipeline: has nothing to do: each operation is one round trip, with and without it.
            options: those of the class.
        """
        saver = cls(conn_string, **options)
        try:
            yield saver
        finally:
            saver.close()

    def setup(self) -> None:
        """Make the tables, or bring them up to date; also done when it is first used.

        Raises:
            StoreError: the role may not.
        """
        run(self._upgrade)


class ShallowPostgresSaver(KeepsLatest, PostgresSaver):
    """As :class:`PostgresSaver`; keeps the latest checkpoint of each namespace only."""


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
