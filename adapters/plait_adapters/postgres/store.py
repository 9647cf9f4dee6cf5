"""A durable store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode

from plait.durable import DurableStore

from .backend import PostgresBackend

__all__ = ["PostgresStore"]

_IN_URL: Final = {
    "tenant": str,
    "schema": str,
    "timeout": float,
    "pool_size": int,
    "statement_cache_size": int,
    "lease_ttl": float,
    "patience": float,
}
"""Options that may stand in a URL; all others in it are the server's and asyncpg's."""


class PostgresStore(DurableStore):
    """Journals in PostgreSQL.

    ::

        store = PostgresStore("postgresql://localhost/app", tenant="acme")

    Args:
        database, tenant, schema, timeout, pool_size, statement_cache_size: see
            :class:`PostgresBackend`.
        options: see :class:`plait.durable.DurableStore`.
    """

    def __init__(
        self,
        database: Any,
        *,
        tenant: str = "default",
        schema: str = "plait",
        timeout: float = 10.0,
        pool_size: int = 8,
        statement_cache_size: int | None = None,
        **options: Any,
    ) -> None:
        backend = PostgresBackend(
            database,
            tenant=tenant,
            schema=schema,
            timeout=timeout,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
        )
        super().__init__(backend, **options)
        self._postgres = backend

    async def upgrade(self) -> Sequence[str]:
        """Bring the tables up to date; returns the names of the migrations that were applied.

        Raises ``StoreError`` if the role may not.
        """
        return await self._postgres.upgrade()

    async def enforce_tenants(self) -> None:
        """Have the server keep tenants apart as well, by row-level security.

        Each role then sees the tenant that its setting ``plait.tenant`` names, and no other.
        """
        await self._postgres.enforce_tenants()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open by ``postgresql://...`` or ``postgres://...``.

        Options may stand in the URL, too: ``postgresql://localhost/app?tenant=acme&timeout=5``.
        Where an option is given in both places, the argument counts.

        Raises:
            ValueError: an option in the URL is no number where one is needed.
        """
        address, _, query = url.partition("?")
        left: list[tuple[str, str]] = []
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in _IN_URL:
                left.append((name, text))
                continue
            try:
                value = _IN_URL[name](text)
            except ValueError:
                raise ValueError(f"{name}={text!r} in the URL must be a number") from None
            options.setdefault(name, value)
        return cls(f"{address}?{urlencode(left)}" if left else address, **options)
