"""A source that fails at first is tried again; a dear one is asked once for each question."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.cache.memory import InMemoryCache
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, RetryPolicy

CALLS: list[str] = []


class Search(TypedDict, total=False):
    query: str
    found: Annotated[list[str], operator.add]


async def flaky(state: Search) -> dict[str, Any]:
    CALLS.append("flaky")
    if CALLS.count("flaky") < 3:
        raise ConnectionError("not now")
    return {"found": ["flaky answered"]}


async def dear(state: Search) -> dict[str, Any]:
    CALLS.append(f"dear {state['query']}")
    return {"found": [f"dear on {state['query']}"]}


def question(state: Any) -> str:
    return str(state["query"])


async def main() -> Any:
    CALLS.clear()
    builder = StateGraph(Search)
    patient = RetryPolicy(initial_interval=0.0, jitter=False, max_attempts=3)
    builder.add_node("flaky", flaky, retry_policy=patient)
    builder.add_node("dear", dear, cache_policy=CachePolicy(key_func=question, ttl=60))
    builder.add_edge(START, "flaky")
    builder.add_edge(START, "dear")
    graph: Any = builder.compile(cache=InMemoryCache())
    found = [await graph.ainvoke({"query": query}) for query in ("one", "one", "two")]
    return {"found": found, "calls": list(CALLS)}


def check(found: Any) -> None:
    assert found["found"][0] == {"query": "one", "found": ["dear on one", "flaky answered"]}
    assert found["found"][1] == found["found"][0]
    dear_calls = [each for each in found["calls"] if each.startswith("dear")]
    assert dear_calls == ["dear one", "dear two"]
    assert found["calls"].count("flaky") == 3 + 2
