"""The backend in memory keeps the contract, and fails as it is told."""

from collections.abc import Awaitable
from typing import Any, Literal

import anyio
import pytest

from plait.backend import Backend, Record, Row
from plait.errors import StoreError, StoreUnavailable
from plait.testing import Crashed
from plait.testing.conformance import Advance, BackendSuite, MakeBackend
from plait.testing.memory_backend import MemoryBackend, MemoryConnection

When = Literal["before", "after"]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
class TestMemoryBackend(BackendSuite):
    transactional = True

    @pytest.fixture
    def root(self) -> MemoryBackend:
        self.now = 1e9
        return MemoryBackend(clock=lambda: self.now)

    @pytest.fixture
    def make_backend(self, root: MemoryBackend) -> MakeBackend:
        return lambda tenant: root.view(tenant=tenant)

    @pytest.fixture
    def advance(self) -> Advance:
        async def advance(seconds: float) -> None:
            self.now += seconds

        return advance

    async def put(self, connection: MemoryConnection, key: str) -> None:
        connection[key] = True

    async def keys(self, backend: Backend) -> set[str]:
        assert isinstance(backend, MemoryBackend)
        return set(backend.table)


class Script:
    """Raises once, at a method and a moment."""

    def __init__(self, method: str, when: When, error: BaseException) -> None:
        self.place = (method, when)
        self.error = error
        self.seen: list[tuple[str, When]] = []

    def __call__(self, method: str, when: When) -> None:
        self.seen.append((method, when))
        if self.seen.count(self.place) == 1 and self.seen[-1] == self.place:
            raise self.error


@pytest.mark.parametrize(("when", "stored"), [("before", []), ("after", [Row(1, b"data")])])
async def test_a_fault_strikes_before_or_after_the_effect(when: When, stored: list[Row]) -> None:
    script = Script("append", when, StoreUnavailable("the outcome is unknown"))
    backend = MemoryBackend(fault=script)
    grant = await backend.acquire("t", "a", 60, "graph")
    records = [Record("t", grant.epoch, 1, b"data")]
    with pytest.raises(StoreUnavailable):
        await backend.append(records)
    assert await backend.view().read("t", 0) == stored
    assert await backend.append(records) == set()
    assert await backend.read("t", 0) == [Row(1, b"data")]


@pytest.mark.parametrize(("when", "committed"), [("before", set[str]()), ("after", {"effect"})])
async def test_a_process_that_dies_in_a_commit(when: When, committed: set[str]) -> None:
    backend = MemoryBackend(fault=Script("commit", when, Crashed("the process has died")))
    grant = await backend.acquire("t", "a", 60, "graph")

    async def step() -> None:
        async with backend.transaction() as transaction:
            transaction.connection["effect"] = True
            await transaction.commit([Record("t", grant.epoch, 1, b"")])

    with pytest.raises(Crashed):
        await step()
    assert set(backend.table) == committed
    assert len(await backend.view().read("t", 0)) == len(committed)


async def test_a_fault_may_wait_and_be_cancelled() -> None:
    async def never() -> None:
        await anyio.sleep_forever()

    def fault(method: str, when: When) -> Awaitable[None] | None:
        return never() if (method, when) == ("acquire", "after") else None

    backend = MemoryBackend(fault=fault)
    with anyio.move_on_after(0.001) as scope:
        await backend.acquire("t", "a", 60, "graph")
    assert scope.cancelled_caught
    row = await backend.thread("t")
    assert row is not None
    assert row.holder == "a"


async def test_only_the_handle_with_the_fault_fails() -> None:
    root = MemoryBackend()
    failing = root.view(fault=Script("threads", "before", StoreUnavailable("gone")))
    assert await root.threads(limit=1) == []
    with pytest.raises(StoreUnavailable):
        await failing.threads(limit=1)
    await failing.close()
    with pytest.raises(StoreError, match="closed"):
        await failing.threads(limit=1)
    assert await root.threads(limit=1) == []


async def test_a_transaction_sees_its_own_changes_and_commits_once() -> None:
    backend = MemoryBackend()
    async with backend.transaction() as transaction:
        connection = transaction.connection
        connection.update(kept=1, removed=2)
        del connection["removed"]
        assert dict(connection) == {"kept": 1}
        assert await transaction.commit([])
        with pytest.raises(StoreError, match="ended"):
            await transaction.commit([])
    async with backend.transaction() as transaction:
        del transaction.connection["kept"]
        view: dict[str, Any] = dict(transaction.connection)
        assert (view, dict(backend.table)) == ({}, {"kept": 1})
        assert await transaction.commit([])
    assert dict(backend.table) == {}
