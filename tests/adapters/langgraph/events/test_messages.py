"""Messages of models and calls of tools in a run of events, each a stream of its own."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.language_models.fake_chat_models import (
    FakeMessagesListChatModel,
    GenericFakeChatModel,
)
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool

from plait_adapters.langgraph.graph import END, START, MessagesState, StateGraph
from plait_adapters.langgraph.prebuilt import (
    ToolCallTransformer,
    ToolNode,
    ToolRuntime,
    tools_condition,
)
from plait_adapters.langgraph.stream import GraphRunStream, SubgraphTransformer
from plait_adapters.langgraph.stream._mux import StreamMux
from plait_adapters.langgraph.stream.transformers import MessagesTransformer

START_WITH: Any = {"messages": [HumanMessage("hi", id="question")]}


def model(*messages: Any) -> Any:
    return GenericFakeChatModel(messages=iter(messages))


def graph(*nodes: Any, **compiling: Any) -> Any:
    builder: Any = StateGraph(MessagesState)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    return builder.add_edge(START, "n0").compile(**compiling)


def asks(chat: Any) -> Any:
    return lambda state: {"messages": [chat.invoke(state["messages"])]}


def test_the_tokens_of_a_message_come_as_a_stream() -> None:
    run = graph(asks(model("one two"))).stream_events(START_WITH, version="v3")
    [(tokens, node)] = [(list(each.text), each.node) for each in run.messages]
    assert tokens == ["one", " ", "two"]
    assert node == "n0"
    assert run.output["messages"][-1].text == "one two"


async def test_the_tokens_of_a_message_come_as_an_asynchronous_stream() -> None:
    chat = model("one two")

    async def node(state: MessagesState) -> Any:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    run = await graph(node).astream_events(START_WITH, version="v3")
    async for message in run.messages:
        assert isinstance(message, AsyncChatModelStream)
        assert [each async for each in message.text] == ["one", " ", "two"]
        assert (await message.output).text == "one two"


def test_a_message_begins_before_it_ends() -> None:
    run = graph(asks(model("one two"))).stream_events(START_WITH, version="v3")
    message = next(iter(run.messages))
    assert isinstance(message, ChatModelStream)
    assert not message.done
    assert message.output.text == "one two"


def test_a_message_that_no_model_streamed_is_complete() -> None:
    app = graph(lambda _: {"messages": [AIMessage("whole", id="1")]})
    [message] = list(app.stream_events(START_WITH, version="v3").messages)
    assert message.done
    assert (message.message_id, message.output.text) == ("1", "whole")


def test_each_message_comes_once_and_what_tools_return_does_not() -> None:
    app = graph(
        asks(model(AIMessage("a", id="1"))),
        lambda state: {"messages": [*state["messages"], ToolMessage("t", tool_call_id="1")]},
    )
    run = app.stream_events(START_WITH, version="v3")
    assert [each.output.text for each in run.messages] == ["a"]


def test_messages_of_nested_graphs_are_theirs() -> None:
    app = graph(graph(asks(model("inner"))), asks(model("outer")))
    run = app.stream_events(START_WITH, version="v3")
    own, inner = iter(run.messages), []
    for handle in run.subgraphs:
        inner += [str(each.text) for each in handle.messages]
    assert inner == ["inner"]
    assert [str(each.text) for each in own] == ["outer"]


def test_a_message_of_a_model_that_fails_fails() -> None:
    class Breaks(GenericFakeChatModel):
        def _stream(self, *given: Any, **keywords: Any) -> Any:
            yield from list(super()._stream(*given, **keywords))[:1]
            raise KeyError("model")

    chat = Breaks(messages=iter(["one two"]))
    run = graph(asks(chat)).stream_events(START_WITH, version="v3")
    message = next(iter(run.messages))
    with pytest.raises(KeyError, match="model"):
        list(message.text)
    with pytest.raises(KeyError, match="model"):
        _ = run.output


def test_a_plain_stream_within_a_run_has_tokens() -> None:
    inner = graph(asks(model("one two")))
    got: list[Any] = []

    def node(state: MessagesState) -> Any:
        got.extend(chunk.content for chunk, _ in inner.stream(state, stream_mode="messages"))

    run = graph(node).stream_events(START_WITH, version="v3")
    assert run.output == START_WITH
    assert got == ["one", " ", "two"]


def test_tokens_of_the_first_version_are_not_messages() -> None:
    parts = [
        {"type": "messages", "ns": (), "data": (AIMessageChunk(content="a"), {"run_id": "1"})},
        {"type": "messages", "ns": (), "data": ({"event": "message-finish"}, {"run_id": "2"})},
    ]
    run = GraphRunStream(parts, StreamMux(factories=[MessagesTransformer]))
    assert list(run.messages) == []


def test_messages_of_two_models_do_not_mix() -> None:
    def part(run_id: str, **event: Any) -> Any:
        return {"type": "messages", "ns": (), "data": (event, {"run_id": run_id})}

    def text(kind: str, said: str) -> Any:
        return {"event": kind, "index": 0, "content_block": {"type": "text", "text": said}}

    parts = []
    for step in (
        {"event": "message-start", "role": "ai"},
        text("content-block-start", ""),
        text("content-block-delta", "x"),
        text("content-block-finish", "x"),
        {"event": "message-finish", "reason": "stop"},
    ):
        for name in "ab":
            begins = {"message_id": name} if step["event"] == "message-start" else {}
            parts.append(part(name, **step, **begins))
    parts.insert(1, part("t", event="message-start", role="tool"))
    run = GraphRunStream(parts, StreamMux(factories=[MessagesTransformer]))
    found = {each.message_id: each.output.text for each in run.messages}
    assert found == {"a": "x", "b": "x"}


# -- tools --------------------------------------------------------------------------------------


@tool
def count(to: int, runtime: ToolRuntime) -> str:
    """Count."""
    for number in range(to):
        runtime.emit_output_delta(number)
    return f"counted to {to}"


@tool
def breaks() -> str:
    """Fail."""
    raise ValueError("broken")


def call(name: str, number: int, **arguments: Any) -> Any:
    return {"name": name, "args": arguments, "id": f"{name}-{number}", "type": "tool_call"}


def agent(*calls: Any, **tools: Any) -> Any:
    asking = AIMessage("", tool_calls=list(calls))
    chat = FakeMessagesListChatModel(responses=[asking, AIMessage("done")])
    builder: Any = StateGraph(MessagesState).add_node("model", asks(chat))
    builder.add_node("tools", ToolNode([count, breaks], **tools)).add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition, ["tools", END])
    return builder.add_edge("tools", "model").compile(transformers=[ToolCallTransformer])


def test_a_call_of_a_tool_is_a_stream_of_what_it_tells() -> None:
    run = agent(call("count", 1, to=3)).stream_events(START_WITH, version="v3")
    for each in run.tool_calls:
        assert (each.tool_call_id, each.tool_name, each.input["to"]) == ("count-1", "count", 3)
        assert list(each) == [0, 1, 2]
        assert (each.completed, each.output, each.error) == (True, "counted to 3", None)
    assert run.output["messages"][-1].text == "done"


async def test_a_call_of_a_tool_is_read_on_an_event_loop() -> None:
    run = await agent(call("count", 1, to=2)).astream_events(START_WITH, version="v3")
    async for each in run.tool_calls:
        assert [delta async for delta in each] == [0, 1]
        assert "completed" in repr(each)


def test_calls_side_by_side_are_told_apart() -> None:
    calls = [call("count", number, to=number) for number in (1, 2, 3)]
    run = agent(*calls).stream_events(START_WITH, version="v3")
    outputs = {each.tool_call_id: each for each in run.tool_calls}
    assert {name: each.output for name, each in outputs.items()} == {
        f"count-{number}": f"counted to {number}" for number in (1, 2, 3)
    }


def test_a_call_that_fails_says_so() -> None:
    app = agent(call("breaks", 1), handle_tool_errors=False)
    run = app.stream_events(START_WITH, version="v3")
    [each] = list(iter_until_error(run.tool_calls))
    assert (each.completed, each.output, each.error) == (True, None, "broken")
    assert "failed" in repr(each)


def iter_until_error(items: Any) -> Any:
    try:
        yield from items
    except ValueError:
        return


def tools(*events: dict[str, Any], error: Exception | None = None) -> Any:
    """The stream of the first call that events tell of."""
    mux = StreamMux(factories=[ToolCallTransformer, SubgraphTransformer])
    calls = iter(mux.extensions["tool_calls"])
    parts = [{"type": "tools", "ns": (), "data": each} for each in events]
    run = GraphRunStream(None, mux)
    found = GraphRunStream(parts, mux)
    stream = next(calls)
    if error is None:
        assert found.output is None
    else:
        mux.fail(error)
    assert run.extensions == found.extensions
    return stream


STARTED = {"event": "tool-started", "tool_call_id": "1", "tool_name": "t"}


def test_a_call_that_nothing_ends_ends_with_the_run() -> None:
    assert tools(STARTED).completed
    assert tools(STARTED, error=KeyError("x")).error == "'x'"


def test_what_a_serialized_message_carries_is_the_output() -> None:
    message = {
        "type": "constructor",
        "id": ["langchain_core", "messages", "ToolMessage"],
        "kwargs": {"content": "c"},
    }
    finished = {"event": "tool-finished", "tool_call_id": "1", "output": message}
    assert tools(STARTED, finished).output == "c"
    assert tools(STARTED, {**finished, "output": {"x": 1}}).output == {"x": 1}
