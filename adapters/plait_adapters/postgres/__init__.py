"""Durable journals in PostgreSQL, by asyncpg.

::

    async with PostgresStore("postgresql://localhost/app") as store:
        flow = graph.compile(store=store)

See :class:`PostgresBackend` for what it needs of the server.
"""

from .backend import PostgresBackend
from .store import PostgresStore

__all__ = ["PostgresBackend", "PostgresStore"]
