"""Stores in PostgreSQL: items that live for a time, what near means."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from plait_adapters.langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from tests.postgres.server import database, fresh_schema

A_MOMENT = 1e-9
"""Minutes."""


async def test_an_item_whose_time_is_over_is_swept() -> None:
    ttl: Any = {"default_ttl": A_MOMENT, "refresh_on_read": False}
    async with AsyncPostgresStore.from_conn_string(
        database(), schema=fresh_schema(), ttl=ttl
    ) as store:
        await store.setup()
        await store.aput(("a",), "short", {})
        await store.aput(("a",), "long", {}, ttl=60)
        await store.aput(("a",), "for good", {}, ttl=None)

        assert await store.aget(("a",), "short") is not None
        assert await store.sweep_ttl() == 1
        assert await store.sweep_ttl() == 0
        assert {item.key for item in await store.asearch(("a",))} == {"long", "for good"}


async def test_an_item_whose_time_is_over_can_be_hidden_before_it_is_swept() -> None:
    async with AsyncPostgresStore.from_conn_string(
        database(), schema=fresh_schema(), ttl={"omit_expired": True}
    ) as store:
        await store.aput(("a",), "k", {}, ttl=A_MOMENT)

        assert await store.aget(("a",), "k") is None
        assert await store.asearch(("a",)) == []
        assert await store.alist_namespaces() == []


@pytest.mark.parametrize("refresh", [True, False])
async def test_reading_begins_the_time_anew_if_that_is_wanted(refresh: bool) -> None:
    async with AsyncPostgresStore.from_conn_string(database(), schema=fresh_schema()) as store:
        await store.aput(("a",), "k", {}, ttl=1)
        sql = f"select extract(epoch from expires_at) as e from {store._tables._sql.schema}.items"

        async def expires() -> float:
            async def work(link: Any) -> Any:
                return await link.first(sql)

            return float((await store._tables._do(work))["e"])

        times = [await expires()]
        await store.aget(("a",), "k", refresh_ttl=refresh)
        times.append(await expires())
        await store.asearch(("a",), refresh_ttl=refresh)
        times.append(await expires())

    assert (times[0] < times[1] < times[2]) is refresh
    assert (times[0] == times[2]) is not refresh


async def test_the_sweeper_works_until_it_is_stopped() -> None:
    async with AsyncPostgresStore.from_conn_string(
        database(), schema=fresh_schema(), ttl={"sweep_interval_minutes": 1}
    ) as store:
        sweeper = await store.start_ttl_sweeper()
        assert await store.start_ttl_sweeper() is sweeper
        assert not sweeper.done()
        assert await store.stop_ttl_sweeper(timeout=5)
        assert sweeper.cancelled()
        assert await store.stop_ttl_sweeper()


def test_a_plain_script_needs_no_event_loop() -> None:
    with PostgresStore.from_conn_string(
        database(), schema=fresh_schema(), ttl={"default_ttl": 5}, pool_config={"max_size": 3}
    ) as store:
        store.setup()
        store.put(("a",), "k", {"x": 1})
        sweeper = store.start_ttl_sweeper()

        assert [item.value for item in store.search(("a",), filter={"x": 1})] == [{"x": 1}]
        assert store.sweep_ttl() == 0
        assert not sweeper.done()
        assert store.stop_ttl_sweeper(timeout=5)


@pytest.mark.parametrize(
    ("distance", "first", "score"),
    [("cosine", "same way", 1.0), ("inner_product", "far", 10.0), ("l2", "near", -0.5)],
)
async def test_near_means_what_the_index_says(distance: Any, first: str, score: float) -> None:
    vectors = {"same way": [0.2, 0.0], "far": [10.0, 5.0], "near": [1.0, 0.5], "q": [1.0, 0.0]}
    index: Any = {
        "dims": 2,
        "embed": lambda texts: [vectors[text] for text in texts],
        "fields": ["text"],
        "distance_type": distance,
    }
    async with AsyncPostgresStore.from_conn_string(
        database(), schema=fresh_schema(), index=index
    ) as store:
        names = [name for name in vectors if name != "q"]
        await asyncio.gather(*(store.aput(("a",), name, {"text": name}) for name in names))
        found = await store.asearch(("a",), query="q")

    assert found[0].key == first
    assert found[0].score == pytest.approx(score)


def test_a_metric_that_there_is_not_is_refused() -> None:
    index: Any = {"distance_type": "hamming", "dims": 1, "embed": len}
    with pytest.raises(ValueError, match="one of"):
        PostgresStore(database(), index=index)
