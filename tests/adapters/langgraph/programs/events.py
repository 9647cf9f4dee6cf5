"""A team of two, read as a stream of events: tokens, calls of tools, and who is at work."""

import warnings
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolCallTransformer, ToolNode, ToolRuntime, tools_condition
from langgraph.stream import StreamChannel, StreamTransformer

from tests.adapters.langgraph.programs.scripted import asking, scripted


@tool
def search(topic: str, runtime: ToolRuntime) -> str:
    """What is known of a topic."""
    for page in (1, 2):
        runtime.emit_output_delta(f"page {page}")
    return f"{topic} are old"


class Length(StreamTransformer):
    """How long the answer is so far."""

    required_stream_modes = ("values",)

    def init(self) -> dict[str, Any]:
        self.channel: StreamChannel[int] = StreamChannel("length")
        return {"length": self.channel}

    def process(self, event: Any) -> bool:
        if event["method"] == "values" and not event["params"]["namespace"]:
            self.channel.push(len(event["params"]["data"]["messages"]))
        return True


def researcher() -> Any:
    messages = [asking(1, search={"topic": "weaves"}), AIMessage("they are old", id="found")]

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [messages.pop(0)]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode([search]))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition, ["tools", END])
    builder.add_edge("tools", "think")
    return builder.compile()


def team() -> Any:
    model = scripted("weaves are old")

    def write(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("research", researcher())
    builder.add_node("write", write)
    builder.add_edge(START, "research")
    builder.add_edge("research", "write")
    builder.add_edge("write", END)
    return builder.compile(transformers=[ToolCallTransformer])


async def main() -> Any:
    warnings.simplefilter("ignore")
    question: Any = {"messages": [HumanMessage("How old are weaves?", id="question")]}
    found: dict[str, Any] = {"tools": [], "tokens": []}

    run = team().stream_events(question, version="v3")
    for kind, item in run.interleave("lifecycle", "subgraphs", "messages"):
        if kind == "subgraphs":
            for call in item.tool_calls:
                found["tools"].append((call.tool_name, list(call), call.output))
        elif kind == "messages":
            found["tokens"] += list(item.text)
        else:
            found.setdefault("at work", []).append((item["event"], item.get("graph_name")))
    found["answer"] = run.output["messages"][-1].text

    later = await team().astream_events(question, version="v3", transformers=[Length])
    async with later:
        found["lengths"] = [length async for length in later.extensions["length"]]
    again = await team().astream_events(question, version="v3", transformers=[Length])
    found["events"] = sorted({event["method"] async for event in again})
    return found


def check(found: Any) -> None:
    assert found["tools"] == [("search", ["page 1", "page 2"], "weaves are old")]
    assert found["tokens"] == ["weaves", " ", "are", " ", "old"]
    assert found["at work"] == [("started", "research"), ("completed", None)]
    assert found["answer"] == "weaves are old"
    assert found["lengths"] == [1, 4, 5]
    assert found["events"] == ["custom:length", "lifecycle", "messages", "tools", "values"]
