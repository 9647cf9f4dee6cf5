"""Every store: items, searches, namespaces."""

from __future__ import annotations

import importlib
from typing import Any

import anyio
import pytest
from langgraph.store.memory import InMemoryStore as LangGraphsOwn
from typing_extensions import TypedDict

from plait_adapters.langgraph.store._index import cosines
from plait_adapters.langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from tests.adapters.langgraph.stores.kinds import KINDS, store_of


async def test_an_item_is_what_was_put_last(store: Any) -> None:
    await store.aput(("a", "b"), "k", {"x": 1, "deep": {"y": [1, None, "é"]}})
    first = await store.aget(("a", "b"), "k")
    await store.aput(("a", "b"), "k", {"x": 2})
    second = await store.aget(("a", "b"), "k")

    assert (first.value, first.key, first.namespace) == (
        {"x": 1, "deep": {"y": [1, None, "é"]}},
        "k",
        ("a", "b"),
    )
    assert second.value == {"x": 2}
    assert second.created_at == first.created_at <= first.updated_at < second.updated_at


async def test_what_was_deleted_or_never_put_is_none(store: Any) -> None:
    await store.aput(("a",), "k", {"x": 1})
    await store.adelete(("a",), "k")
    await store.adelete(("a",), "other")

    assert await store.aget(("a",), "k") is None
    assert await store.aget(("b",), "k") is None
    assert await store.alist_namespaces() == []


async def test_a_batch_reads_what_was_there_before_it(store: Any) -> None:
    results = await store.abatch(
        [
            PutOp(("a",), "k", {"x": 1}),
            PutOp(("a",), "k", {"x": 2}),
            GetOp(("a",), "k"),
            SearchOp(("a",)),
            ListNamespacesOp(),
        ]
    )

    assert results == [None, None, None, [], []]
    assert (await store.aget(("a",), "k")).value == {"x": 2}


@pytest.mark.parametrize(
    "namespace", [(), ("a.b",), ("",), (1,), ("langgraph", "x"), ("\0",)], ids=repr
)
async def test_a_namespace_in_which_nothing_can_be_put_is_refused(
    store: Any, namespace: Any
) -> None:
    with pytest.raises(InvalidNamespaceError):
        await store.aput(namespace, "k", {})


FILTERS: list[tuple[Any, set[str]]] = [
    ({"kind": "cat"}, {"tom", "kitty"}),
    ({"kind": "cat", "age": 3}, {"kitty"}),
    ({"age": {"$gt": 3}}, {"tom", "rex"}),
    ({"age": {"$gte": 3, "$lt": 10}}, {"kitty", "rex"}),
    ({"age": {"$lte": 3}}, {"kitty"}),
    ({"kind": {"$ne": "cat"}}, {"rex"}),
    ({"age": {"$eq": 9}}, {"rex"}),
    ({"tags": ["a", "b"]}, {"rex"}),
    ({"owner": {"name": "ann"}}, {"kitty"}),
    ({"missing": {"$gt": 1}}, set()),
    (None, {"tom", "kitty", "rex"}),
]


@pytest.mark.parametrize(("wanted", "names"), FILTERS, ids=[str(each)[:40] for each, _ in FILTERS])
async def test_a_search_finds_what_the_filter_wants(
    store: Any, wanted: Any, names: set[str]
) -> None:
    await store.aput(("pets", "1"), "tom", {"kind": "cat", "age": 10})
    await store.aput(
        ("pets", "1"), "kitty", {"kind": "cat", "age": 3, "owner": {"name": "ann", "age": 5}}
    )
    await store.aput(("pets", "2"), "rex", {"kind": "dog", "age": 9, "tags": ["a", "b"]})
    await store.aput(("petsitters",), "eve", {"kind": "cat", "age": 10})

    found = await store.asearch(("pets",), filter=wanted)

    assert {item.key for item in found} == names


async def test_an_operator_that_there_is_not_is_refused(store: Any) -> None:
    await store.aput(("a",), "k", {"x": 1})

    with pytest.raises(ValueError, match=r"\$like"):
        await store.asearch(("a",), filter={"x": {"$like": "1"}})


async def test_a_search_is_cut_by_limit_and_offset(store: Any) -> None:
    for number in range(7):
        await store.aput(("a",), str(number), {"n": number})

    pages = [await store.asearch(("a",), limit=3, offset=offset) for offset in (0, 3, 6)]

    assert [len(page) for page in pages] == [3, 3, 1]
    assert {item.value["n"] for page in pages for item in page} == set(range(7))


NAMESPACES = [
    *(("a", "b", "c"), ("a", "b", "d"), ("a", "x"), ("b", "c"), ("a_b", "c"), ("a%", "c")),
]


@pytest.mark.parametrize(
    ("prefix", "suffix", "depth"),
    [
        *((None, None, None), (("a",), None, None), (("a", "*", "c"), None, None)),
        *((None, ("c",), None), (("a",), ("c",), None), (None, None, 1), (("a",), None, 2)),
        *((("a", "b", "c", "d"), None, None), (None, ("*", "c"), None), (("a_b",), None, 1)),
    ],
    ids=str,
)
async def test_namespaces_are_listed_as_langgraph_lists_them(
    store: Any, prefix: Any, suffix: Any, depth: Any
) -> None:
    theirs = LangGraphsOwn()
    for namespace in NAMESPACES:
        await store.aput(namespace, "k", {})
        theirs.put(namespace, "k", {})
    asked: Any = {"prefix": prefix, "suffix": suffix, "max_depth": depth}

    assert await store.alist_namespaces(**asked) == theirs.list_namespaces(**asked)
    assert await store.alist_namespaces(**asked, limit=1, offset=1) == theirs.list_namespaces(
        **asked, limit=1, offset=1
    )


def test_the_methods_for_synchronous_callers_do_the_same() -> None:
    theirs = LangGraphsOwn()
    for kind in KINDS:
        _check_synchronous(kind, theirs)


def _check_synchronous(kind: str, theirs: Any) -> None:
    async def check() -> None:
        async with store_of(kind) as store:
            await anyio.to_thread.run_sync(use, store)

    def use(store: Any) -> None:
        store.put(("a",), "k", {"x": 1})
        assert store.get(("a",), "k").value == {"x": 1}
        assert [item.key for item in store.search(("a",))] == ["k"]
        assert store.list_namespaces(
            prefix=("a",)
        ) == [("a",)]  # fmt: skip
        store.delete(("a",), "k")
        assert store.batch([ListNamespacesOp((MatchCondition("prefix", ("a",)),))]) == [[]]

    anyio.run(check)


# -- by meaning --------------------------------------------------------------------------------


def embed(texts: Any) -> list[list[float]]:
    """How often each of some letters is in a text: near texts have near vectors."""
    return [[text.count(letter) + 0.01 for letter in "abcd"] for text in texts]


INDEX: Any = {"dims": 4, "embed": embed, "fields": ["text"]}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_query_finds_the_nearest_first(kind: str) -> None:
    async with store_of(kind, index=INDEX) as store:
        await store.aput(("a",), "much", {"text": "aaaa"})
        await store.aput(("a",), "half", {"text": "aabb"})
        await store.aput(("a",), "none", {"text": "cccc"})
        await store.aput(("a",), "outside", {"text": "aaaa"}, index=False)

        found = await store.asearch(("a",), query="a", limit=3)

    assert [item.key for item in found] == ["much", "half", "none"]
    assert found[0].score == pytest.approx(1.0, abs=0.01)
    assert found[0].score > found[1].score > found[2].score


@pytest.mark.parametrize("kind", KINDS)
async def test_an_item_is_as_near_as_the_nearest_of_its_texts(kind: str) -> None:
    async with store_of(kind, index=INDEX) as store:
        await store.aput(("a",), "two", {"notes": ["aaaa", "dddd"]}, index=["notes[*]"])
        await store.aput(("a",), "one", {"text": "ddda"})

        found = await store.asearch(("a",), query="d")

    assert [item.key for item in found] == ["two", "one"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_item_that_was_put_again_is_found_by_its_new_text_only(kind: str) -> None:
    async with store_of(kind, index=INDEX) as store:
        await store.aput(("a",), "k", {"text": "aaaa"})
        await store.aput(("a",), "k", {"text": "bbbb"})

        (found,) = await store.asearch(("a",), query="a")

    assert found.score < 0.1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_vector_of_another_length_is_refused(kind: str) -> None:
    async with store_of(kind, index={"dims": 7, "embed": embed}) as store:
        with pytest.raises(ValueError, match="dims=7"):
            await store.aput(("a",), "k", {"text": "aaaa"})


def test_cosines_are_those_of_the_definition_and_0_without_a_length() -> None:
    found = cosines([3.0, 4.0], [[3.0, 4.0], [4.0, -3.0], [-6.0, -8.0], [0.0, 0.0], [1.0, 0.0]])

    assert found == pytest.approx([1.0, 0.0, -1.0, 0.0, 0.6])
    assert cosines([0.0, 0.0], [[1.0, 1.0]]) == [0.0]
    assert cosines([1.0], []) == []


# -- in a graph --------------------------------------------------------------------------------


class Visits(TypedDict):
    count: int


@pytest.mark.parametrize("package", ["langgraph", "plait_adapters.langgraph"])
async def test_nodes_of_a_graph_remember_across_threads(store: Any, package: str) -> None:
    graph = importlib.import_module(f"{package}.graph")
    config = importlib.import_module(f"{package}.config")

    async def visit(state: Any) -> Any:
        store = config.get_store()
        before = await store.aget(("visits",), "count")
        count = before.value["n"] + 1 if before is not None else 1
        await store.aput(("visits",), "count", {"n": count})
        return {"count": count}

    builder = graph.StateGraph(Visits)
    builder.add_node("visit", visit)
    builder.add_edge("__start__", "visit")
    compiled = builder.compile(store=store)

    assert [(await compiled.ainvoke({"count": 0}))["count"] for _ in range(3)] == [1, 2, 3]
