"""The backend in a SQLite file keeps the contract, under asyncio and trio."""

from pathlib import Path

import pytest

from plait.testing.conformance import BackendSuite, MakeBackend
from plait_adapters.sqlite import SQLiteBackend


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
class TestSQLiteBackend(BackendSuite):
    @pytest.fixture
    def make_backend(self, tmp_path: Path) -> MakeBackend:
        # What a loss of power may take, no test here can see; waiting for the disk takes minutes.
        return lambda tenant: SQLiteBackend(tmp_path / "rows.db", tenant=tenant, synchronous="OFF")
