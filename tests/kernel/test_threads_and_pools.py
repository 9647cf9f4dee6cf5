"""``def`` nodes in threads, pools, how much runs at once, and context variables."""

import contextvars
import functools
import threading
import types
from collections.abc import Callable, Generator
from typing import Any

import anyio
import pytest

from plait import END, START, Graph, Join, NodeContext, NodeError, Send
from plait.events import Emitted
from plait.node import go_on
from plait.testing import VirtualClock
from tests.kernel.build import Node, Work, build, does, fan, ids, run, timed

REQUEST = contextvars.ContextVar("request", default="none")


class Gauge:
    """Counts how many calls are going on at the same time, and the most there were."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0

    async def node(self, _state: Any) -> None:
        self.now += 1
        self.peak = max(self.peak, self.now)
        await anyio.sleep(1)
        self.now -= 1


def spread(node: Node, count: int, **options: Any) -> Graph:
    """``count`` branches of one node, named ``work``."""
    graph = Graph(Work).add_node("work", node, **options).add_sync_point("gather")
    graph.add_edge("work", "gather").add_edge("gather", END)
    return graph.add_conditional_edges(START, lambda _: [Send("work")] * count, ["work"])


# -- threads ----------------------------------------------------------------------------------


def test_a_def_node_runs_in_a_worker_thread() -> None:
    threads: list[Any] = []

    def node(state: Any) -> Any:
        threads.append(threading.current_thread())
        return {"items": [state["text"]]}

    assert run(build("START n END", n=node), {"text": "x"}).state["items"] == ["x"]
    assert threads != [threading.main_thread()]


def test_def_nodes_of_several_branches_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def node(_state: Any) -> None:
        both.wait()  # passes only if the two are there at once

    run(build("START a gather END", "START b gather", gather=Join(), a=node, b=node))


def test_a_def_node_may_have_a_context_and_emit_from_its_thread() -> None:
    def node(_state: Any, ctx: NodeContext) -> None:
        ctx.emit(ctx.branch)
        ctx.emit("again")

    async def emitted() -> list[Any]:
        async with build("START n END", n=node).compile().stream({}) as events:
            return [event.value async for event in events if isinstance(event, Emitted)]

    assert anyio.run(emitted) == [(0,), "again"]


def test_a_def_node_that_returns_an_awaitable_is_awaited() -> None:
    work = does(items=["awaited"])

    def node(state: Any) -> Any:
        return work(state)

    assert run(build("START n END", n=node)).state["items"] == ["awaited"]


def test_a_def_node_that_raises_is_a_failure_like_any_other() -> None:
    def node(_state: Any) -> None:
        raise ValueError("boom")

    with pytest.raises(NodeError, match="ValueError: boom"):
        run(build("START n END", n=node))


def test_a_def_node_that_was_let_go_runs_on_and_what_it_returns_is_dropped() -> None:
    begun, release, finished = (threading.Event() for _ in range(3))

    def slow(_state: Any) -> Any:
        begun.set()
        release.wait(10)
        finished.set()
        return {"items": ["slow"]}

    async def fast(_state: Any) -> Any:
        await anyio.to_thread.run_sync(begun.wait, 10)
        return {"items": ["fast"]}

    join = Join(quorum=1)
    graph = build("START slow gather END", "START fast gather", gather=join, slow=slow, fast=fast)
    result = anyio.run(graph.compile().run)
    assert not finished.is_set()
    assert result.state["items"] == ["fast"]
    assert ids(result.outcomes["gather"].latest.cancelled) == ["slow"]
    release.set()
    assert finished.wait(10)


def test_objects_and_partials_may_be_nodes() -> None:
    class Doubler:
        async def __call__(self, state: Any) -> Any:
            return {"sum": state["sum"]}

    async def add(number: int, _state: Any, ctx: NodeContext) -> Any:
        return {"sum": number, "items": [ctx.node]}

    graph = build("START n twice END", n=functools.partial(add, 5), twice=Doubler())
    assert run(graph).state["sum"] == 10


def test_a_node_may_be_an_async_function_behind_a_plain_one() -> None:
    def wrap(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(fn)
        def inner(state: Any) -> Any:
            return fn(state)

        return inner

    result = run(build("START n END", n=wrap(does(items=["wrapped"]))))
    assert result.state["items"] == ["wrapped"]


def test_a_node_with_optional_arguments_gets_the_state_only() -> None:
    async def node(state: Any, *, scale: int = 2) -> Any:
        return {"sum": scale}

    async def other(state: Any = None, scale: int = 3) -> Any:
        return {"sum": scale}

    assert run(build("START n m END", n=node, m=other)).state["sum"] == 5


# -- how much runs at once --------------------------------------------------------------------


def test_max_concurrency_bounds_how_many_nodes_of_a_run_go_on_at_once() -> None:
    gauge = Gauge()
    _, seconds = timed(spread(gauge.node, 20), max_concurrency=4)
    assert (gauge.peak, seconds) == (4, 5)


def test_a_run_goes_through_with_a_concurrency_of_one() -> None:
    gauge = Gauge()
    _, seconds = timed(spread(gauge.node, 5), max_concurrency=1)
    assert (gauge.peak, seconds) == (1, 5)


def test_without_a_bound_all_go_on_at_once() -> None:
    gauge = Gauge()
    _, seconds = timed(spread(gauge.node, 50))
    assert (gauge.peak, seconds) == (50, 1)


def test_a_deadline_passes_while_all_places_are_taken() -> None:
    result, seconds = timed(fan(Join(timeout=5, minimum=0), 60, 60, 60), max_concurrency=1)
    assert (result.outcomes["gather"].latest.status, seconds) == ("timeout", 5)


def test_a_pool_bounds_how_many_of_its_nodes_go_on_at_once() -> None:
    gauge = Gauge()
    _, seconds = timed(spread(gauge.node, 6, pool="model"), pools={"model": 2})
    assert (gauge.peak, seconds) == (2, 3)


def test_a_pool_is_shared_by_all_runs_and_flows_that_are_given_it() -> None:
    gauge = Gauge()

    async def together() -> None:
        limiter = anyio.CapacityLimiter(3)
        flows = [spread(gauge.node, 4, pool="p").compile(pools={"p": limiter}) for _ in range(2)]
        async with anyio.create_task_group() as group:
            for flow in flows:
                group.start_soon(flow.run, {})
                group.start_soon(flow.run, {})

    VirtualClock().run(together())
    assert gauge.peak == 3


def test_a_pool_is_full_again_after_a_failure_and_a_cancellation() -> None:
    async def free() -> tuple[int, int]:
        limiter = anyio.CapacityLimiter(1)
        flow = spread(does(raises=ValueError("boom")), 3, pool="p").compile(pools={"p": limiter})
        with pytest.raises(NodeError):
            await flow.run({})
        after_failure = limiter.borrowed_tokens
        with anyio.move_on_after(5):
            await spread(does(60), 3, pool="p").compile(pools={"p": limiter}).run({})
        return after_failure, limiter.borrowed_tokens

    assert VirtualClock().run(free()) == (0, 0)


def test_waiting_for_a_place_is_not_part_of_the_time_limit() -> None:
    graph = spread(does(4), 3, pool="p", timeout=5)
    _, seconds = timed(graph, pools={"p": 1})
    assert seconds == 12


def test_a_branch_that_never_suspends_lets_others_have_their_turn() -> None:
    names = [f"n{number}" for number in range(200)]
    order: list[str] = []

    async def note(_state: Any, ctx: NodeContext) -> None:
        order.append(ctx.node)

    async def turn(_state: Any) -> None:
        await anyio.lowlevel.checkpoint()
        order.append("other")

    parts = dict.fromkeys(names, note)
    run(build(f"START {' '.join(names)} END", "START other END", **parts, other=turn))
    assert order.index("other") < len(names)


# -- context variables ------------------------------------------------------------------------


def test_context_variables_of_the_caller_are_carried_into_every_node() -> None:
    seen: list[Any] = []

    async def node(_state: Any) -> None:
        await anyio.sleep(1)
        seen.append(REQUEST.get())

    def thread(_state: Any) -> None:
        seen.append(REQUEST.get())

    graph = build("START a gather b END", "START c gather", gather=Join(), a=node, b=node, c=thread)

    async def call() -> None:
        REQUEST.set("the caller's")
        await graph.compile().run({})

    VirtualClock().run(call())
    assert seen == ["the caller's"] * 3


def test_what_a_node_sets_is_its_own() -> None:
    before: list[str] = []
    after: list[str] = []

    async def node(_state: Any, ctx: NodeContext) -> None:
        before.append(REQUEST.get())
        token = REQUEST.set(ctx.node)
        await anyio.sleep(1)
        after.append(REQUEST.get())
        REQUEST.reset(token)  # works only in the context in which it was set
        REQUEST.set("left behind")

    async def call() -> str:
        await build("START a b END", "START c END", a=node, b=node, c=node).compile().run({})
        return REQUEST.get()

    assert VirtualClock().run(call()) == "none"
    assert before == ["none"] * 3
    assert sorted(after) == ["a", "b", "c"]


def test_context_is_for_every_node_and_no_part_of_the_state() -> None:
    seen: list[Any] = []

    async def note(_state: Any, ctx: NodeContext) -> None:
        seen.append(ctx.context)

    inner = build("START x END", x=note).compile()
    flow = build("START a sub END", a=note, sub=inner).compile()
    VirtualClock().run(flow.run({}, context={"user": 7}))
    assert seen == [{"user": 7}] * 2


def test_a_subgraph_brings_its_own_pools_and_bounds() -> None:
    gauge = Gauge()
    inner = spread(gauge.node, 6, pool="p").compile(pools={"p": 2})
    _, seconds = timed(build("START sub END", sub=inner))
    assert (gauge.peak, seconds) == (2, 3)


def test_a_node_that_is_closed_while_it_waits_cleans_up_in_its_own_context() -> None:
    seen: list[str] = []

    @types.coroutine
    def pause() -> Generator[None, None, None]:
        yield

    async def node() -> None:
        REQUEST.set("mine")
        try:
            await pause()
        finally:
            seen.append(REQUEST.get())

    call, variables = node(), contextvars.copy_context()
    running: Any = go_on(call, variables.run(call.send, None), variables)
    next(running)
    running.close()
    assert (seen, REQUEST.get()) == (["mine"], "none")
