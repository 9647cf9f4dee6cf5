"""Programs of every kind on LangGraph or what mirrors it, run with a saver and told as a record.

A record has what a saver can change: states, what comes next, metadata, pending writes, errors; not
what differs from run to run, such as identifiers.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import anyio.to_thread
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from typing_extensions import TypedDict

__all__ = ["CONFIG", "FACADE", "LANGGRAPH", "PROGRAMS", "Engine"]

CONFIG: Any = {"configurable": {"thread_id": "thread"}}


class Engine:
    """The names that programs need, of one package."""

    def __init__(self, package: str) -> None:
        self.package = package
        graph = importlib.import_module(f"{package}.graph")
        types = importlib.import_module(f"{package}.types")
        delta = importlib.import_module(f"{package}.channels").DeltaChannel
        self.graph: Any = graph.StateGraph
        self.send: Any = types.Send
        self.command: Any = types.Command
        self.interrupt: Any = types.interrupt

        log, messages = Annotated[list[Any], operator.add], list[AnyMessage]
        written: Any = Annotated[messages, graph.add_messages]
        added: Any = Annotated[list[Any], delta(_joined, list)]
        schema: Any = TypedDict
        self.log: Any = schema("Log", {"log": log, "count": int, "messages": written}, total=False)
        self.deltas: Any = schema(
            "Deltas", {"log": added, "count": int, "constant": str}, total=False
        )

    def __repr__(self) -> str:
        return self.package


def _joined(old: list[Any], new: Sequence[list[Any]]) -> list[Any]:
    return [*old, *itertools.chain.from_iterable(new)]


LANGGRAPH = Engine("langgraph")
FACADE = Engine("plait_adapters.langgraph")


def _append(name: str) -> Callable[[Any], Any]:
    def node(state: Any) -> Any:
        return {"log": [name]}

    return node


async def chain(lg: Engine, saver: Any) -> Any:
    """Three nodes one after the other, with messages in their state."""

    def answer(state: Any) -> Any:
        return {"messages": [AIMessage("yes", id="2")], "count": len(state["messages"])}

    builder: Any = lg.graph(lg.log)
    builder.add_sequence([("a", _append("a")), ("answer", answer), ("c", _append("c"))])
    builder.add_edge("__start__", "a")
    graph = builder.compile(checkpointer=saver)
    await graph.ainvoke({"messages": [HumanMessage("no?", id="1")], "log": []}, CONFIG)
    again = await graph.ainvoke({"log": ["again"]}, CONFIG)
    return again, await _history(graph)


async def fan(lg: Engine, saver: Any) -> Any:
    """Sends, gathered by a reducer."""

    def work(argument: Any) -> Any:
        return {"log": [argument * 10]}

    builder: Any = lg.graph(lg.log)
    builder.add_node("work", work)
    builder.add_node("end", _append("end"))
    builder.add_conditional_edges(
        "__start__", lambda _: [lg.send("work", n) for n in range(5)], ["work"]
    )
    builder.add_edge("work", "end")
    graph = builder.compile(checkpointer=saver)
    return await graph.ainvoke({"log": []}, CONFIG), await _history(graph)


async def loop(lg: Engine, saver: Any) -> Any:
    """A node that goes back to itself."""

    def step(state: Any) -> Any:
        return {"count": state.get("count", 0) + 1, "log": [state.get("count", 0)]}

    builder: Any = lg.graph(lg.log)
    builder.add_node("step", step)
    builder.add_edge("__start__", "step")
    builder.add_conditional_edges("step", lambda s: "__end__" if s["count"] == 6 else "step")
    graph = builder.compile(checkpointer=saver)
    return await graph.ainvoke({"log": []}, CONFIG), await _history(graph)


async def questions(lg: Engine, saver: Any) -> Any:
    """Two branches that ask, answered one after the other."""

    def ask(name: str) -> Callable[[Any], Any]:
        def node(state: Any) -> Any:
            return {"log": [f"{name}: {lg.interrupt({'for': name})}"]}

        return node

    builder: Any = lg.graph(lg.log)
    for name in ("left", "right"):
        builder.add_node(name, ask(name))
        builder.add_edge("__start__", name)
    graph = builder.compile(checkpointer=saver)
    first = await graph.ainvoke({"log": []}, CONFIG)
    by_name = {found.value["for"]: found.id for found in first["__interrupt__"]}
    second = await graph.ainvoke(lg.command(resume={by_name["right"]: "r"}), CONFIG)
    stopped = await graph.aget_state(CONFIG)
    third = await graph.ainvoke(lg.command(resume={by_name["left"]: "l"}), CONFIG)
    left = [found.value for found in second["__interrupt__"]]
    return sorted(by_name), left, stopped.next, third, await _history(graph)


async def nested(lg: Engine, saver: Any) -> Any:
    """A subgraph that asks, within a graph, seen from both."""

    def ask(state: Any) -> Any:
        return {"log": [f"inner {lg.interrupt('inner?')}"]}

    inner: Any = lg.graph(lg.log)
    inner.add_sequence([("before", _append("before")), ("ask", ask)])
    inner.add_edge("__start__", "before")
    outer: Any = lg.graph(lg.log)
    outer.add_node("inner", inner.compile())
    outer.add_node("after", _append("after"))
    outer.add_edge("__start__", "inner")
    outer.add_edge("inner", "after")
    graph = outer.compile(checkpointer=saver)
    await graph.ainvoke({"log": []}, CONFIG)
    state = await graph.aget_state(CONFIG, subgraphs=True)
    within = state.tasks[0].state
    done = await graph.ainvoke(lg.command(resume="yes"), CONFIG)
    return within.values, within.next, done, await _history(graph)


async def failure(lg: Engine, saver: Any) -> Any:
    """A node that fails once beside one that does not, which is not run again."""
    calls: list[str] = []
    told = None

    async def good(state: Any) -> Any:
        calls.append("good")
        return {"log": ["good"]}

    async def bad(state: Any) -> Any:
        calls.append("bad")
        if calls.count("bad") == 1:
            for _ in range(100):  # the other one is done, and LangGraph has seen it
                await asyncio.sleep(0)
            raise ValueError("the first time")
        return {"log": ["bad"]}

    builder: Any = lg.graph(lg.log)
    builder.add_node("good", good)
    builder.add_node("bad", bad)
    builder.add_edge("__start__", "good")
    builder.add_edge("__start__", "bad")
    graph = builder.compile(checkpointer=saver)
    try:
        await graph.ainvoke({"log": []}, CONFIG)
    except ValueError as error:
        told = str(error)
    stopped = await graph.aget_state(CONFIG)
    errors = [(task.name, task.error) for task in stopped.tasks]
    done = await graph.ainvoke(None, CONFIG)
    return told, errors, stopped.next, done, sorted(calls), await _history(graph)


async def updates(lg: Engine, saver: Any) -> Any:
    """A state changed from outside, between the nodes."""
    builder: Any = lg.graph(lg.log)
    builder.add_sequence([("a", _append("a")), ("b", _append("b"))])
    builder.add_edge("__start__", "a")
    graph = builder.compile(checkpointer=saver, interrupt_before=["b"])
    await graph.ainvoke({"log": []}, CONFIG)
    await graph.aupdate_state(CONFIG, {"log": ["edit"], "count": 7}, as_node="a")
    return await graph.ainvoke(None, CONFIG), await _history(graph)


async def travel(lg: Engine, saver: Any) -> Any:
    """A run from a checkpoint in the middle, and one from a copy of it that was changed."""
    builder: Any = lg.graph(lg.log)
    builder.add_sequence([(name, _append(name)) for name in "abc"])
    builder.add_edge("__start__", "a")
    graph = builder.compile(checkpointer=saver)
    await graph.ainvoke({"log": []}, CONFIG)
    middle = [found async for found in graph.aget_state_history(CONFIG)][2]
    replayed = await graph.ainvoke(None, middle.config)
    fork = await graph.aupdate_state(middle.config, {"log": ["fork"]})
    forked = await graph.ainvoke(None, fork)
    return middle.next, replayed, forked, await _history(graph)


async def deltas(lg: Engine, saver: Any) -> Any:
    """A delta channel over many steps, of which only what was added is stored."""

    def step(state: Any) -> Any:
        return {"count": state.get("count", 0) + 1, "log": [f"step {state.get('count', 0)}"]}

    builder: Any = lg.graph(lg.deltas)
    builder.add_node("step", step)
    builder.add_edge("__start__", "step")
    builder.add_conditional_edges("step", lambda s: "__end__" if s["count"] % 12 == 0 else "step")
    graph = builder.compile(checkpointer=saver)
    first = await graph.ainvoke({"log": ["input"]}, CONFIG)
    history = await _history(graph)
    second = await graph.ainvoke({"count": 12}, CONFIG)
    return first, second, history


async def synchronous(lg: Engine, saver: Any) -> Any:
    """A program whose caller knows of no event loop."""

    def ask(state: Any) -> Any:
        return {"log": [lg.interrupt("?")]}

    builder: Any = lg.graph(lg.log)
    builder.add_sequence([("a", _append("a")), ("ask", ask)])
    builder.add_edge("__start__", "a")
    graph = builder.compile(checkpointer=saver)

    def work() -> Any:
        graph.invoke({"log": []}, CONFIG)
        stopped = graph.get_state(CONFIG).next
        graph.update_state(CONFIG, {"count": 3})
        streamed = list(graph.stream(lg.command(resume="yes"), CONFIG, stream_mode="values"))
        return stopped, streamed, [found.values for found in graph.get_state_history(CONFIG)]

    return await anyio.to_thread.run_sync(work)


async def _history(graph: Any) -> Any:
    return [
        (
            found.values,
            found.next,
            found.metadata["source"],
            found.metadata["step"],
            [(task.name, task.error, task.result) for task in found.tasks],
            [question.value for question in found.interrupts],
        )
        async for found in graph.aget_state_history(CONFIG)
    ]


PROGRAMS: list[Any] = [
    *(chain, fan, loop, questions, nested),
    *(failure, updates, travel, deltas, synchronous),
]
