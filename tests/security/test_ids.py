"""Ids are data: whatever is in them, they name one thread, or are refused before anything happens.

``PLAIT_EXAMPLES`` sets how many examples each law is tried on.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plait import Flow, Graph, MemoryStore, Send, Store
from plait.errors import PlaitError
from plait.store import JournalFormat
from tests.kernel.build import Work, build, does
from tests.properties.conftest import EVERY
from tests.security.stores import DURABLE, rows

law = settings(EVERY, max_examples=int(os.environ.get("PLAIT_EXAMPLES", "40")))
STORES = pytest.mark.parametrize("kind", ["memory", *DURABLE])

GRAPH = build("START a END", a=does(items=["a"]))

HOSTILE = [
    *("'", '"', "''; drop table plait_threads; --", "' or '1'='1", "x' union select 1 --", "`"),
    *("%", "_", "t%", "*", "?", "$1", ":id", "@id", "{}", "%s", "\\", "\\'", "\\x00", "t\\", "E'"),
    *("\0", "t\0", "t\0x", "\n", "\r\n", "\t", "\x7f", "\x1b[2J", "\u202e", "\ufeff", "\u2028"),
    *("\ud800", "\udfff", "t\ud83e", "\U0010ffff", "🧵", "é", "e\u0301", "ﬁ", "ß", "İ"),
    *("", " ", "t ", " t", "T", "null", "None", "NaN", "0", "00", "1e5", "true", "default"),
    *("../../etc/passwd", "C:\\x", "file:x?mode=memory", "x" * 512, "x" * 513, "🧵" * 128),
    *("🧵" * 129, "run-", "t:1", "t/1", "[1]", '{"a":1}', "<script>", "=cmd|x", "sqlite_master"),
]
TEXTS = st.sampled_from(HOSTILE) | st.text(st.characters(codec=None, exclude_categories=()))
IDS = TEXTS | st.sampled_from([0, 1.5, True, b"t", ("t",), ["t"], {"t"}, object()])


def is_id(given: Any) -> bool:
    return isinstance(given, str) and given.isprintable() and 0 < len(given.encode()) <= 512


@contextmanager
def opened(kind: str) -> Iterator[Store]:
    """A store that nobody has used before."""
    if kind == "memory":
        yield MemoryStore()
        return
    with rows(kind) as open_rows:
        store = open_rows("tenant")
        try:
            yield store
        finally:
            anyio.run(store.close)


async def listed(store: Store) -> dict[Any, tuple[int, str]]:
    found = await store.threads(limit=1000)
    assert len({row.thread_id for row in found}) == len(found)
    return {row.thread_id: (row.position, row.status) for row in found}


def acts(flow: Flow[Any], given: Any) -> dict[str, Callable[[], Awaitable[Any]]]:
    """All that can be done with an id."""
    store = flow.store

    async def stream() -> None:
        async with flow.stream({}, thread_id=given) as events:
            async for _ in events:
                pass

    async def history() -> None:
        async for _ in flow.history(given):
            pass

    async def lease() -> None:
        async with store.lease(given, JournalFormat()):
            pass

    return {
        "run": lambda: flow.run({}, thread_id=given),
        "stream": stream,
        "resume": lambda: flow.resume(given),
        "update": lambda: flow.update(given, {"text": "x"}),
        "state": lambda: flow.state(given),
        "history": history,
        "journal": lambda: flow.journal(given),
        "blame": lambda: flow.blame(given, "text"),
        "prune": lambda: flow.prune(given, keep=1),
        "fork": lambda: flow.fork(given, 1, "new"),
        "fork to": lambda: flow.fork("t", 1, given),
        "fork in the store": lambda: store.fork(given, 1, "new"),
        "fork to in the store": lambda: store.fork("t", 1, given),
        "past": lambda: store.past(given, JournalFormat()),
        "thread": lambda: store.thread(given),
        "delete": lambda: store.delete(given),
        "lease": lease,
    }


@STORES
@law
@given(given_id=IDS.filter(lambda given: not is_id(given)))
@example(given_id="\ud800")
@example(given_id="\0")
@example(given_id="")
@example(given_id="x" * 513)
def test_what_is_no_id_is_refused_by_every_method_and_nothing_changes(
    kind: str, given_id: Any
) -> None:
    async def attack(store: Store) -> None:
        flow = GRAPH.compile(store)
        await flow.run({}, thread_id="t")
        before = await listed(store)
        for name, act in acts(flow, given_id).items():
            with pytest.raises((ValueError, TypeError)):
                pytest.fail(f"{name} took it: {await act()!r:.200}")
            assert await listed(store) == before, name

    with opened(kind) as store:
        anyio.run(attack, store)


@STORES
@law
@given(given_id=TEXTS.filter(is_id))
@example(given_id="''; drop table plait_threads; --")
@example(given_id="%")
@example(given_id="🧵" * 128)
def test_an_id_names_its_thread_and_no_other(kind: str, given_id: str) -> None:
    near = {given_id.upper(), given_id + " ", given_id[:-1], f"{given_id}%", f"'{given_id}'"}
    near |= {unicodedata.normalize(form, given_id) for form in ("NFC", "NFD", "NFKC")}
    others = sorted(other for other in {*near, "other"} - {given_id} if is_id(other))

    async def use(store: Store) -> None:
        flow = GRAPH.compile(store)
        for other in others:
            await flow.run({"text": f"of {other}"}, thread_id=other)
        before = await listed(store)
        await flow.run({"text": "its own"}, thread_id=given_id)
        await flow.update(given_id, {"other": given_id})
        state = (await flow.state(given_id)).state
        assert (state["text"], state["other"], state["items"]) == ("its own", given_id, ["a"])
        after = await listed(store)
        assert after.keys() == {*before, given_id}
        assert {each: after[each] for each in before} == before
        await store.delete(given_id)
        assert await listed(store) == before
        for other in others:
            assert (await flow.state(other)).state["text"] == f"of {other}"

    with opened(kind) as store:
        anyio.run(use, store)


@STORES
@law
@given(name=TEXTS, node=TEXTS, branch=TEXTS, value=TEXTS)
@example(name="\ud800", node="a", branch="b", value="c")
@example(name="a", node="\ud800", branch="\ud800", value="\ud800")
@example(name="\0", node="\0", branch="\0", value="\0")
@example(name="", node="a", branch="", value="")
def test_other_names_are_kept_as_they_are_or_refused(
    kind: str, name: str, node: str, branch: str, value: str
) -> None:
    graph = Graph(Work, name)

    async def use(store: Store) -> None:
        graph.add_node(node, lambda argument: {"items": [argument], "text": node})
        graph.add_conditional_edges("__start__", lambda _: [Send(node, value, id=branch)], [node])
        graph.add_edge(node, "__end__")
        flow = graph.compile(store)
        await flow.run({}, thread_id="t")
        state = (await flow.state("t")).state
        assert (state["items"], state["text"]) == ([value], node)
        (row,) = await store.threads(limit=9)
        assert row.graph == flow.name

    with opened(kind) as store:
        try:
            anyio.run(use, store)
        except (PlaitError, ValueError) as error:
            assert type(error) is not UnicodeEncodeError  # noqa: PT017
            assert anyio.run(listed, store) == {}


@pytest.mark.parametrize("kind", DURABLE)
@law
@given(tenant=TEXTS)
def test_a_tenant_is_an_id_like_any_other(kind: str, tenant: str) -> None:
    async def use(mine: Store, other: Store) -> None:
        await GRAPH.compile(mine).run({}, thread_id="t")
        assert await listed(other) == {}
        assert list(await listed(mine)) == ["t"]
        await mine.close()
        await other.close()

    with rows(kind) as open_rows:
        if is_id(tenant):
            anyio.run(use, open_rows(tenant), open_rows(f"{tenant[:60]}'"))
        else:
            with pytest.raises(ValueError, match="tenant"):
                open_rows(tenant)
