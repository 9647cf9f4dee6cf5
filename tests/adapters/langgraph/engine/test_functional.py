"""Entrypoints and tasks, nodes by hand, drawings, and the bridge to Plait's own machine."""

from __future__ import annotations

import operator
from time import sleep
from typing import Annotated, Any, TypedDict

import anyio
import anyio.lowlevel
import pytest

from plait import Join
from plait_adapters.langgraph.channels import BinaryOperatorAggregate, EphemeralValue, LastValue
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.func import entrypoint, task
from plait_adapters.langgraph.graph import END, START, StateGraph
from plait_adapters.langgraph.pregel import NodeBuilder, Pregel
from plait_adapters.langgraph.types import Command, RetryPolicy, Send, interrupt

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


@task
def doubled(number: int) -> int:
    return number * 2


@task
async def halved(number: int) -> float:
    await anyio.lowlevel.checkpoint()
    return number / 2


async def test_tasks_run_side_by_side_and_are_awaited() -> None:
    @entrypoint()
    async def work(numbers: list[int]) -> list[float]:
        futures = [halved(number) for number in numbers]
        return [await future for future in futures]

    assert await work.ainvoke([2, 4]) == [1, 2]


def test_tasks_of_a_synchronous_entrypoint_are_asked_for_their_results() -> None:
    @entrypoint()
    def work(number: int) -> float:
        return doubled(number).result() + halved(number).result()

    assert work.invoke(4) == 10


async def test_a_synchronous_entrypoint_on_an_event_loop_waits_in_its_thread() -> None:
    @entrypoint()
    def work(number: int) -> int:
        return doubled(number).result()

    assert await work.ainvoke(4) == 8


def test_a_task_that_has_finished_does_not_run_again_on_resuming() -> None:
    calls: list[int] = []

    @task
    def counts(number: int) -> int:
        calls.append(number)
        return number + 1

    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int) -> Any:
        return counts(number).result(), interrupt("?")

    work.invoke(1, CONFIG)
    assert work.invoke(Command(resume="yes"), CONFIG) == (2, "yes")
    assert calls == [1]


def test_a_question_within_a_task_stops_the_entrypoint() -> None:
    @task
    def asks() -> Any:
        return interrupt("?")

    @entrypoint(checkpointer=InMemorySaver())
    def work(_: Any) -> Any:
        return asks().result()

    assert [each.value for each in work.invoke(1, CONFIG)["__interrupt__"]] == ["?"]
    assert work.invoke(Command(resume="!"), CONFIG) == "!"


def test_what_the_thread_gave_before_is_shown_with_what_it_asks_now() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int) -> dict[str, Any]:
        return {"heard": interrupt("?")}

    work.invoke(1, CONFIG)
    work.invoke(Command(resume="yes"), CONFIG)
    result = work.invoke(2, CONFIG)
    assert (result["heard"], [each.value for each in result["__interrupt__"]]) == ("yes", ["?"])


def test_a_task_is_tried_again_and_its_failure_reaches_the_caller() -> None:
    calls: list[int] = []

    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, max_attempts=2))
    def fails() -> None:
        calls.append(1)
        raise ConnectionError("gone")

    @entrypoint()
    def work(_: Any) -> str:
        try:
            fails().result()
        except ConnectionError as error:
            return str(error)
        return "?"

    assert work.invoke(1) == "gone"
    assert calls == [1, 1]


def test_what_is_saved_is_not_what_is_returned() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int, *, previous: Any = None) -> Any:
        return entrypoint.final(value=previous, save=number)

    assert [work.invoke(number, CONFIG) for number in (1, 2, 3)] == [None, 1, 2]


def test_a_stream_tells_of_tasks() -> None:
    @entrypoint()
    def work(number: int) -> int:
        return doubled(number).result()

    assert list(work.stream(2)) == [{"doubled": 4}, {"work": 4}]


def test_nodes_by_hand_subscribe_and_write() -> None:
    app: Any = Pregel(
        nodes={
            "one": NodeBuilder().subscribe_only("a").do(lambda x: x + 1).write_to("b"),
            "two": NodeBuilder().subscribe_to("b").write_to(c=lambda read: read["b"] * 10),
        },
        channels={
            "a": EphemeralValue(int),
            "b": LastValue(int),
            "c": BinaryOperatorAggregate(int, operator.add),
        },
        input_channels="a",
        output_channels=["b", "c"],
    )
    assert app.invoke(1) == {"b": 2, "c": 20}


def test_what_a_node_subscribes_to_must_be_there() -> None:
    with pytest.raises(ValueError, match="Subscribed channel 'x'"):
        Pregel(
            nodes={"one": NodeBuilder().subscribe_to("x", read=False)},
            channels={"a": LastValue(int)},
            input_channels="a",
            output_channels="a",
        )


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


def drawn() -> StateGraph[Any, Any, Any, Any]:
    """One of each kind of edge."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    for name in "abcd":
        builder.add_node(name, lambda _: None)
    builder.add_edge(START, "a").add_edge(["b", "c"], "d")
    return builder.add_conditional_edges("a", lambda _: "b", {"left": "b", "right": "c"})


def test_a_drawing_has_conditions_with_labels_and_waiting_edges() -> None:
    edges = {
        (e.source, e.target, e.data, e.conditional) for e in drawn().compile().get_graph().edges
    }
    assert edges == {
        ("__start__", "a", None, False),
        ("a", "b", "left", True),
        ("a", "c", "right", True),
        ("b", "d", None, False),
        ("c", "d", None, False),
        ("d", "__end__", None, False),
    }


def test_a_drawing_needs_no_langchain(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "langchain_core" else find(name)
    )
    drawing = drawn().compile().get_graph()
    assert '-. "left" .->' in drawing.draw_mermaid()
    assert "a ..> b  (left)" in drawing.draw_ascii()


async def test_the_same_graph_runs_on_branches_with_a_quorum() -> None:
    async def look(number: int) -> Any:
        await (anyio.sleep_forever() if number == 2 else anyio.lowlevel.checkpoint())
        return {"log": [number]}

    builder: Any = StateGraph(State)
    builder.add_node(look).add_node("ask", lambda state: {"log": [interrupt(len(state["log"]))]})
    builder.add_sync_point("gather", Join(quorum=2))
    builder.add_conditional_edges(START, lambda _: [Send("look", n) for n in range(3)], ["look"])
    builder.add_edge("look", "gather").add_edge("gather", "ask").add_edge("ask", END)
    app = builder.compile(mode="branches")
    (asked,) = (await app.ainvoke({"log": []}, CONFIG))["__interrupt__"]
    assert asked.value == 2
    assert await app.ainvoke(Command(resume="!"), CONFIG) == {"log": [0, 1, "!"]}


def test_commands_retries_and_waiting_edges_mean_the_same_on_branches() -> None:
    calls: list[int] = []

    def fails(state: State) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError
        return Command(update={"log": ["a"]}, goto="b")

    retry = RetryPolicy(initial_interval=0, jitter=False)
    builder: Any = StateGraph(State)
    builder.add_node("a", fails, retry_policy=retry, destinations=("b",))
    builder.add_node("b", lambda _: {"log": ["b"]}).add_node("c", lambda _: {"log": ["c"]})
    builder.add_edge(START, "a").add_edge(["b"], "c")
    assert builder.compile(mode="branches").invoke({"log": []}) == {"log": ["a", "b", "c"]}


@pytest.mark.parametrize(
    "build",
    [
        lambda b: b.add_node("x", lambda _: None, defer=True).compile(mode="branches"),
        lambda b: b.compile(InMemorySaver(), mode="branches"),
        lambda b: b.compile(cache=object(), mode="branches"),
        lambda b: b.compile(mode="branches").stream({}),
        lambda b: b.compile(transformers=[object], mode="branches"),
    ],
)
def test_what_is_not_supported_says_so(build: Any) -> None:
    builder: Any = StateGraph(State)
    builder.add_node("a", lambda _: None).add_edge(START, "a")
    with pytest.raises(NotImplementedError, match=r"not supported .*SUPPORT\.md"):
        build(builder)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_task_that_its_caller_cancels_ends(is_async: bool) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    @task
    async def waits() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    @entrypoint()
    async def from_the_loop(given: int) -> int:
        future: Any = waits()
        await begun.wait()
        return given if future.cancel() else 0

    @entrypoint()
    def from_a_thread(given: int) -> int:
        future = waits()
        while not begun.is_set():
            sleep(0.001)
        return given if future.cancel() else 0

    graph = from_the_loop if is_async else from_a_thread
    with anyio.fail_after(10):
        assert await graph.ainvoke(1) == 1
    assert ended.is_set()


def test_what_a_task_of_a_nested_workflow_asks_is_told_once() -> None:
    @task
    def ask() -> Any:
        return interrupt("who?")

    @entrypoint()
    def inner(_: int) -> Any:
        return ask().result()

    @entrypoint(checkpointer=InMemorySaver())
    def outer(number: int) -> Any:
        return inner.invoke(number)

    (asked,) = outer.invoke(1, CONFIG)["__interrupt__"]
    assert asked.value == "who?"
    assert [each.interrupts for each in outer.get_state(CONFIG).tasks] == [(asked,)]
    assert outer.invoke(Command(resume="me"), CONFIG) == "me"
