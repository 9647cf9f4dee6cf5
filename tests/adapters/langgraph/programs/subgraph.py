"""A graph within a graph, once with keys in common and once with a state of its own."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph


class Outer(TypedDict, total=False):
    question: str
    notes: list[str]
    verdict: str


class Reading(TypedDict, total=False):
    question: str
    notes: list[str]
    seen: Annotated[list[str], operator.add]
    """Nobody outside sees this."""


class Jury(TypedDict, total=False):
    case: str
    votes: Annotated[list[str], operator.add]


def look(state: Reading) -> dict[str, Any]:
    return {"seen": [f"page about {state['question']}"]}


def note(state: Reading) -> dict[str, Any]:
    return {"notes": [each.upper() for each in state["seen"]]}


def reading() -> Any:
    builder = StateGraph(Reading)
    builder.add_node(look)
    builder.add_node(note)
    builder.add_edge(START, "look")
    builder.add_edge("look", "note")
    return builder.compile()


def juror(name: str) -> Any:
    async def vote(state: Jury) -> dict[str, Any]:
        return {"votes": [f"{name} on {state['case']}"]}

    return vote


def jury() -> Any:
    builder = StateGraph(Jury)
    for name in ("ann", "bob"):
        builder.add_node(name, juror(name))
        builder.add_edge(START, name)
    return builder.compile()


async def main() -> Any:
    judges = jury()

    async def judge(state: Outer) -> dict[str, Any]:
        votes = (await judges.ainvoke({"case": state["notes"][0]}))["votes"]
        return {"verdict": "; ".join(votes)}

    builder = StateGraph(Outer)
    builder.add_node("reading", reading())
    builder.add_node("judge", judge)
    builder.add_edge(START, "reading")
    builder.add_edge("reading", "judge")
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    chunks = [
        (tuple(each.partition(":")[0] for each in namespace), chunk)
        async for namespace, chunk in graph.astream(
            {"question": "plaits"}, config, stream_mode="updates", subgraphs=True
        )
    ]
    return {"values": (await graph.aget_state(config)).values, "chunks": sorted(chunks, key=str)}


def check(found: Any) -> None:
    assert found["values"]["notes"] == ["PAGE ABOUT PLAITS"]
    assert "seen" not in found["values"]
    assert found["values"]["verdict"] == "ann on PAGE ABOUT PLAITS; bob on PAGE ABOUT PLAITS"
    assert {namespace for namespace, _ in found["chunks"]} == {(), ("reading",), ("judge",)}
