"""What the tests of PostgreSQL share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from plait_adapters.postgres import PostgresBackend
from tests.postgres.server import database, fresh_schema


@pytest.fixture
def schema() -> str:
    """The name of a schema that nobody else uses."""
    return fresh_schema()


@pytest.fixture
async def backend(schema: str) -> AsyncIterator[PostgresBackend]:
    """A backend on empty tables of its own."""
    backend = PostgresBackend(database(), schema=schema)
    yield backend
    await backend.close()
