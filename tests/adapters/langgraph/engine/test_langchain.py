"""With langchain-core: runnables and models as nodes, callbacks, events."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool

from plait_adapters.langgraph.callbacks import GraphCallbackHandler
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.func import entrypoint, task
from plait_adapters.langgraph.graph import START, MessagesState, StateGraph
from plait_adapters.langgraph.types import Command, interrupt


def graph(**nodes: Any) -> Any:
    """Nodes one after the other, over messages."""
    builder: Any = StateGraph(MessagesState)
    builder.add_sequence(list(nodes.items()))
    return builder.add_edge(START, next(iter(nodes)))


def model() -> Any:
    return GenericFakeChatModel(messages=iter([AIMessage("one two"), AIMessage("three")]))


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

    async def call(state: Any) -> Any:
        return {"messages": await chat.ainvoke(state["messages"])}

    app = graph(call=call).compile(name="app")
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
        def on_chain_start(self, *_: Any, run_id: Any, parent_run_id: Any, **more: Any) -> None:
            runs[run_id] = (more["name"], parent_run_id)

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
