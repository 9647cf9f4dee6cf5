"""What a dump of an encrypted store gives away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from plait import END, START, Flow, Graph, NodeContext, Send, reducers
from plait.durable import open_store
from plait.errors import NodeError
from plait.seal import Cipher, Seal, Signer

KEYS = {"key": b"k" * 32}
HIDDEN = {
    "a value": "canary-in-a-value",
    "bytes": "canary-in-bytes",
    "a key": "canary-in-a-key",
    "a channel": "canary_in_a_channel",
    "a node": "canary_in_a_node",
    "an argument": "canary-in-an-argument",
    "an id": "canary-in-an-id",
    "a question": "canary-in-a-question",
    "an answer": "canary-in-an-answer",
    "an error": "canary-in-an-error",
}
VISIBLE = {"a thread": "shown-thread", "a graph": "shown-graph", "a tenant": "shown-tenant"}


class Work(TypedDict):
    canary_in_a_channel: str
    items: Annotated[list[Any], reducers.append]


def make_graph() -> Graph:
    attempts = iter([True, False])

    def first(state: Any) -> Any:
        items = [{HIDDEN["a key"]: HIDDEN["bytes"].encode()}]
        return {"canary_in_a_channel": HIDDEN["a value"], "items": items}

    def asks(argument: Any, context: NodeContext) -> Any:
        return {"items": [context.interrupt(HIDDEN["a question"])]}

    def fails(state: Any) -> Any:
        if next(attempts):
            raise ValueError(HIDDEN["an error"])
        return {}

    graph = Graph(Work, VISIBLE["a graph"])
    graph.add_node("canary_in_a_node", first).add_node("asks", asks).add_node("fails", fails)
    graph.add_edge(START, "canary_in_a_node").add_edge("asks", "fails").add_edge("fails", END)
    graph.add_conditional_edges(
        "canary_in_a_node",
        lambda _: [Send("asks", HIDDEN["an argument"], id=HIDDEN["an id"])],
        ["asks"],
    )
    return graph


async def dump(folder: Path, seal: Seal | None, *, prune: bool) -> bytes:
    """All bytes that a thread with everything in it leaves in a folder."""
    url, thread_id = f"sqlite:///{folder}/rows.db", VISIBLE["a thread"]
    store = open_store(url, tenant=VISIBLE["a tenant"], seal=seal)
    flow: Flow[Any] = make_graph().compile(store)
    asked = await flow.run({}, thread_id=thread_id)
    with pytest.raises(NodeError):
        await flow.resume(thread_id, {asked.interrupts[0].id: HIDDEN["an answer"]})
    if prune:
        await flow.prune(thread_id, keep=0)
    # The write-ahead log is a part of the dump, and goes when the store is closed.
    content = bytes_in(folder)
    await store.close()
    return content + bytes_in(folder)


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def found(content: bytes, names: dict[str, str]) -> set[str]:
    encodings = ("utf-8", "utf-16-le")
    return {what for what, name in names.items() for e in encodings if name.encode(e) in content}


@pytest.mark.parametrize("prune", [False, True], ids=["events", "a snapshot"])
async def test_an_encrypted_store_gives_no_content_away(tmp_path: Path, prune: bool) -> None:
    content = await dump(tmp_path, Cipher(KEYS), prune=prune)
    assert found(content, HIDDEN) == set()
    assert found(content, VISIBLE) == VISIBLE.keys()
    assert KEYS["key"] not in content


@pytest.mark.parametrize("seal", [None, Signer(KEYS)], ids=["plain", "signed"])
async def test_the_canaries_are_seen_where_nothing_is_encrypted(
    tmp_path: Path, seal: Seal | None
) -> None:
    content = await dump(tmp_path, seal, prune=False)
    assert found(content, {**HIDDEN, **VISIBLE}) == {*HIDDEN, *VISIBLE}
    assert KEYS["key"] not in content
