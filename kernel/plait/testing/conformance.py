"""The suites that every store passes.

:class:`BackendSuite` tests the rows of a durable store, sentence for sentence, against the
contract in :mod:`plait.backend`. Derive a class from it, in a test module, and say how a backend
is made::

    class TestMyBackend(BackendSuite):
        @pytest.fixture
        def make_backend(self, tmp_path: Path) -> MakeBackend:
            return lambda tenant: MyBackend(tmp_path / "rows", tenant=tenant)

The tests are coroutines and run under anyio's plugin for pytest, which comes with anyio.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import anyio
import pytest

from plait.backend import Backend, Grant, Record, Row, ThreadRow
from plait.errors import StoreError, ThreadBusy, ThreadExists, ThreadNotFound
from plait.events import ThreadId

from .memory_backend import MemoryBackend

__all__ = ["Advance", "BackendSuite", "MakeBackend"]

MakeBackend: TypeAlias = Callable[[str], Backend]
"""Makes a handle for a tenant. Called again, another handle on the same rows, as another process
has it. The suite closes the handles."""

Advance: TypeAlias = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass on the backend's clock."""

_LONG = 3600.0
"""The ttl of a lease that does not expire while a test runs, in seconds."""

_OVER = 0.0
"""The ttl of a lease that has expired as soon as it is given, in seconds."""

_BRIEF = 0.05
"""The ttl of a lease that expires when a test waits a moment, in seconds."""

_MOMENT = 0.002
"""Seconds after which every clock shows another time."""

_MEBIBYTE = 1024 * 1024

_HOSTILE = [
    " ",
    "t",
    "T",
    "t ",
    " t",
    "'",
    '"',
    "''; drop table threads; --",
    "' or '1'='1",
    "%",
    "_",
    "t%",
    "\\",
    "\\'",
    "$1",
    "?",
    ":id",
    "{}",
    "%s",
    "\n",
    "\r\n",
    "\t",
    "\x01\x7f",
    "\ufeff",
    "\u202e",
    "\xe9",
    "e\u0301",
    "🧵",
    "👩‍👩‍👧",
    "\U0010ffff",
    "null",
    "0",
    "00",
    "../../etc/passwd",
    "x" * 512,
    "🧵" * 512,
]
"""Ids that a store takes, since they are text; each is different from all others."""


async def _acquire(
    backend: Backend, thread_id: ThreadId = "t", holder: str = "a", ttl: float = _LONG
) -> Grant:
    return await backend.acquire(thread_id, holder, ttl, "graph")


def _records(grant: Grant, *positions: int) -> list[Record]:
    thread_id = grant.thread.thread_id
    return [Record(thread_id, grant.epoch, p, f"{thread_id}/{p}".encode()) for p in positions]


async def _begin(backend: Backend, thread_id: ThreadId = "t", *, events: int) -> Grant:
    """A thread with so many events, and its lease."""
    grant = await _acquire(backend, thread_id)
    assert await backend.append(_records(grant, *range(1, events + 1))) == set()
    return grant


def _held(grant: Grant) -> ThreadRow:
    """How a thread is seen by others right after its lease was given."""
    return grant.thread._replace(status="running")


async def _positions(backend: Backend, thread_id: ThreadId = "t") -> list[int]:
    return [row.position for row in await backend.read(thread_id, 0)]


async def _known(backend: Backend, thread_id: ThreadId = "t") -> ThreadRow:
    row = await backend.thread(thread_id)
    assert row is not None
    return row


class BackendSuite:
    """The contract of :class:`plait.backend.Backend` as tests.

    A subclass overrides the fixture ``make_backend``, which finds no rows at the beginning of
    each test. It may override:

    * ``advance``: lets time pass on the backend's clock. By default that is a real clock, and the
      suite sleeps for some tenths of a second in all.
    * ``transactional``, ``put`` and ``keys``: for a backend whose ``transaction`` gives a
      connection, how a test writes to a table of its own through it, and reads what was committed.
    """

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    transactional: bool = False
    """Whether the backend offers transactions for a node's own statements."""

    async def put(self, connection: Any, key: str) -> None:
        """Write a key to the test's own table, on the connection of a transaction."""
        raise NotImplementedError

    async def keys(self, backend: Backend) -> set[str]:
        """The keys in the test's own table that were committed."""
        raise NotImplementedError

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        """Makes handles on rows that are empty at first; a subclass overrides it."""
        raise NotImplementedError("override the fixture make_backend")

    @pytest.fixture
    def advance(self) -> Advance:
        """Lets time pass on the backend's clock."""
        return anyio.sleep

    @pytest.fixture
    async def open_backend(self, make_backend: MakeBackend) -> AsyncIterator[MakeBackend]:
        """Makes handles, and closes them after the test."""
        handles: list[Backend] = []

        def open_backend(tenant: str) -> Backend:
            handles.append(make_backend(tenant))
            return handles[-1]

        yield open_backend
        for handle in handles:
            await handle.close()

    @pytest.fixture
    def backend(self, open_backend: MakeBackend) -> Backend:
        """A handle on rows that are empty at first."""
        return open_backend("default")

    @pytest.fixture
    def other(self, open_backend: MakeBackend, backend: Backend) -> Backend:
        """Another handle on the rows of ``backend``, as another process has it."""
        return open_backend("default")

    # -- leases ---------------------------------------------------------------------------------

    async def test_taking_a_lease_makes_the_thread(self, backend: Backend) -> None:
        assert await backend.thread("t") is None
        grant = await backend.acquire("t", "a", 60.0, "graph")
        row = await _known(backend)
        assert row == _held(grant)
        assert row[:7] == ("t", 0, 0, 0, "running", "graph", "a")
        assert row.created == row.updated
        assert row.expires == pytest.approx(row.updated + 60.0, abs=0.1)
        assert row.origin is None

    async def test_epochs_grow_over_all_threads(self, backend: Backend, other: Backend) -> None:
        handles = [backend, other, backend]
        epochs = [(await _acquire(b, f"t{i}")).epoch for i, b in enumerate(handles)]
        epochs.append((await _acquire(backend, "t0")).epoch)
        assert epochs[0] > 0
        assert epochs == sorted(set(epochs))

    async def test_the_epoch_of_a_thread_that_was_removed_is_not_given_again(
        self, backend: Backend
    ) -> None:
        first = await _acquire(backend)
        await backend.release("t", first.epoch, "completed")
        second = await _begin(backend, events=1)
        await backend.release("t", second.epoch, "completed")
        assert await backend.delete("t")
        assert first.epoch < second.epoch < (await _acquire(backend)).epoch

    async def test_a_busy_thread_names_its_holder_and_the_expiry(
        self, backend: Backend, other: Backend
    ) -> None:
        grant = await _acquire(backend, holder="host/1")
        with pytest.raises(ThreadBusy) as raised:
            await _acquire(other, holder="host/2")
        assert raised.value.thread_id == "t"
        assert raised.value.holder == "host/1"
        assert raised.value.expires == pytest.approx(grant.thread.expires, abs=0.001)
        assert await _known(backend) == _held(grant)

    async def test_a_holder_that_asks_again_is_given_a_new_epoch(self, backend: Backend) -> None:
        first = await _acquire(backend)
        second = await _acquire(backend)
        assert second.epoch > first.epoch
        assert await backend.append(_records(first, 1)) == {"t"}
        assert await backend.append(_records(second, 1)) == set()

    async def test_of_several_that_ask_at_once_one_is_given_the_lease(
        self, backend: Backend, other: Backend
    ) -> None:
        granted: list[str] = []

        async def ask(handle: Backend, holder: str) -> None:
            try:
                await _acquire(handle, holder=holder)
            except ThreadBusy:
                return
            granted.append(holder)

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(ask, (backend, other)[number % 2], f"holder {number}")
        assert granted == [(await _known(backend)).holder]

    async def test_a_lease_that_has_expired_is_taken_over(
        self, backend: Backend, other: Backend, advance: Advance
    ) -> None:
        first = await _acquire(backend, holder="a", ttl=_BRIEF)
        await advance(2 * _BRIEF)
        second = await _acquire(other, holder="b")
        assert second.epoch > first.epoch
        assert second.thread.holder == "b"
        assert second.thread.created == first.thread.created

    async def test_nobody_holds_an_expired_lease(self, backend: Backend) -> None:
        await _acquire(backend, ttl=_OVER)
        row = await _known(backend)
        assert (row.holder, row.expires) == (None, None)

    async def test_a_lease_says_what_the_thread_was_left_as(
        self, backend: Backend, advance: Advance
    ) -> None:
        first = await _begin(backend, events=2)
        await backend.release("t", first.epoch, "suspended")
        left = await _known(backend)
        await advance(_MOMENT)
        grant = await backend.acquire("t", "b", _LONG, "another graph")
        assert (grant.thread.position, grant.thread.status) == (2, "suspended")
        assert (await _known(backend)).status == "running"
        assert grant.thread.graph == "another graph"
        assert grant.thread.created == left.created
        assert grant.thread.updated > left.updated

    async def test_a_holder_that_asks_again_is_told_the_same_status(self, backend: Backend) -> None:
        first = await _begin(backend, events=1)
        await backend.release("t", first.epoch, "completed")
        statuses = [(await _acquire(backend, holder="b")).thread.status for _ in range(2)]
        assert statuses == ["completed", "completed"]

    async def test_whoever_takes_over_finds_a_run_that_is_not_finished(
        self, backend: Backend, other: Backend
    ) -> None:
        first = await _begin(backend, events=1)
        await backend.release("t", first.epoch, "completed")
        await _acquire(backend, ttl=_OVER)
        assert (await _known(backend)).status == "running"
        assert (await _acquire(other, holder="b")).thread.status == "running"

    async def test_renewing_holds_a_lease_for_longer(
        self, backend: Backend, other: Backend, advance: Advance
    ) -> None:
        grant = await _acquire(backend, ttl=_BRIEF)
        assert await backend.renew([("t", grant.epoch)], _LONG) == set()
        await advance(2 * _BRIEF)
        with pytest.raises(ThreadBusy):
            await _acquire(other, holder="b")
        assert (await _known(backend)).updated == grant.thread.updated

    async def test_an_expired_lease_that_nobody_has_taken_is_renewed(
        self, backend: Backend, other: Backend
    ) -> None:
        grant = await _acquire(backend, ttl=_OVER)
        assert await backend.renew([("t", grant.epoch)], _LONG) == set()
        with pytest.raises(ThreadBusy):
            await _acquire(other, holder="b")

    async def test_renewing_names_the_leases_that_are_lost(self, backend: Backend) -> None:
        kept = await _acquire(backend, "kept", ttl=_OVER)
        taken = await _acquire(backend, "taken", ttl=_OVER)
        await _acquire(backend, "taken", holder="b")
        returned = await _begin(backend, "returned", events=1)
        await backend.release("returned", returned.epoch, "completed")
        leases = [(grant.thread.thread_id, grant.epoch) for grant in (kept, taken, returned)]
        lost = {"taken", "returned", "unknown"}
        for _ in range(2):
            assert await backend.renew([*leases, ("unknown", 1)], _LONG) == lost
        assert (await _known(backend, "kept")).holder == "a"
        assert (await _known(backend, "taken")).holder == "b"
        assert (await _known(backend, "returned")).holder is None

    async def test_renewing_nothing_is_fine(self, backend: Backend) -> None:
        assert await backend.renew([], _LONG) == set()

    async def test_a_lease_given_back_leaves_a_status_and_is_free(
        self, backend: Backend, other: Backend, advance: Advance
    ) -> None:
        grant = await _begin(backend, events=1)
        await advance(_MOMENT)
        await backend.release("t", grant.epoch, "suspended")
        row = await _known(other)
        assert (row.status, row.holder, row.expires) == ("suspended", None, None)
        assert row.updated > grant.thread.updated
        assert (await _acquire(other, holder="b")).thread.status == "suspended"

    async def test_giving_back_an_empty_thread_removes_it(self, backend: Backend) -> None:
        grant = await _acquire(backend)
        for _ in range(2):
            await backend.release("t", grant.epoch, "completed")
            assert await backend.thread("t") is None

    async def test_a_fork_without_events_is_not_removed(self, backend: Backend) -> None:
        await _begin(backend, events=1)
        await backend.fork("t", 1, "fork")
        grant = await _acquire(backend, "fork")
        await backend.release("fork", grant.epoch, "running")
        assert (await _known(backend, "fork")).status == "running"

    async def test_giving_back_twice_changes_nothing(
        self, backend: Backend, advance: Advance
    ) -> None:
        grant = await _begin(backend, events=1)
        await backend.release("t", grant.epoch, "completed")
        row = await _known(backend)
        await advance(_MOMENT)
        await backend.release("t", grant.epoch, "suspended")
        assert await _known(backend) == row

    async def test_a_lost_lease_is_left_alone(self, backend: Backend, other: Backend) -> None:
        lost = await _acquire(backend, ttl=_OVER)
        held = await _acquire(other, holder="b")
        await backend.release("t", lost.epoch, "completed")
        assert await _known(backend) == _held(held)

    # -- appending ------------------------------------------------------------------------------

    async def test_what_is_appended_is_read(self, backend: Backend, other: Backend) -> None:
        grant = await _acquire(backend)
        assert await backend.append(_records(grant, 1, 2)) == set()
        assert await backend.append(_records(grant, 3)) == set()
        expected = [Row(1, b"t/1"), Row(2, b"t/2"), Row(3, b"t/3")]
        for handle in (backend, other):
            assert list(await handle.read("t", 0)) == expected
        row = await _known(other)
        assert (row.position, row.size, row.updated) == (3, 9, grant.thread.updated)

    async def test_appending_nothing_is_fine(self, backend: Backend) -> None:
        assert await backend.append([]) == set()

    async def test_appending_again_counts_as_stored(self, backend: Backend) -> None:
        grant = await _acquire(backend)
        assert await backend.append(_records(grant, 1, 2)) == set()
        assert await backend.append(_records(grant, 1, 2)) == set()
        assert await backend.append(_records(grant, 2, 3)) == set()
        assert await backend.append(_records(grant, 4, 4)) == set()
        assert await _positions(backend) == [1, 2, 3, 4]
        assert (await _known(backend)).size == 12

    async def test_an_old_epoch_stores_nothing(self, backend: Backend, other: Backend) -> None:
        old = await _acquire(backend, ttl=_OVER)
        await backend.append(_records(old, 1))
        new = await _acquire(other, holder="b")
        assert await backend.append(_records(old, 1)) == {"t"}
        assert await backend.append(_records(old, 2)) == {"t"}
        assert await other.append(_records(new, 2)) == set()
        assert await backend.append(_records(old, 2, 3)) == {"t"}
        assert await _positions(backend) == [1, 2]

    async def test_an_expired_lease_appends_while_nobody_has_taken_it(
        self, backend: Backend
    ) -> None:
        grant = await _acquire(backend, ttl=_OVER)
        assert await backend.append(_records(grant, 1)) == set()

    async def test_of_a_mixed_batch_only_the_fenced_threads_store_nothing(
        self, backend: Backend
    ) -> None:
        good = await _acquire(backend, "good")
        old = await _acquire(backend, "taken", ttl=_OVER)
        await _acquire(backend, "taken", holder="b")
        unknown = [Record("unknown", good.epoch, 1, b"")]
        batch = [*_records(old, 1), *_records(good, 1), *unknown, *_records(old, 2)]
        batch += _records(good, 2)
        for _ in range(2):
            assert await backend.append(batch) == {"taken", "unknown"}
        assert await _positions(backend, "good") == [1, 2]
        assert await _positions(backend, "taken") == []
        assert await backend.thread("unknown") is None

    async def test_a_thread_with_one_old_epoch_in_the_batch_stores_nothing(
        self, backend: Backend
    ) -> None:
        old = await _acquire(backend)
        new = await _acquire(backend)
        assert await backend.append([*_records(old, 1), *_records(new, 1, 2)]) == {"t"}
        assert await _positions(backend) == []

    async def test_the_epoch_of_one_thread_is_not_that_of_another(self, backend: Backend) -> None:
        first = await _acquire(backend, "first")
        second = await _acquire(backend, "second")
        crossed = [Record("first", second.epoch, 1, b""), Record("second", first.epoch, 1, b"")]
        assert await backend.append(crossed) == {"first", "second"}

    async def test_nothing_is_appended_after_the_lease_was_given_back(
        self, backend: Backend
    ) -> None:
        grant = await _begin(backend, events=1)
        await backend.release("t", grant.epoch, "completed")
        assert await backend.append(_records(grant, 2)) == {"t"}
        assert await _positions(backend) == [1]

    async def test_a_position_of_an_earlier_lease_is_not_overwritten(
        self, backend: Backend
    ) -> None:
        old = await _begin(backend, events=1)
        new = await _acquire(backend)
        other = await _acquire(backend, "other")
        assert old.epoch < new.epoch
        with pytest.raises(StoreError):
            await backend.append([*_records(other, 1), Record("t", new.epoch, 1, b"another")])
        assert list(await backend.read("t", 0)) == [Row(1, b"t/1")]
        assert await _positions(backend, "other") == []

    async def test_appends_at_once_are_all_stored(self, backend: Backend, other: Backend) -> None:
        grants = [await _acquire(backend, f"t{number}") for number in range(4)]

        async def append(grant: Grant, position: int) -> None:
            handle = (backend, other)[position % 2]
            assert await handle.append(_records(grant, position)) == set()

        async with anyio.create_task_group() as tasks:
            for position in range(1, 21):
                for grant in grants:
                    tasks.start_soon(append, grant, position)
        for grant in grants:
            assert await _positions(backend, grant.thread.thread_id) == list(range(1, 21))
            assert (await _known(backend, grant.thread.thread_id)).position == 20

    async def test_nothing_of_an_old_epoch_follows_a_takeover(
        self, backend: Backend, other: Backend
    ) -> None:
        old = await _acquire(backend, ttl=_OVER)
        stored_at_takeover: list[int] = []

        async def take_over() -> None:
            await _acquire(other, holder="b")
            stored_at_takeover.extend(await _positions(other))

        async with anyio.create_task_group() as tasks:
            for position in range(1, 11):
                tasks.start_soon(backend.append, _records(old, position))
                if position == 5:
                    tasks.start_soon(take_over)
        assert await _positions(other) == stored_at_takeover

    async def test_an_append_that_was_cancelled_may_be_repeated(self, backend: Backend) -> None:
        grant = await _acquire(backend)
        for position in range(1, 6):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await backend.append(_records(grant, position))
            assert await backend.append(_records(grant, position)) == set()
        assert await _positions(backend) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", bytes(range(256)), b"'; --", b"\xff" * 1000, b"\\x00"],
        ids=["none", "NUL", "every byte", "SQL", "no text", "an escape"],
    )
    async def test_bytes_are_kept_as_they_are(self, backend: Backend, data: bytes) -> None:
        grant = await _acquire(backend)
        await backend.append([Record("t", grant.epoch, 1, data)])
        await backend.save_snapshot("t", grant.epoch, 1, data)
        await backend.save_plan("plan", data)
        assert list(await backend.read("t", 0)) == [Row(1, data)]
        assert await backend.load_snapshot("t", 1) == Row(1, data)
        assert await backend.load_plan("plan") == data
        assert (await _known(backend)).size == len(data)

    async def test_records_may_be_large(self, backend: Backend) -> None:
        data = random.Random(0).randbytes(_MEBIBYTE)
        grant = await _acquire(backend)
        batch = [Record("t", grant.epoch, position, data) for position in (1, 2, 3)]
        assert await backend.append(batch) == set()
        assert await backend.save_snapshot("t", grant.epoch, 3, data)
        rows = await backend.read("t", 0)
        assert [row.data == data for row in rows] == [True, True, True]
        assert (await _known(backend)).size == 3 * _MEBIBYTE
        assert await backend.load_snapshot("t", 3) == Row(3, data)

    async def test_a_batch_may_have_thousands_of_records_of_hundreds_of_threads(
        self, backend: Backend
    ) -> None:
        grants = [await _acquire(backend, f"thread {number}") for number in range(200)]
        batch = [r for position in range(1, 26) for g in grants for r in _records(g, position)]
        lost = grants[7].thread.thread_id
        assert await backend.renew([(g.thread.thread_id, g.epoch) for g in grants], _LONG) == set()
        await _acquire(backend, lost)
        assert len(batch) == 5000
        for _ in range(2):
            assert await backend.append(batch) == {lost}
        for grant in grants[::20]:
            rows = await backend.read(grant.thread.thread_id, 0)
            assert list(rows) == [Row(r.position, r.data) for r in _records(grant, *range(1, 26))]
        assert await _positions(backend, lost) == []
        everything = await backend.threads(limit=1000)
        assert sum(row.position for row in everything) == 4975

    # -- reading --------------------------------------------------------------------------------

    async def test_reading_begins_after_one_position_and_ends_at_another(
        self, backend: Backend
    ) -> None:
        await _begin(backend, events=5)
        expected = [Row(3, b"t/3"), Row(4, b"t/4")]
        assert list(await backend.read("t", 2, 4)) == expected
        assert [r.position for r in await backend.read("t", 3)] == [4, 5]
        assert list(await backend.read("t", 5)) == []
        assert list(await backend.read("t", 4, 2)) == []

    async def test_pages_are_full_as_long_as_there_is_more(self, backend: Backend) -> None:
        await _begin(backend, events=7)
        pages: list[list[int]] = []
        last = 0
        while page := await backend.read("t", last, limit=3):
            pages.append([row.position for row in page])
            last = page[-1].position
        assert pages == [[1, 2, 3], [4, 5, 6], [7]]
        assert [r.position for r in await backend.read("t", 0, 5, 4)] == [1, 2, 3, 4]

    async def test_of_a_long_journal_the_first_thousand_are_read(self, backend: Backend) -> None:
        await _begin(backend, events=1001)
        assert await _positions(backend) == list(range(1, 1001))

    async def test_a_thread_that_is_not_known_is_empty(self, backend: Backend) -> None:
        assert list(await backend.read("unknown", 0)) == []
        assert await backend.thread("unknown") is None
        assert await backend.load_snapshot("unknown", 1) is None
        assert list(await backend.threads(limit=10)) == []

    async def test_threads_are_listed_the_last_updated_first(
        self, backend: Backend, advance: Advance
    ) -> None:
        grants: dict[str, Grant] = {}
        for name in ("b", "c", "a"):
            grants[name] = await _begin(backend, name, events=1)
            await advance(_MOMENT)
        assert [row.thread_id for row in await backend.threads(limit=10)] == ["a", "c", "b"]
        await backend.release("b", grants["b"].epoch, "completed")
        await advance(_MOMENT)
        await backend.fork("a", 1, "d")
        rows = await backend.threads(limit=10)
        assert [row.thread_id for row in rows] == ["d", "b", "a", "c"]
        assert list(rows) == [await backend.thread(row.thread_id) for row in rows]

    @pytest.mark.parametrize("page", [1, 2, 3, 100])
    async def test_the_list_of_threads_comes_in_pages(self, backend: Backend, page: int) -> None:
        for number in (3, 1, 5, 2, 4, 0, 6):
            await _acquire(backend, f"t{number}")
        listed: list[ThreadRow] = []
        while rows := await backend.threads(limit=page, before=listed[-1] if listed else None):
            assert len(rows) <= page
            listed += rows
        assert len(listed) == 7
        assert listed == sorted(listed, key=lambda row: (-row.updated, row.thread_id))
        assert listed == list(await backend.threads(limit=100))

    # -- snapshots and pruning ------------------------------------------------------------------

    async def test_the_last_snapshot_up_to_a_position_is_loaded(self, backend: Backend) -> None:
        grant = await _begin(backend, events=6)
        for position in (2, 4):
            assert await backend.save_snapshot("t", grant.epoch, position, b"%d" % position)
        loaded = [await backend.load_snapshot("t", position) for position in range(7)]
        second, fourth = Row(2, b"2"), Row(4, b"4")
        assert loaded == [None, None, second, second, fourth, fourth, fourth]
        assert (await _known(backend)).size == 18

    async def test_a_snapshot_takes_the_place_of_another_one(self, backend: Backend) -> None:
        grant = await _begin(backend, events=1)
        for data in (b"first", b"second", b"second"):
            assert await backend.save_snapshot("t", grant.epoch, 1, data)
        assert await backend.load_snapshot("t", 1) == Row(1, b"second")

    async def test_an_old_epoch_keeps_no_snapshot(self, backend: Backend) -> None:
        old = await _begin(backend, events=1)
        new = await _acquire(backend)
        assert await backend.save_snapshot("t", new.epoch, 1, b"new")
        assert not await backend.save_snapshot("t", old.epoch, 1, b"old")
        assert not await backend.save_snapshot("unknown", new.epoch, 1, b"")
        await backend.release("t", new.epoch, "completed")
        assert not await backend.save_snapshot("t", new.epoch, 1, b"late")
        assert await backend.load_snapshot("t", 1) == Row(1, b"new")

    async def test_pruning_removes_events_and_older_snapshots(self, backend: Backend) -> None:
        grant = await _begin(backend, events=6)
        for position in (2, 4, 5):
            await backend.save_snapshot("t", grant.epoch, position, b"%d" % position)
        for _ in range(2):
            assert await backend.prune("t", grant.epoch, 4)
            row = await _known(backend)
            assert (row.position, row.pruned, row.size) == (6, 4, 6)
            assert await _positions(backend) == [5, 6]
            assert await backend.load_snapshot("t", 3) is None
            assert await backend.load_snapshot("t", 4) == Row(4, b"4")
            assert await backend.load_snapshot("t", 6) == Row(5, b"5")

    async def test_what_was_pruned_stays_so_though_less_is_asked_for_later(
        self, backend: Backend
    ) -> None:
        grant = await _begin(backend, events=5)
        for position in (4, 2):
            assert await backend.save_snapshot("t", grant.epoch, position, b"snapshot")
            assert await backend.prune("t", grant.epoch, position)
        assert (await _known(backend)).pruned == 4
        assert await _positions(backend) == [5]
        assert await backend.load_snapshot("t", 5) == Row(4, b"snapshot")

    async def test_all_events_may_be_pruned(self, backend: Backend) -> None:
        grant = await _begin(backend, events=3)
        await backend.save_snapshot("t", grant.epoch, 3, b"all")
        assert await backend.prune("t", grant.epoch, 3)
        assert (await _known(backend))[1:4] == (3, 3, 0)
        assert await backend.append(_records(grant, 4)) == set()
        await backend.release("t", grant.epoch, "completed")
        assert await _positions(backend) == [4]

    async def test_a_thread_whose_events_are_all_pruned_is_not_an_empty_one(
        self, backend: Backend
    ) -> None:
        grant = await _begin(backend, events=1)
        await backend.save_snapshot("t", grant.epoch, 1, b"all")
        await backend.prune("t", grant.epoch, 1)
        await backend.release("t", grant.epoch, "completed")
        assert (await _known(backend)).position == 1

    @pytest.mark.parametrize("position", [1, 3, 9])
    async def test_without_a_snapshot_nothing_is_pruned(
        self, backend: Backend, position: int
    ) -> None:
        grant = await _begin(backend, events=4)
        await backend.save_snapshot("t", grant.epoch, 2, b"")
        with pytest.raises(StoreError):
            await backend.prune("t", grant.epoch, position)
        assert await _positions(backend) == [1, 2, 3, 4]
        assert (await _known(backend)).pruned == 0

    async def test_an_old_epoch_prunes_nothing(self, backend: Backend) -> None:
        old = await _begin(backend, events=2)
        await backend.save_snapshot("t", old.epoch, 1, b"")
        new = await _acquire(backend)
        assert not await backend.prune("t", old.epoch, 1)
        assert not await backend.prune("unknown", new.epoch, 1)
        await backend.release("t", new.epoch, "completed")
        assert not await backend.prune("t", new.epoch, 1)
        assert await _positions(backend) == [1, 2]

    async def test_an_append_that_is_repeated_late_brings_nothing_back(
        self, backend: Backend
    ) -> None:
        grant = await _begin(backend, events=3)
        await backend.save_snapshot("t", grant.epoch, 2, b"")
        await backend.prune("t", grant.epoch, 2)
        assert await backend.append(_records(grant, 1, 2, 3, 4)) == set()
        assert await _positions(backend) == [3, 4]
        assert (await _known(backend)).size == 6

    async def test_events_that_a_fork_begins_with_are_not_pruned(self, backend: Backend) -> None:
        grant = await _begin(backend, events=4)
        for position in (2, 3):
            await backend.save_snapshot("t", grant.epoch, position, b"")
        await backend.fork("t", 2, "fork")
        with pytest.raises(StoreError):
            await backend.prune("t", grant.epoch, 3)
        assert await _positions(backend) == [1, 2, 3, 4]
        assert await backend.prune("t", grant.epoch, 2)
        assert await backend.load_snapshot("t", 2) == Row(2, b"")
        assert await backend.delete("fork")
        assert await backend.prune("t", grant.epoch, 3)

    # -- forks and deleting ---------------------------------------------------------------------

    async def test_a_fork_begins_where_it_was_made(self, backend: Backend) -> None:
        origin = await _begin(backend, events=4)
        await backend.fork("t", 3, "fork")
        row = await _known(backend, "fork")
        assert row[:8] == ("fork", 3, 0, 0, "", "", None, None)
        assert row.origin == ("t", 3)
        assert row.created == row.updated >= origin.thread.updated
        assert await _positions(backend, "fork") == []
        assert await backend.load_snapshot("fork", 9) is None

    async def test_a_fork_and_its_origin_go_on_apart(self, backend: Backend) -> None:
        origin = await _begin(backend, events=3)
        await backend.fork("t", 2, "fork")
        fork = await _acquire(backend, "fork")
        assert (fork.thread.position, fork.thread.status) == (2, "")
        assert (await _known(backend, "fork")).status == "running"
        assert await backend.append([*_records(fork, 3, 4), *_records(origin, 4)]) == set()
        assert list(await backend.read("fork", 0)) == [Row(3, b"fork/3"), Row(4, b"fork/4")]
        assert await _positions(backend) == [1, 2, 3, 4]
        assert (await _known(backend, "fork"))[1:4] == (4, 0, 12)

    async def test_a_fork_may_be_forked(self, backend: Backend) -> None:
        await _begin(backend, events=2)
        await backend.fork("t", 2, "child")
        await backend.fork("child", 2, "twin")
        child = await _acquire(backend, "child")
        await backend.append(_records(child, 3, 4))
        await backend.fork("child", 3, "grandchild")
        assert (await _known(backend, "twin")).origin == ("child", 2)
        assert (await _known(backend, "grandchild")).origin == ("child", 3)
        for at in (1, 5):
            with pytest.raises(StoreError):
                await backend.fork("child", at, "another")
        assert await backend.thread("another") is None

    async def test_forking_again_finds_the_fork(self, backend: Backend) -> None:
        await _begin(backend, events=2)
        await backend.fork("t", 2, "fork")
        grant = await _acquire(backend, "fork")
        await backend.append(_records(grant, 3))
        row = await _known(backend, "fork")
        await backend.fork("t", 2, "fork")
        assert await _known(backend, "fork") == row

    @pytest.mark.parametrize("at", [-1, 0, 4, 10**9])
    async def test_a_position_that_was_not_reached_cannot_be_forked(
        self, backend: Backend, at: int
    ) -> None:
        await _begin(backend, events=3)
        with pytest.raises(StoreError):
            await backend.fork("t", at, "fork")
        assert await backend.thread("fork") is None

    async def test_a_thread_is_forked_where_its_snapshot_stands_and_not_before(
        self, backend: Backend
    ) -> None:
        grant = await _begin(backend, events=4)
        await backend.save_snapshot("t", grant.epoch, 3, b"")
        await backend.prune("t", grant.epoch, 3)
        with pytest.raises(StoreError):
            await backend.fork("t", 2, "before")
        for at in (3, 4):
            await backend.fork("t", at, f"fork {at}")
            assert (await _known(backend, f"fork {at}")).origin == ("t", at)

    async def test_a_fork_that_is_pruned_cannot_be_forked_at_its_beginning(
        self, backend: Backend
    ) -> None:
        await _begin(backend, events=2)
        await backend.fork("t", 2, "fork")
        grant = await _acquire(backend, "fork")
        await backend.append(_records(grant, 3))
        await backend.save_snapshot("fork", grant.epoch, 3, b"")
        assert await backend.prune("fork", grant.epoch, 3)
        with pytest.raises(StoreError):
            await backend.fork("fork", 2, "another")

    async def test_an_unknown_thread_cannot_be_forked(self, backend: Backend) -> None:
        with pytest.raises(ThreadNotFound) as raised:
            await backend.fork("unknown", 1, "fork")
        assert raised.value.thread_id == "unknown"

    async def test_a_fork_does_not_take_the_place_of_a_thread(self, backend: Backend) -> None:
        await _begin(backend, events=2)
        await _begin(backend, "taken", events=1)
        await backend.fork("t", 2, "fork")
        for at, name in [(1, "taken"), (1, "fork"), (1, "t")]:
            with pytest.raises(ThreadExists) as raised:
                await backend.fork("t", at, name)
            assert raised.value.thread_id == name
        assert (await _known(backend, "fork")).origin == ("t", 2)
        assert (await _known(backend, "taken")).origin is None

    async def test_forking_at_once_makes_one_fork(self, backend: Backend, other: Backend) -> None:
        await _begin(backend, events=3)
        made: list[int] = []

        async def fork(handle: Backend, at: int) -> None:
            try:
                await handle.fork("t", at, "fork")
            except ThreadExists:
                return
            made.append(at)

        async with anyio.create_task_group() as tasks:
            for number in range(9):
                tasks.start_soon(fork, (backend, other)[number % 2], number % 3 + 1)
        assert made == [made[0]] * 3
        assert (await _known(backend, "fork")).origin == ("t", made[0])

    async def test_deleting_removes_all_that_belongs_to_a_thread(self, backend: Backend) -> None:
        grant = await _begin(backend, events=2)
        await backend.save_snapshot("t", grant.epoch, 1, b"")
        await backend.release("t", grant.epoch, "completed")
        assert await backend.delete("t")
        assert not await backend.delete("t")
        assert await backend.append(_records(grant, 3)) == {"t"}
        again = await _acquire(backend)
        assert again.thread.position == 0
        assert await _positions(backend) == []
        assert await backend.load_snapshot("t", 9) is None

    async def test_a_thread_that_is_held_is_not_deleted(self, backend: Backend) -> None:
        grant = await _begin(backend, events=1)
        with pytest.raises(ThreadBusy) as raised:
            await backend.delete("t")
        assert raised.value.holder == "a"
        assert raised.value.expires == pytest.approx(grant.thread.expires, abs=0.001)
        assert await _positions(backend) == [1]

    async def test_a_thread_whose_lease_has_expired_is_deleted(self, backend: Backend) -> None:
        grant = await _acquire(backend, ttl=_OVER)
        assert await backend.delete("t")
        assert await backend.renew([("t", grant.epoch)], _LONG) == {"t"}

    async def test_a_thread_in_which_a_fork_begins_is_not_deleted(self, backend: Backend) -> None:
        grant = await _begin(backend, events=1)
        await backend.fork("t", 1, "child")
        await backend.fork("child", 1, "grandchild")
        await backend.release("t", grant.epoch, "completed")
        for name in ("t", "child"):
            with pytest.raises(StoreError):
                await backend.delete(name)
        for name in ("grandchild", "child", "t"):
            assert await backend.delete(name)

    # -- plans ------------------------------------------------------------------------------------

    async def test_a_plan_is_kept_once(self, backend: Backend, other: Backend) -> None:
        assert await backend.load_plan("plan") is None
        await backend.save_plan("plan", b"first")
        await backend.save_plan("plan", b"first")
        await other.save_plan("plan", b"second")
        assert await other.load_plan("plan") == b"first"
        assert await other.load_plan("another") is None

    # -- tenants and ids --------------------------------------------------------------------------

    async def test_tenants_do_not_see_each_other(self, open_backend: MakeBackend) -> None:
        mine, theirs = open_backend("mine"), open_backend("theirs")
        grant = await _begin(mine, events=2)
        await mine.save_snapshot("t", grant.epoch, 1, b"mine")
        await mine.save_plan("plan", b"mine")
        await mine.fork("t", 1, "fork")
        assert await theirs.thread("t") is None
        assert list(await theirs.threads(limit=10)) == []
        assert list(await theirs.read("t", 0)) == []
        assert await theirs.load_snapshot("t", 9) is None
        assert await theirs.load_plan("plan") is None
        with pytest.raises(ThreadNotFound):
            await theirs.fork("t", 1, "another")
        assert not await theirs.delete("fork")

    async def test_a_tenant_cannot_use_the_epoch_of_another(
        self, open_backend: MakeBackend
    ) -> None:
        mine, theirs = open_backend("mine"), open_backend("theirs")
        grant = await _begin(mine, events=2)
        await mine.save_snapshot("t", grant.epoch, 1, b"mine")
        assert await theirs.append(_records(grant, 3)) == {"t"}
        assert await theirs.renew([("t", grant.epoch)], _OVER) == {"t"}
        assert not await theirs.save_snapshot("t", grant.epoch, 1, b"theirs")
        assert not await theirs.prune("t", grant.epoch, 1)
        await theirs.release("t", grant.epoch, "completed")
        assert (await _known(mine))[1:7] == (2, 0, 6, "running", "graph", "a")
        assert await mine.load_snapshot("t", 1) == Row(1, b"mine")

    async def test_tenants_may_use_the_same_names(self, open_backend: MakeBackend) -> None:
        tenants = [open_backend(name) for name in ("", "a", "A", "a'b", "🧵", "x" * 512)]
        grants = [await _acquire(tenant, holder=f"{i}") for i, tenant in enumerate(tenants)]
        assert len({grant.epoch for grant in grants}) == len(tenants)
        for number, (tenant, grant) in enumerate(zip(tenants, grants, strict=True)):
            await tenant.append([Record("t", grant.epoch, 1, b"%d" % number)])
            await tenant.save_plan("plan", b"%d" % number)
        for number, tenant in enumerate(tenants):
            assert list(await tenant.read("t", 0)) == [Row(1, b"%d" % number)]
            assert [row.holder for row in await tenant.threads(limit=10)] == [f"{number}"]
            assert await tenant.load_plan("plan") == b"%d" % number

    async def test_every_text_is_an_id_like_any_other(self, backend: Backend) -> None:
        for number, text in enumerate(_HOSTILE):
            grant = await backend.acquire(text, text, _LONG, text)
            assert await backend.append([Record(text, grant.epoch, 1, b"%d" % number)]) == set()
            assert await backend.save_snapshot(text, grant.epoch, 1, b"%d" % number)
            await backend.save_plan(text, b"%d" % number)
            await backend.fork(text, 1, f"fork {number}")
        listed = await backend.threads(limit=1000)
        assert len(listed) == 2 * len(_HOSTILE)
        for number, text in enumerate(_HOSTILE):
            row = await _known(backend, text)
            assert (row.thread_id, row.holder, row.graph) == (text, text, text)
            assert list(await backend.read(text, 0)) == [Row(1, b"%d" % number)]
            assert await backend.load_snapshot(text, 1) == Row(1, b"%d" % number)
            assert await backend.load_plan(text) == b"%d" % number
            assert (await _known(backend, f"fork {number}")).origin == (text, 1)

    async def test_every_text_is_deleted_alone(self, backend: Backend) -> None:
        for text in _HOSTILE:
            await _acquire(backend, text, ttl=_OVER)
        for left, text in reversed(list(enumerate(_HOSTILE))):
            assert await backend.delete(text)
            listed = {row.thread_id for row in await backend.threads(limit=1000)}
            assert listed == set(_HOSTILE[:left])

    # -- transactions -----------------------------------------------------------------------------

    async def test_a_backend_without_transactions_says_so(self, backend: Backend) -> None:
        if self.transactional:
            pytest.skip("this backend has transactions")
        with pytest.raises(StoreError):
            async with backend.transaction():
                pass  # pragma: no cover

    async def test_statements_and_records_are_committed_together(self, backend: Backend) -> None:
        self._needs_transactions()
        grant = await _acquire(backend)
        async with backend.transaction() as transaction:
            await self.put(transaction.connection, "effect")
            assert await self.keys(backend) == set()
            assert await transaction.commit(_records(grant, 1))
        assert await self.keys(backend) == {"effect"}
        assert await _positions(backend) == [1]
        assert (await _known(backend))[1:4] == (1, 0, 3)

    async def test_a_fenced_transaction_is_rolled_back(self, backend: Backend) -> None:
        self._needs_transactions()
        old = await _acquire(backend, ttl=_OVER)
        other = await _acquire(backend, "other")
        async with backend.transaction() as transaction:
            await self.put(transaction.connection, "effect")
            await _acquire(backend, holder="b")
            assert not await transaction.commit([*_records(other, 1), *_records(old, 1)])
        assert await self.keys(backend) == set()
        assert await _positions(backend) == []
        assert await _positions(backend, "other") == []

    async def test_a_transaction_that_is_not_committed_is_rolled_back(
        self, backend: Backend
    ) -> None:
        self._needs_transactions()
        async with backend.transaction() as transaction:
            await self.put(transaction.connection, "effect")
        assert await self.keys(backend) == set()

    async def test_a_transaction_that_fails_is_rolled_back(self, backend: Backend) -> None:
        self._needs_transactions()

        async def fail() -> None:
            async with backend.transaction() as transaction:
                await self.put(transaction.connection, "effect")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await self.keys(backend) == set()

    async def test_a_transaction_whose_records_are_there_commits(self, backend: Backend) -> None:
        self._needs_transactions()
        grant = await _begin(backend, events=1)
        async with backend.transaction() as transaction:
            await self.put(transaction.connection, "effect")
            assert await transaction.commit(_records(grant, 1, 2))
        assert await self.keys(backend) == {"effect"}
        assert await _positions(backend) == [1, 2]

    def _needs_transactions(self) -> None:
        if not self.transactional:
            pytest.skip("this backend has no transactions")

    # -- all of it --------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(8))
    async def test_a_random_walk_does_as_the_backend_in_memory(
        self, backend: Backend, other: Backend, seed: int
    ) -> None:
        walk = _Walk(random.Random(seed), (backend, other))
        for _ in range(120):
            await walk.step()
        await walk.compare()

    async def test_closing_twice_is_fine(self, backend: Backend) -> None:
        await _acquire(backend)
        await backend.close()
        await backend.close()


class _Lease(NamedTuple):
    """A lease that both gave, each with an epoch of its own."""

    thread_id: ThreadId
    epochs: tuple[int, int]
    """The backend's, and the model's."""


class _Walk:
    """Does the same at random to a backend, by two handles, and to one in memory.

    Steps that change nothing when they are repeated are repeated now and then, on the backend
    that is tested alone.
    """

    def __init__(self, rng: random.Random, handles: Sequence[Backend]) -> None:
        self._rng = rng
        self._handles = handles
        self._model = MemoryBackend()
        self._leases: list[_Lease] = []
        """Old and new, the last given at the end."""

    def _thread(self) -> ThreadId:
        return self._rng.choice("abcde")

    def _position(self) -> int:
        return self._rng.randint(0, 8)

    def _lease(self) -> _Lease:
        recent = self._leases[-8:]
        return self._rng.choice(recent) if recent else _Lease("a", (1, 1))

    async def step(self) -> None:
        """Do one thing."""
        steps = [self._acquire, self._append, self._append, self._append, self._rows, self._fork]
        steps += [self._release, self._renew, self._snapshot, self._prune, self._delete]
        await self._rng.choice(steps)()

    async def compare(self) -> None:
        """Everything that can be seen is the same."""
        for thread_id in "abcde":
            row, expected = [await b.thread(thread_id) for b in self._both()]
            assert _timeless(row) == _timeless(expected)
            for position in range(9):
                snapshot, also = [await b.load_snapshot(thread_id, position) for b in self._both()]
                assert snapshot == also
            rows, model_rows = [list(await b.read(thread_id, 0)) for b in self._both()]
            assert rows == model_rows

    def _both(self) -> tuple[Backend, Backend]:
        return self._rng.choice(self._handles), self._model

    async def _same(
        self, do: Callable[[Backend, int], Awaitable[Any]], *, repeat: bool = True
    ) -> tuple[Any, Any]:
        """What both return (1 is the number of the model), or the type of what both raise."""
        backend, model = self._both()
        if repeat and self._rng.random() < 0.3:
            await _result(do(backend, 0))
        return await _result(do(backend, 0)), await _result(do(model, 1))

    async def _acquire(self) -> None:
        thread_id, holder = self._thread(), self._rng.choice("xy")
        ttl = self._rng.choice([_OVER, _OVER, _LONG])
        grant, expected = await self._same(
            lambda backend, _: backend.acquire(thread_id, holder, ttl, holder), repeat=False
        )
        if isinstance(expected, Grant):
            assert isinstance(grant, Grant)
            assert _timeless(grant.thread) == _timeless(expected.thread)
            self._leases.append(_Lease(thread_id, (grant.epoch, expected.epoch)))
        else:
            assert grant == expected

    async def _append(self) -> None:
        leases = [self._lease() for _ in range(self._rng.randint(1, 3))]
        places: list[tuple[_Lease, int]] = []
        for lease in leases:
            row = await self._model.thread(lease.thread_id)
            first = row.position + 1 if row is not None else 1
            first -= self._rng.random() < 0.1
            places += [(lease, first + step) for step in range(self._rng.randint(1, 3))]

        def append(backend: Backend, which: int) -> Awaitable[set[ThreadId]]:
            return backend.append(
                [
                    Record(lease.thread_id, lease.epochs[which], position, b"%d" % position)
                    for lease, position in places
                ]
            )

        stored, expected = await self._same(append)
        assert stored == expected

    async def _rows(self) -> None:
        thread_id, limit = self._thread(), self._rng.randint(1, 4)
        after, upto = self._position(), self._position()
        rows, expected = await self._same(
            lambda backend, _: backend.read(thread_id, after, upto, limit)
        )
        assert list(rows) == list(expected)
        listed, model_listed = await self._same(lambda backend, _: backend.threads(limit=100))
        assert set(map(_timeless, listed)) == set(map(_timeless, model_listed))

    async def _fork(self) -> None:
        thread_id, at, new_thread_id = self._thread(), self._position(), self._thread()
        made, expected = await self._same(
            lambda backend, _: backend.fork(thread_id, at, new_thread_id)
        )
        assert made == expected

    async def _release(self) -> None:
        lease, status = self._lease(), self._rng.choice(["completed", "suspended"])
        released, expected = await self._same(
            lambda backend, which: backend.release(lease.thread_id, lease.epochs[which], status)
        )
        assert released == expected

    async def _renew(self) -> None:
        leases = [self._lease() for _ in range(2)]
        ttl = self._rng.choice([_OVER, _LONG])
        lost, expected = await self._same(
            lambda backend, which: backend.renew(
                [(lease.thread_id, lease.epochs[which]) for lease in leases], ttl
            )
        )
        assert lost == expected

    async def _snapshot(self) -> None:
        lease = self._lease()
        row = await self._model.thread(lease.thread_id)
        position = min(self._position(), row.position if row is not None else 1)
        kept, expected = await self._same(
            lambda backend, which: backend.save_snapshot(
                lease.thread_id, lease.epochs[which], position, b"%d" % position
            )
        )
        assert kept == expected

    async def _prune(self) -> None:
        lease = self._lease()
        found = await self._model.load_snapshot(lease.thread_id, self._position())
        position = found.position if found is not None else self._position()
        pruned, expected = await self._same(
            lambda backend, which: backend.prune(lease.thread_id, lease.epochs[which], position)
        )
        assert pruned == expected

    async def _delete(self) -> None:
        if self._rng.random() < 0.7:
            return  # else no thread grows old
        thread_id = self._thread()
        gone, expected = await self._same(
            lambda backend, _: backend.delete(thread_id), repeat=False
        )
        assert gone == expected


async def _result(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except (StoreError, ThreadBusy, ThreadExists, ThreadNotFound) as error:
        return type(error)


def _timeless(row: ThreadRow | None) -> ThreadRow | None:
    """The row without what a clock has written."""
    return row._replace(expires=None, created=0.0, updated=0.0) if row is not None else None
