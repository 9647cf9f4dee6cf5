"""Retries, time limits, handlers of errors, caches; and what a node is told of its run."""

from __future__ import annotations

import asyncio
import operator
import time
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import anyio
import anyio.lowlevel
import pytest

from plait.testing import VirtualClock
from plait_adapters.langgraph.cache.memory import InMemoryCache
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.errors import (
    GraphDrained,
    NodeCancelledError,
    NodeError,
    NodeTimeoutError,
)
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.runtime import RunControl, Runtime, get_runtime
from plait_adapters.langgraph.store.base import BaseStore
from plait_adapters.langgraph.store.memory import InMemoryStore
from plait_adapters.langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

ONCE_MORE = RetryPolicy(initial_interval=0, jitter=False, max_attempts=2)


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


def single(node: Any, compiled: Any = None, **options: Any) -> Any:
    """A graph of one node."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("node", node, **options).add_edge(START, "node")
    return builder.compile(**(compiled or {}))


async def test_a_node_is_tried_again_and_knows_which_attempt_it_is() -> None:
    async def node(state: State, runtime: Runtime[Any]) -> Any:
        assert runtime.execution_info is not None
        attempt = runtime.execution_info.node_attempt
        if attempt == 1:
            raise ConnectionError
        return {"log": [attempt]}

    app = single(node, retry_policy=ONCE_MORE)
    assert await app.ainvoke({"log": []}) == {"log": [2]}
    assert single(lambda state, runtime: {"log": [get_runtime() is runtime]}).invoke({"log": []})[
        "log"
    ] == [True]


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError])
def test_what_a_program_does_wrong_is_not_tried_again(error: type[Exception]) -> None:
    calls: list[int] = []

    def node(state: State) -> Any:
        calls.append(1)
        raise error("wrong")

    with pytest.raises(error, match="wrong"):
        single(node, retry_policy=ONCE_MORE).invoke({"log": []})
    assert calls == [1]


def test_the_first_policy_that_fits_an_error_holds() -> None:
    calls: list[int] = []

    def node(state: State) -> Any:
        calls.append(1)
        raise KeyError("k")

    policies = [ONCE_MORE._replace(retry_on=ValueError), ONCE_MORE._replace(retry_on=(KeyError,))]
    with pytest.raises(KeyError):
        single(node, retry_policy=policies).invoke({"log": []})
    assert calls == [1, 1]


async def test_an_attempt_that_takes_too_long_is_cancelled_and_leaves_nothing() -> None:
    ended: list[str] = []

    async def node(state: State) -> Any:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(NodeTimeoutError, match="'node' exceeded its run timeout") as caught:
        await single(node, timeout=0.01).ainvoke({"log": []})
    assert (caught.value.kind, caught.value.run_timeout) == ("run", 0.01)
    await anyio.lowlevel.checkpoint()
    assert ended == ["cancelled"]


def test_progress_puts_off_the_idle_timeout() -> None:
    async def node(state: State, runtime: Runtime[Any]) -> Any:
        for _ in range(4):
            await anyio.sleep(0.02)
            runtime.heartbeat()
        return {"log": ["done"]}

    limits = TimeoutPolicy(idle_timeout=0.05, refresh_on="heartbeat")
    app = single(node, timeout=limits)
    assert VirtualClock().run(app.ainvoke({"log": []})) == {"log": ["done"]}


@pytest.mark.parametrize("refresh_on", ["auto", "heartbeat"])
def test_what_a_node_streams_is_progress_unless_only_heartbeats_are(refresh_on: Any) -> None:
    async def node(state: State, runtime: Runtime[Any]) -> Any:
        for _ in range(4):
            await anyio.sleep(0.03)
            runtime.stream_writer("still here")

    limits = TimeoutPolicy(run_timeout=10, idle_timeout=0.08, refresh_on=refresh_on)
    app = single(node, timeout=limits)
    if refresh_on == "auto":
        VirtualClock().run(app.ainvoke({"log": []}))
        return
    with pytest.raises(NodeTimeoutError) as caught:
        VirtualClock().run(app.ainvoke({"log": []}))
    error = caught.value
    assert (error.kind, error.run_timeout, error.idle_timeout) == ("idle", 10, 0.08)
    assert isinstance(error.__cause__, TimeoutError)


async def test_a_node_that_does_not_let_itself_be_cancelled_is_left_behind() -> None:
    done = asyncio.Event()

    async def node(state: State) -> Any:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        done.set()
        return {"log": ["too late"]}

    async def handler(state: State, error: NodeError) -> Any:
        return {"log": [type(error.error).__name__]}

    app = single(node, timeout=0.01, error_handler=handler)
    assert await app.ainvoke({"log": []}) == {"log": ["NodeTimeoutError"]}
    await done.wait()


async def test_a_time_limit_does_not_touch_what_a_node_raises_or_finishes() -> None:
    async def fails(state: State) -> Any:
        raise TimeoutError("its own")

    async def blocks(state: State) -> Any:
        time.sleep(0.03)  # noqa: ASYNC251 - it holds up the event loop
        return {"log": ["done"]}

    with pytest.raises(TimeoutError, match="its own"):
        await single(fails, timeout=1).ainvoke({"log": []})
    assert await single(blocks, timeout=0.01).ainvoke({"log": []}) == {"log": ["done"]}


def test_a_time_limit_for_a_node_in_a_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="only supported for async nodes"):
        single(lambda _: None, timeout=1)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_is_called_for_a_node_that_failed(is_async: bool) -> None:
    def fails(state: State) -> Any:
        raise KeyError("why")

    def handles(state: State, error: NodeError) -> Any:
        return {"log": [error.node, repr(error.error), state["log"]]}

    app = single(fails, error_handler=handles)
    result = await app.ainvoke({"log": [1]}) if is_async else app.invoke({"log": [1]})
    assert result["log"] == [1, "node", "KeyError('why')", [1]]


def test_a_handler_that_raises_what_it_was_given_fails_the_step() -> None:
    def fails(state: State) -> Any:
        raise KeyError("why")

    def handles(state: State, error: NodeError) -> Any:
        raise error.error

    app = single(fails, {"checkpointer": InMemorySaver()}, error_handler=handles)
    config: Any = {"configurable": {"thread_id": "1"}}
    with pytest.raises(KeyError, match="why"):
        app.invoke({"log": [1]}, config)
    assert app.get_state(config).next == ("node",)


async def test_when_a_node_fails_its_siblings_are_cancelled() -> None:
    cancelled: list[bool] = []

    async def waits(state: State) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async def fails(state: State) -> Any:
        await anyio.lowlevel.checkpoint()
        raise ValueError("first")

    builder: Any = StateGraph(State)
    builder.add_node(waits).add_node(fails).add_edge(START, "waits").add_edge(START, "fails")
    with pytest.raises(ValueError, match="first"):
        await builder.compile().ainvoke({"log": []})
    assert cancelled == [True]


async def test_a_node_that_raises_cancelled_error_has_failed() -> None:
    async def node(state: State) -> Any:
        raise asyncio.CancelledError

    with pytest.raises(NodeCancelledError, match="'node'"):
        await single(node).ainvoke({"log": []})


async def test_no_more_nodes_run_at_once_than_max_concurrency_allows() -> None:
    running, most = 0, 0

    async def node(state: State) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    builder: Any = StateGraph(State)
    for number in range(6):
        builder.add_node(str(number), node).add_edge(START, str(number))
    await builder.compile().ainvoke({"log": []}, {"max_concurrency": 2})
    assert most == 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_cached_node_runs_once_for_one_input(is_async: bool) -> None:
    calls: list[int] = []

    def node(state: State) -> Any:
        calls.append(1)
        return {"log": ["out"]}

    app = single(node, {"cache": InMemoryCache()}, cache_policy=CachePolicy())
    for _ in range(2):
        result = await app.ainvoke({"log": ["in"]}) if is_async else app.invoke({"log": ["in"]})
        assert result == {"log": ["in", "out"]}
    assert calls == [1]
    app.clear_cache()
    app.invoke({"log": ["in"]})
    assert calls == [1, 1]


async def test_a_graph_without_a_cache_has_none_to_clear() -> None:
    app = single(lambda _: None)
    with pytest.raises(ValueError, match="No cache is set"):
        app.clear_cache()
    with pytest.raises(ValueError, match="No cache is set"):
        await app.aclear_cache()


def test_context_and_store_reach_the_node() -> None:
    @dataclass
    class Context:
        user: str

    def node(state: State, runtime: Any, *, store: BaseStore) -> Any:
        store.put(("n",), "k", {"v": runtime.context.user})
        return {"log": [[each.value["v"] for each in store.search(("n",))]]}

    builder: Any = StateGraph(State, context_schema=Context)
    builder.add_node("node", node).add_edge(START, "node")
    app = builder.compile(store=InMemoryStore())
    assert app.invoke({"log": []}, context={"user": "me"}) == {"log": [["me"]]}


def test_a_run_can_be_stopped_between_two_steps() -> None:
    control = RunControl()

    def node(state: State) -> Any:
        control.request_drain("enough")

    builder: Any = StateGraph(State)
    builder.add_sequence([("a", node), ("b", node)]).add_edge(START, "a")
    with pytest.raises(GraphDrained, match="enough"):
        builder.compile().invoke({"log": []}, control=control)


def test_defaults_hold_for_nodes_that_say_nothing() -> None:
    def fails(state: State) -> Any:
        raise ConnectionError

    def handles(state: State, error: NodeError) -> Any:
        return {"log": [f"{error.node} failed"]}

    builder: Any = StateGraph(State)
    builder.set_node_defaults(error_handler=handles).add_node(fails).add_edge(START, "fails")
    assert builder.compile().invoke({"log": []}) == {"log": ["fails failed"]}
