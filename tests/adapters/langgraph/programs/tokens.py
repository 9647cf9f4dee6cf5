"""What a model says is streamed token by token, and a node's own progress beside it."""

from typing import Any

from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from tests.adapters.langgraph.programs.scripted import scripted


async def main() -> Any:
    model = scripted("A plait is made of strands.", "Three is enough.")

    async def explain(state: MessagesState) -> dict[str, Any]:
        get_stream_writer()({"progress": "thinking"})
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def count(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node(explain)
    builder.add_node(count)
    builder.add_edge(START, "explain")
    builder.add_edge("explain", "count")
    graph: Any = builder.compile()
    tokens: dict[str, list[str]] = {}
    beside = []
    question: Any = {"messages": [("user", "What is a plait?")]}
    async for mode, data in graph.astream(question, stream_mode=["messages", "custom"]):
        if mode == "custom":
            beside.append(data)
            continue
        chunk, metadata = data
        tokens.setdefault(metadata["langgraph_node"], []).append(chunk.content)
    return {"tokens": tokens, "beside": beside}


def check(found: Any) -> None:
    said = {node: "".join(tokens) for node, tokens in found["tokens"].items()}
    assert said == {"explain": "A plait is made of strands.", "count": "Three is enough."}
    assert len(found["tokens"]["explain"]) > 5
    assert found["beside"] == [{"progress": "thinking"}]
