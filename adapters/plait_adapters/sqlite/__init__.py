"""Durable threads in one SQLite file, with the standard library's ``sqlite3``.

::

    async with SQLiteStore("runs.db") as store:
        flow = graph.compile(store=store)

See :class:`SQLiteBackend` for what it needs of the file.
"""

from .backend import SQLiteBackend
from .store import SQLiteStore

__all__ = ["SQLiteBackend", "SQLiteStore"]
