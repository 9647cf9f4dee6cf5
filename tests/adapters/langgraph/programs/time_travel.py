"""A story is told; one of its earlier moments is told again, and then told otherwise."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

TOLD: list[str] = []


class Story(TypedDict, total=False):
    hero: str
    lines: Annotated[list[str], operator.add]


def begin(state: Story) -> dict[str, Any]:
    TOLD.append("begin")
    return {"hero": "a fox", "lines": ["Once there was a hero."]}


def middle(state: Story) -> dict[str, Any]:
    TOLD.append("middle")
    return {"lines": [f"It was {state['hero']}."]}


def end(state: Story) -> dict[str, Any]:
    TOLD.append("end")
    return {"lines": [f"And {state['hero']} slept."]}


async def main() -> Any:
    TOLD.clear()
    builder = StateGraph(Story)
    for node in (begin, middle, end):
        builder.add_node(node)
    builder.add_edge(START, "begin")
    builder.add_edge("begin", "middle")
    builder.add_edge("middle", "end")
    builder.add_edge("end", END)
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "story"}}
    first = await graph.ainvoke({"lines": []}, config)
    past = [each async for each in graph.aget_state_history(config)]
    before_middle = next(each for each in past if each.next == ("middle",))
    again = await graph.ainvoke(None, before_middle.config)
    otherwise = await graph.aupdate_state(before_middle.config, {"hero": "a hen"})
    forked = await graph.ainvoke(None, otherwise)
    history = [each async for each in graph.aget_state_history(config)]
    return {
        "first": first,
        "again": again,
        "forked": forked,
        "told": list(TOLD),
        "history": [(each.next, (each.metadata or {})["source"]) for each in history],
    }


def check(found: Any) -> None:
    assert found["again"] == found["first"]
    assert found["forked"]["lines"][1:] == ["It was a hen.", "And a hen slept."]
    assert found["told"] == ["begin", "middle", "end", "middle", "end", "middle", "end"]
    assert [source for _, source in found["history"]].count("fork") in {1, 2}
