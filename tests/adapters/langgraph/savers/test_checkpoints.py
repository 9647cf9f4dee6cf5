"""What every saver does beyond the published suite."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import anyio.to_thread
import pytest
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from plait.codec import EncodingError
from plait.errors import StoreError, ThreadExists
from plait_adapters.langgraph.checkpoint.base import empty_checkpoint
from plait_adapters.langgraph.checkpoint.base._interface import SaverInterface
from plait_adapters.langgraph.checkpoint.base.id import uuid6
from plait_adapters.langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from tests.adapters.langgraph.savers.kinds import KINDS, saver_of
from tests.adapters.langgraph.savers.programs import CONFIG, LANGGRAPH


def config_of(thread_id: Any = "thread", namespace: str = "") -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}}


async def put(saver: Any, config: Any, values: Any = None, **metadata: Any) -> Any:
    """Put a checkpoint whose values are all new; the config that names it."""
    values = values or {}
    versions = dict.fromkeys(values, saver.get_next_version(None, None))
    checkpoint = empty_checkpoint() | {
        "channel_values": values,
        "channel_versions": versions,
    }
    return await saver.aput(config, checkpoint, metadata, versions)


async def listed(saver: Any, *args: Any, **options: Any) -> list[Any]:
    return [found async for found in saver.alist(*args, **options)]


# -- reading and writing -----------------------------------------------------------------------


async def test_the_methods_for_synchronous_callers_do_the_same(saver: Any) -> None:
    first = await put(saver, config_of(), {"x": 1}, step=0)
    await saver.aput_writes(first, [("x", 2)], "task")

    def use() -> None:
        found = saver.get_tuple(config_of())
        assert found == next(saver.list(config_of()))
        assert found.checkpoint == saver.get(config_of())
        second = saver.put(first, empty_checkpoint(), {"step": 1}, {})
        saver.put_writes(second, [("y", 3)], "task")
        assert [found.metadata["step"] for found in saver.list(config_of())] == [1, 0]
        history = saver.get_delta_channel_history(config=second, channels=["x"])
        assert history["x"] == {"writes": [("task", "x", 2)], "seed": 1}
        saver.copy_thread("thread", "copy")
        saver.prune(["thread"])
        saver.delete_for_runs(["none"])
        saver.delete_thread("thread")
        assert saver.get_tuple(config_of()) is None
        assert [*saver.list(None)] == [*saver.list(config_of("copy"))]

    await anyio.to_thread.run_sync(use)


async def test_a_synchronous_call_works_where_an_event_loop_is_running(saver: Any) -> None:
    stored = await put(saver, config_of(), {"x": 1})

    assert saver.get_tuple(stored).checkpoint["channel_values"] == {"x": 1}


@pytest.mark.parametrize(
    "thread_id", ["' or 1=1 --", '";drop', "%_\\", "é\U0001f600", 7, "a" * 300], ids=repr
)
async def test_any_text_is_a_thread_and_only_itself(saver: Any, thread_id: Any) -> None:
    await put(saver, config_of("other"), {"x": "other"})
    await put(saver, config_of(thread_id, "sub:'1'|%"), {"ch\"an'nel": thread_id})
    (found,) = await listed(saver, config_of(thread_id, "sub:'1'|%"))
    await saver.adelete_thread(thread_id)

    assert found.checkpoint["channel_values"] == {"ch\"an'nel": thread_id}
    assert [len(await listed(saver, config_of(name))) for name in (thread_id, "other")] == [0, 1]


async def test_a_config_without_a_thread_is_refused(saver: Any) -> None:
    with pytest.raises(ValueError, match="thread_id"):
        await saver.aget_tuple({"configurable": {}})


async def test_what_cannot_be_stored_is_refused_and_nothing_is_stored(saver: Any) -> None:
    with pytest.raises(EncodingError, match="register"):
        await put(saver, config_of(), {"good": 1, "bad": [object()]})
    stored = await put(saver, config_of("other"))
    with pytest.raises(EncodingError):
        await saver.aput_writes(stored, [("good", 1), ("bad", object())], "task")

    assert await listed(saver, config_of()) == []
    assert (await saver.aget_tuple(stored)).pending_writes == []


async def test_a_write_is_kept_and_an_interrupt_gives_way_to_a_later_one(saver: Any) -> None:
    stored = await put(saver, config_of())
    await saver.aput_writes(stored, [("a", 1), ("__interrupt__", "first")], "task")
    await saver.aput_writes(stored, [("b", 2), ("__interrupt__", "second")], "task")

    assert (await saver.aget_tuple(stored)).pending_writes == [
        ("task", "__interrupt__", "second"),
        ("task", "a", 1),
    ]


async def test_writes_are_in_the_order_of_their_paths(saver: Any) -> None:
    stored = await put(saver, config_of())
    for task_id, path in (("1", "~b"), ("2", "~a"), ("4", ""), ("3", "Z"), ("0", "é")):
        await saver.aput_writes(stored, [("x", path), ("y", path)], task_id, path)

    found = (await saver.aget_tuple(stored)).pending_writes
    assert [(channel, value) for _, channel, value in found] == [
        (channel, path) for path in ("", "Z", "~a", "~b", "é") for channel in "xy"
    ]


async def test_many_checkpoints_are_listed_page_by_page(saver: Any) -> None:
    config, ids = config_of(), []
    for step in range(120):
        config = await put(saver, config, {"n": step}, step=step, parity="odd" * (step % 2))
        ids.append(config["configurable"]["checkpoint_id"])
    await put(saver, config_of("other"), step=1000)
    before = config_of() | {"configurable": {"checkpoint_id": ids[110]}}

    found = await listed(saver, config_of())
    assert [one.metadata["step"] for one in found] == [*range(119, -1, -1)]
    assert [one.checkpoint["channel_values"]["n"] for one in found] == [*range(119, -1, -1)]
    odd = await listed(saver, config_of(), filter={"parity": "odd"}, before=before, limit=54)
    assert [one.metadata["step"] for one in odd] == [*range(109, 1, -2)]
    assert len(await listed(saver, None)) == 121


async def test_metadata_that_are_absent_are_none_to_a_filter(saver: Any) -> None:
    await put(saver, config_of(), step=1, tag=None, deep={"x": [1]})
    await put(saver, config_of(), step=2, tag="t", deep={"x": [2]})

    def steps(found: list[Any]) -> list[int]:
        return [one.metadata["step"] for one in found]

    assert steps(await listed(saver, config_of(), filter={"tag": None, "other": None})) == [1]
    assert steps(await listed(saver, config_of(), filter={"deep": {"x": [2]}})) == [2]
    assert steps(await listed(saver, config_of(), filter={"deep": {}})) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_saver_can_encrypt_all_that_it_stores(kind: str) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    async with saver_of(kind, serde=serde) as saver:
        stored = await put(saver, config_of(), {"x": "secret"}, step=0)
        await saver.aput_writes(stored, [("x", "more")], "task")
        found = await saver.aget_tuple(config_of())

    assert found.checkpoint["channel_values"] == {"x": "secret"}
    assert found.pending_writes == [("task", "x", "more")]


@dataclass
class Note:
    text: str


@pytest.mark.parametrize("kind", KINDS)
async def test_a_record_that_nobody_has_registered_comes_back(kind: str) -> None:
    async with saver_of(kind) as saver:
        stored = await put(saver, config_of(), {"x": Note("kept")}, step=0)
        await saver.aput_writes(stored, [("x", Note("written"))], "task")
        found = await saver.aget_tuple(config_of())

    assert found.checkpoint["channel_values"] == {"x": Note("kept")}
    assert found.pending_writes == [("task", "x", Note("written"))]


@pytest.mark.parametrize("kind", KINDS)
async def test_with_an_allowlist_a_saver_is_another_one_over_the_same_checkpoints(
    kind: str,
) -> None:
    async with saver_of(kind, serde=JsonPlusSerializer(allowed_msgpack_modules=None)) as saver:
        knowing = saver.with_allowlist([(__name__, "Note")])
        await put(knowing, config_of(), {"x": Note("kept")})

        assert (await knowing.aget(config_of()))["channel_values"] == {"x": Note("kept")}
        assert (await saver.aget(config_of()))["channel_values"] == {"x": {"text": "kept"}}
        assert knowing.with_allowlist([Note]) is knowing


# -- how much is stored ------------------------------------------------------------------------


class Sizes(TypedDict, total=False):
    constant: str
    count: int


async def grown(saver: Any, schema: Any, node: Callable[[Any], Any], steps: int) -> Any:
    """A graph that has gone around so many times."""
    builder: Any = StateGraph(schema)
    builder.add_node("step", node)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda s: END if s["count"] % steps == 0 else "step")
    graph = builder.compile(checkpointer=saver)
    await graph.ainvoke({"constant": "c" * 10_000, "count": 0}, CONFIG | {"recursion_limit": 500})
    return graph


async def stored_bytes(saver: Any) -> int:
    """How many bytes of values and writes there are in a saver."""
    if hasattr(saver, "blobs"):
        writes = [write[2][1] for task in saver.writes.values() for write in task.values()]
        return sum(map(len, [data for _, data in saver.blobs.values()])) + sum(map(len, writes))
    if hasattr(saver, "_sqlite"):
        sql = "select coalesce(sum(length(data)), 0) from plait_{}"
        tables = ("channel_values", "writes")
        return int(
            await saver._sqlite._access.read(
                lambda c: sum(c.execute(sql.format(table)).fetchone()[0] for table in tables)
            )
        )
    rows = saver._database
    sql = f"select coalesce(sum(length(data)), 0) as n from {rows._sql.schema}.{{}}"
    found = [await rows._fetch(sql.format(table)) for table in ("channel_values", "writes")]
    return sum(int(row["n"]) for (row,) in found)


async def test_a_channel_that_does_not_change_is_stored_once(saver: Any) -> None:
    await grown(saver, Sizes, lambda s: {"count": s["count"] + 1}, 40)

    assert 10_000 < await stored_bytes(saver) < 2 * 10_000 + 40 * 300


async def test_a_delta_channel_is_stored_as_what_was_added(saver: Any) -> None:
    await grown(
        saver, LANGGRAPH.deltas, lambda s: {"count": s["count"] + 1, "log": ["x" * 1_000]}, 80
    )

    assert 80 * 1_000 < await stored_bytes(saver) < 2 * 10_000 + 80 * 1_500


# -- removing and copying ----------------------------------------------------------------------


class Plain(TypedDict, total=False):
    constant: str
    count: int
    log: Annotated[list[Any], operator.add]


@pytest.mark.parametrize("schema", [LANGGRAPH.deltas, Plain])
async def test_a_thread_goes_on_after_it_was_pruned_as_before(saver: Any, schema: Any) -> None:
    graph = await grown(saver, schema, lambda s: {"count": s["count"] + 1, "log": [s["count"]]}, 15)
    state, size = await graph.aget_state(CONFIG), await stored_bytes(saver)
    await saver.aprune(["thread"])
    await saver.aprune(["thread"])

    assert (await graph.aget_state(CONFIG)).values == state.values
    after = await graph.ainvoke({"count": 100}, CONFIG)
    assert after["log"] == [*range(15), *range(100, 105)]
    if schema is Plain:
        assert await stored_bytes(saver) < size


async def test_pruning_leaves_one_checkpoint_of_each_namespace_and_its_values(saver: Any) -> None:
    for namespace in ("", "sub:1"):
        config = config_of(namespace=namespace)
        for step in range(5):
            config = await put(saver, config, {"x": str(step) * 1_000}, step=step)
            await saver.aput_writes(config, [("x", "w" * 500)], "task")
    await saver.aprune(["thread"])

    found = await listed(saver, config_of() | {"configurable": {"thread_id": "thread"}})
    assert [one.metadata["step"] for one in found] == [4, 4]
    assert [one.parent_config for one in found] == [None, None]
    assert await stored_bytes(saver) < 2 * 1_700


async def test_an_unknown_strategy_is_refused(saver: Any) -> None:
    with pytest.raises(ValueError, match="keep_latest"):
        await saver.aprune(["thread"], strategy="keep_some")


async def test_a_run_on_which_a_delta_channel_is_built_is_not_removed(saver: Any) -> None:
    counters = {"log": (1, 1)}
    first = await put(saver, config_of(), run_id="1", counters_since_delta_snapshot=counters)
    await saver.aput_writes(first, [("log", ["a"])], "task")
    await put(saver, first, run_id="2", counters_since_delta_snapshot=counters)

    with pytest.raises(StoreError, match="delta channels"):
        await saver.adelete_for_runs(["1"])
    assert len(await listed(saver, config_of())) == 2
    await saver.adelete_for_runs(["1", "2"])
    assert await listed(saver, config_of()) == []


async def test_a_copy_is_a_thread_of_its_own(saver: Any) -> None:
    stored = await put(saver, config_of(), {"x": 1})
    await saver.aput_writes(stored, [("x", 2)], "task")
    await saver.acopy_thread("thread", "copy")
    with pytest.raises(ThreadExists):
        await saver.acopy_thread("thread", "copy")
    await saver.adelete_thread("thread")

    (found,) = await listed(saver, None)
    assert found.config["configurable"]["thread_id"] == "copy"
    assert found.checkpoint["channel_values"] == {"x": 1}
    assert found.pending_writes == [("task", "x", 2)]


# -- identifiers -------------------------------------------------------------------------------


def test_identifiers_sort_by_the_time_at_which_they_were_made() -> None:
    made = [uuid6(clock_seq=n % 7 - 2) for n in range(1_000)]

    assert [*map(str, made)] == sorted(map(str, made))
    assert {one.version for one in made} == {6}
    assert len({*made}) == 1_000


# -- checkpoints that no graph has made --------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
async def test_values_without_a_version_are_stored(kind: str) -> None:
    made = empty_checkpoint() | {"channel_values": {"x": "seed"}}
    async with saver_of(kind) as saver:
        root = await saver.aput(config_of(), made, {}, {})
        await saver.aput_writes(root, [("x", "write")], "task")
        child = await saver.aput(root, empty_checkpoint(), {}, {})
        found = await saver.aget(root)
        history = await saver.aget_delta_channel_history(config=child, channels=["x"])

    assert found["channel_values"] == {"x": "seed"}
    assert found["channel_versions"] == {}
    assert history["x"] == {"writes": [("task", "x", "write")], "seed": "seed"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
async def test_a_copied_checkpoint_has_its_values_whatever_is_said_to_be_new(kind: str) -> None:
    async with saver_of(kind) as saver:
        found = await saver.aget_tuple(await put(saver, config_of(), {"x": [1]}))
        await saver.aput(config_of("copy"), found.checkpoint, found.metadata, {})

        assert (await saver.aget(config_of("copy"))) == found.checkpoint


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("postgres")])
async def test_parents_in_a_circle_are_an_end(kind: str) -> None:
    async with saver_of(kind) as saver:
        one = empty_checkpoint()
        first = await saver.aput(config_of(), one, {}, {})
        second = await saver.aput(first, empty_checkpoint(), {}, {})
        await saver.aput(second, one, {}, {})

        history = await saver.aget_delta_channel_history(config=second, channels=["x"])
        # Not by the base class: where LangGraph is loaded it has LangGraph's way, which never ends.
        plainly = await SaverInterface.aget_delta_channel_history(
            saver, config=second, channels=["x"]
        )

    assert history == plainly == {"x": {"writes": []}}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("sqlite")])
async def test_a_filter_may_have_paths_in_sqlite(kind: str) -> None:
    async with saver_of(kind) as saver:
        await put(saver, config_of(), user={"a-b": 1, "c": {"d": 2}}, **{"e.f": 3})

        for wanted in ({"user.a-b": 1}, {"user.c.d": 2}, {"e.f": 3}, {"user.c.x": None}):
            assert len(await listed(saver, None, filter=wanted)) == 1
        assert await listed(saver, None, filter={"user.c": 2}) == []


async def test_metadata_that_are_called_writes_are_kept() -> None:
    for kind in ("memory", "sqlite"):
        async with saver_of(kind) as saver:
            await put(saver, config_of(), writes={"x": 1})
            assert (await saver.aget_tuple(config_of())).metadata == {"writes": {"x": 1}}


@pytest.mark.parametrize("strategy", ["keep_latest", "delete"])
async def test_one_id_in_place_of_several_removes_nothing(saver: Any, strategy: str) -> None:
    await put(saver, config_of("a"), {"x": 1})

    with pytest.raises(TypeError, match="not a str"):
        await saver.aprune("a", strategy=strategy)

    assert await saver.aget(config_of("a")) is not None
