"""What a dump of an encrypted store gives away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypedDict

import asyncpg
import pytest

from plait import END, START, Flow, Graph, NodeContext, Send, reducers
from plait.durable import open_store
from plait.errors import NodeError
from plait.seal import Cipher, Seal, Signer
from tests.postgres.server import Server

KEYS = {"key": b"k" * 32}
SECRET = {"the key": "k" * 32}
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


@asynccontextmanager
async def traces(url: str, seal: Seal | None, *, prune: bool) -> AsyncIterator[None]:
    """A thread with everything in it, and then a store that is closed."""
    thread_id = VISIBLE["a thread"]
    store = open_store(url, tenant=VISIBLE["a tenant"], seal=seal)
    flow: Flow[Any] = make_graph().compile(store)
    asked = await flow.run({}, thread_id=thread_id)
    with pytest.raises(NodeError):
        await flow.resume(thread_id, {asked.interrupts[0].id: HIDDEN["an answer"]})
    if prune:
        await flow.prune(thread_id, keep=0)
    yield
    await store.close()


def bytes_in(folder: Path) -> bytes:
    """All that the files in a folder have in them, however deep."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def files_of_sqlite(folder: Path, seal: Seal | None, *, prune: bool) -> bytes:
    content = b""
    # The write-ahead log is a part of the dump, and goes when the store is closed.
    async with traces(f"sqlite:///{folder}/rows.db", seal, prune=prune):
        content = bytes_in(folder)
    return content + bytes_in(folder)


async def files_of_postgres(folder: Path, seal: Seal | None, *, prune: bool) -> bytes:
    """The whole cluster of a server: tables, write-ahead log, and its log of all statements."""
    with Server(log_statement="all") as server:
        async with traces(server.url, seal, prune=prune):
            connection = await asyncpg.connect(server.url)
            await connection.copy_from_query(
                "select thread_id, position, data from plait.events", output=folder / "rows.tsv"
            )
            await connection.close()
        server.stop("fast")  # which writes all to the disk
        return bytes_in(server.folder) + bytes_in(folder)


Dump: TypeAlias = Callable[..., Awaitable[bytes]]


def found(content: bytes, names: dict[str, str]) -> set[str]:
    """Which of the names are there, as text or, as a server shows bytes, in hexadecimal."""

    def forms(name: str) -> list[bytes]:
        return [name.encode(), name.encode("utf-16-le"), name.encode().hex().encode()]

    return {what for what, name in names.items() if any(form in content for form in forms(name))}


@pytest.mark.parametrize("dump", [files_of_sqlite, files_of_postgres])
@pytest.mark.parametrize("prune", [False, True], ids=["events", "a snapshot"])
async def test_an_encrypted_store_gives_no_content_away(
    tmp_path: Path, dump: Dump, prune: bool
) -> None:
    content = await dump(tmp_path, Cipher(KEYS), prune=prune)
    assert found(content, HIDDEN) == set()
    assert found(content, VISIBLE) == VISIBLE.keys()
    assert found(content, SECRET) == set()


@pytest.mark.parametrize(
    ("dump", "seal"),
    [(files_of_sqlite, None), (files_of_sqlite, Signer(KEYS)), (files_of_postgres, None)],
    ids=["sqlite, plain", "sqlite, signed", "postgresql, plain"],
)
async def test_the_canaries_are_seen_where_nothing_is_encrypted(
    tmp_path: Path, dump: Dump, seal: Seal | None
) -> None:
    content = await dump(tmp_path, seal, prune=False)
    assert found(content, {**HIDDEN, **VISIBLE}) == {*HIDDEN, *VISIBLE}
    assert found(content, SECRET) == set()
