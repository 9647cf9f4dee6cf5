"""A cache in a SQLite file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT
from plait_adapters.langgraph.checkpoint._bridge import finish
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol
from plait_adapters.langgraph.checkpoint.sqlite._access import Direct, InThread
from plait_adapters.langgraph.checkpoint.sqlite._saver import connect
from plait_adapters.sqlite.file import Tables

__all__ = ["SqliteCache"]

_TABLES: Final = Tables("plait_adapters.langgraph.cache.sqlite")


class SqliteCache(BaseCache[ValueT]):
    """A cache in a SQLite file, for any number of processes of one machine.

    Args:
        path: of the file, or ``":memory:"``.
        serde: makes bytes of values.
    """

    def __init__(self, *, path: str, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._connection = connect(path)
        self._here = Direct(self._connection, _TABLES)
        self._threads = InThread(self._here)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values of those keys that have one."""
        return finish(self._get(self._here, keys))

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As :meth:`get`."""
        return await self._get(self._threads, keys)

    async def _get(
        self, access: Direct | InThread, keys: Sequence[FullKey]
    ) -> dict[FullKey, ValueT]:
        now = time.time()

        def action(connection: sqlite3.Connection) -> dict[FullKey, Any]:
            found: dict[FullKey, Any] = {}
            for namespace, key in keys:
                values = {"namespace": _text(namespace), "key": key, "now": now}
                row = connection.execute(_TABLES.statements["get"], values).fetchone()
                if row is not None:
                    found[tuple(namespace), key] = row
            return found

        found = await access.read(action)
        return {key: self.serde.loads_typed(row) for key, row in found.items()}

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds; ``None``: for good."""
        finish(self._set(self._here, pairs))

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As :meth:`set`."""
        await self._set(self._threads, pairs)

    async def _set(
        self, access: Direct | InThread, pairs: Mapping[FullKey, tuple[ValueT, int | None]]
    ) -> None:
        now = time.time()
        rows = [
            (
                _text(namespace),
                key,
                None if ttl is None else now + ttl,
                *self.serde.dumps_typed(value),
            )
            for (namespace, key), (value, ttl) in pairs.items()
        ]

        def action(connection: sqlite3.Connection) -> None:
            connection.execute(_TABLES.statements["sweep"], {"now": now})
            connection.executemany(_TABLES.statements["set"], rows)

        await access.write(action)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget all values of namespaces; ``None``: of all."""
        finish(self._clear(self._here, namespaces))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As :meth:`clear`."""
        await self._clear(self._threads, namespaces)

    async def _clear(
        self, access: Direct | InThread, namespaces: Sequence[Namespace] | None
    ) -> None:
        def action(connection: sqlite3.Connection) -> None:
            if namespaces is None:
                connection.execute(_TABLES.statements["clear_all"])
            else:
                rows = [(_text(namespace),) for namespace in namespaces]
                connection.executemany(_TABLES.statements["clear"], rows)

        await access.write(action)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()


def _text(namespace: Namespace) -> str:
    return json.dumps([*namespace])


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
