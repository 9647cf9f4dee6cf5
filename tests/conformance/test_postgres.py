"""PostgreSQL keeps the contract, by each way in which one may connect to it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from plait.backend import Backend
from plait.testing.conformance import BackendSuite, MakeBackend
from plait_adapters.postgres import PostgresBackend
from tests.postgres.pooling import transaction_pool
from tests.postgres.server import database, fresh_schema, shared_server


async def execute(script: str) -> None:
    """Run statements as the superuser."""
    connection = await asyncpg.connect(database())
    try:
        await connection.execute(script)
    finally:
        await connection.close()


class PostgresSuite(BackendSuite):
    transactional = True

    @pytest.fixture
    async def schema(self) -> AsyncIterator[str]:
        self.name = fresh_schema()
        yield self.name
        await execute(f"drop schema if exists {self.name} cascade")

    async def put(self, connection: Any, key: str) -> None:
        await connection.execute(f"create table if not exists {self.name}.effects (key text)")
        await connection.execute(f"insert into {self.name}.effects values ($1)", key)

    async def keys(self, backend: Backend) -> set[str]:
        connection = await asyncpg.connect(database())
        try:
            rows = await connection.fetch(f"select key from {self.name}.effects")
        except asyncpg.UndefinedTableError:
            rows = []
        finally:
            await connection.close()
        return {row["key"] for row in rows}


class TestPostgresBackend(PostgresSuite):
    @pytest.fixture
    def make_backend(self, schema: str) -> MakeBackend:
        return lambda tenant: PostgresBackend(database(), tenant=tenant, schema=schema)


class TestPostgresBackendOnAPool(PostgresSuite):
    @pytest.fixture
    async def pool(self) -> AsyncIterator[Any]:
        async with asyncpg.create_pool(database(), min_size=0, max_size=4) as pool:
            yield pool

    @pytest.fixture
    def make_backend(self, schema: str, pool: Any) -> MakeBackend:
        return lambda tenant: PostgresBackend(pool, tenant=tenant, schema=schema)


class TestPostgresBackendBehindATransactionPool(PostgresSuite):
    @pytest.fixture
    async def url(self) -> AsyncIterator[str]:
        async with transaction_pool(shared_server().socket) as url:
            yield url

    @pytest.fixture
    def make_backend(self, schema: str, url: str) -> MakeBackend:
        return lambda tenant: PostgresBackend(
            url, tenant=tenant, schema=schema, statement_cache_size=0, pool_size=4
        )


class TestPostgresBackendForARoleWithFewRights(PostgresSuite):
    """Of a role that may read and write rows, and, by row-level security, only its tenant's."""

    @pytest.fixture
    async def role(self, schema: str) -> AsyncIterator[str]:
        owner = PostgresBackend(database(), schema=schema)
        await owner.upgrade()
        await owner.enforce_tenants()
        await owner.close()
        role = f"{schema}_worker"
        await execute(
            f"""
            create role {role} login;
            create table {schema}.effects (key text);
            grant usage on schema {schema} to {role};
            grant select, insert, update, delete on all tables in schema {schema} to {role};
            """
        )
        yield role
        await execute(f"drop owned by {role}; drop role {role}")

    @pytest.fixture
    def make_backend(self, schema: str, role: str) -> MakeBackend:
        def make(tenant: str) -> Backend:
            if not tenant:  # no role can be that of a tenant without a name
                return PostgresBackend(database(), tenant=tenant, schema=schema)
            url = database(user=role, **{"plait.tenant": tenant})
            return PostgresBackend(url, tenant=tenant, schema=schema)

        return make

    async def put(self, connection: Any, key: str) -> None:
        await connection.execute(f"insert into {self.name}.effects values ($1)", key)
