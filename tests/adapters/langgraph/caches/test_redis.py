"""The cache in Redis: its keys, its times, and a server that is gone."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypedDict

import pytest
import redis
import redis.asyncio
from structlog.testing import capture_logs

from plait_adapters.langgraph.cache.redis import RedisCache
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import CachePolicy
from tests.redis.server import Server, shared_server

A, B = ("a", "x"), ("b",)

_numbers = itertools.count()


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with shared_server().client() as client:
        yield client


@pytest.fixture
def cache(client: redis.Redis) -> RedisCache[Any]:
    return RedisCache(client, prefix=f"test {next(_numbers)}:")


@pytest.fixture
async def aio() -> AsyncIterator[RedisCache[Any]]:
    async with redis.asyncio.Redis(unix_socket_path=shared_server().socket) as client:
        yield RedisCache(client, prefix=f"test {next(_numbers)}:")


def test_redis_forgets_a_value_when_its_time_is_over(
    cache: RedisCache[Any], client: redis.Redis
) -> None:
    cache.set({(A, "k"): (1, 10), (A, "for good"): (2, None), (A, "over"): (3, 0)})
    keys: Any = client.keys(f"{cache.prefix}*")
    times = {key.rpartition(b"]")[2]: client.pttl(key) for key in keys}
    assert times.keys() == {b"k", b"for good"}
    assert 0 < times[b"k"] <= 10_000
    assert times[b"for good"] == -1


def test_what_is_kept_with_no_time_left_takes_the_place_of_what_was_there(
    cache: RedisCache[Any],
) -> None:
    cache.set({(A, "k"): (1, None)})
    cache.set({(A, "k"): (2, 0)})
    assert cache.get([(A, "k")]) == {}


def test_labels_that_redis_would_take_for_patterns_are_cleared_alone(
    cache: RedisCache[Any],
) -> None:
    strange = [("*",), ("?",), ("[ab]",), ("\\",), ("a", "b"), ("a:b",), ('a"]',), ("a",), ()]
    pairs = {(namespace, "k"): (1, None) for namespace in strange}
    for gone in strange:
        cache.set(pairs)
        cache.clear([gone])
        assert cache.get([*pairs]).keys() == pairs.keys() - {(gone, "k")}


def test_one_cache_does_not_see_or_clear_another_with_another_prefix(
    cache: RedisCache[Any], client: redis.Redis
) -> None:
    other = RedisCache[Any](client, prefix=f"{cache.prefix}*")
    cache.set({(A, "k"): (1, None)})
    other.set({(A, "k"): (2, None)})
    other.clear()
    assert cache.get([(A, "k")]) == {(A, "k"): 1}
    assert other.get([(A, "k")]) == {}


def test_a_value_that_cannot_be_read_is_logged_and_not_there(
    cache: RedisCache[Any], client: redis.Redis
) -> None:
    cache.set({(A, "k"): (1, None), (A, "good"): (2, None)})
    keys: Any = client.keys(f"{cache.prefix}*")
    (key,) = (key for key in keys if key.endswith(b"]k"))
    for content in (b"msgpack:nonsense", b"no colon", b"\xff:x"):
        client.set(key, content)
        with capture_logs() as logs:
            assert cache.get([(A, "k"), (A, "good")]) == {(A, "good"): 2}
        assert [entry["key"] for entry in logs] == ["k"]


async def test_a_client_of_redis_asyncio_serves_asynchronous_callers(
    aio: RedisCache[Any],
) -> None:
    await aio.aset({(A, "k"): ({"x": 1}, None), (B, "k"): (2, 60)})
    assert await aio.aget([(A, "k"), (B, "k"), (B, "other")]) == {(A, "k"): {"x": 1}, (B, "k"): 2}
    await aio.aclear([A])
    assert await aio.aget([(A, "k"), (B, "k")]) == {(B, "k"): 2}
    await aio.aclear()
    assert await aio.aget([(B, "k")]) == {}


async def test_a_client_of_redis_asyncio_refuses_synchronous_callers(
    aio: RedisCache[Any],
) -> None:
    for call in (lambda: aio.get([(A, "k")]), lambda: aio.set({}), aio.clear):
        with pytest.raises(TypeError, match="ainvoke"):
            call()


def test_a_client_that_makes_texts_is_refused() -> None:
    with pytest.raises(ValueError, match="decode_responses=False"):
        RedisCache(redis.Redis(decode_responses=True))


async def test_a_server_that_is_gone_has_nothing_and_is_logged() -> None:
    server = Server()
    at_once: dict[str, Any] = {"unix_socket_path": server.socket, "retry": None}
    with redis.Redis(**at_once) as client:
        async with redis.asyncio.Redis(**at_once) as other:
            caches = RedisCache[Any](client), RedisCache[Any](other)
            caches[0].set({(A, "k"): (1, None)})
            server.stop()
            with capture_logs() as logs:
                for cache in caches:
                    assert await cache.aget([(A, "k")]) == {}
                    await cache.aset({(A, "k"): (1, None)})
                    await cache.aclear()
                    await cache.aclear([A])
    assert len(logs) >= 8
    assert all("cannot be reached" in entry["event"] for entry in logs)


class Number(TypedDict):
    n: int


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
async def test_a_node_runs_once_for_the_same_input(
    kind: str, cache: RedisCache[Any], aio: RedisCache[Any]
) -> None:
    calls: list[int] = []

    def double(state: Number) -> dict[str, int]:
        calls.append(state["n"])
        return {"n": 2 * state["n"]}

    graph = (
        StateGraph(Number)
        .add_node("double", double, cache_policy=CachePolicy(ttl=60))
        .add_edge(START, "double")
        .compile(cache=cache if kind == "blocking" else aio)
    )
    assert [await graph.ainvoke({"n": n}) for n in (1, 1, 2)] == [{"n": 2}, {"n": 2}, {"n": 4}]
    assert calls == [1, 2]
    await graph.aclear_cache()
    await graph.ainvoke({"n": 1})
    assert calls == [1, 2, 1]
