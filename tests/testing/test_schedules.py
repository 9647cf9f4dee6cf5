"""assert_schedule_independent: what it lets pass, what it finds, and what it says."""

import itertools
import operator
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import anyio
import pytest
from pydantic import BaseModel

from plait import (
    END,
    START,
    Flow,
    Graph,
    Join,
    NodeError,
    Retry,
    Send,
    interrupt,
    reducers,
)
from plait.testing import ScheduleDependence, assert_schedule_independent, replay


class State(TypedDict, total=False):
    seen: list[Any]
    items: Annotated[list[Any], operator.add]


Node = Callable[..., Any]


def pair(left: Node, right: Node, schema: type = State, **options: Any) -> Flow[Any]:
    """left and right side by side, gathered."""
    graph = Graph(schema, name="pair")
    graph.add_node("left", left, **options).add_node("right", right, **options)
    graph.add_sync_point("gather", Join())
    for name in ("left", "right"):
        graph.add_edge(START, name).add_edge(name, "gather")
    return graph.add_edge("gather", END).compile()


def fan(work: Node, count: int, join: Join, **options: Any) -> Flow[Any]:
    """So many branches of one node, gathered."""
    graph = Graph(State, name="fan")
    graph.add_node("work", work, **options).add_sync_point("gather", join)
    sends = [Send("work", number) for number in range(count)]
    graph.add_conditional_edges(START, lambda _: sends, ["work"])
    return graph.add_edge("work", "gather").add_edge("gather", END).compile()


def difference(flow: Any, *arguments: Any, **options: Any) -> ScheduleDependence:
    options = {"save": None, **options}
    with pytest.raises(ScheduleDependence) as caught:
        assert_schedule_independent(flow, *arguments, **options)
    return caught.value


async def item(number: Any) -> dict[str, Any]:
    return {"items": [number] if isinstance(number, int) else ["item"]}


async def notes(state: Any) -> State:
    state["seen"].append("note")
    return {"items": [len(state["seen"])]}


def sharing() -> Flow[Any]:
    """A graph whose branches share a list that is made with it."""
    shared: list[int] = []

    async def work(number: int) -> State:
        shared.append(number)
        return {"items": list(shared)}

    return fan(work, 3, Join())


# -- what passes ------------------------------------------------------------------------------


def test_a_graph_that_keeps_the_laws_passes() -> None:
    assert_schedule_independent(fan(item, 5, Join()), {"items": [7]})


def test_a_graph_without_branches_passes() -> None:
    graph = Graph(State)
    graph.add_node(item).add_edge(START, "item").add_edge("item", END)
    assert_schedule_independent(graph.compile())


def test_nodes_that_sleep_pass() -> None:
    async def sleeper(number: int) -> State:
        await anyio.sleep(10 - number)
        return {"items": [number]}

    assert_schedule_independent(fan(sleeper, 4, Join(timeout=30)), schedules=50)


def test_nodes_in_threads_and_pools_pass() -> None:
    def work(number: int) -> State:
        return {"items": [number]}

    graph = Graph(State)
    graph.add_node(work, pool="one").add_sync_point("gather", Join())
    graph.add_conditional_edges(START, lambda _: [Send("work", n) for n in range(3)], ["work"])
    flow = graph.add_edge("work", "gather").add_edge("gather", END).compile(pools={"one": 1})
    assert_schedule_independent(flow, schedules=20)


def test_failures_that_are_retried_pass() -> None:
    async def work(state: State, ctx: Any) -> State:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return {"items": [ctx.attempt]}

    assert_schedule_independent(pair(work, work, retry=Retry(attempts=2)), schedules=30)


def test_a_run_that_asks_is_compared_as_far_as_it_comes() -> None:
    async def asks(_state: Any) -> State:
        return {"items": [interrupt("?")]}

    assert_schedule_independent(pair(item, asks))


def test_a_question_that_depends_on_the_schedule_is_found() -> None:
    order: list[str] = []

    def make() -> Flow[Any]:
        order.clear()

        async def left(_state: Any) -> None:
            order.append("left")

        async def right(_state: Any) -> None:
            interrupt("left" in order)

        return pair(left, right)

    found = difference(make)
    assert (found.expected, found.found) == ([("0.1:0:0", True)], [("0.1:0:0", False)])
    assert "what waits for an answer" in str(found)


def test_who_wins_a_race_is_timing_and_passes() -> None:
    assert_schedule_independent(fan(item, 4, Join(quorum=2)))


def test_a_deadline_does_not_pass_because_a_schedule_holds_somebody() -> None:
    async def sleeper(number: int) -> State:
        await anyio.sleep(20 * number)
        return {"items": [number]}

    flow = fan(sleeper, 2, Join(timeout=30, on_timeout="raise"))
    assert_schedule_independent(flow, schedules=30)


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_subgraph_passes(timeout: float | None) -> None:
    async def sleeper(number: int) -> State:
        await anyio.sleep(number)
        return {"items": [number]}

    inner = fan(sleeper, 3, Join(timeout=timeout, on_timeout="raise"))
    graph = Graph(State)
    graph.add_node("inner", inner).add_node(item).add_sync_point("gather", Join())
    for name in ("inner", "item"):
        graph.add_edge(START, name).add_edge(name, "gather")
    graph.add_edge("gather", END)
    assert_schedule_independent(graph.compile(), schedules=40)


def test_the_clocks_and_the_random_numbers_are_as_before_when_it_is_over() -> None:
    before, state = time.time, random.getstate()
    assert_schedule_independent(fan(item, 2, Join()))
    assert (time.time, random.getstate()) == (before, state)


def test_the_input_is_left_alone() -> None:
    given: dict[str, Any] = {"seen": []}
    difference(pair(notes, notes), given)
    assert given == {"seen": []}


# -- what is found ----------------------------------------------------------------------------


def test_a_shared_object_is_found_with_the_shortest_schedule() -> None:
    async def left(state: Any) -> State:
        state["seen"].append("left")
        return {"items": [len(state["seen"])]}

    caught = difference(pair(left, notes), {"seen": []})
    assert (caught.channel, caught.expected, caught.found) == ("items", [1, 2], [2, 1])
    assert str(caught).splitlines()[1:3] == [
        "    1. 'right' (branch 0.1) begins, before 'left' (branch 0.0) begins",
        "    and from then on in path order",
    ]


def test_an_object_that_outlives_a_run_is_found_without_any_schedule() -> None:
    caught = difference(sharing())
    assert "an object that runs share" in str(caught)
    assert "\n    1." not in str(caught)


def test_a_function_makes_the_flow_anew_for_every_run() -> None:
    caught = difference(sharing)
    assert "the order in which nodes run" in str(caught)
    assert caught.expected == [0, 0, 1, 0, 1, 2]


def test_a_reducer_that_is_wrongly_declared_is_found() -> None:
    concatenate = reducers.declare(operator.add, associative=True, commutative=True, identity=list)

    class Live(TypedDict):
        items: Annotated[list[Any], reducers.live(concatenate)]

    caught = difference(fan_of(Live))
    assert (caught.expected, sorted(caught.found)) == ([0, 1, 2], [0, 1, 2])


def fan_of(schema: type) -> Flow[Any]:
    graph = Graph(schema, name="a fan")
    graph.add_node("work", item)
    graph.add_conditional_edges(START, lambda _: [Send("work", n) for n in range(3)], ["work"])
    return graph.add_edge("work", END).compile()


@pytest.mark.parametrize("clock", ["time", "time_ns", "monotonic", "perf_counter"])
def test_a_node_that_reads_a_clock_is_found(clock: str) -> None:
    async def dated(state: State) -> State:
        return {"items": [getattr(time, clock)()]}

    assert "the time of day" in str(difference(pair(dated, item)))


def test_a_node_that_compares_times_is_found() -> None:
    times: dict[str, float] = {}

    async def left(state: State) -> State:
        times["left"] = time.monotonic()
        return {}

    async def right(state: State) -> State:
        times["right"] = time.monotonic()
        return {}

    async def compare(state: State) -> State:
        return {"items": [times["left"] < times["right"]]}

    graph = Graph(State)
    graph.add_node(left).add_node(right).add_node(compare).add_sync_point("gather", Join())
    for name in ("left", "right"):
        graph.add_edge(START, name).add_edge(name, "gather")
    flow = graph.add_edge("gather", "compare").add_edge("compare", END).compile()
    assert difference(flow).found == [False]


def test_random_numbers_are_found() -> None:
    async def lottery(state: State) -> State:
        return {"items": [random.random()]}

    assert "randomness" in str(difference(pair(lottery, item)))


def test_an_error_under_some_schedule_is_found() -> None:
    async def left(state: Any) -> State:
        if state["seen"]:
            raise LookupError("too late")
        return {}

    caught = difference(pair(left, notes), {"seen": []})
    assert caught.channel is None
    assert "raises NodeError: node 'left' in branch 0.0 failed" in str(caught)


def test_an_outcome_that_differs_is_found() -> None:
    async def left(state: Any) -> State:
        if state["seen"]:
            raise LookupError("too late")
        return {}

    async def right(state: Any) -> State:
        state["seen"].append(1)
        return {}

    def blind(_: Any, __: Any) -> bool:
        return True

    caught = difference(pair(left, right, on_error="record"), {"seen": []}, equal=blind)
    assert "the outcome of 'gather'" in str(caught)


def test_a_value_that_is_sometimes_missing_is_found() -> None:
    async def left(state: Any) -> dict[str, Any]:
        return {"extra": 1} if state["seen"] else {}

    class Extra(State):
        extra: int

    caught = difference(pair(left, notes, Extra), {"seen": []})
    assert "(no value)" in str(caught)
    assert "written by no node" in str(caught)


def test_a_run_that_stands_still_under_some_schedule_is_found() -> None:
    async def left(state: Any) -> State:
        if state["seen"]:
            await anyio.sleep_forever()
        return {}

    assert "StalledError" in str(difference(pair(left, notes), {"seen": []}))


def test_runs_with_the_same_latecomers_are_compared() -> None:
    calls = itertools.count()

    async def work(number: int) -> State:
        return {"items": [number, next(calls)]}

    def make() -> Flow[Any]:
        nonlocal calls
        calls = itertools.count()
        return fan(work, 3, Join(quorum=2))

    assert "the order in which nodes run" in str(difference(make))


def test_a_long_schedule_and_many_writers_are_cut() -> None:
    shared: list[int] = []

    async def work(number: int) -> State:
        if number == 19:
            shared.append(number)
        return {"items": [len(shared)] if number == 18 else [0]}

    def make() -> Flow[Any]:
        shared.clear()
        return fan(work, 20, Join())

    text = str(difference(make, schedules=300))
    assert "then 15 more" in text


def test_what_the_run_in_path_order_raises_is_raised() -> None:
    async def broken(state: State) -> State:
        raise LookupError("always")

    with pytest.raises(NodeError, match="always"):
        assert_schedule_independent(pair(broken, item))


# -- the file ---------------------------------------------------------------------------------


def test_a_schedule_is_saved_and_repeated(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "{flow}.json"
    flow = pair(seen_left, notes)
    caught = difference(flow, {"seen": []}, save=file)
    assert caught.file == tmp_path / "deep" / "pair.json"
    assert str(caught.file) in str(caught)
    assert caught.file is not None
    assert replay(flow, caught.file).state["items"] == caught.found


async def seen_left(state: Any) -> State:
    state["seen"].append("left")
    return {"items": [len(state["seen"])]}


def test_a_run_that_does_not_repeat_itself_is_replayed_as_the_second(tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    difference(sharing(), save=file)
    assert replay(sharing(), file).state["items"][:4] == [0, 1, 2, 0]


def test_a_replay_raises_what_the_run_raised(tmp_path: Path) -> None:
    async def left(state: Any) -> State:
        if state["seen"]:
            raise LookupError("too late")
        return {}

    flow = pair(left, notes)
    caught = difference(flow, {"seen": []}, save=tmp_path / "schedule.json")
    assert caught.file is not None
    with pytest.raises(NodeError, match="too late"):
        replay(flow, caught.file)


class Model(BaseModel):
    seen: list[str] = []
    items: Annotated[list[int], operator.add] = []


async def model_left(state: Model) -> dict[str, Any]:
    state.seen.append("left")
    return {"items": [len(state.seen)]}


def test_an_input_that_is_a_model_is_saved(tmp_path: Path) -> None:
    flow = pair(model_left, model_left, Model)
    file = tmp_path / "schedule.json"
    second = pair(model_left, tardy, Model)
    difference(second, Model(seen=["before"]), save=file)
    assert replay(second, file).state.seen == ["before", "right", "left"]
    assert_schedule_independent(flow, Model(), equal=lambda a, b: len(a) == len(b))


async def tardy(state: Model) -> dict[str, Any]:
    state.seen.append("right")
    return {"items": [len(state.seen)]}


@pytest.mark.parametrize("given", [("a tuple",), threading.Lock()])
def test_an_input_that_is_no_json_is_asked_for(tmp_path: Path, given: Any) -> None:
    async def right(state: Any) -> dict[str, Any]:
        state["seen"].append("right")
        return {"items": [state["seen"][:1]]}

    async def left(state: Any) -> dict[str, Any]:
        state["seen"].append("left")
        return {"items": [state["seen"][:1]]}

    class Odd(State):
        odd: Any

    flow, file = pair(left, right, Odd), tmp_path / "schedule.json"
    full = {"odd": given, "seen": []}
    caught = difference(flow, full, save=file)
    with pytest.raises(ValueError, match="give input="):
        replay(flow, file)
    assert replay(flow, file, full).state["items"] == caught.found


def test_a_file_that_holds_no_schedule_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    for text in ("[]", "{}", "nothing"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="does not hold a schedule"):
            replay(fan(item, 2, Join()), file)
