"""With langchain-core: runnables and models as nodes, callbacks, events."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest

pytest.importorskip("langchain_core")

import langsmith
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_core.tracers.langchain import LangChainTracer
from langsmith.run_helpers import get_current_run_tree

from plait.testing import VirtualClock
from plait_adapters.langgraph.callbacks import GraphCallbackHandler
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.func import entrypoint, task
from plait_adapters.langgraph.graph import START, MessagesState, StateGraph
from plait_adapters.langgraph.prebuilt import ToolNode
from plait_adapters.langgraph.types import Command, TimeoutPolicy, interrupt


def graph(**nodes: Any) -> Any:
    """Nodes one after the other, over messages."""
    builder: Any = StateGraph(MessagesState)
    builder.add_sequence(list(nodes.items()))
    return builder.add_edge(START, next(iter(nodes)))


def model() -> Any:
    return GenericFakeChatModel(messages=iter([AIMessage("one two"), AIMessage("three")]))


async def call(app: Any, config: Any, is_async: bool) -> Any:
    """Run a graph on either way in."""
    given: Any = {"messages": []}
    return await app.ainvoke(given, config) if is_async else app.invoke(given, config)


def test_a_graph_is_a_runnable() -> None:
    app = graph(a=RunnableLambda(lambda _: {"messages": ["out"]})).compile()
    assert isinstance(app, Runnable)
    chain: Any = (
        RunnableLambda(lambda text: {"messages": [text]}) | app | (lambda s: len(s["messages"]))
    )
    assert chain.invoke("in") == 2
    assert app.with_retry().invoke({"messages": []})["messages"][0].content == "out"


@pytest.mark.parametrize("is_async", [False, True])
async def test_tokens_of_a_model_are_told_as_they_come(is_async: bool) -> None:
    chat = model()
    app = graph(call=lambda s: {"messages": chat.invoke(s["messages"])}).compile()
    given: Any = {"messages": ["hi"]}
    if is_async:
        items = [item async for item in app.astream(given, stream_mode="messages")]
    else:
        items = list(app.stream(given, stream_mode="messages"))
    assert [chunk.content for chunk, _ in items] == ["one", " ", "two"]
    assert {metadata["langgraph_node"] for _, metadata in items} == {"call"}


class Log(BaseCallbackHandler):
    def __init__(self) -> None:
        self.names: list[Any] = []

    def on_chain_start(self, *_: Any, name: Any = None, **__: Any) -> None:
        self.names.append(name)

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        self.names.append(type(error).__name__)


@pytest.mark.parametrize("is_async", [False, True])
async def test_callbacks_hear_of_the_run_its_nodes_and_failures(is_async: bool) -> None:
    def fails(state: Any) -> Any:
        raise KeyError

    log = Log()
    app = graph(a=lambda _: None, fails=fails).compile(name="app")
    config = {"callbacks": [log]}
    if is_async:
        with pytest.raises(KeyError):
            await app.ainvoke({"messages": []}, config)
    else:
        with pytest.raises(KeyError):
            app.invoke({"messages": []}, config)
    assert log.names == ["app", "a", "fails", "KeyError", "KeyError"]


async def test_events_tell_of_the_graph_its_nodes_and_models() -> None:
    chat = model()

    async def ask(state: Any) -> Any:
        return {"messages": await chat.ainvoke(state["messages"])}

    app = graph(call=ask).compile(name="app")
    events = [
        (event["event"], event["name"])
        async for event in app.astream_events({"messages": ["hi"]}, version="v2")
    ]
    assert events[:2] == [("on_chain_start", "app"), ("on_chain_start", "call")]
    assert ("on_chat_model_stream", "GenericFakeChatModel") in events
    assert events[-1] == ("on_chain_end", "app")


def test_graph_callbacks_hear_of_interrupts_and_resuming() -> None:
    heard: list[Any] = []

    class Handler(GraphCallbackHandler):
        def on_interrupt(self, event: Any) -> None:
            heard.append(("interrupt", event.status, event.interrupts[0].value))

        def on_resume(self, event: Any) -> None:
            heard.append(("resume", event.status))

    config: Any = {"configurable": {"thread_id": "1"}, "callbacks": [Handler()]}
    app = graph(a=lambda _: {"messages": interrupt("?")}).compile(checkpointer=InMemorySaver())
    app.invoke({"messages": []}, config)
    app.invoke(Command(resume="!"), config)
    assert heard == [("interrupt", "pending", "?"), ("resume", "pending")]


def test_a_tool_may_return_a_command() -> None:
    @tool
    def act(number: int) -> Any:
        """Acts."""
        return Command(update={"number": number})

    command = act.invoke({"number": 1})
    assert command == Command(update={"number": 1})
    assert pickle.loads(pickle.dumps(command)) == copy.deepcopy(command) == command


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_task_is_told_as_part_of_what_called_it(is_async: bool) -> None:
    runs: dict[Any, tuple[str, Any]] = {}

    class Tree(BaseCallbackHandler):
        def on_chain_start(self, *_: Any, **more: Any) -> None:
            runs[more["run_id"]] = (more["name"], more["parent_run_id"])

    @task
    def doubled(number: int) -> int:
        return number * 2

    @entrypoint()
    def work(number: int) -> int:
        return doubled(number).result()

    config: Any = {"callbacks": [Tree()]}
    await work.ainvoke(2, config) if is_async else work.invoke(2, config)
    assert [name for name, _ in runs.values()] == ["LangGraph", "work", "doubled"]
    *_, (_, parent) = runs.values()
    assert runs[parent][0] == "work"


@pytest.mark.parametrize("is_async", [False, True])
async def test_callbacks_hear_of_the_condition_at_the_entry(is_async: bool) -> None:
    def entry(state: Any) -> str:
        return "a"

    builder: Any = StateGraph(MessagesState).add_node("a", lambda _: None)
    app = builder.add_conditional_edges(START, entry).compile(name="app")
    log = Log()
    await call(app, {"callbacks": [log]}, is_async)
    assert log.names == ["app", START, "entry", "a"]


def test_callbacks_are_heard_though_nothing_has_loaded_their_manager() -> None:
    program = """if True:
        import sys
        from langchain_core.callbacks.base import BaseCallbackHandler
        from plait_adapters.langgraph.graph import START, StateGraph

        class Log(BaseCallbackHandler):
            def on_chain_start(self, *_, name=None, **__):
                print(name)

        app = StateGraph(dict).add_node("a", lambda s: s).add_edge(START, "a").compile()
        assert "langchain_core.callbacks.manager" not in sys.modules
        app.invoke({}, {"callbacks": [Log()]})
    """
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert ended.stdout.split() == [b"LangGraph", b"a"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_langsmith_traces_in_a_node_is_part_of_the_nodes_run(is_async: bool) -> None:
    def node(state: Any) -> Any:
        tree = get_current_run_tree()
        return {"messages": [tree.name if tree is not None else "nobody"]}

    app = graph(a=node).compile()
    tracer = LangChainTracer(client=Mock(spec=langsmith.Client))
    state = await call(app, {"callbacks": [tracer]}, is_async)
    assert state["messages"][-1].content == "a"


class Slow(GenericFakeChatModel):
    """Thinks a while before each token."""

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for chunk in self._stream(*args, **kwargs):
            await asyncio.sleep(0.06)
            yield chunk


def test_tokens_put_off_the_idle_timeout() -> None:
    chat = Slow(messages=iter([AIMessage("one two three")]))

    async def ask(state: Any) -> Any:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("ask", ask, timeout=TimeoutPolicy(idle_timeout=0.2)).add_edge(START, "ask")

    async def tokens() -> list[Any]:
        chunks = builder.compile().astream({"messages": ["hi"]}, stream_mode="messages")
        return [chunk.content async for chunk, _ in chunks]

    assert "".join(VirtualClock().run(tokens())) == "one two three"


@pytest.mark.parametrize(
    "node",
    [
        RunnableLambda(repr).with_config(tags=["bound"]),
        RunnableLambda(repr) | RunnableLambda(repr),
        RunnableParallel(side=RunnableLambda(repr)),
    ],
    ids=["bound", "sequence", "parallel"],
)
def test_a_time_limit_for_runnables_in_threads_is_refused(node: Any) -> None:
    builder: Any = StateGraph(MessagesState).add_node("a", node, timeout=1).add_edge(START, "a")
    with pytest.raises(ValueError, match="'a' is sync"):
        builder.compile()


def called(name: str) -> Any:
    """A message that calls a tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": {}, "id": "c1", "type": "tool_call"}])


def test_a_tool_that_hands_over_to_the_graph_outside_has_ended() -> None:
    inner = graph(go=lambda _: Command(goto="after", graph=Command.PARENT)).compile()

    @tool
    def hand_over() -> str:
        """Hand over."""
        return str(inner.invoke({"messages": []}))

    app: Any = graph(ask=lambda _: {"messages": [called("hand_over")]}, act=ToolNode([hand_over]))
    app.add_node("after", lambda _: None)
    told = app.compile().stream({"messages": []}, stream_mode="tools")
    assert [payload["event"] for payload in told] == ["tool-started", "tool-error"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_condition_after_a_command_from_within_is_told_under_the_nodes_name(
    is_async: bool,
) -> None:
    leaf = graph(go=lambda _: Command(goto="last", graph=Command.PARENT)).compile()
    builder: Any = StateGraph(MessagesState).add_node("inner", leaf)
    builder.add_node("last", lambda _: None).add_edge(START, "inner")
    builder.add_conditional_edges("inner", lambda _: "last", ["last"])
    log, app = Log(), builder.compile()
    given: Any = {"messages": []}
    if is_async:
        await app.ainvoke(given, {"callbacks": [log]})
    else:
        app.invoke(given, {"callbacks": [log]})
    begun = [name for name in log.names if name != "ParentCommand"]
    assert begun == ["LangGraph", "inner", "LangGraph", "go", "inner", "last"]


def test_what_a_task_calls_is_told_in_the_graph_of_the_node_that_called_it() -> None:
    @tool
    def echo() -> str:
        """Echo."""
        return "echo"

    @task
    def work() -> None:
        echo.invoke({})

    inner = graph(leaf=lambda _: work().result()).compile()
    told = graph(sub=inner).compile().stream({"messages": []}, stream_mode="tools", subgraphs=True)
    assert [namespace[0].split(":")[0] for namespace, _ in told] == ["sub", "sub"]


async def test_who_awaits_a_task_goes_on_before_the_stream_tells_of_it() -> None:
    @task
    async def doubled(number: int) -> int:
        return number * 2

    @entrypoint()
    async def work(number: int) -> int:
        return await doubled(number)

    events = [(each["event"], each["name"]) async for each in work.astream_events(1, version="v2")]
    streamed = [name for event, name in events if event == "on_chain_stream"]
    assert streamed == ["doubled", "work", "LangGraph", "LangGraph"]
