"""The suite that every store passes, whatever it keeps its journals in.

:class:`StoreSuite` tests what a Flow asks of a store, sentence for sentence, against the contract
in :mod:`plait.store`. Derive a class from it, in a test module, and say how a store is made::

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def make_store(self, tmp_path: Path) -> MakeStore:
            return lambda: MyStore(tmp_path / "journals")

A store over rows of its own, which a ``DurableStore`` makes of a backend, passes
:class:`~plait.testing.conformance.BackendSuite` as well. The tests are coroutines and run under
anyio's plugin for pytest, which comes with anyio.
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeAlias, TypedDict

import anyio
import pytest

from plait.codec import TypeRegistry
from plait.errors import NodeError, StoreError, ThreadBusy, ThreadExists, ThreadNotFound
from plait.events import JournalEvent, NodeCompleted, RunStarted, Target, ThreadId
from plait.flow import Flow
from plait.graph import Graph
from plait.policy import END, START
from plait.store import Durability, JournalFormat, LeasedJournal, Past, Store

__all__ = ["MakeStore", "StoreSuite"]

MakeStore: TypeAlias = Callable[[], Store]
"""Makes a store. Called again, another one on the same journals, as another process has it; where
there can be none (a store in memory), the same. The suite closes them."""

_DURABILITIES: tuple[Durability, ...] = ("sync", "async", "exit")


class _State(TypedDict):
    items: Annotated[list[str], operator.add]


def _format(store: Store, durability: Durability = "sync") -> JournalFormat:
    return JournalFormat("graph", store.make_codec(TypeRegistry), durability)


def _event(number: int) -> JournalEvent:
    """The n-th event of a journal; each is different from all others."""
    if number == 1:
        return RunStarted(1.0, (0,), (("items", ["given"]),), "")
    writes = (("items", [f"{number}", 2**70, (b"\0", None)]),)
    return NodeCompleted(float(number), (0,), "n", 1, writes, (Target("n"),), 0.5)


async def _append(journal: LeasedJournal, *numbers: int) -> None:
    for number in numbers:
        durable = journal.append(_event(number))
        if durable is not None:
            await durable


async def _begin(store: Store, thread_id: ThreadId = "t", *, events: int = 3) -> None:
    async with store.lease(thread_id, _format(store)) as journal:
        await _append(journal, *range(1, events + 1))


async def _events(store: Store, thread_id: ThreadId = "t", upto: int | None = None) -> Any:
    past = await store.past(thread_id, _format(store), upto)
    return None if past is None else [*past.events]


def _first(count: int) -> list[JournalEvent]:
    return [_event(number) for number in range(1, count + 1)]


def _graph(fail: list[str]) -> Graph[Any]:
    """Three nodes in a row, of which those that are named fail, once."""
    graph: Graph[Any] = Graph(_State, "suite")

    def node(name: str) -> Callable[..., Any]:
        async def work(_state: Any) -> dict[str, list[str]]:
            await anyio.lowlevel.checkpoint()
            if name in fail:
                fail.remove(name)
                raise ConnectionError(f"{name} has failed")
            return {"items": [name]}

        return work

    for name in ("a", "b", "c"):
        graph.add_node(name, node(name))
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c").add_edge("c", END)
    return graph


class StoreSuite:
    """The contract of :class:`plait.store.Store` as tests.

    A subclass overrides the fixture ``make_store``, which finds no journals at the beginning of
    each test. Where journals cannot be pruned, it sets ``prunes`` to ``False``.
    """

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    prunes: bool = True
    """Whether ``Flow.prune`` may give up older events."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Makes stores on journals of which there are none at first; a subclass overrides it."""
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    async def open_store(self, make_store: MakeStore) -> AsyncIterator[MakeStore]:
        """Makes stores, and closes them after the test."""
        stores: list[Store] = []

        def open_store() -> Store:
            stores.append(make_store())
            return stores[-1]

        yield open_store
        for store in stores:
            await store.close()

    @pytest.fixture
    def store(self, open_store: MakeStore) -> Store:
        """A store without journals at first."""
        return open_store()

    @pytest.fixture
    def other(self, open_store: MakeStore, store: Store) -> Store:
        """Another store on the same journals, as another process has it."""
        return open_store()

    # -- journals -------------------------------------------------------------------------------

    async def test_what_is_not_there_is_not_known(self, store: Store) -> None:
        assert await _events(store) is None
        assert await store.thread("t") is None
        assert await store.threads() == []

    @pytest.mark.parametrize("durability", _DURABILITIES)
    async def test_what_was_added_is_there_for_everybody_when_the_lease_is_given_back(
        self, store: Store, other: Store, durability: Durability
    ) -> None:
        async with store.lease("t", _format(store, durability)) as journal:
            assert (journal.past.position, list(journal.past.events)) == (0, [])
            await _append(journal, *range(1, 8))
        assert await _events(store) == await _events(other) == _first(7)

    async def test_with_sync_what_was_awaited_is_there_at_once(
        self, store: Store, other: Store
    ) -> None:
        async with store.lease("t", _format(store)) as journal:
            for number in range(1, 5):
                await _append(journal, number)
                assert await _events(other) == _first(number)

    async def test_events_may_be_added_before_earlier_ones_are_awaited(self, store: Store) -> None:
        async with store.lease("t", _format(store)) as journal:
            waiting = [journal.append(_event(number)) for number in range(1, 50)]
            for durable in reversed(waiting):
                if durable is not None:
                    await durable
        assert await _events(store) == _first(49)

    async def test_who_holds_a_thread_next_has_its_past(self, store: Store, other: Store) -> None:
        await _begin(store)
        async with other.lease("t", _format(other)) as journal:
            past = journal.past
            assert (past.position, past.snapshot, list(past.events)) == (0, None, _first(3))
            assert past.thread_id == "t"
            await _append(journal, 4)
        assert await _events(store) == _first(4)

    async def test_every_position_can_be_looked_at(self, store: Store) -> None:
        await _begin(store, events=5)
        for position in range(6):
            assert await _events(store, upto=position) == _first(position)
        assert await _events(store, upto=99) == _first(5)
        whole = await store.past("t", _format(store), whole=True)
        assert isinstance(whole, Past)
        assert list(whole.events) == _first(5)

    async def test_many_events_come_back_in_order(self, store: Store) -> None:
        async with store.lease("t", _format(store, "async")) as journal:
            await _append(journal, *range(1, 2_501))
        assert await _events(store) == _first(2_500)

    async def test_threads_do_not_mix(self, store: Store, other: Store) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(1, 13):
                handle = (store, other)[number % 2]

                async def begin(handle: Store = handle, number: int = number) -> None:
                    await _begin(handle, f"t{number}", events=number)

                tasks.start_soon(begin)
        for number in range(1, 13):
            assert await _events(store, f"t{number}") == _first(number)

    # -- leases ---------------------------------------------------------------------------------

    async def test_a_thread_has_one_writer_at_a_time(self, store: Store, other: Store) -> None:
        async with store.lease("t", _format(store)) as journal:
            for handle in (store, other):
                with pytest.raises(ThreadBusy) as raised:
                    await _begin(handle)
                assert raised.value.thread_id == "t"
            await _append(journal, 1)
            await _begin(other, "another")
        async with other.lease("t", _format(other)) as journal:
            assert list(journal.past.events) == _first(1)

    async def test_of_several_that_want_it_at_once_one_has_it(
        self, store: Store, other: Store
    ) -> None:
        results: list[str] = []

        async def want(handle: Store) -> None:
            try:
                async with handle.lease("t", _format(handle)) as journal:
                    await _append(journal, 1)
                    await anyio.sleep(0.2)
                    results.append("had it")
            except ThreadBusy:
                results.append("busy")

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(want, (store, other)[number % 2])
        assert sorted(results) == ["busy"] * 5 + ["had it"]

    async def test_a_lease_without_events_leaves_no_thread(self, store: Store) -> None:
        async with store.lease("t", _format(store)):
            pass
        assert await store.thread("t") is None
        assert await store.threads() == []

    async def test_an_error_in_the_block_comes_out_and_the_thread_is_free(
        self, store: Store, other: Store
    ) -> None:
        async def fail() -> None:
            async with store.lease("t", _format(store)) as journal:
                await _append(journal, 1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with other.lease("t", _format(other)) as journal:
            assert list(journal.past.events) == _first(1)

    async def test_a_cancelled_block_stores_what_was_added_and_frees_the_thread(
        self, store: Store, other: Store
    ) -> None:
        with anyio.CancelScope() as scope:
            async with store.lease("t", _format(store, "async")) as journal:
                journal.append(_event(1))
                scope.cancel()
                await anyio.sleep_forever()
        assert await _events(other) == _first(1)
        await _begin(other, events=0)

    # -- what is known without reading ------------------------------------------------------------

    @pytest.mark.parametrize("status", ["completed", "suspended", "running"])
    async def test_a_thread_is_left_as_its_writer_says(
        self, store: Store, other: Store, status: str
    ) -> None:
        async with store.lease("t", _format(store)) as journal:
            await _append(journal, 1, 2)
            journal.status = status
        row = await other.thread("t")
        assert row is not None
        assert (row.thread_id, row.position, row.status, row.graph) == ("t", 2, status, "graph")
        assert (row.holder, row.origin) == (None, None)

    async def test_a_thread_that_is_held_is_running(self, store: Store, other: Store) -> None:
        async with store.lease("t", _format(store)) as journal:
            await _append(journal, 1)
            journal.status = "completed"
            row = await other.thread("t")
            assert row is not None
            assert row.status == "running"
            assert row.holder is not None

    async def test_threads_are_listed_page_by_page_each_once(self, store: Store) -> None:
        names = {f"t{number}" for number in range(7)}
        for name in names:
            await _begin(store, name, events=1)
        listed = [row.thread_id for row in await store.threads()]
        assert set(listed) == names
        pages: list[ThreadId] = []
        last = None
        while page := await store.threads(limit=3, before=last):
            assert len(page) <= 3
            pages += [row.thread_id for row in page]
            last = page[-1]
        assert pages == listed

    # -- deleting and forking ---------------------------------------------------------------------

    async def test_a_thread_that_was_deleted_is_not_known(self, store: Store, other: Store) -> None:
        await _begin(store)
        await other.delete("t")
        assert await _events(store) is None
        assert await store.thread("t") is None
        with pytest.raises(ThreadNotFound):
            await store.delete("t")
        await _begin(store, events=1)
        assert await _events(other) == _first(1)

    async def test_a_thread_that_is_held_is_not_deleted(self, store: Store, other: Store) -> None:
        async with store.lease("t", _format(store)) as journal:
            await _append(journal, 1)
            with pytest.raises(ThreadBusy):
                await other.delete("t")
        assert await _events(store) == _first(1)

    @pytest.mark.parametrize("at", [1, 2, 3])
    async def test_a_fork_begins_as_its_origin_and_goes_its_own_way(
        self, store: Store, other: Store, at: int
    ) -> None:
        await _begin(store)
        await other.fork("t", at, "f")
        assert await _events(store, "f") == _first(at)
        async with store.lease("f", _format(store)) as journal:
            assert list(journal.past.events) == _first(at)
            await _append(journal, 7)
        assert await _events(other, "f") == [*_first(at), _event(7)]
        assert await _events(other) == _first(3)
        for position in range(at + 2):
            assert await _events(other, "f", position) == [*_first(at), _event(7)][:position]

    async def test_a_fork_of_a_fork_begins_as_both(self, store: Store) -> None:
        await _begin(store)
        await store.fork("t", 2, "f")
        async with store.lease("f", _format(store)) as journal:
            await _append(journal, 8)
        for at, expected in ((1, _first(1)), (2, _first(2)), (3, [*_first(2), _event(8)])):
            await store.fork("f", at, f"f{at}")
            assert await _events(store, f"f{at}") == expected

    async def test_what_cannot_be_forked_is_refused(self, store: Store) -> None:
        await _begin(store)
        await _begin(store, "there")
        with pytest.raises(ThreadNotFound):
            await store.fork("unknown", 1, "f")
        with pytest.raises(ThreadExists):
            await store.fork("t", 1, "there")
        for at in (0, -1, 4):
            with pytest.raises(StoreError):
                await store.fork("t", at, "f")
        assert {row.thread_id for row in await store.threads()} == {"t", "there"}

    # -- plans and ids ----------------------------------------------------------------------------

    async def test_the_description_of_a_graph_is_kept(self, store: Store, other: Store) -> None:
        assert await store.load_plan("f") is None
        await store.save_plan("f", b"description")
        await other.save_plan("f", b"description")
        await store.save_plan("g", b"another")
        assert await other.load_plan("f") == b"description"
        assert await other.load_plan("g") == b"another"

    @pytest.mark.parametrize(
        "thread_id", ["", "\0", "a\nb", "\ud800", "x" * 513, "ü" * 257, 7, None]
    )
    async def test_what_is_no_id_is_refused(self, store: Store, thread_id: Any) -> None:
        refused = (ValueError, TypeError)
        with pytest.raises(refused):
            await _begin(store, thread_id)
        with pytest.raises(refused):
            await store.past(thread_id)
        with pytest.raises(refused):
            await store.delete(thread_id)
        await _begin(store)
        with pytest.raises(refused):
            await store.fork("t", 1, thread_id)
        assert [row.thread_id for row in await store.threads()] == ["t"]

    @pytest.mark.parametrize(
        "thread_id", [" ", "'; drop", "%_", "🧵", "a/b:c", "x" * 512, "ü" * 256]
    )
    async def test_any_other_text_is_one(self, store: Store, thread_id: str) -> None:
        await _begin(store, thread_id, events=2)
        assert await _events(store, thread_id) == _first(2)
        row = await store.thread(thread_id)
        assert row is not None
        assert row.thread_id == thread_id

    async def test_closing_twice_is_fine(self, store: Store) -> None:
        await _begin(store)
        await store.close()
        await store.close()

    # -- with a Flow ------------------------------------------------------------------------------

    @pytest.mark.parametrize("durability", _DURABILITIES)
    async def test_a_run_that_failed_goes_on_elsewhere(
        self, store: Store, other: Store, durability: Durability
    ) -> None:
        flow: Flow[Any] = _graph(["b"]).compile(store, durability=durability)
        with pytest.raises(NodeError):
            await flow.run({"items": ["given"]}, thread_id="t")
        row = await other.thread("t")
        assert row is not None
        assert row.status == "running"
        result = await flow.with_store(other).resume("t")
        assert result.state["items"] == ["given", "a", "b", "c"]
        state = await flow.state("t")
        assert (state.position, state.status, state.state) == (5, "completed", result.state)

    async def test_the_state_at_a_position_is_that_of_the_history(self, store: Store) -> None:
        flow: Flow[Any] = _graph([]).compile(store)
        for _ in range(3):
            await flow.run({}, thread_id="t")
        history = [snapshot async for snapshot in flow.history("t")]
        assert [snapshot.position for snapshot in history] == list(range(12, 0, -1))
        for snapshot in history:
            assert await flow.state("t", snapshot.position) == snapshot

    async def test_what_is_kept_of_a_pruned_thread_stays_as_it_was(self, store: Store) -> None:
        flow: Flow[Any] = _graph([]).compile(store)
        for _ in range(3):
            await flow.run({}, thread_id="t")
        if not self.prunes:
            with pytest.raises(StoreError):
                await flow.prune("t", keep=5)
            return
        before = {at: (await flow.state("t", at)).state for at in range(1, 13)}
        assert await flow.prune("t", keep=5) == 7
        for at in range(7, 13):
            assert (await flow.state("t", at)).state == before[at]
        with pytest.raises(StoreError):
            await flow.state("t", 6)
        assert (await flow.run({}, thread_id="t")).state["items"] == ["a", "b", "c"] * 4
