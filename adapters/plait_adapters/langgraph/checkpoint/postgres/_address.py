"""The address of a server, from what LangGraph's savers are given."""

from __future__ import annotations

import shlex
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

__all__ = ["Conn", "database_of"]

Conn = Any
"""A URL, a pool of asyncpg's, or a connection or pool of psycopg's, of which the address is taken.
"""

_LIBPQS: Final = frozenset(
    {
        *("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle"),
        *(
            "keepalives_interval",
            "keepalives_count",
            "gssencmode",
            "gssdelegation",
            "sslcompression",
        ),
        *("sslcertmode", "sslsni", "client_encoding", "fallback_application_name", "replication"),
        *("load_balance_hosts", "min_protocol_version", "max_protocol_version", "scram_client_key"),
        *("scram_server_key", "sslkeylogfile", "servicefile"),
    }
)
"""Parameters that asyncpg does not know, and would take for settings of the server."""

_SAFETY: Final = {"channel_binding": "require", "requirepeer": None, "require_auth": None}
"""Those which make a connection safe, if they have this value; ``None``: whatever they have."""

_IN_URL: Final = frozenset({"user", "password", "dbname"})


def database_of(conn: Conn) -> Any:
    """A URL, or a pool of asyncpg's.

    A connection or pool of psycopg's is asked for its address; connections of asyncpg's are then
    made to that, and it is not used itself.

    What only libpq does with a connection, such as keeping it alive, is left out.

    Raises:
        TypeError: it is none of what it may be.
        ValueError: it asks libpq for what makes a connection safe, and asyncpg cannot do.
    """
    if isinstance(conn, str):
        if "://" not in conn:
            return _url(dict(p.split("=", 1) for p in shlex.split(conn)))
        parts = urlsplit(conn)
        query = _query(dict(parse_qsl(parts.query, keep_blank_values=True)))
        return urlunsplit(parts._replace(query=query)) if query != parts.query else conn
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
    beside = {name: item for name, item in parameters.items() if name not in _IN_URL and item}
    query = _query(beside)
    name = quote(parameters.get("dbname", ""), safe="")
    return f"postgresql://{who}{'@' if who else ''}/{name}{'?' if query else ''}{query}"


def _query(parameters: dict[str, str]) -> str:
    """What of libpq's parameters asyncpg knows, or the server."""
    rest = {}
    for name, item in parameters.items():
        if name in _SAFETY and _SAFETY[name] in {None, item}:
            raise ValueError(
                f"{name}={item} is not supported by asyncpg: leave it out, and use "
                "sslmode=verify-full to know the server"
            )
        if name not in _LIBPQS and name not in _SAFETY:
            rest[name] = item
    return urlencode(rest, quote_via=quote)
