"""What only the stores in SQLite do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_adapters.langgraph.store.base import PutOp
from plait_adapters.langgraph.store.memory import InMemoryStore
from plait_adapters.langgraph.store.sqlite import AsyncSqliteStore, SqliteStore

LABELS = st.text(st.sampled_from('ab"\\,]é\ud800'), min_size=1, max_size=3)
NAMESPACES = st.lists(LABELS, min_size=1, max_size=3).map(tuple)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its item is the time in seconds."""
    now = [1e9]
    monkeypatch.setattr("plait_adapters.langgraph.store.sqlite._items.time.time", lambda: now[0])
    return now


@given(st.lists(NAMESPACES, max_size=8), st.lists(LABELS, max_size=2).map(tuple))
def test_what_is_within_a_namespace_is_what_begins_with_its_labels(
    namespaces: list[tuple[str, ...]], prefix: tuple[str, ...]
) -> None:
    with SqliteStore.from_conn_string(":memory:") as store:
        store.batch([PutOp(namespace, "k", {"x": 1}) for namespace in namespaces])

        found = [item.namespace for item in store.search(prefix, limit=100)]

    assert sorted(found) == sorted(
        {namespace for namespace in namespaces if namespace[: len(prefix)] == prefix}
    )


VALUES = st.dictionaries(
    st.sampled_from("ab"),
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["1", "x"]),
)
FILTERS = st.dictionaries(
    st.sampled_from("ab"),
    st.integers(-3, 3)
    | st.none()
    | st.dictionaries(st.sampled_from(["$gt", "$lte", "$ne", "$eq"]), st.integers(-3, 3)),
)


@given(st.lists(VALUES, max_size=6), FILTERS)
def test_a_search_finds_what_the_store_in_memory_finds(
    values: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    puts = [PutOp(("a",), str(number), value) for number, value in enumerate(values)]
    memory = InMemoryStore()
    memory.batch(puts)
    with SqliteStore.from_conn_string(":memory:") as store:
        store.batch(puts)

        found = {item.key for item in store.search(("a",), filter=wanted)}

    assert found == {item.key for item in memory.search(("a",), filter=wanted)}


def test_an_item_whose_time_is_over_is_swept_with_its_vectors(clock: list[float]) -> None:
    index: Any = {"dims": 1, "embed": lambda texts: [[1.0] for _ in texts]}
    with SqliteStore.from_conn_string(":memory:", index=index) as store:
        store.put(("a",), "short", {"x": "1"}, ttl=1)
        store.put(("a",), "long", {"x": "1"}, ttl=3)
        store.put(("a",), "ever", {"x": "1"})
        clock[0] += 61

        assert store.get(("a",), "short", refresh_ttl=False) is not None
        assert store.sweep_ttl() == 1
        assert {item.key for item in store.search((), query="x")} == {"long", "ever"}
        store.put(("a",), "short", {"x": "1"})
        assert store.conn.execute("select count(*) from plait_item_vectors").fetchone() == (3,)


def test_an_item_whose_time_is_over_can_be_hidden(clock: list[float]) -> None:
    ttl: Any = {"default_ttl": 1, "omit_expired": True}
    with SqliteStore.from_conn_string(":memory:", ttl=ttl) as store:
        store.put(("a",), "k", {"x": 1})
        clock[0] += 61

        assert store.get(("a",), "k") is None
        assert store.search(()) == []
        assert store.list_namespaces() == []


@pytest.mark.parametrize("refresh", [True, False])
async def test_reading_begins_the_time_anew_if_that_is_wanted(
    refresh: bool, clock: list[float]
) -> None:
    async with AsyncSqliteStore.from_conn_string(":memory:") as store:
        for key in ("got", "found"):
            await store.aput((key,), "k", {"x": 1}, ttl=1)
        clock[0] += 40
        await store.aget(("got",), "k", refresh_ttl=refresh)
        await store.asearch(("found",), refresh_ttl=refresh)
        clock[0] += 40

        assert await store.sweep_ttl() == (0 if refresh else 2)


@pytest.mark.parametrize(
    ("distance", "first", "score"),
    [("cosine", "same way", 1.0), ("inner_product", "far", 5.0), ("l2", "near", -0.5)],
)
def test_near_means_what_the_index_says(distance: str, first: str, score: float) -> None:
    vectors = {"query": [1.0, 0.0], "same way": [3.0, 0.0], "far": [5.0, 5.0], "near": [1.0, 0.5]}
    index: Any = {
        "dims": 2,
        "embed": lambda texts: [vectors[text] for text in texts],
        "fields": ["t"],
        "distance_type": distance,
    }
    with SqliteStore.from_conn_string(":memory:", index=index) as store:
        for text in ("same way", "far", "near"):
            store.put(("a",), text, {"t": text})

        found = store.search((), query="query")[0]

    assert found.key == first
    assert found.score == pytest.approx(score)


def test_items_are_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "items.db") as store:
        store.put(("a",), "k", {"x": 1})
    with closing(sqlite3.connect(tmp_path / "items.db", check_same_thread=False)) as connection:
        connection.row_factory = sqlite3.Row
        again = SqliteStore(connection)
        again.setup()

        assert again.get(("a",), "k").value == {"x": 1}  # type: ignore[union-attr]
        assert [item.value for item in again.search(("a",))] == [{"x": 1}]
        assert again.list_namespaces() == [("a",)]


def test_values_are_read_by_a_function_of_the_users() -> None:
    with SqliteStore.from_conn_string(":memory:", deserializer=lambda text: {"raw": text}) as store:
        store.put(("a",), "k", {"x": 1})

        assert store.get(("a",), "k").value == {"raw": '{"x": 1}'}  # type: ignore[union-attr]


def test_the_sweeper_works_until_it_is_stopped() -> None:
    with SqliteStore.from_conn_string(":memory:", ttl={"default_ttl": 1}) as store:
        sweeper = store.start_ttl_sweeper()

        assert store.start_ttl_sweeper() is sweeper
        assert not sweeper.done()
        assert store.stop_ttl_sweeper(5)
        assert sweeper.cancelled()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"conn": 3}, TypeError),
        ({"conn": ":memory:", "index": {"embed": len, "distance_type": "far"}}, ValueError),
    ],
    ids=["connection", "distance"],
)
def test_what_there_is_not_is_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        SqliteStore(**options)


@pytest.mark.parametrize("wanted", [{"x": {"$in": 1}}, {"x": {"y": {"$like": 1}}}], ids=str)
def test_an_operator_that_there_is_not_is_refused_where_there_are_no_items(wanted: Any) -> None:
    with SqliteStore.from_conn_string(":memory:") as store, pytest.raises(ValueError, match="oper"):
        store.search((), filter=wanted)


def test_fields_have_another_name_and_filters_may_have_paths() -> None:
    index: Any = {"embed": lambda texts: [[float(len(text))] for text in texts]}
    with SqliteStore.from_conn_string(":memory:", index=index | {"text_fields": ["t"]}) as store:
        store.put(("a",), "with", {"t": "x", "user": {"a-b": 1}})
        store.put(("a",), "without", {"u": "x", "user": {"a-b": 2}})

        assert [item.score for item in store.search((), query="x")] == [1.0, None]
        assert [item.key for item in store.search((), filter={"user.a-b": 2})] == ["without"]


def test_reading_does_not_begin_the_time_anew_by_default(clock: list[float]) -> None:
    for ttl, swept in ((None, 1), ({"refresh_on_read": True}, 0)):
        with SqliteStore.from_conn_string(":memory:", ttl=ttl) as store:
            store.put(("a",), "k", {"x": 1}, ttl=1)
            clock[0] += 40
            store.get(("a",), "k")
            clock[0] += 40
            assert store.sweep_ttl() == swept
