"""An essay written by plain functions: tasks side by side, one of them asked about by a person."""

from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

CALLS: list[str] = []


@task
async def paragraph(topic: str) -> str:
    CALLS.append(topic)
    return f"On {topic}."


@task
async def headline(paragraphs: list[str]) -> str:
    return f"{len(paragraphs)} thoughts"


@entrypoint(checkpointer=InMemorySaver())
async def essay(topics: list[str], *, previous: Any = None) -> Any:
    started = [paragraph(topic) for topic in topics]
    paragraphs = [await each for each in started]
    title = await headline(paragraphs)
    approved = interrupt({"title": title, "before": previous})
    text = " ".join([title, *paragraphs, f"({approved})"])
    return entrypoint.final(value=text, save=title)


async def main() -> Any:
    CALLS.clear()
    config: Any = {"configurable": {"thread_id": "essay"}}
    asked = [each async for each in essay.astream(["knots", "ropes"], config)]
    done = await essay.ainvoke(Command(resume="fine"), config)
    again = [each async for each in essay.astream(["sails"], config)]
    questions = [
        each["__interrupt__"][0].value for each in (*asked, *again) if "__interrupt__" in each
    ]
    return {"done": done, "questions": questions, "calls": sorted(CALLS)}


def check(found: Any) -> None:
    assert found["done"] == "2 thoughts On knots. On ropes. (fine)"
    assert found["questions"] == [
        {"title": "2 thoughts", "before": None},
        {"title": "1 thoughts", "before": "2 thoughts"},
    ]
    assert found["calls"] == ["knots", "ropes", "sails"], "a finished task is not done again"
