"""The address of a server, from what LangGraph's savers are given."""

from __future__ import annotations

import shlex
from typing import Any, Final
from urllib.parse import quote, urlencode

import asyncpg

__all__ = ["Conn", "database_of"]

Conn = Any
"""A URL, a pool of asyncpg's, or a connection or pool of psycopg's, of which the address is taken.
"""

_IN_URL: Final = frozenset({"user", "password", "dbname"})


def database_of(conn: Conn) -> Any:
    """A URL, or a pool of asyncpg's.

    A connection or pool of psycopg's is asked for its address; connections of asyncpg's are then
    made to that, and it is not used itself.

    Raises:
        TypeError: it is none of what it may be.
    """
    if isinstance(conn, str):
        return conn if "://" in conn else _url(dict(p.split("=", 1) for p in shlex.split(conn)))
    if isinstance(conn, asyncpg.Pool):
        return conn
    address = getattr(conn, "conninfo", None)  # of a pool
    if isinstance(address, str):
        return database_of(address)
    info = getattr(conn, "info", None)  # of a connection
    if info is not None and hasattr(info, "get_parameters"):
        return _url(info.get_parameters() | {"password": info.password})
    raise TypeError(
        f"conn={conn!r:.80} must be a URL (postgresql://...), a pool of asyncpg's, or a connection "
        "or pool of psycopg's"
    )


def _url(parameters: dict[str, str]) -> str:
    """A URL of what stands in a connection string of libpq's."""
    user, password = parameters.get("user", ""), parameters.get("password", "")
    who = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    rest = {name: item for name, item in parameters.items() if name not in _IN_URL and item}
    query = urlencode(rest, quote_via=quote)
    name = quote(parameters.get("dbname", ""), safe="")
    return f"postgresql://{who}{'@' if who else ''}/{name}{'?' if query else ''}{query}"
