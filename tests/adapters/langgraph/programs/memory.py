"""A conversation is remembered by its thread, and what is known of a user by all threads."""

from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore


@dataclass
class Who:
    user: str


async def answer(state: MessagesState, runtime: Runtime[Who]) -> dict[str, Any]:
    assert runtime.store is not None
    place = (runtime.context.user, "facts")
    said = str(state["messages"][-1].content)
    if said.startswith("remember "):
        await runtime.store.aput(place, said.removeprefix("remember "), {"fact": said[9:]})
        return {"messages": [AIMessage("noted")]}
    facts = sorted(item.value["fact"] for item in await runtime.store.asearch(place))
    heard = len(state["messages"])
    return {"messages": [AIMessage(f"{heard} messages; {', '.join(facts) or 'nothing'}")]}


async def main() -> Any:
    builder = StateGraph(MessagesState, context_schema=Who)
    builder.add_node(answer)
    builder.add_edge(START, "answer")
    graph: Any = builder.compile(checkpointer=InMemorySaver(), store=InMemoryStore())
    answers = []
    for thread, user, said in [
        ("1", "ann", "remember tea"),
        ("1", "ann", "what do you know?"),
        ("2", "ann", "what do you know?"),
        ("3", "bob", "what do you know?"),
    ]:
        config: Any = {"configurable": {"thread_id": thread}}
        given = {"messages": [("user", said)]}
        result = await graph.ainvoke(given, config, context=Who(user))
        answers.append(result["messages"][-1].content)
    return answers


def check(found: Any) -> None:
    assert found == ["noted", "3 messages; tea", "1 messages; tea", "1 messages; nothing"]
