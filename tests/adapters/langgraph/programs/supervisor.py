"""A supervisor says by its Commands who works next, until the work is done."""

import operator
from typing import Annotated, Any, Literal, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import Command


class Job(TypedDict, total=False):
    plan: list[str]
    said: Annotated[list[str], operator.add]


def supervisor(state: Job) -> Command[Literal["writer", "editor", "__end__"]]:
    if not state["plan"]:
        return Command(goto="__end__", update={"said": ["supervisor: done"]})
    first: Any = state["plan"][0]
    rest = state["plan"][1:]
    return Command(goto=first, update={"plan": rest, "said": [f"supervisor: {first}, please"]})


def writer(state: Job) -> Command[Literal["supervisor"]]:
    return Command(goto="supervisor", update={"said": ["writer: a draft"]})


def editor(state: Job) -> Command[Literal["supervisor"]]:
    seen = sum("draft" in each for each in state["said"])
    return Command(goto="supervisor", update={"said": [f"editor: {seen} drafts read"]})


async def main() -> Any:
    builder = StateGraph(Job)
    for node in (supervisor, writer, editor):
        builder.add_node(node)
    builder.add_edge(START, "supervisor")
    graph: Any = builder.compile()
    given = {"plan": ["writer", "writer", "editor"]}
    updates = [next(iter(each)) async for each in graph.astream(given, stream_mode="updates")]
    return {"said": (await graph.ainvoke(given))["said"], "updates": updates}


def check(found: Any) -> None:
    assert found["said"][-2:] == ["editor: 2 drafts read", "supervisor: done"]
    assert found["updates"] == ["supervisor", "writer"] * 2 + ["supervisor", "editor", "supervisor"]
