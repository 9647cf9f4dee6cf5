"""Runs of ``stream_events(version="v3")``: what they give, and how they go on, fail and stop."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

import anyio
import pytest
from typing_extensions import TypedDict

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.config import get_stream_writer
from plait_adapters.langgraph.errors import GraphDrained
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.runtime import RunControl, Runtime
from plait_adapters.langgraph.stream import (
    AsyncGraphRunStream,
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    GraphRunStream,
    StreamTransformer,
    TasksTransformer,
    UpdatesTransformer,
)
from plait_adapters.langgraph.types import Command, interrupt

EVERY_MODE: list[Any] = [
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    TasksTransformer,
    UpdatesTransformer,
]


class State(TypedDict):
    log: Annotated[list[str], operator.add]


START_WITH: Any = {"log": []}


def says(*words: str) -> Callable[[State], Any]:
    def node(state: State) -> Any:
        for word in words:
            get_stream_writer()(word)
        return {"log": list(words)}

    return node


def fails(state: State) -> Any:
    raise KeyError("node")


def graph(*nodes: Any, **compiling: Any) -> Any:
    builder: Any = StateGraph(State)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    return builder.add_edge(START, "n0").compile(**compiling)


def counted(calls: list[str]) -> Any:
    """Three nodes that note that they are called."""

    def node(name: str) -> Callable[[State], Any]:
        def noted(state: State) -> Any:
            calls.append(name)
            return {"log": [name]}

        return noted

    return graph(*map(node, "abc"))


class Run:
    """A run of either kind, by methods to await."""

    def __init__(self, run: Any) -> None:
        self.run = run

    async def all(self, source: Any) -> list[Any]:
        if isinstance(self.run, AsyncGraphRunStream):
            return [each async for each in source]
        return list(source)

    async def get(self, name: str) -> Any:
        found = getattr(self.run, name)
        return await found() if isinstance(self.run, AsyncGraphRunStream) else found


@pytest.fixture(params=["sync", "async"])
def begin(request: pytest.FixtureRequest) -> Any:
    """Begins a run of a graph, of either kind."""

    async def made(app: Any, given: Any = START_WITH, config: Any = None, **options: Any) -> Run:
        if request.param == "sync":
            run = app.stream_events(given, config, version="v3", **options)
            assert isinstance(run, GraphRunStream)
        else:
            run = await app.astream_events(given, config, version="v3", **options)
            assert isinstance(run, AsyncGraphRunStream)
        return Run(run)

    return made


THREAD = {"configurable": {"thread_id": "1"}}


async def test_a_run_gives_its_states_and_its_output(begin: Any) -> None:
    one = await begin(graph(says("a"), says("b")))
    assert await one.all(one.run.values) == [{"log": words} for words in ([], ["a"], ["a", "b"])]
    assert await one.get("output") == {"log": ["a", "b"]}
    assert await one.get("interrupts") == []


async def test_the_log_has_every_event_in_order(begin: Any) -> None:
    one = await begin(graph(says("a", "b")), transformers=[CustomTransformer])
    events = await one.all(one.run)
    assert [(each["method"], each["params"]["data"]) for each in events] == [
        ("values", {"log": []}),
        ("custom", "a"),
        ("custom", "b"),
        ("values", {"log": ["a", "b"]}),
    ]
    assert [each["seq"] for each in events] == [1, 2, 3, 4]


async def test_a_mode_is_told_only_if_a_transformer_names_it(begin: Any) -> None:
    one = await begin(graph(says("a")))
    assert {each["method"] for each in await one.all(one.run)} == {"values"}
    with pytest.raises(AttributeError, match=r"custom.*lifecycle, messages, subgraphs, values"):
        _ = one.run.custom


async def test_transformers_are_given_to_the_graph_or_to_the_call(begin: Any) -> None:
    app = graph(says("a"), transformers=[CustomTransformer])
    one = await begin(app, transformers=[UpdatesTransformer])
    assert {"custom", "updates"} < one.run.extensions.keys()
    assert await one.all(one.run.updates) == [{"n0": {"log": ["a"]}}]
    two = await begin(app)
    assert await two.all(two.run.custom) == ["a"]


@pytest.mark.parametrize("mode", ["values", "updates", "custom", "checkpoints", "tasks", "debug"])
async def test_a_channel_has_what_the_stream_mode_tells(begin: Any, mode: str) -> None:
    def plain(items: list[Any]) -> list[Any]:
        return [sorted(each) if isinstance(each, dict) else each for each in items]

    app = graph(says("a"), says("b"), checkpointer=InMemorySaver())
    one = await begin(app, START_WITH, THREAD, transformers=EVERY_MODE)
    found = await one.all(getattr(one.run, mode))
    config = {"configurable": {"thread_id": "2"}}
    assert plain(found) == plain(list(app.stream(START_WITH, config, stream_mode=mode)))
    assert found


async def test_a_run_that_waits_for_somebody_says_what_it_asks(begin: Any) -> None:
    app = graph(lambda _: {"log": [interrupt("sure?")]}, checkpointer=InMemorySaver())
    one = await begin(app, START_WITH, THREAD)
    assert await one.get("interrupted")
    assert [each.value for each in await one.get("interrupts")] == ["sure?"]
    assert await one.get("output") == {"log": []}
    two = await begin(app, Command(resume="yes"), THREAD)
    assert await two.get("output") == {"log": ["yes"]}
    assert not await two.get("interrupted")


@pytest.mark.parametrize("name", ["output", "interrupted", "interrupts"])
async def test_a_failed_run_raises_what_it_failed_with(begin: Any, name: str) -> None:
    one = await begin(graph(says("a"), fails))
    with pytest.raises(KeyError, match="node"):
        await one.get(name)


@pytest.mark.parametrize("name", ["values", "messages", "lifecycle", "subgraphs"])
async def test_every_reader_of_a_failed_run_hears_of_it(begin: Any, name: str) -> None:
    one = await begin(graph(says("a"), fails))
    with pytest.raises(KeyError, match="node"):
        await one.all(one.run.extensions[name])
    with pytest.raises(KeyError, match="node"):
        await one.all(one.run)


async def test_an_error_of_a_transformer_fails_the_run(begin: Any) -> None:
    class Breaks(StreamTransformer):
        def init(self) -> dict[str, Any]:
            return {}

        def process(self, event: Any) -> bool:
            raise ValueError("transformer")

    one = await begin(graph(says("a")), transformers=[Breaks])
    with pytest.raises(ValueError, match="transformer"):
        await one.get("output")


async def test_arguments_of_a_stream_are_those_of_the_run(begin: Any) -> None:
    def node(state: State, runtime: Runtime[Any]) -> Any:
        return {"log": [runtime.context]}

    app = graph(node, says("b"), checkpointer=InMemorySaver())
    one = await begin(app, START_WITH, THREAD, context="c", interrupt_before=["n1"])
    assert await one.get("output") == {"log": ["c"]}
    assert app.get_state(THREAD).next == ("n1",)


async def test_a_run_is_drained(begin: Any) -> None:
    control = RunControl()
    control.request_drain("enough")
    one = await begin(graph(says("a")), control=control)
    with pytest.raises(GraphDrained, match="enough"):
        await one.get("output")


@pytest.mark.parametrize("name", ["stream_mode", "subgraphs"])
async def test_what_the_run_decides_itself_is_refused(begin: Any, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        await begin(graph(says("a")), **{name: None})


@pytest.mark.parametrize("wrong", [CustomTransformer(), "custom"], ids=["instance", "name"])
async def test_transformers_are_made_for_each_run(begin: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=type(wrong).__name__):
        await begin(graph(says("a")), transformers=[wrong])


def test_a_synchronous_run_goes_no_further_than_it_is_read() -> None:
    calls: list[str] = []
    run = counted(calls).stream_events(START_WITH, version="v3")
    values = iter(run.values)
    assert [next(values), next(values)] == [{"log": []}, {"log": ["a"]}]
    assert calls == ["a"]
    run.abort()
    assert list(values) == []
    run.abort()
    assert calls == ["a"]


def test_a_run_is_stopped_at_the_end_of_its_block() -> None:
    calls: list[str] = []
    with counted(calls).stream_events(START_WITH, version="v3") as run:
        values = iter(run.values)
        next(values)
        next(values)
    assert calls == ["a"]
    assert run.output == {"log": ["a"]}


async def test_an_asynchronous_run_is_stopped_at_the_end_of_its_block() -> None:
    calls: list[str] = []
    async with await counted(calls).astream_events(START_WITH, version="v3") as run:
        values = aiter(run.values)
        await anext(values)
        await anext(values)
    assert calls == ["a"]
    assert [each async for each in values] == []


async def test_stopping_a_run_cancels_the_nodes_that_its_reader_waits_for() -> None:
    began, told = anyio.Event(), []

    async def waits(state: State) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cancelled")

    async def outer(state: State) -> None:
        await graph(waits).ainvoke(START_WITH)

    run = await graph(outer).astream_events(START_WITH, version="v3")
    got: list[Any] = []

    async def read() -> None:
        got.extend([each async for each in run.values])
        told.append("read")

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await began.wait()
        await run.abort()
        assert told[0] == "cancelled"
    assert told == ["cancelled", "read"]
    assert got == [{"log": []}]


async def test_a_reader_that_is_cancelled_while_the_run_is_stopped_stays_cancelled() -> None:
    began = anyio.Event()

    async def waits(state: State) -> None:
        began.set()
        await anyio.sleep_forever()

    run = await graph(waits).astream_events(START_WITH, version="v3")
    scope = anyio.CancelScope()

    async def read() -> None:
        with scope:
            await run.output()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await began.wait()
        scope.cancel()
        await run.abort()
    assert scope.cancelled_caught


async def test_several_tasks_read_one_run() -> None:
    app = graph(*[says(word) for word in "abc"])
    run = await app.astream_events(START_WITH, version="v3", transformers=EVERY_MODE)
    found: dict[str, Any] = {}

    async def read(name: str) -> None:
        found[name] = [each async for each in run.extensions[name]]

    async def finish() -> None:
        found["output"] = await run.output()

    async with anyio.create_task_group() as group:
        for name in ("values", "updates", "custom"):
            group.start_soon(read, name)
        group.start_soon(finish)
    assert found["custom"] == ["a", "b", "c"]
    assert found["updates"] == [{f"n{i}": {"log": [word]}} for i, word in enumerate("abc")]
    assert found["values"][-1] == found["output"] == {"log": ["a", "b", "c"]}


async def test_transformers_of_the_third_version_are_for_it_alone() -> None:
    app = graph(says("a"))
    with pytest.raises(TypeError, match="version='v3'"):
        app.astream_events(START_WITH, version="v2", transformers=[CustomTransformer])
    with pytest.raises(NotImplementedError, match="astream_events"):
        app.stream_events(START_WITH, version="v2")


PROGRAM = """
import importlib.util, sys
if {hidden!r}:
    class Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("langchain_core", "langchain_protocol"):
                raise ModuleNotFoundError(name, name=name)
    sys.meta_path.insert(0, Hidden())
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name: None if name == "langchain_core" else find(name)
from plait_adapters.langgraph.graph import START, StateGraph
assert "plait_adapters.langgraph.stream" not in sys.modules
graph = StateGraph(dict).add_node("a", lambda s: {{"x": 1}}).add_edge(START, "a").compile()
print(graph.stream_events({{"x": 0}}, version="v3").output)
"""


@pytest.mark.parametrize("hidden", [False, True])
def test_runs_are_there_without_langchain_and_loaded_when_needed(hidden: bool) -> None:
    command = [sys.executable, "-c", PROGRAM.format(hidden=hidden)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "{'x': 1}"
