"""What is put becomes records at once, and records that come together are stored together."""

from __future__ import annotations

import asyncio
import json
import math
import operator
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from plait.codec import EncodingError
from plait_adapters.langgraph.checkpoint._configs import next_version
from plait_adapters.langgraph.checkpoint.base import empty_checkpoint
from plait_adapters.langgraph.checkpoint.postgres._batch import as_json
from plait_adapters.langgraph.checkpoint.sqlite import SqliteSaver
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import Send
from plait_adapters.postgres.packing import texts_as_array
from tests.adapters.langgraph.savers.kinds import saver_of

DURABLE = ["sqlite", "sqlite-aio", "postgres"]
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


async def said(state: State) -> State:
    return {"log": ["said"]}


def chain(saver: Any, *nodes: Any) -> Any:
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_sequence([(f"n{index}", node) for index, node in enumerate(nodes)])
    builder.add_edge(START, "n0")
    return builder.compile(checkpointer=saver)


class Counting(SqliteSaver):
    """Counts its transactions."""

    def __init__(self, conn: Any) -> None:
        super().__init__(conn)
        self.sizes: list[int] = []

    async def _save(self, rows: Any, records: Any) -> None:
        self.sizes.append(len(records))
        await super()._save(rows, records)


class Watching(SqliteSaver):
    """Wants to see what is put."""

    seen: int = 0

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        self.seen += 1
        return await super().aput(config, checkpoint, metadata, new_versions)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        yield connection


async def test_a_step_that_waits_for_nothing_is_stored_in_one_transaction(
    connection: sqlite3.Connection,
) -> None:
    saver = Counting(connection)
    await chain(saver, said, said, said).ainvoke({"log": []}, CONFIG, durability="sync")
    # First the input, too; then of each step what it wrote, and its checkpoint.
    assert saver.sizes == [3, 2, 2, 2]


async def test_a_run_that_waits_for_nothing_is_stored_in_one_transaction(
    connection: sqlite3.Connection,
) -> None:
    saver = Counting(connection)
    await chain(saver, said, said, said).ainvoke({"log": []}, CONFIG)
    assert saver.sizes == [9]


async def test_what_a_run_has_put_is_stored_while_a_node_waits(
    connection: sqlite3.Connection,
) -> None:
    class Telling(Counting):
        async def _save(self, rows: Any, records: Any) -> None:
            await super()._save(rows, records)
            stored.set()

    stored = asyncio.Event()

    async def wait(state: State) -> State:
        await stored.wait()
        return {"log": ["it is stored"]}

    saver = Telling(connection)
    final = await chain(saver, said, wait).ainvoke({"log": []}, CONFIG)
    assert final == {"log": ["said", "it is stored"]}
    assert saver.sizes == [5, 2]


async def test_many_branches_are_stored_in_few_transactions(
    connection: sqlite3.Connection,
) -> None:
    saver = Counting(connection)
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("branch", said)
    builder.add_conditional_edges(START, lambda _: [Send("branch", i) for i in range(500)])
    await builder.compile(checkpointer=saver).ainvoke({"log": []}, CONFIG)
    assert sum(saver.sizes) > 500
    assert len(saver.sizes) < 20


async def test_a_saver_that_wants_to_see_what_is_put_sees_it(
    connection: sqlite3.Connection,
) -> None:
    saver = Watching(connection)
    assert not saver.takes_records
    await chain(saver, said, said).ainvoke({"log": []}, CONFIG)
    assert saver.seen == 4


def test_nor_are_records_made_where_a_method_was_replaced(connection: sqlite3.Connection) -> None:
    saver = SqliteSaver(connection)
    assert saver.takes_records
    saver.put = saver.put  # type: ignore[method-assign]
    assert not saver.takes_records


@pytest.mark.parametrize("way", ["async", "sync"])
async def test_what_was_put_before_something_that_cannot_be_stored_is_there(
    connection: sqlite3.Connection, way: str
) -> None:
    saver = SqliteSaver(connection)
    app = chain(saver, said, lambda _: {"log": [connection]}, said)
    if way == "sync":
        with pytest.raises(EncodingError):
            app.invoke({"log": []}, CONFIG)
    else:
        with pytest.raises(EncodingError):
            await app.ainvoke({"log": []}, CONFIG)
    found = saver.get_tuple(CONFIG)
    assert found is not None
    assert found.checkpoint["channel_values"]["log"] == ["said"]


# -- records in rows ---------------------------------------------------------------------------


def checkpoint_of(values: dict[str, Any]) -> Any:
    versions = dict.fromkeys(values, "1")
    return empty_checkpoint() | {"channel_values": values, "channel_versions": versions}


def record_of(saver: Any, values: dict[str, Any], **more: Any) -> Any:
    checkpoint = checkpoint_of(values) | more
    return saver.record_of_checkpoint(CONFIG, checkpoint, {}, checkpoint["channel_versions"])


@pytest.mark.parametrize("kind", DURABLE)
async def test_names_may_hold_what_arrays_are_written_with(kind: str) -> None:
    names = ['"', "\\", '","', "{}", "NULL", "", " ", "ä€", "a,b", '\\"']
    values = {name: index for index, name in enumerate(names)}
    async with saver_of(kind) as saver:
        await saver.asave([record_of(saver, values)])
        assert (await saver.aget(CONFIG))["channel_values"] == values


@pytest.mark.parametrize("kind", DURABLE)
async def test_of_records_that_meet_in_one_transaction_the_same_ones_count_as_in_several(
    kind: str,
) -> None:
    async with saver_of(kind) as saver:
        first, second = (record_of(saver, {name: 1}, id="1") for name in ("x", "y"))
        place = {"configurable": CONFIG["configurable"] | {"checkpoint_id": "1"}}
        writes = [
            saver.record_of_writes(place, [(name, value)], "task")
            for value in (1, 2)
            for name in ("z", "__error__")
        ]
        await saver.asave([first, *writes, second])
        found = await saver.aget_tuple(CONFIG)

    assert found.checkpoint["channel_values"] == {"y": 1}
    assert found.pending_writes == [("task", "__error__", 2), ("task", "z", 1)]


@pytest.mark.parametrize("kind", DURABLE)
async def test_more_records_than_fit_into_a_statement_are_stored(kind: str) -> None:
    async with saver_of(kind) as saver:
        checkpoint = record_of(saver, {"x": "x" * 1_000_000})
        place = {"configurable": CONFIG["configurable"]}
        place["configurable"] |= {"checkpoint_id": checkpoint.checkpoint_id}
        writes = [
            saver.record_of_writes(place, [("x", index)], f"{index:04}") for index in range(2_100)
        ]
        await saver.asave([checkpoint, *writes])
        found = await saver.aget_tuple(CONFIG)

    assert [value for _, _, value in found.pending_writes] == [*range(2_100)]


@given(st.lists(st.text(alphabet='ab"\\,{} \n')))
def test_an_array_of_texts_has_every_quote_and_backslash_marked(texts: list[str]) -> None:
    written = texts_as_array(texts)
    # Within braces it is JSON, as far as quotes and backslashes go.
    assert json.loads(f"[{written[1:-1]}]".replace("\n", "\\n")) == texts


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.binary()))
def test_metadata_become_json_without_what_is_none_and_without_nul(items: dict[str, Any]) -> None:
    read = json.loads(as_json(items))
    expected = {
        name.replace("\0", ""): item.replace("\0", "") if isinstance(item, str) else item
        for name, item in items.items()
        if not isinstance(item, bytes) and not (isinstance(item, float) and not math.isfinite(item))
    }
    assert read == expected


# -- versions ----------------------------------------------------------------------------------


@given(st.none() | st.integers(0, 10**30).map(lambda n: f"{n:032}.0.5") | st.integers(0, 10**11))
def test_versions_of_a_thread_sort_as_they_follow_each_other(first: Any) -> None:
    versions = [next_version(first)]
    for _ in range(12):
        versions.append(next_version(versions[-1]))
    assert sorted(set(versions)) == versions
    if isinstance(first, str):
        assert first < versions[0]
