"""Searches in PostgreSQL by an index of pgvector's: what is found, by what, and what is refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from plait.errors import StoreError
from plait_adapters.langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from tests.postgres.server import database, fresh_schema

DIMS = 4
METRICS = ["cosine", "inner_product", "l2"]
INDEXES: list[dict[str, Any]] = [
    {"kind": "hnsw"},
    {"vector_type": "halfvec", "m": 8, "ef_construction": 100},
    {"kind": "ivfflat", "nlist": 4},
]
NAMES = ["hnsw", "halfvec", "ivfflat"]


def embed(texts: list[str]) -> list[list[float]]:
    """A text is the numbers of its vector."""
    return [json.loads(text) for text in texts]


def config(metric: str = "cosine", **ann: Any) -> Any:
    index: dict[str, Any] = {"dims": DIMS, "embed": embed, "fields": ["text"]}
    index["distance_type"] = metric
    return index | ({"ann_index_config": ann} if ann else {})


@asynccontextmanager
async def opened(schema: str, index: Any) -> AsyncIterator[AsyncPostgresStore]:
    async with AsyncPostgresStore.from_conn_string(database(), schema=schema, index=index) as store:
        yield store


def some_vector(chance: random.Random) -> list[float]:
    return [round(chance.uniform(-1, 1), 3) for _ in range(DIMS)]


async def fill(store: AsyncPostgresStore, count: int, *, seed: int = 1) -> None:
    chance = random.Random(seed)
    for number in range(count):
        value = {"text": json.dumps(some_vector(chance)), "even": number % 2 == 0}
        await store.aput(("a", str(number % 3)), f"k{number:04}", value)


async def plan_of(store: AsyncPostgresStore) -> str:
    """How the server would search, if looking at every vector were dear."""
    near = store._tables._near
    assert near is not None
    statement = near.written(store._tables._sql.near, store._tables._home)

    async def work(link: Any) -> str:
        async with link.transaction():
            await link.connection.execute(
                "set local enable_seqscan = off; set local enable_sort = off"
            )
            arguments = [["a"], "[]", 5, 0, False, False, "[1,0,0,0]", 6]
            rows = await link.connection.fetch(f"explain {statement}", *arguments)
            return "\n".join(row[0] for row in rows)

    return await store._tables._do(work)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ann", INDEXES, ids=NAMES)
async def test_the_nearest_are_found_with_their_scores(ann: dict[str, Any], metric: str) -> None:
    schema, query = fresh_schema(), json.dumps([0.5, -0.25, 1.0, 0.125])
    async with opened(schema, config(metric)) as exact:
        await fill(exact, 60)
        wanted = await exact.asearch(("a",), query=query, limit=10)
    async with opened(schema, config(metric, **ann)) as store:
        found = await store.asearch(("a",), query=query, limit=10)

    scores = {item.key: item.score for item in wanted}
    same = [item for item in found if item.key in scores]
    assert len(same) >= 8
    assert [item.score for item in same] == pytest.approx(
        [scores[item.key] for item in same], abs=0.01
    )


@pytest.mark.parametrize("ann", INDEXES, ids=NAMES)
async def test_the_index_is_what_a_search_uses(ann: dict[str, Any]) -> None:
    async with opened(fresh_schema(), config(**ann)) as store:
        await fill(store, 40)
        near = store._tables._near
        assert near is not None
        assert f"Index Scan using {near.name}" in await plan_of(store)


@pytest.mark.parametrize("ann", INDEXES, ids=NAMES)
async def test_items_put_after_the_index_was_made_are_found(ann: dict[str, Any]) -> None:
    async with opened(fresh_schema(), config(**ann)) as store:
        await store.setup()
        await fill(store, 20)
        await store.aput(("a",), "new", {"text": "[9, 9, 9, 9]"})
        (first,) = await store.asearch(("a",), query="[9, 9, 9, 9]", limit=1)
        assert first.key == "new"
        await store.adelete(("a",), "new")
        (first,) = await store.asearch(("a",), query="[9, 9, 9, 9]", limit=1)
        assert first.key != "new"


async def test_a_filter_and_a_namespace_leave_only_what_they_let_in() -> None:
    async with opened(fresh_schema(), config(kind="hnsw")) as store:
        await fill(store, 60)
        found = await store.asearch(("a", "1"), query="[1, 0, 0, 0]", filter={"even": True})
    assert len(found) == 10
    assert all(item.namespace == ("a", "1") and item.value["even"] for item in found)


async def test_pages_follow_one_another() -> None:
    async with opened(fresh_schema(), config(kind="hnsw")) as store:
        await fill(store, 30)
        at_once = await store.asearch(("a",), query="[1, 0, 0, 0]", limit=30)
        pages = [
            await store.asearch(("a",), query="[1, 0, 0, 0]", limit=7, offset=start)
            for start in range(0, 35, 7)
        ]
    assert [item.key for page in pages for item in page] == [item.key for item in at_once]
    assert [len(page) for page in pages] == [7, 7, 7, 7, 2]


async def test_items_without_a_vector_come_last_as_they_do_without_an_index() -> None:
    schema, found = fresh_schema(), []
    for index in (config(), config(kind="hnsw")):
        async with opened(schema, index) as store:
            await store.aput(("a",), "no text", {"other": 1})
            await store.aput(("a",), "no way", {"text": "[0, 0, 0, 0]"})
            await store.aput(("a",), "far", {"text": "[-1, 0, 0, 0]"})
            await store.aput(("a",), "near", {"text": "[1, 0, 0, 0]"})
            items = await store.asearch(("a",), query="[1, 0, 0, 0]")
            found.append([(item.key, item.score) for item in items])
    assert found[0] == found[1]
    assert found[0] == [("near", 1.0), ("no way", 0.0), ("far", -1.0), ("no text", None)]


async def test_an_item_with_many_texts_is_found_once_and_hides_no_other() -> None:
    index = config(kind="hnsw") | {"fields": ["texts[*]"]}
    async with opened(fresh_schema(), index) as store:
        many = [json.dumps([1, number / 1000, 0, 0]) for number in range(50)]
        await store.aput(("a",), "many", {"texts": many})
        for number in range(3):
            await store.aput(("a",), f"one {number}", {"texts": [json.dumps([1, 1, number, 0])]})
        found = await store.asearch(("a",), query="[1, 0, 0, 0]", limit=3)
    assert [item.key for item in found] == ["many", "one 0", "one 1"]


async def test_reading_begins_the_time_anew_of_what_was_found() -> None:
    async with AsyncPostgresStore.from_conn_string(
        database(), schema=fresh_schema(), index=config(kind="hnsw"), ttl={"omit_expired": True}
    ) as store:
        await store.aput(("a",), "k", {"text": "[1, 0, 0, 0]"}, ttl=60)
        await store.aput(("a",), "over", {"text": "[1, 0, 0, 0]"}, ttl=1e-9)
        sql = f"select max(expires_at) as until from {store._tables._sql.schema}.items"

        async def until() -> Any:
            return (await store._tables._do(lambda link: link.first(sql)))["until"]

        before = await until()
        (found,) = await store.asearch(("a",), query="[1, 0, 0, 0]", limit=1, refresh_ttl=True)
        assert found.key == "k"
        assert await until() > before


async def test_stores_with_vectors_of_different_lengths_share_a_schema() -> None:
    schema = fresh_schema()
    short = {"dims": 2, "embed": embed, "fields": ["text"], "ann_index_config": {"kind": "hnsw"}}
    async with opened(schema, config(kind="hnsw")) as long, opened(schema, short) as other:
        await long.aput(("a",), "long", {"text": "[1, 0, 0, 0]"})
        await other.aput(("b",), "short", {"text": "[1, 0]"})
        assert [item.key for item in await long.asearch(("a",), query="[1, 0, 0, 0]")] == ["long"]
        assert [item.key for item in await other.asearch(("b",), query="[1, 0]")] == ["short"]


async def test_a_role_that_may_only_read_and_write_uses_what_another_made() -> None:
    schema, role = fresh_schema(), f"near_{math.floor(random.random() * 1e12)}"
    async with opened(schema, config(kind="hnsw")) as store:
        await store.setup()
        await store.aput(("a",), "k", {"text": "[1, 0, 0, 0]"})
    owner = await asyncpg.connect(database())
    await owner.execute(
        f"create role {role} login; grant usage on schema {schema} to {role};"
        f"grant select, insert, update, delete on all tables in schema {schema} to {role}"
    )
    await owner.close()
    async with AsyncPostgresStore.from_conn_string(
        database(user=role), schema=schema, index=config(kind="hnsw")
    ) as poor:
        assert [item.key for item in await poor.asearch(("a",), query="[1, 0, 0, 0]")] == ["k"]
    other: Any = config(kind="hnsw", m=5)
    async with AsyncPostgresStore.from_conn_string(
        database(user=role), schema=schema, index=other
    ) as poor:
        with pytest.raises(StoreError, match=r"near_hnsw_vector_cosine_4_m5 .* is missing"):
            await poor.asearch(("a",), query="[1, 0, 0, 0]")


@pytest.mark.parametrize(
    ("ann", "said"),
    [
        ({"kind": "hnws"}, "hnsw, ivfflat, flat"),
        ({"vector_type": "bit"}, "vector, halfvec"),
        ({"kind": "hnsw", "nlist": 3}, "'nlist' is unknown"),
        ({"m": 1}, "from 2 to 100"),
        ({"m": "8"}, "an integer"),
        ({"kind": "ivfflat", "nlist": 0}, "from 1 to 32768"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_index_that_there_is_not_is_refused(ann: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PostgresStore(database(), index=config(**ann))


def test_a_vector_that_is_too_long_for_an_index_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 1 to 2000 .* kind='flat'"):
        PostgresStore(database(), index=config(kind="hnsw") | {"dims": 2001})
    PostgresStore(database(), index=config(vector_type="halfvec") | {"dims": 4000})
    PostgresStore(database(), index=config(kind="flat") | {"dims": 9000})


async def test_flat_needs_no_extension() -> None:
    async with opened(fresh_schema(), config(kind="flat")) as store:
        await fill(store, 3)
        assert store._tables._near is None
        assert len(await store.asearch(("a",), query="[1, 0, 0, 0]")) == 3
