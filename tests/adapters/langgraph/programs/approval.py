"""A person is asked before a letter is sent, and may change it."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt


class Letter(TypedDict, total=False):
    text: str
    log: Annotated[list[str], operator.add]


def draft(state: Letter) -> dict[str, Any]:
    return {"text": "Dear all, the meeting is at nine.", "log": ["drafted"]}


def ask(state: Letter) -> dict[str, Any]:
    answer = interrupt({"question": "May this be sent?", "text": state["text"]})
    if answer["kind"] == "edit":
        confirmed = interrupt({"question": "As changed?", "text": answer["text"]})
        return {"text": answer["text"], "log": [f"changed, {confirmed}"]}
    return {"log": [answer["kind"]]}


def send(state: Letter) -> dict[str, Any]:
    return {"log": [f"sent: {state['text']}"]}


async def main() -> Any:
    builder = StateGraph(Letter)
    for node in (draft, ask, send):
        builder.add_node(node)
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "ask")
    builder.add_edge("ask", "send")
    builder.add_edge("send", END)
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "letter"}}
    first = await graph.ainvoke({"log": []}, config)
    waiting = await graph.aget_state(config)
    edit = {"kind": "edit", "text": "Dear all, the meeting is at ten."}
    second = await graph.ainvoke(Command(resume=edit), config)
    last = await graph.ainvoke(Command(resume="yes"), config)
    return {
        "asked": [each.value for each in (*first["__interrupt__"], *second["__interrupt__"])],
        "next": waiting.next,
        "last": last,
    }


def check(found: Any) -> None:
    assert [each["question"] for each in found["asked"]] == ["May this be sent?", "As changed?"]
    assert list(found["next"]) == ["ask"]
    assert found["last"]["log"][1:] == ["changed, yes", "sent: Dear all, the meeting is at ten."]
