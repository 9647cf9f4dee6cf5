"""What asyncpg raises, as errors of a store: those that may pass, and those that will not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from plait.errors import PlaitError, StoreError, StoreUnavailable

__all__ = ["as_store_error", "translated"]

_PASSING: Final = (
    asyncpg.CannotConnectNowError,  # starting up, shutting down
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,  # the tables were migrated under a connection
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresConnectionError,
    asyncpg.QueryCanceledError,
    asyncpg.TargetServerAttributeNotMatched,  # no primary at this moment
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)

_LASTING: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...]] = (
    (ssl.SSLCertVerificationError, "check the certificates, or sslmode in the URL"),
    (
        (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError),
        "check user and password in the URL, and pg_hba.conf on the server",
    ),
    (asyncpg.InvalidCatalogNameError, "create the database, or check its name in the URL"),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "this is a standby, or the role may only read: give the address of the primary",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        (
            "the role needs usage of the schema, and select, insert, update and delete on its "
            "tables; with row-level security, its setting plait.tenant must name the tenant"
        ),
    ),
    (
        (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError),
        "the tables are missing or old: run `plait db upgrade`",
    ),
    (
        (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError),
        "the server is behind a proxy that pools transactions: pass statement_cache_size=0",
    ),
    (
        asyncpg.InFailedSQLTransactionError,
        "a statement of this transaction has failed before, so it cannot be committed",
    ),
)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise errors of a store in place of asyncpg's. ``place``: the server, for the message."""
    try:
        yield
    except Exception as error:
        other = as_store_error(error, place)
        if other is error:
            raise
        raise other from error


def as_store_error(error: Exception, place: str) -> Exception:
    """The error to raise in place of one of asyncpg's; any other comes back as it is."""
    if isinstance(error, PlaitError):
        return error
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for kinds, way_out in _LASTING:
        if isinstance(error, kinds):
            return StoreError(f"PostgreSQL at {place} refused ({reason}); {way_out}")
    if isinstance(error, _PASSING) or type(error) is asyncpg.InterfaceError:
        # The last is what asyncpg says of a connection that is closed already, among others.
        return StoreUnavailable(f"PostgreSQL at {place} is not available ({reason})")
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return StoreError(f"PostgreSQL at {place} refused ({reason})")
    return error
