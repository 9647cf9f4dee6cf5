"""What happens when a node raises, takes too long, or its caller goes away."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from plait import (
    END,
    START,
    Command,
    Graph,
    Join,
    NodeContext,
    NodeError,
    Retry,
    SyncPointError,
    ThreadNotFound,
    ThreadUnfinished,
    WriteError,
)
from plait.events import NodeRetried
from plait.testing import VirtualClock
from tests.kernel.build import Log, Work, build, does, fan, ids, other_tasks, run, timed

BOOM = ValueError("boom")


class Flaky:
    """Fails as often as it is told, then writes; notes when it was called."""

    def __init__(self, failures: int, error: Exception = BOOM) -> None:
        self.failures = failures
        self.error = error
        self.calls: list[tuple[int, float]] = []

    async def __call__(self, _state: Any, ctx: NodeContext) -> Any:
        self.calls.append((ctx.attempt, anyio.current_time()))
        if len(self.calls) <= self.failures:
            raise self.error
        return {"items": ["done"]}


def one(node: Any, **options: Any) -> Graph:
    """One node, named ``n``."""
    return Graph(Work).add_node("n", node, **options).add_edge(START, "n").add_edge("n", END)


# -- the error that a user sees ---------------------------------------------------------------


def test_a_node_that_raises_fails_the_run_with_its_own_exception_as_the_cause() -> None:
    with pytest.raises(NodeError) as caught:
        run(one(does(raises=BOOM)))
    error = caught.value
    assert error.__cause__ is BOOM
    assert (error.node, error.branch, error.attempt) == ("n", (0,), 1)
    assert str(error) == "node 'n' in branch 0 failed in attempt 1: ValueError: boom"


def test_when_a_node_fails_the_run_its_siblings_are_cancelled() -> None:
    cancelled: list[str] = []

    async def slow(_state: Any) -> None:
        try:
            await anyio.sleep(60)
        except BaseException as error:
            cancelled.append(type(error).__name__)
            raise

    clock = VirtualClock()
    flow = build("START a END", "START b END", a=does(takes=1, raises=BOOM), b=slow).compile()
    with pytest.raises(NodeError):
        clock.run(flow.run())
    assert (cancelled, clock.now) == (["CancelledError"], 1)


def test_of_two_nodes_that_fail_at_once_the_first_is_reported() -> None:
    with pytest.raises(NodeError, match="node 'a'"):
        run(build("START a END", "START b END", a=does(1, BOOM), b=does(1, BOOM)))


def test_a_cancelled_error_of_a_nodes_own_making_does_not_hang_the_run() -> None:
    async def odd(_state: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(BaseException) as caught:
        run(one(odd))
    assert not isinstance(caught.value, AssertionError)


def test_what_is_not_an_exception_ends_the_run_as_it_is() -> None:
    async def stop(_state: Any) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(one(stop))


@pytest.mark.parametrize("output", ["text", 7, ["a"], {"unknown": 1}])
def test_what_a_node_may_not_return_is_a_write_error_that_names_it(output: Any) -> None:
    async def node(_state: Any) -> Any:
        return output

    with pytest.raises(NodeError) as caught:
        run(one(node))
    assert isinstance(caught.value.__cause__, WriteError)
    assert caught.value.__cause__.node == "n"


def test_a_node_may_only_write_what_it_declares() -> None:
    with pytest.raises(NodeError, match=r"expected writes to what it declares only \('items'\)"):
        run(one(does(text="x"), writes=["items"]))


def test_a_router_that_raises_is_a_failure_of_its_node() -> None:
    graph = build("START a b END")
    graph.add_conditional_edges("a", lambda state: state["nothing"], ["b"])
    with pytest.raises(NodeError, match="'a'") as caught:
        run(graph)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("source", [START, "gather"])
def test_a_router_behind_the_start_or_a_sync_point_that_raises_fails_the_run(source: str) -> None:
    graph = build("START a gather END", "START b gather", gather=Join())
    graph.add_conditional_edges(source, lambda state: state["nothing"], [END])
    with pytest.raises(NodeError, match=source) as caught:
        run(graph)
    assert isinstance(caught.value.__cause__, KeyError)


# -- retries ----------------------------------------------------------------------------------


def test_a_node_is_retried_with_delays_that_double_up_to_a_maximum() -> None:
    node = Flaky(4)
    retry = Retry(attempts=5, initial=1, factor=2, maximum=3, jitter=False)
    assert run(one(node, retry=retry)).state["items"] == ["done"]
    assert node.calls == [(1, 0), (2, 1), (3, 3), (4, 6), (5, 9)]


def test_the_last_attempt_is_the_one_that_is_reported() -> None:
    node = Flaky(9)
    with pytest.raises(NodeError, match="failed in attempt 3") as caught:
        run(one(node, retry=Retry(attempts=3, jitter=False)))
    assert (caught.value.attempt, len(node.calls)) == (3, 3)


def test_jitter_draws_the_delay_from_between_nothing_and_its_bound() -> None:
    retry = Retry(initial=1, factor=2, maximum=60)
    assert [retry.delay(attempt, lambda: 0.5) for attempt in (1, 2, 3, 99)] == [0.5, 1, 2, 30]
    node = Flaky(1)
    run(one(node, retry=Retry(initial=4)))
    assert 0 <= node.calls[1][1] <= 4


@pytest.mark.parametrize(
    ("on", "calls"),
    [
        (ValueError, 2),
        (KeyError, 1),
        ((KeyError, ValueError), 2),
        (lambda error: "boom" in str(error), 2),
        (lambda _: False, 1),
    ],
)
def test_only_errors_worth_it_are_retried(on: Any, calls: int) -> None:
    node = Flaky(9)
    with pytest.raises(NodeError):
        run(one(node, retry=Retry(attempts=2, on=on)))
    assert len(node.calls) == calls


def test_a_wrong_way_on_is_not_retried() -> None:
    calls: list[int] = []

    async def node(_state: Any) -> Any:
        calls.append(1)
        return Command(goto="n")

    with pytest.raises(NodeError, match="which is not declared"):
        run(one(node, retry=Retry()))
    assert len(calls) == 1


def test_nothing_that_a_failed_attempt_wrote_is_kept_and_nothing_is_lost_on_a_retry() -> None:
    graph = one(Flaky(2), retry=Retry(jitter=False))
    assert run(graph, {"items": ["given"]}).state["items"] == ["given", "done"]


def test_a_retry_keeps_the_idempotency_key_and_every_call_has_its_own() -> None:
    keys: dict[str, list[str]] = {}

    def note(name: str, failures: int) -> Any:
        async def node(_state: Any, ctx: NodeContext) -> None:
            keys.setdefault(name, []).append(ctx.idempotency_key)
            if ctx.attempt <= failures:
                raise BOOM

        return node

    graph = Graph(Work).add_node("a", note("a", 2), retry=Retry(jitter=False))
    graph.add_node("b", note("b", 0)).add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    clock = VirtualClock()
    clock.run(graph.compile().run(thread_id="t"))
    assert keys["a"] == [keys["a"][0]] * 3
    assert keys["b"][0] not in keys["a"]
    assert keys["a"][0].startswith("t:0:")


def test_an_attempt_may_take_so_long_and_no_longer() -> None:
    graph = one(does(takes=60), timeout=5)
    clock = VirtualClock()
    with pytest.raises(NodeError, match=r"longer than its timeout of 5 s") as caught:
        clock.run(graph.compile().run())
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert clock.now == 5


def test_the_time_limit_is_for_each_attempt() -> None:
    durations = iter([60, 60, 1])

    async def node(_state: Any) -> Any:
        await anyio.sleep(next(durations))
        return {"items": ["done"]}

    retry = Retry(attempts=3, initial=1, factor=1, jitter=False)
    result, seconds = timed(one(node, timeout=5, retry=retry))
    assert (result.state["items"], seconds) == (["done"], 5 + 1 + 5 + 1 + 1)


def test_a_straggler_that_waits_for_its_retry_is_cancelled() -> None:
    graph = build("START a gather END", gather=Join(quorum=1), a=does(takes=1))
    retry = Retry(initial=1000, maximum=1000, jitter=False)
    graph.add_node("b", Flaky(1), retry=retry).add_edge(START, "b").add_edge("b", "gather")
    result, seconds = timed(graph)
    assert seconds == 1
    assert ids(result.outcomes["gather"].latest.cancelled) == ["b"]


# -- on_error ---------------------------------------------------------------------------------


def test_on_error_record_ends_the_branch_and_the_outcome_names_it() -> None:
    outcome = run(fan(Join(), 1, BOOM)).outcomes["gather"].latest
    assert ids(outcome.failed) == ["b1"]


def test_on_error_may_name_a_node_that_gets_the_error() -> None:
    errors: list[Any] = []

    async def rescue(state: Any, ctx: NodeContext) -> Any:
        errors.append((ctx.error, state["items"]))
        return {"items": ["rescued"]}

    async def after(_state: Any, ctx: NodeContext) -> None:
        errors.append(ctx.error)

    graph = build("START a", "rescue after END", rescue=rescue, after=after)
    graph.add_node("risky", does(raises=BOOM), on_error="rescue")
    graph.add_edge("a", "risky").add_edge("risky", END)
    assert run(graph).state["items"] == ["a", "rescued"]
    (error, seen), later = errors
    assert (error.node, error.__cause__, seen, later) == ("risky", BOOM, ["a"], None)


def test_on_error_applies_once_no_attempt_is_left() -> None:
    node = Flaky(9)
    graph = build("rescue END")
    graph.add_node("n", node, on_error="rescue", retry=Retry(attempts=3, jitter=False))
    graph.add_edge(START, "n").add_edge("n", END)
    assert run(graph).state["items"] == ["rescue"]
    assert len(node.calls) == 3


def test_a_failed_branch_may_go_to_the_sync_point_itself() -> None:
    graph = build("START a gather END", gather=Join())
    graph.add_node("b", does(raises=BOOM), on_error="gather").add_edge(START, "b")
    graph.add_edge("b", "gather")
    outcome = run(graph).outcomes["gather"].latest
    assert (outcome.status, ids(outcome.arrived)) == ("complete", ["a", "b"])


def test_the_only_branch_that_fails_and_is_recorded_keeps_what_it_had() -> None:
    graph = build("START a")
    graph.add_node("b", does(raises=BOOM), on_error="record").add_edge("a", "b").add_edge("b", END)
    result = run(graph)
    assert result.state["items"] == ["a"]
    assert [failed.branch for failed in result.outcomes[END].latest.failed] == [(0,)]


def test_a_failure_in_a_subgraph_names_the_node_by_its_way() -> None:
    inner = build("START x END", x=does(raises=BOOM)).compile()
    with pytest.raises(NodeError, match="'sub/x'"):
        run(build("START sub END", sub=inner))


# -- going on after a failure or a cancellation -----------------------------------------------


def test_after_a_failure_what_had_finished_is_not_done_again() -> None:
    log = Log()
    flaky = Flaky(1)
    flow = build("START a n c END", a=log.node("a"), n=flaky, c=log.node("c")).compile()

    async def fail_and_resume() -> Any:
        with pytest.raises(NodeError):
            await flow.run({"text": "given"}, thread_id="t")
        with pytest.raises(ThreadUnfinished, match="resume"):
            await flow.run({}, thread_id="t")
        return await flow.resume("t")

    result = VirtualClock().run(fail_and_resume())
    assert log.order == ["a", "c"]
    assert (result.state["items"], result.state["text"]) == (["done"], "given")


def test_an_interrupted_caller_leaves_no_task_behind_and_its_thread_resumes() -> None:
    log = Log()
    graph = fan(Join(timeout=500), 1, 30, 50, merge=log.node("merge"))

    async def interrupt_and_resume() -> Any:
        flow = graph.compile()
        task = asyncio.ensure_future(flow.run({}, thread_id="t"))
        await anyio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other_tasks() == set()
        assert (await flow.state("t")).state["items"] == [0]
        return await flow.resume("t")

    clock = VirtualClock()
    result = clock.run(interrupt_and_resume())
    assert result.state["items"] == [0, 1, 2]
    assert clock.now == 10 + 50, "what was cut off begins again; what was finished does not"


def test_a_caller_with_a_time_limit_leaves_no_task_behind() -> None:
    async def limited() -> set[Any]:
        with anyio.move_on_after(5):
            await fan(Join(), 60, 60).compile().run({})
        return other_tasks()

    assert VirtualClock().run(limited()) == set()


def test_a_deadline_goes_on_where_it_stood_when_a_run_is_resumed() -> None:
    graph = fan(Join(timeout=20), 1, 1000)

    async def interrupt_and_resume() -> Any:
        flow = graph.compile()
        with anyio.move_on_after(15):
            await flow.run({}, thread_id="t")
        return await flow.resume("t")

    clock = VirtualClock()
    outcome = clock.run(interrupt_and_resume()).outcomes["gather"].latest
    assert (outcome.status, outcome.waited, clock.now) == ("timeout", 20, 20)


def test_a_run_cut_off_at_its_router_asks_it_again() -> None:
    slow = iter([60, 0])

    async def choose(_state: Any) -> str:
        await anyio.sleep(next(slow))
        return "a"

    graph = build("a END")
    graph.add_conditional_edges(START, choose, ["a"])

    async def interrupt_and_resume() -> Any:
        flow = graph.compile()
        with anyio.move_on_after(5):
            await flow.run({}, thread_id="t")
        return await flow.resume("t")

    assert VirtualClock().run(interrupt_and_resume()).state["items"] == ["a"]


def test_a_run_cut_off_before_a_verdict_asks_the_predicate_again() -> None:
    flow = fan(Join(quorum=lambda arrivals: len(arrivals) == 2), 1, 2, 30).compile()

    async def interrupt_and_resume() -> Any:
        with anyio.move_on_after(1.5):
            await flow.run({}, thread_id="t")
        return await flow.resume("t")

    assert VirtualClock().run(interrupt_and_resume()).outcomes["gather"].latest.status == "quorum"


def test_resuming_a_finished_run_gives_its_result_and_calls_nothing() -> None:
    log = Log()

    async def twice() -> Any:
        flow = build("START a END", a=log.node("a", items=["a"])).compile()
        first = await flow.run({}, thread_id="t")
        return first, await flow.resume("t")

    first, second = VirtualClock().run(twice())
    assert first.state == second.state
    assert log.order == ["a"]


def test_resuming_a_run_that_cannot_go_on_says_why_again() -> None:
    async def fail_and_resume() -> None:
        flow = fan(Join(minimum=2), 1, BOOM).compile()
        with pytest.raises(SyncPointError):
            await flow.run({}, thread_id="t")
        await flow.resume("t")

    with pytest.raises(SyncPointError, match="fewer than the minimum"):
        VirtualClock().run(fail_and_resume())


def test_resuming_an_unknown_thread_is_an_error() -> None:
    with pytest.raises(ThreadNotFound, match="'t' is not known"):
        VirtualClock().run(build("START a END").compile().resume("t"))


def test_a_retry_is_in_the_journal() -> None:
    async def events() -> list[Any]:
        flow = one(Flaky(1), retry=Retry(initial=7, jitter=False)).compile()
        async with flow.stream({}) as stream:
            return [event async for event in stream if isinstance(event, NodeRetried)]

    (event,) = VirtualClock().run(events())
    assert (event.node, event.attempt, event.error, event.delay) == ("n", 1, BOOM, 7)
