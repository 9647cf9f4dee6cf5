"""What streams tell, and callers without an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import operator
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Annotated, Any, TypedDict

import anyio
import anyio.lowlevel
import pytest

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.config import get_stream_writer
from plait_adapters.langgraph.errors import InvalidUpdateError
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import Command, GraphOutput, interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def chain(*nodes: Any, **options: Any) -> Any:
    """Nodes one after the other."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_sequence([(f"n{index}", node) for index, node in enumerate(nodes)])
    builder.add_edge(START, "n0")
    return builder.compile(**options)


def says(word: str) -> Any:
    return lambda state: {"log": [word]}


async def test_each_mode_tells_its_part() -> None:
    app = chain(says("a"))
    items = [
        item async for item in app.astream({"log": []}, stream_mode=["values", "updates", "tasks"])
    ]
    assert [mode for mode, _ in items] == ["values", "tasks", "updates", "tasks", "values"]
    assert items[2] == ("updates", {"n0": {"log": ["a"]}})
    assert items[3][1]["result"] == {"log": ["a"]}


def test_what_a_node_sends_is_told_while_it_runs() -> None:
    told = threading.Event()

    def works(state: State) -> Any:
        get_stream_writer()("half")
        assert told.wait(5)
        return {"log": ["done"]}

    items = chain(works).stream({"log": []}, stream_mode=["custom", "updates"])
    assert next(items) == ("custom", "half")
    told.set()
    assert next(items) == ("updates", {"n0": {"log": ["done"]}})


def test_nested_graphs_are_told_under_their_namespace() -> None:
    app = chain(says("a"), chain(says("inner")))
    items = list(app.stream({"log": []}, stream_mode="updates", subgraphs=True))
    assert [namespace for namespace, _ in items[:1]] == [()]
    (namespace,), update = items[1]
    assert namespace.startswith("n1:")
    assert update == {"n0": {"log": ["inner"]}}


def test_checkpoints_and_debug_tell_the_same_with_and_without_steps() -> None:
    config = {"configurable": {"thread_id": "1"}}
    app = chain(says("a"), checkpointer=InMemorySaver())
    items = list(app.stream({"log": []}, config, stream_mode=["checkpoints", "debug"]))
    plain = [payload for mode, payload in items if mode == "checkpoints"]
    debug = [payload for mode, payload in items if mode == "debug"]
    assert [each["payload"] for each in debug if each["type"] == "checkpoint"] == plain
    assert [each["next"] for each in plain] == [["__start__"], ["n0"], []]


def test_the_second_version_names_what_it_tells() -> None:
    app = chain(says("a"))
    parts = list(app.stream({"log": []}, stream_mode=["values"], version="v2"))
    assert parts[-1] == {"type": "values", "ns": (), "data": {"log": ["a"]}, "interrupts": ()}
    assert app.invoke({"log": []}, version="v2") == GraphOutput({"log": ["a"]})


def test_an_interrupt_is_told_in_values_and_updates() -> None:
    config = {"configurable": {"thread_id": "1"}}
    app = chain(lambda _: {"log": [interrupt("?")]}, checkpointer=InMemorySaver())
    items = list(app.stream({"log": []}, config, stream_mode=["values", "updates"]))
    asked = items[1][1]["__interrupt__"]
    assert [each.value for each in asked] == ["?"]
    assert items[2] == ("values", {"log": [], "__interrupt__": asked})
    assert list(app.stream(Command(resume="!"), config, stream_mode="updates")) == [
        {"n0": {"log": ["!"]}}
    ]


def test_a_stream_can_be_left_midway_and_the_run_goes_no_further() -> None:
    calls: list[int] = []
    app = chain(*[lambda _, n=n: calls.append(n) for n in range(5)])
    for _ in app.stream({"log": []}):
        break
    assert calls == [0]


async def test_an_asynchronous_stream_can_be_left_while_nodes_wait() -> None:
    cancelled: list[bool] = []

    async def waits(state: State) -> None:
        get_stream_writer()("here")
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    items = chain(waits).astream({"log": []}, stream_mode="custom")
    assert await anext(items) == "here"
    await items.aclose()
    assert cancelled == [True]


def test_a_node_alone_in_its_step_runs_in_its_callers_thread() -> None:
    seen: list[Any] = []
    chain(lambda _: seen.append(threading.get_ident())).invoke({"log": []})
    assert seen == [threading.get_ident()]


def test_async_nodes_run_for_synchronous_callers_on_a_loop_in_the_background() -> None:
    async def waits(state: State) -> Any:
        await anyio.lowlevel.checkpoint()
        return {"log": ["async"]}

    assert chain(waits, says("b")).invoke({"log": []})["log"] == ["async", "b"]


async def test_synchronous_calls_work_where_a_loop_is_running() -> None:
    assert chain(says("a")).invoke({"log": []})["log"] == ["a"]
    assert len(list(chain(says("a")).stream({"log": []}))) == 1


def test_synchronous_siblings_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=5)
    builder: Any = StateGraph(State)
    for name in "abc":
        builder.add_node(name, lambda _: {"log": [str(meeting.wait() >= 0)]})
        builder.add_edge(START, name)
    assert builder.compile().invoke({"log": []})["log"] == ["True"] * 3


async def test_nodes_have_context_variables_of_their_own() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("v", default="outer")
    seen: list[str] = []

    async def sets(state: State) -> None:
        variable.set("inner")
        await anyio.lowlevel.checkpoint()
        seen.append(variable.get())

    def sees(state: State) -> None:
        seen.append(variable.get())

    await chain(sets, sees).ainvoke({"log": []})
    chain(sees).invoke({"log": []})
    assert seen == ["inner", "outer", "outer"]


def test_batches_keep_the_order_of_their_inputs() -> None:
    app = chain(says("a"))
    assert [each["log"][0] for each in app.batch([{"log": [str(n)]} for n in range(5)])] == list(
        "01234"
    )
    asynchronous = asyncio.run(app.abatch([{"log": ["x"]}, None], return_exceptions=True))
    assert asynchronous[0] == {"log": ["x", "a"]}
    assert type(asynchronous[1]).__name__ == "EmptyInputError"


@pytest.mark.parametrize("arguments", [{"durabilty": "sync"}, {"stream_transformers": []}])
def test_an_argument_that_is_not_known_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        chain(says("a")).invoke({"log": []}, **arguments)


def test_importing_and_running_it_needs_no_langchain() -> None:
    program = (
        "import sys\n"
        "from typing import TypedDict\n"
        "from plait_adapters.langgraph.graph import START, StateGraph\n"
        "import plait_adapters.langgraph.func, plait_adapters.langgraph.types\n"
        "class S(TypedDict):\n    n: int\n"
        "g = StateGraph(S).add_node('a', lambda s: {'n': s['n'] + 1}).add_edge(START, 'a')\n"
        "assert g.compile().invoke({'n': 1}) == {'n': 2}\n"
        "assert not [m for m in sys.modules if m.startswith(('langchain', 'langgraph'))]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=_paths())


def _paths() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("beside", [0, 1])
def test_what_the_only_task_of_a_step_wrote_is_not_told_if_it_cannot_be_applied(
    beside: int,
) -> None:
    class One(TypedDict, total=False):
        last: int

    builder: Any = StateGraph(One)
    builder.add_node("twice", lambda _: [Command(update={"last": n}) for n in range(2)])
    builder.add_edge(START, "twice")
    if beside:
        builder.add_node("beside", lambda _: None).add_edge(START, "beside")
    told: list[Any] = []
    chunks = builder.compile().stream({}, stream_mode="updates")
    with pytest.raises(InvalidUpdateError):
        told.extend(chunks)  # what it takes before the error stays
    names = sorted(name for chunk in told for name in chunk)
    assert names == (["beside", "twice"] if beside else [])


def test_a_question_is_told_though_what_its_siblings_wrote_cannot_be_applied() -> None:
    def asks(state: State) -> None:
        interrupt("?")

    class One(State):
        last: int

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(One).add_node(asks).add_edge(START, "asks")
    for name in "ab":
        builder.add_node(name, lambda _: {"last": 1}).add_edge(START, name)
    app, told = builder.compile(checkpointer=InMemorySaver()), []
    config: Any = {"configurable": {"thread_id": "1"}}
    with pytest.raises(InvalidUpdateError):
        app.invoke({"log": []}, config)
    with suppress(InvalidUpdateError):
        for each in app.stream(None, config, stream_mode="updates"):
            told += each.get("__interrupt__", ())
    assert [each.value for each in told] == ["?"]


def fails_beside_who_waits() -> Any:
    """A graph of two nodes of which one fails while the other waits."""
    waiting = anyio.Event()

    async def fails(state: State) -> None:
        await waiting.wait()
        raise ValueError("no")

    async def waits(state: State) -> None:
        waiting.set()
        await anyio.sleep_forever()

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    for node in (fails, waits):
        builder.add_node(node).add_edge(START, node.__name__)
    return builder.compile()


async def errors_told(app: Any) -> list[str]:
    """The names of those of whom a stream of tasks tells errors."""
    found: list[str] = []
    with suppress(ValueError):
        async for _, each in app.astream({"log": []}, stream_mode="tasks", subgraphs=True):
            if each.get("error"):
                found.append(each["name"])
    return found


async def test_whom_a_failing_sibling_cancels_is_told_by_a_nested_graph_alone() -> None:
    app = fails_beside_who_waits()
    assert await errors_told(app) == ["fails"]
    assert await errors_told(chain(fails_beside_who_waits())) == ["fails", "waits", "n0"]
