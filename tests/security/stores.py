"""Stores that tenants share, for tests that hold on each of them.

PostgreSQL is among them where ``PLAIT_TEST_POSTGRES`` gives a URL.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from plait import Store
from plait.durable import DurableStore, open_store
from plait.testing.memory_backend import MemoryBackend
from plait_adapters.sqlite import SQLiteStore

__all__ = ["DURABLE", "OpenStore", "rows"]

OpenStore: TypeAlias = Callable[..., Store]
"""Opens a handle on rows that all tenants share: ``open_store(tenant, **options)``."""

_POSTGRES = os.environ.get("PLAIT_TEST_POSTGRES")

DURABLE = ["memory backend", "sqlite", *(["postgresql"] if _POSTGRES else [])]
"""The stores that keep rows, by name."""


@contextmanager
def rows(kind: str, folder: Path | None = None) -> Iterator[OpenStore]:
    """Rows that nobody has used before; ``folder`` is where SQLite's file is to be."""
    if kind == "memory backend":
        root = MemoryBackend()
        yield lambda tenant, **options: DurableStore(root.view(tenant=tenant), **options)
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory() as temporary:
            path = (folder or Path(temporary)) / "rows.db"

            def open_file(tenant: str, **options: Any) -> Store:
                return SQLiteStore(path, tenant=tenant, synchronous="OFF", **options)

            yield open_file
    else:
        assert _POSTGRES is not None
        url, ours = _POSTGRES, uuid.uuid4().hex

        def open_server(tenant: str, **options: Any) -> Store:
            return open_store(url, tenant=f"{ours}{tenant}", **options)

        yield open_server
