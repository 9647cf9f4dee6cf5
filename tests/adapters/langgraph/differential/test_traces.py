"""Tracers are told the same of a run on LangGraph and on the facade: runs, tags, metadata."""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph", reason="the facade is compared with LangGraph itself")

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.base import BaseTracer

from tests.adapters.langgraph.differential.build import FACADE, LANGGRAPH, Library

_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


class Tracer(BaseTracer):
    """Keeps the trees of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.trees: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.trees.append(tree(run))


def shown(value: Any) -> str:
    """A value without what is another one each time, or another package's."""
    return _IDS.sub("*", repr(value)).replace("plait_adapters.", "")


def tree(run: Any) -> Any:
    metadata = run.extra.get("metadata", {})
    told = (run.inputs, run.outputs, metadata, bool(run.error))
    inner = sorted((tree(child) for child in run.child_runs), key=repr)
    return run.name, run.run_type, sorted(run.tags or ()), shown(told), inner


async def note(state: State) -> State:
    return {"log": ["noted"]}


def chain(lg: Library, *nodes: Any) -> Any:
    builder = lg.graph.StateGraph(State).add_sequence(list(nodes))
    return builder.add_edge("__start__", nodes[0][0])


def conditions(lg: Library) -> Any:
    """A condition at the entry, one beside an edge, and one without a name."""

    def entry(state: State) -> Any:
        return ["a", lg.types.Send("b", state)]

    def chosen(state: State) -> str:
        return "b"

    builder = lg.graph.StateGraph(State).add_node("a", note).add_node("b", note)
    builder.add_node("c", note, metadata={"own": 1})
    builder.add_edge("a", "c").add_conditional_edges("a", chosen)
    return builder.add_conditional_edges("__start__", entry).add_conditional_edges(
        "c", lambda state: "__end__"
    )


def nested(lg: Library) -> Any:
    inner = chain(lg, ("x", note), ("y", note)).compile(name="inner")

    async def call(state: State) -> Any:
        return {"log": (await inner.ainvoke({"log": [1]}))["log"]}

    return chain(lg, ("sub", inner), ("call", call))


def runnables(lg: Library) -> Any:
    """A sequence, whose steps are steps of the node; and a Runnable with a name of its own."""
    model = GenericFakeChatModel(messages=iter([AIMessage("one two", id="m")]))
    sequence: Any = (
        RunnableLambda(lambda state: "hi") | model | (lambda told: {"log": [told.content]})
    )
    named: Any = RunnableLambda(lambda state: {"log": [2]}).with_config(
        run_name="named", tags=["t"]
    )
    return chain(lg, ("sequence", sequence), ("named", named))


def handled(lg: Library) -> Any:
    async def fails(state: State) -> Any:
        raise ValueError("no")

    async def handler(state: State) -> Any:
        return {"log": ["handled"]}

    builder = lg.graph.StateGraph(State).add_node("fails", fails, error_handler=handler)
    return builder.add_edge("__start__", "fails")


def repeated(lg: Library) -> Any:
    failures = iter([ConnectionError()])

    async def luck(state: State) -> Any:
        for failure in failures:
            raise failure
        return {"log": ["lucky"]}

    policy = lg.types.RetryPolicy(initial_interval=0.001, jitter=False)
    builder = lg.graph.StateGraph(State).add_node("luck", luck, retry_policy=policy)
    return builder.add_edge("__start__", "luck")


def tasks(lg: Library) -> Any:
    """Tasks that a node calls, one of which calls another."""

    async def plus_one(number: int) -> int:
        return number + 1

    async def plus_two(number: int) -> int:
        return int(await add(await add(number)))

    add: Any = lg.func.task(plus_one)
    add_twice: Any = lg.func.task(plus_two, name="twice")

    async def node(state: State) -> Any:
        return {"log": [await add(1), await add_twice(1)]}

    return chain(lg, ("node", node))


PROGRAMS = [conditions, nested, runnables, handled, repeated, tasks]


async def traced(root: str, program: Callable[[Library], Any]) -> list[Any]:
    """The trees of runs that a tracer is told of a program's run."""
    tracer = Tracer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = program(Library(root)).compile(name="app")
        config = {"callbacks": [tracer], "tags": ["mine"], "metadata": {"mine": 1}}
        await app.ainvoke({"log": []}, config)
    return tracer.trees


@pytest.mark.parametrize("program", PROGRAMS, ids=[each.__name__ for each in PROGRAMS])
async def test_tracers_are_told_the_same_on_both(program: Callable[[Library], Any]) -> None:
    ours, theirs = [await traced(root, program) for root in (FACADE, LANGGRAPH)]
    assert ours == theirs


async def happenings(root: str, program: Callable[[Library], Any]) -> list[str]:
    app = program(Library(root)).compile(name="app")
    stream = app.astream_events({"log": []}, {"tags": ["mine"]}, version="v2")
    return sorted([
        shown((event["event"], event["name"], sorted(event["tags"]), event["metadata"]))
        + f" {len(event['parent_ids'])}"
        async for event in stream
    ])  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=[each.__name__ for each in PROGRAMS])
async def test_events_are_the_same_on_both(program: Callable[[Library], Any]) -> None:
    ours, theirs = [await happenings(root, program) for root in (FACADE, LANGGRAPH)]
    assert ours == theirs
