"""A text is cut into pages, each page is read by a node of its own, and the counts are added up."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send


class Book(TypedDict, total=False):
    text: str
    pages: list[str]
    words: Annotated[list[tuple[int, int]], operator.add]
    longest: int


class Page(TypedDict):
    number: int
    page: str


def cut(state: Book) -> dict[str, Any]:
    return {"pages": state["text"].split("\n")}


def hand_out(state: Book) -> list[Send]:
    return [Send("read", {"number": n, "page": page}) for n, page in enumerate(state["pages"])]


def read(state: Page) -> dict[str, Any]:
    return {"words": [(state["number"], len(state["page"].split()))]}


def sum_up(state: Book) -> dict[str, Any]:
    return {"longest": max(count for _, count in state["words"])}


async def main() -> Any:
    builder = StateGraph(Book)
    builder.add_node(cut)
    builder.add_node("read", read, input_schema=Page)
    builder.add_node(sum_up)
    builder.add_edge(START, "cut")
    builder.add_conditional_edges("cut", hand_out, ["read"])
    builder.add_edge("read", "sum_up")
    builder.add_edge("sum_up", END)
    graph: Any = builder.compile()
    text = "one two\nthree\nfour five six\nseven"
    return [await graph.ainvoke({"text": text}), graph.invoke({"text": text})]


def check(found: Any) -> None:
    suspending, plain = found
    assert suspending == plain
    assert plain["words"] == [(0, 2), (1, 1), (2, 3), (3, 1)]
    assert plain["longest"] == 3
