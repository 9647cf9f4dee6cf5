"""The store of durable threads in one SQLite file."""

from __future__ import annotations

import os
from typing import Any, Final, Self
from urllib.parse import unquote

from plait.durable import DurableStore
from plait.errors import StoreError

from .backend import SQLiteBackend
from .file import Synchronous

__all__ = ["SQLiteStore"]

_SCHEME: Final = "sqlite:///"


class SQLiteStore(DurableStore):
    """Durable threads in one file, for any number of processes on one machine.

    ::

        async with SQLiteStore("runs.db") as store:
            flow = graph.compile(store=store)

    Args:
        path: of the file; see :class:`SQLiteBackend` for this and the next three.
        tenant: part of every key.
        timeout: seconds to wait for another process that writes.
        synchronous: how long a commit waits for the disk.
        options: those of :class:`plait.durable.DurableStore`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        tenant: str = "default",
        timeout: float = 10.0,
        synchronous: Synchronous = "FULL",
        **options: Any,
    ) -> None:
        super().__init__(
            SQLiteBackend(path, tenant=tenant, timeout=timeout, synchronous=synchronous), **options
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

        Raises:
            StoreError: the URL names no file.
        """
        path = unquote(url.removeprefix(_SCHEME))
        if not url.startswith(_SCHEME) or not path or path.startswith(":"):
            raise StoreError(
                f"{url!r} names no file: write sqlite:///relative.db or sqlite:////absolute.db, "
                "and memory: for a store in memory"
            )
        if "?" in url:
            raise StoreError(
                f"{url!r} has options: give them as arguments, open_store(url, timeout=5); a ? in "
                "the name of a file is written %3F"
            )
        return cls(path, **options)
