"""Every cache: values for some time, in namespaces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy
from typing_extensions import TypedDict

from plait.codec import EncodingError
from plait_adapters.langgraph.cache.memory import InMemoryCache
from plait_adapters.langgraph.cache.redis import RedisCache
from plait_adapters.langgraph.cache.sqlite import SqliteCache
from tests.redis.server import shared_server

A, B = ("a", "x"), ("b",)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemoryCache[Any]()
    elif request.param == "redis":
        with shared_server().client() as client:
            yield RedisCache[Any](client, prefix=f"{tmp_path}:")
    else:
        with closing(SqliteCache[Any](path=str(tmp_path / "cache.db"))) as cache:
            yield cache


def test_what_was_kept_is_found_and_nothing_else(cache: Any) -> None:
    message = AIMessage("hi", id="1")
    cache.set({(A, "k"): ([message, (1, 2)], None), (B, "k"): (None, 60)})

    assert cache.get([(A, "k"), (B, "k"), (A, "other"), (("a",), "k")]) == {
        (A, "k"): [message, (1, 2)],
        (B, "k"): None,
    }
    assert cache.get([]) == {}


async def test_the_methods_for_asynchronous_callers_do_the_same(cache: Any) -> None:
    await cache.aset({(A, "k"): (1, None)})
    await cache.aset({(A, "k"): (2, None)})

    assert await cache.aget([(A, "k")]) == cache.get([(A, "k")]) == {(A, "k"): 2}
    await cache.aclear([A])
    assert await cache.aget([(A, "k")]) == {}


@pytest.mark.parametrize("cache", ["memory", "sqlite"], indirect=True)  # Redis has its own clock
def test_a_value_is_forgotten_when_its_time_is_over(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    cache.set({(A, "k"): (1, 10), (A, "for good"): (2, None)})
    monkeypatch.setattr(time, "time", lambda: now + 9.9)
    assert cache.get([(A, "k")]) == {(A, "k"): 1}
    monkeypatch.setattr(time, "time", lambda: now + 10)

    assert cache.get([(A, "k"), (A, "for good")]) == {(A, "for good"): 2}


def test_namespaces_are_cleared_one_by_one_or_all(cache: Any) -> None:
    pairs = {(namespace, "k"): (1, None) for namespace in (A, B, ("a",), ("a,x",))}
    cache.set(pairs)
    cache.clear([A])
    assert cache.get([*pairs]).keys() == pairs.keys() - {(A, "k")}
    cache.clear()

    assert cache.get([*pairs]) == {}


def test_what_cannot_be_stored_is_refused(cache: Any) -> None:
    with pytest.raises(EncodingError):
        cache.set({(A, "k"): (object(), None)})


def test_another_process_finds_what_this_one_has_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    with closing(SqliteCache[Any](path=path)) as first:
        first.set({(A, "k"): ("kept", None)})
    with closing(SqliteCache[Any](path=path)) as second:
        assert second.get([(A, "k")]) == {(A, "k"): "kept"}


class Number(TypedDict):
    n: int


async def test_langgraph_calls_a_node_once_for_the_same_input(cache: Any) -> None:
    calls: list[int] = []

    def double(state: Any) -> Any:
        calls.append(state["n"])
        return {"n": 2 * state["n"]}

    builder: Any = StateGraph(Number)
    builder.add_node("double", double, cache_policy=CachePolicy(ttl=60))
    builder.add_edge(START, "double")
    graph = builder.compile(cache=cache)

    assert [await graph.ainvoke({"n": n}) for n in (1, 1, 2)] == [{"n": 2}, {"n": 2}, {"n": 4}]
    assert calls == [1, 2]
