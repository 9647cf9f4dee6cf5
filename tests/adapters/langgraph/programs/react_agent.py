"""An agent that looks things up and does sums until it can answer."""

from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition

from tests.adapters.langgraph.programs.scripted import asking, scripted

PRICES = {"apple": 3, "pear": 4}


@tool
def price(fruit: str) -> int:
    """The price of a fruit."""
    return PRICES[fruit]


@tool
def multiply(a: int, b: int) -> int:
    """The product of two numbers."""
    return a * b


def script() -> Any:
    return scripted(
        asking(1, price={"fruit": "apple"}),
        asking(2, multiply={"a": 3, "b": 7}, price={"fruit": "pear"}),
        AIMessage("Seven apples are 21, and a pear is 4.", id="answer"),
    )


def by_hand() -> Any:
    model = script().bind_tools([price, multiply])

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode([price, multiply]))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition, ["tools", END])
    builder.add_edge("tools", "think")
    return builder.compile()


async def main() -> Any:
    question = {"messages": [HumanMessage("What are seven apples, and a pear?", id="question")]}
    prebuilt: Any = create_react_agent(script(), [price, multiply], prompt="You know prices.")
    found = {}
    for name, agent in {"by hand": by_hand(), "prebuilt": prebuilt}.items():
        result = await agent.ainvoke(question)
        found[name] = [(message.type, message.content) for message in result["messages"]]
    found["nodes"] = sorted(prebuilt.get_graph().nodes)
    return found


EXPECTED = [
    ("human", "What are seven apples, and a pear?"),
    ("ai", ""),
    ("tool", "3"),
    ("ai", ""),
    ("tool", "21"),
    ("tool", "4"),
    ("ai", "Seven apples are 21, and a pear is 4."),
]


def check(found: Any) -> None:
    assert found["by hand"] == found["prebuilt"] == EXPECTED
    assert found["nodes"] == ["__end__", "__start__", "agent", "tools"]
