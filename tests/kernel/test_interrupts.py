"""A branch that asks is parked; its siblings go on; answers let it go on where it asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plait
from plait import (
    ANY,
    Command,
    Flow,
    Graph,
    GraphError,
    Interrupt,
    InterruptError,
    Join,
    LimitError,
    MemoryStore,
    NodeContext,
    NodeError,
    Retry,
    RunResult,
    Send,
    SyncPointError,
    ThreadUnfinished,
    interrupt,
)
from plait.codec import EncodingError
from plait.durable import DurableStore
from plait.events import InterruptsAnswered, NodeCompleted, NodeInterrupted, TimerFired
from plait.testing import VirtualClock
from plait.testing.memory_backend import MemoryBackend
from tests.kernel.build import Log, Node, Work, build, does, ids, sends_once, sizes

T = TypeVar("T")


def asks(*values: Any, takes: float = 0.0) -> Node:
    """A node that asks for each of these in turn, and appends the answers to ``items``."""

    async def node(_state: Any) -> Any:
        if takes:
            await anyio.sleep(takes)
        return {"items": [interrupt(value) for value in values or ("?",)]}

    return node


class Thread:
    """A thread of a flow in virtual time."""

    def __init__(self, graph: Graph | Flow[Any], **options: Any) -> None:
        self.flow: Flow[Any] = graph.compile(**options) if isinstance(graph, Graph) else graph
        self.clock = VirtualClock()

    def await_(self, what: Coroutine[Any, Any, T]) -> T:
        return self.clock.run(what)

    def run(self, given: Any = None) -> RunResult[Any]:
        return self.await_(self.flow.run(given, thread_id="t"))

    def resume(self, answers: dict[str, Any] | None = None, /, **more: Any) -> RunResult[Any]:
        return self.await_(self.flow.resume("t", answers, **more))

    def events(self) -> list[Any]:
        return list(self.await_(_read(self.flow)))

    def answer_all(self, result: RunResult[Any], make: Callable[[Interrupt], Any]) -> Any:
        """Answer until the run is completed."""
        while result.status == "suspended":
            result = self.resume({each.id: make(each) for each in result.interrupts})
        return result


async def _read(flow: Flow[Any]) -> Any:
    return await flow.store.read("t")  # type: ignore[attr-defined, unused-ignore]


def names(result: RunResult[Any]) -> list[str]:
    return [each.id for each in result.interrupts]


# -- asking and answering ---------------------------------------------------------------------


def test_a_node_that_asks_suspends_its_run_and_gets_the_answer() -> None:
    thread = Thread(build("START a END", a=asks("how many?")))
    result = thread.run()
    assert result.status == "suspended"
    assert result.interrupts == (Interrupt("0:1:0", "how many?", (0,), "a"),)
    done = thread.resume({"0:1:0": 3})
    assert (done.status, done.state["items"], done.interrupts) == ("completed", [3], ())


def test_a_context_asks_as_the_function_does() -> None:
    async def node(_state: Any, ctx: NodeContext) -> Any:
        return {"items": [ctx.interrupt("first"), plait.interrupt("second")]}

    thread = Thread(build("START a END", a=node))
    assert names(thread.run()) == ["0:1:0"]
    assert names(thread.resume({"0:1:0": 1})) == ["0:1:1"]
    assert thread.resume({"0:1:1": 2}).state["items"] == [1, 2]


def test_the_node_runs_again_from_its_top_with_the_same_key() -> None:
    keys = []

    async def node(_state: Any, ctx: NodeContext) -> Any:
        keys.append((ctx.idempotency_key, ctx.attempt))
        return {"text": ctx.interrupt()}

    thread = Thread(build("START a END", a=node))
    thread.run()
    assert thread.resume({"0:1:0": "yes"}).state["text"] == "yes"
    assert keys == [("t:0:1", 1)] * 2


def test_a_def_node_asks_from_its_worker_thread() -> None:
    def node(_state: Any) -> Any:
        return {"items": [interrupt("a"), interrupt("b")]}

    async def main() -> Any:
        flow = build("START a END", a=node).compile()
        await flow.run({}, thread_id="t")
        await flow.resume("t", {"0:1:0": 1})
        return await flow.resume("t", {"0:1:1": 2})

    assert anyio.run(main).state["items"] == [1, 2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_both_backends_suspend_and_go_on(backend: str) -> None:
    async def main() -> Any:
        flow = build("START a END", "START b END", a=asks("a"), b=does(items=["b"])).compile()
        first = await flow.run({}, thread_id="t")
        return first, await flow.resume("t", {"0.0:0:0": "a"})

    first, second = anyio.run(main, backend=backend)
    assert first.state["items"] == ["b"]
    assert second.state["items"] == ["a", "b"]


def test_any_value_may_be_asked_and_answered() -> None:
    thread = Thread(build("START a END", a=asks({"options": [1, 2]}, None)))
    assert thread.run().interrupts[0].value == {"options": [1, 2]}
    assert names(thread.resume({"0:1:0": None})) == ["0:1:1"]
    assert thread.resume({"0:1:1": [()]}).state["items"] == [None, [()]]


def test_outside_a_node_nobody_can_be_asked() -> None:
    with pytest.raises(RuntimeError, match="call it in a node"):
        interrupt("anybody?")


def test_a_router_cannot_ask() -> None:
    graph = build("START a END").add_conditional_edges("a", lambda _: interrupt("?"), ["a"])
    with pytest.raises(NodeError, match="call it in a node"):
        Thread(graph).run()


def test_siblings_go_on_while_a_branch_is_parked() -> None:
    log = Log()
    nodes = {"a": asks(), "b": log.node("b", 5), "c": log.node("c")}
    thread = Thread(build("START a END", "START b c END", **nodes))
    assert thread.run().status == "suspended"
    assert log.order == ["b", "c"]
    assert thread.clock.now == 5


def test_a_suspended_run_shows_what_has_been_written() -> None:
    thread = Thread(build("START a END", "START b END", a=asks(), b=does(items=["b"])))
    assert thread.run({"text": "given"}).state == {
        "items": ["b"],
        "seen": set(),
        "sum": 0,
        "text": "given",
    }


def test_a_branch_behind_a_sync_point_waits_for_the_parked_one() -> None:
    thread = Thread(build("START a gather m END", "START b gather", a=asks(), gather=Join()))
    assert "gather" not in thread.run().outcomes
    result = thread.resume({"0.0:0:0": "a"})
    assert result.state["items"] == ["a", "b", "m"]
    assert result.outcomes["gather"].latest.status == "complete"


def test_many_branches_ask_at_once_and_are_answered_in_any_order() -> None:
    def graph() -> Graph:
        return build(
            *[f"START {name} gather" for name in "abc"],
            "gather END",
            gather=Join(),
            **{name: asks(name) for name in "abc"},
        )

    for order in itertools.permutations(range(3)):
        thread = Thread(graph())
        result = thread.run()
        assert names(result) == ["0.0:0:0", "0.1:0:0", "0.2:0:0"]
        for number in order:
            result = thread.resume({f"0.{number}:0:0": number})
        assert result.state["items"] == [0, 1, 2]


def test_several_are_answered_at_once() -> None:
    thread = Thread(build("START a END", "START b END", "START c END", a=asks(), b=asks()))
    thread.run()
    assert thread.resume({"0.1:0:0": 2, "0.0:0:0": 1}).state["items"] == [1, 2, "c"]


def test_what_is_not_answered_stays_parked() -> None:
    calls = []

    async def node(state: Any) -> Any:
        calls.append("b")
        return {"items": [interrupt("b")]}

    thread = Thread(build("START a END", "START b END", a=asks(), b=node))
    thread.run()
    assert names(thread.resume({"0.0:0:0": 1})) == ["0.1:0:0"]
    assert calls == ["b"]


def test_a_hundred_branches_ask_under_max_concurrency() -> None:
    graph = Graph(Work).add_node("ask", _asks_argument).add_sync_point("gather")
    graph.add_edge("ask", "gather").add_edge("gather", "__end__")
    graph.add_conditional_edges("__start__", lambda _: [Send("ask", n) for n in range(100)])
    thread = Thread(graph, max_concurrency=3)
    result = thread.run()
    assert [each.value for each in result.interrupts] == list(range(100))
    done = thread.answer_all(result, lambda each: -each.value)
    assert done.state["items"] == [-n for n in range(100)]


async def _asks_argument(argument: Any) -> Any:
    await anyio.sleep(1)
    return {"items": [interrupt(argument)]}


def test_each_turn_of_a_loop_asks_under_an_id_of_its_own() -> None:
    async def node(_state: Any) -> Command:
        answer = interrupt("again?")
        return Command(update={"items": [answer]}, goto="a" if answer else "__end__")

    graph = build("START a", a=node)
    thread = Thread(graph)
    result = thread.run()
    seen = names(result)
    for answer in (True, True, False):
        result = thread.resume({seen[-1]: answer})
        seen += names(result)
    assert seen == ["0:1:0", "0:2:0", "0:3:0"]
    assert result.state["items"] == [True, True, False]


def test_another_run_on_the_thread_asks_under_other_ids() -> None:
    thread = Thread(build("START a END", a=asks()))
    thread.run()
    thread.resume({"0:1:0": 1})
    assert names(thread.run()) == ["1:1:0"]
    assert thread.resume({"1:1:0": 2}).state["items"] == [1, 2]


def test_tasks_within_a_node_ask_together_and_are_answered_together() -> None:
    async def node(_state: Any) -> Any:
        answers = {}

        async def ask(name: str) -> None:
            answers[name] = interrupt(name)

        async with anyio.create_task_group() as group:
            for name in "xy":
                group.start_soon(ask, name)
        return {"items": [answers["x"], answers["y"]]}

    thread = Thread(build("START a END", a=node))
    assert [each.value for each in thread.run().interrupts] == ["x", "y"]
    assert names(thread.resume({"0:1:1": 2})) == ["0:1:0"]
    assert thread.resume({"0:1:0": 1}).state["items"] == [1, 2]


# -- what the signal does to the node ---------------------------------------------------------


def test_except_exception_does_not_catch_the_signal() -> None:
    async def node(_state: Any) -> Any:
        try:
            answer = interrupt("?")
        except Exception:
            answer = "caught"
        return {"text": answer}

    thread = Thread(build("START a END", a=node))
    assert thread.run().status == "suspended"
    assert thread.resume({"0:1:0": "told"}).state["text"] == "told"


def test_clean_up_is_done_when_a_node_asks() -> None:
    log = []

    async def node(_state: Any) -> Any:
        try:
            return {"text": interrupt("?")}
        finally:
            log.append("closed")

    Thread(build("START a END", a=node)).run()
    assert log == ["closed"]


def test_a_node_that_swallows_the_signal_fails_and_is_not_tried_again() -> None:
    calls = []

    async def node(_state: Any) -> Any:
        calls.append(1)
        try:
            interrupt("?")
        except BaseException:
            return {"text": "swallowed"}

    graph = Graph(Work).add_node("a", node, retry=Retry(attempts=3))
    graph.add_edge("__start__", "a").add_edge("a", "__end__")
    with pytest.raises(NodeError, match="catch Exception, not BaseException"):
        Thread(graph).run()
    assert calls == [1]


def test_a_node_that_fails_on_its_way_out_has_failed() -> None:
    async def node(_state: Any) -> Any:
        try:
            interrupt("?")
        finally:
            raise ValueError("while closing")

    with pytest.raises(NodeError, match="while closing"):
        Thread(build("START a END", a=node)).run()


def test_a_task_of_the_node_that_fails_beside_the_asking_one_is_a_failure() -> None:
    async def node(_state: Any) -> Any:
        async def ask() -> None:
            interrupt("?")

        async def fail() -> None:
            raise ValueError("beside it")

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(fail)

    with pytest.raises(NodeError) as caught:
        Thread(build("START a END", a=node)).run()
    assert "beside it" in repr(caught.value.__cause__)


def test_time_limits_and_retries_stand_still_while_a_branch_is_parked() -> None:
    failures = iter([OSError(), None, OSError(), None, None])
    attempts = []

    async def node(_state: Any, ctx: NodeContext) -> Any:
        attempts.append(ctx.attempt)
        if error := next(failures):
            raise error
        await anyio.sleep(2)
        return {"text": ctx.interrupt("?")}

    graph = Graph(Work).add_node("a", node, timeout=3, retry=Retry(3, initial=0))
    thread = Thread(graph.add_edge("__start__", "a").add_edge("a", "__end__"))
    thread.run()
    thread.await_(anyio.sleep(1000))
    assert thread.resume({"0:1:0": "yes"}).state["text"] == "yes"
    assert attempts == [1, 2, 2, 3]


def test_a_parked_branch_gives_back_its_place_in_a_pool() -> None:
    graph = Graph(Work).add_node("a", asks(), pool="one").add_node("b", does(2), pool="one")
    for name in "ab":
        graph.add_edge("__start__", name).add_edge(name, "__end__")
    thread = Thread(graph, pools={"one": 1})
    assert thread.run().status == "suspended"
    assert thread.clock.now == 2
    limiter = thread.flow.pools["one"]
    assert isinstance(limiter, anyio.CapacityLimiter)
    assert limiter.borrowed_tokens == 0


def test_what_it_returns_after_the_answer_is_checked_as_ever() -> None:
    async def node(_state: Any) -> Any:
        interrupt("?")
        return {"nothing": 1}

    thread = Thread(build("START a END", a=node))
    thread.run()
    with pytest.raises(NodeError, match="nothing"):
        thread.resume({"0:1:0": None})


# -- what is no answer ------------------------------------------------------------------------


def test_without_answers_a_suspended_run_stays_as_it_is() -> None:
    thread = Thread(build("START a END", "START b END", a=asks()))
    first, before = thread.run(), thread.events()
    assert thread.resume() == first
    assert thread.resume({}) == first
    assert thread.events() == before


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"0.9:0:0": 1}, "there is no interrupt '0.9:0:0'"),
        ({"0.0:0:0": 1, "0.9:0:0": 1}, "there is no interrupt '0.9:0:0'"),
        ({"0.1:0:0": 2}, "interrupt '0.1:0:0' has been answered already"),
    ],
)
def test_what_is_not_open_cannot_be_answered_and_changes_nothing(
    answers: dict[str, Any], why: str
) -> None:
    thread = Thread(build("START a END", "START b END", a=asks(), b=asks()))
    thread.run()
    thread.resume({"0.1:0:0": 1})
    before = thread.events()
    with pytest.raises(InterruptError, match=why) as caught:
        thread.resume(answers)
    assert caught.value.open == ("0.0:0:0",)
    assert "open are: '0.0:0:0'" in str(caught.value)
    assert thread.events() == before


def test_a_finished_thread_takes_no_answer() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    with pytest.raises(InterruptError, match="open are: none"):
        thread.resume({"0:1:0": 1})


def test_an_interrupt_is_gone_with_its_branch() -> None:
    join = Join(quorum=ANY)
    thread = Thread(
        build("START a gather m END", "START b gather", gather=join, a=asks(), b=does(1), m=asks())
    )
    result = thread.run()
    assert ids(result.outcomes["gather"].latest.cancelled) == ["a"]
    assert names(result) == ["0:2:0"]
    with pytest.raises(InterruptError, match=r"'0\.0:0:0' is gone with its branch"):
        thread.resume({"0.0:0:0": 1})


def test_a_new_run_on_a_suspended_thread_is_told_to_answer() -> None:
    thread = Thread(build("START a END", "START b END", a=asks(), b=asks()))
    thread.run()
    with pytest.raises(ThreadUnfinished, match=r"resume\(thread_id, .'0.0:0:0': ...*and 1 more"):
        thread.run()


# -- before and after -------------------------------------------------------------------------


def test_a_branch_stops_before_a_node() -> None:
    log = Log()
    graph = build("START a b END", a=log.node("a"), b=log.node("b"))
    thread = Thread(graph, interrupt_before=["b"])
    result = thread.run()
    assert result.interrupts == (Interrupt("0:2:before", None, (0,), "b", "before"),)
    assert log.order == ["a"]
    assert thread.resume({"0:2:before": "go"}).status == "completed"
    assert log.order == ["a", "b"]


def test_a_branch_stops_after_a_node_that_has_written() -> None:
    log = Log()
    graph = build("START a b END", a=log.node("a", text="done"), b=log.node("b"))
    thread = Thread(graph, interrupt_after="a")
    result = thread.run()
    assert result.interrupts == (Interrupt("0:1:after", None, (0,), "a", "after"),)
    assert result.state["text"] == "done"
    assert thread.resume({"0:1:after": None}).status == "completed"
    assert log.order == ["a", "b"]


def test_a_branch_stops_before_within_and_after_one_node() -> None:
    options = {"interrupt_before": ["a"], "interrupt_after": ["a"]}
    thread = Thread(build("START a END", a=asks("x", "y")), **options)
    seen: list[str] = []
    result = thread.run()
    while result.status == "suspended":
        seen += names(result)
        result = thread.resume({seen[-1]: len(seen)})
    assert seen == ["0:1:before", "0:1:0", "0:1:1", "0:1:after"]
    assert result.state["items"] == [2, 3]


def test_where_to_stop_is_in_the_journal_and_not_in_the_flow_that_resumes() -> None:
    graph = build("START a b END")
    thread = Thread(graph, interrupt_before=["a"], interrupt_after=["a"])
    thread.run()
    thread.resume({"0:1:before": 1})
    other = Thread(Flow(graph.plan(), thread.flow.store))
    assert names(other.resume()) == ["0:1:after"]
    assert other.resume({"0:1:after": 1}).state["items"] == ["a", "b"]


def test_only_nodes_can_be_stopped_at() -> None:
    graph = build("START a gather END", "START b gather", gather=Join())
    with pytest.raises(GraphError) as caught:
        graph.compile(interrupt_before=["aa", "gather"], interrupt_after="c", max_interrupts=0)
    assert len(caught.value.faults) == 4
    assert "interrupt_before names 'aa', which is not there: did you mean 'a'?" in str(caught.value)


# -- sync points and clocks -------------------------------------------------------------------


def gathering(join: Join, then: str = "m END", **nodes: Node) -> Graph:
    """Branches of one node each, gathered with this policy."""
    ways = [f"START {name} gather" for name in nodes if name != "m"]
    return build(*ways, f"gather {then}", gather=join, **nodes)


def test_a_quorum_opens_without_the_parked_branch() -> None:
    thread = Thread(gathering(Join(quorum=1), a=asks(), b=does(3, items=["b"])))
    result = thread.run()
    assert (result.status, result.state["items"]) == ("completed", ["b", "m"])
    assert sizes(result.outcomes["gather"].latest) == (1, 0, 0, 1, 0)


def test_a_deadline_stands_still_while_a_branch_is_parked() -> None:
    thread = Thread(gathering(Join(timeout=10), a=asks(takes=4), b=does(1)))
    assert thread.run().status == "suspended"
    thread.await_(anyio.sleep(1000))
    result = thread.resume({"0.0:0:0": "a"})
    assert result.outcomes["gather"].latest.status == "complete"


def test_it_goes_on_with_what_was_left() -> None:
    calls = iter([4, 60])

    async def node(_state: Any) -> Any:
        await anyio.sleep(next(calls))
        return {"items": [interrupt("?")]}

    thread = Thread(gathering(Join(timeout=10), a=node, b=does(1)))
    thread.run()
    assert thread.clock.now == 4
    thread.await_(anyio.sleep(1000))
    began = thread.clock.now
    result = thread.resume({"0.0:0:0": "a"})
    assert result.outcomes["gather"].latest.status == "timeout"
    assert thread.clock.now - began == pytest.approx(6)


def test_siblings_cannot_let_a_deadline_pass_that_stands_still() -> None:
    thread = Thread(gathering(Join(timeout=10), a=asks(takes=4), b=does(60), c=does(61)))
    assert thread.run().status == "suspended"
    assert thread.clock.now == 61


def test_it_stands_still_until_the_last_parked_branch_is_answered() -> None:
    thread = Thread(gathering(Join(timeout=10), a=asks(), b=asks(), c=does(1)))
    thread.run()
    thread.await_(anyio.sleep(20))
    thread.resume({"0.0:0:0": 1})
    thread.await_(anyio.sleep(20))
    result = thread.resume({"0.1:0:0": 1})
    assert result.outcomes["gather"].latest.status == "complete"


def test_grace_and_a_deadline_from_the_first_arrival_stand_still_too() -> None:
    for join in (Join(quorum=1, grace=5), Join(timeout=5, timeout_from="first_arrival")):
        thread = Thread(gathering(join, a=asks(), b=does(3)))
        assert thread.run().status == "suspended"
        thread.await_(anyio.sleep(20))
        result = thread.resume({"0.0:0:0": 1})
        assert result.outcomes["gather"].latest.status == "complete"


def test_a_deadline_that_the_parked_branch_cannot_reach_runs() -> None:
    graph = build(
        "START fork",
        "START ask END",
        "fork b gather END",
        "fork c gather",
        fork=does(),
        ask=asks(),
        b=does(60),
        gather=Join(timeout=10),
    )
    result = Thread(graph).run()
    assert result.status == "suspended"
    assert result.outcomes["gather"].latest.status == "timeout"


def test_a_deadline_that_runs_on_passes_while_siblings_work() -> None:
    join = Join(timeout=10, clock_on_interrupt="run")
    thread = Thread(gathering(join, a=asks(takes=4), b=does(1), c=does(60)))
    result = thread.run()
    outcome = result.outcomes["gather"].latest
    assert (outcome.status, ids(outcome.cancelled)) == ("timeout", ["a", "c"])
    assert (result.status, thread.clock.now) == ("completed", 10)


def test_a_suspended_run_does_not_wait_for_a_deadline_that_runs_on() -> None:
    join = Join(timeout=10, clock_on_interrupt="run")
    thread = Thread(gathering(join, a=asks(takes=4), b=does(1, items=["b"])))
    assert thread.run().status == "suspended"
    assert thread.clock.now == 4
    assert thread.resume().status == "suspended"  # it has not passed


def test_a_deadline_that_passed_meanwhile_fires_when_the_run_is_resumed() -> None:
    join = Join(timeout=10, clock_on_interrupt="run")
    thread = Thread(gathering(join, a=asks(), b=does(1, items=["b"])))
    thread.run()
    thread.await_(anyio.sleep(20))
    result = thread.resume()
    assert result.state["items"] == ["b", "m"]
    outcome = result.outcomes["gather"].latest
    assert (outcome.status, ids(outcome.cancelled)) == ("timeout", ["a"])
    assert outcome.waited == pytest.approx(21)


def test_an_answer_comes_after_the_deadlines_that_passed_before_it() -> None:
    join = Join(timeout=10, clock_on_interrupt="run")
    thread = Thread(gathering(join, a=asks(), b=does(1), m=asks()))
    thread.run()
    thread.await_(anyio.sleep(20))
    before = thread.events()
    with pytest.raises(InterruptError, match=r"'0\.0:0:0' is gone with its branch"):
        thread.resume({"0.0:0:0": 1})
    assert thread.events() == before
    assert names(thread.resume()) == ["0:2:0"]


def test_an_answer_is_taken_together_with_a_deadline_that_passed() -> None:
    join = Join(timeout=10, clock_on_interrupt="run")
    thread = Thread(
        build(
            "START fork",
            "START c END",
            "fork a gather END",
            "fork b gather",
            gather=join,
            a=asks(),
            c=asks(),
        )
    )
    thread.run()
    thread.await_(anyio.sleep(20))
    result = thread.resume({"0.1:0:0": "c"})
    assert result.status == "completed"
    kinds = [type(event) for event in thread.events()]
    assert kinds.index(TimerFired) < kinds.index(InterruptsAnswered)


def test_a_deadline_that_passed_and_raises_fails_the_run_that_answers() -> None:
    join = Join(timeout=10, on_timeout="raise", clock_on_interrupt="run")
    thread = Thread(gathering(join, a=asks(), b=does(1)))
    thread.run()
    thread.await_(anyio.sleep(20))
    for _ in range(2):
        with pytest.raises(SyncPointError, match="deadline passed"):
            thread.resume({"0.0:0:0": 1})


def test_a_detached_straggler_stays_parked_and_comes_late() -> None:
    join = Join(quorum=1, stragglers="detach")
    thread = Thread(gathering(join, a=asks(), b=does(1, items=["b"])))
    result = thread.run()
    assert (result.status, result.state["items"]) == ("suspended", ["b", "m"])
    assert ids(result.outcomes["gather"].latest.late) == ["a"]
    assert thread.resume({"0.0:0:0": "a"}).state["items"] == ["b", "m"]


def test_a_branch_held_for_a_parked_one_waits() -> None:
    sends = [Send("a", id="a"), Send("b", id="b", after="a")]
    log = Log()
    graph = Graph(Work).add_node("a", asks()).add_node("b", log.node("b"))
    graph.add_conditional_edges("__start__", lambda _: sends, ["a", "b"])
    graph.add_edge("a", "__end__").add_edge("b", "__end__")
    thread = Thread(graph)
    assert (thread.run().status, log.order) == ("suspended", [])
    thread.resume({"0.0:0:0": "a"})
    assert log.saw["b"]["items"] == ["a"]


# -- subgraphs --------------------------------------------------------------------------------


def test_a_subgraph_is_parked_as_a_whole_and_begins_anew_to_hear_its_answers() -> None:
    calls = []

    async def first(_state: Any, ctx: NodeContext) -> Any:
        calls.append(ctx.idempotency_key)
        return {"items": ["first"]}

    inner = build("START first ask END", first=first, ask=asks("why?"))
    thread = Thread(build("START sub after END", sub=inner.compile()))
    (asked,) = thread.run().interrupts
    assert asked == Interrupt("0:1/0.0:2:0", "why?", (0, 0), "sub/ask")
    assert thread.resume({asked.id: "so"}).state["items"] == ["first", "so", "after"]
    assert calls == ["t/0:1:0.0:1"] * 2


def test_it_goes_on_when_all_that_was_asked_within_it_is_answered() -> None:
    inner = build("START a gather END", "START b gather", a=asks("a"), b=asks("b"), gather=Join())
    thread = Thread(build("START sub END", "START c END", sub=inner.compile()))
    assert names(thread.run()) == ["0.0:0/0.0.0.0:0:0", "0.0:0/0.0.0.1:0:0"]
    assert names(thread.resume({"0.0:0/0.0.0.1:0:0": 2})) == ["0.0:0/0.0.0.0:0:0"]
    assert thread.resume({"0.0:0/0.0.0.0:0:0": 1}).state["items"] == [1, 2, "c"]


def test_a_subgraph_of_a_subgraph_asks_through_both() -> None:
    innermost = build("START ask END", ask=asks("x", "y")).compile()
    inner = build("START deep END", deep=innermost).compile(interrupt_after=["deep"])
    thread = Thread(build("START sub END", sub=inner))
    seen: list[tuple[str, str]] = []
    result = thread.run()
    while result.status == "suspended":
        (asked,) = result.interrupts
        seen.append((asked.node, asked.when))
        result = thread.resume({asked.id: len(seen)})
    assert seen == [
        ("sub/deep/ask", "within"),
        ("sub/deep/ask", "within"),
        ("sub/deep", "after"),
    ]
    assert result.state["items"] == [1, 2]


def test_a_subgraph_stops_where_it_was_compiled_to() -> None:
    inner = build("START a b END").compile(interrupt_before=["b"])
    thread = Thread(build("START sub END", sub=inner))
    assert names(thread.run()) == ["0:1/0.0:2:before"]
    assert thread.resume({"0:1/0.0:2:before": None}).state["items"] == ["a", "b"]


def test_one_subgraph_may_be_parked_in_many_branches() -> None:
    inner = build("START ask END", ask=asks("?")).compile()
    graph = Graph(Work).add_node("sub", inner).add_edge("sub", "__end__")
    graph.add_conditional_edges("__start__", sends_once("sub", "sub", "sub"), ["sub"])
    thread = Thread(graph)
    result = thread.run()
    assert len(set(names(result))) == 3
    done = thread.answer_all(result, lambda each: each.branch[1])
    assert done.state["items"] == [0, 1, 2]


def test_a_subgraph_that_may_not_ask_so_much_fails() -> None:
    inner = build("START a END", "START b END", a=asks(), b=asks()).compile(max_interrupts=1)
    with pytest.raises(NodeError) as caught:
        Thread(build("START sub END", sub=inner)).run()
    assert isinstance(caught.value.__cause__, LimitError)


def test_what_a_subgraph_asks_counts_for_the_thread() -> None:
    inner = build("START a END", "START b END", a=asks(), b=asks()).compile()
    with pytest.raises(LimitError, match="asks for 2 more, while 0"):
        Thread(build("START sub END", sub=inner), max_interrupts=1).run()


# -- failures, cancellation, recovery ---------------------------------------------------------


def test_a_run_that_fails_beside_a_parked_branch_resumes_with_it() -> None:
    failures = iter([ValueError("once"), None])

    async def fails_once(_state: Any) -> Any:
        await anyio.sleep(1)
        if error := next(failures):
            raise error
        return {"items": ["b"]}

    thread = Thread(build("START a END", "START b END", a=asks(), b=fails_once))
    with pytest.raises(NodeError, match="once"):
        thread.run()
    assert thread.await_(thread.flow.state("t")).status == "running"
    assert names(thread.resume()) == ["0.0:0:0"]
    assert thread.resume({"0.0:0:0": "a"}).state["items"] == ["a", "b"]


def test_a_run_that_failed_takes_answers() -> None:
    thread = Thread(build("START a END", "START b END", a=asks(), b=does(1, ValueError("no"))))
    with pytest.raises(NodeError, match="no"):
        thread.run()
    with pytest.raises(NodeError, match="no"):
        thread.resume({"0.0:0:0": "a"})
    assert thread.await_(thread.flow.state("t")).state["items"] == ["a"]


def test_a_run_that_is_cancelled_beside_a_parked_branch_resumes_with_it() -> None:
    async def main() -> Any:
        flow = build("START a END", "START b END", a=asks(), b=does(10, items=["b"])).compile()
        with anyio.move_on_after(5):
            await flow.run({}, thread_id="t")
        suspended = await flow.resume("t")
        return suspended, await flow.resume("t", {"0.0:0:0": "a"})

    suspended, done = VirtualClock().run(main())
    assert names(suspended) == ["0.0:0:0"]
    assert done.state["items"] == ["a", "b"]


async def copy_of(flow: Flow[Any], at: int) -> Flow[Any]:
    """The same flow with a store that has the first events of the thread."""
    store = MemoryStore()
    async with store.lease("t") as journal:
        for event in (await _read(flow))[:at]:
            journal.append(event)
    options = flow.interrupts
    return Flow(flow.plan, store, interrupt_before=options.before, interrupt_after=options.after)


GRAPHS: dict[str, Callable[[], Flow[Any]]] = {
    "two in one node": lambda: build("START a b END", a=asks("x", "y")).compile(),
    "many branches": lambda: gathering(
        Join(), a=asks("a"), b=asks("b", "c"), c=does(2, items=["c"]), m=asks("m")
    ).compile(),
    "clocks": lambda: gathering(
        Join(timeout=10, quorum=2, grace=3), a=asks("a", takes=1), b=does(2, items=["b"])
    ).compile(),
    "before and after": lambda: build("START a b END", "START c END", a=asks()).compile(
        interrupt_before=["b", "c"], interrupt_after=["a"]
    ),
    "late": lambda: gathering(
        Join(quorum=1, stragglers="detach"), a=asks("a"), b=does(1, items=["b"]), m=asks("m")
    ).compile(),
    "subgraph": lambda: build(
        "START a END", "START b END", a=build("START x y END", x=asks("x"), y=asks("y")).compile()
    ).compile(),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_from_every_prefix_of_its_journal_a_run_comes_to_the_same_state(name: str) -> None:
    thread = Thread(GRAPHS[name]())
    whole = thread.answer_all(thread.run(), lambda each: f"answer to {each.id}")
    length = len(thread.events())
    for at in range(1, length + 1):
        again = Thread(thread.await_(copy_of(thread.flow, at)))
        result = again.answer_all(again.resume(), lambda each: f"answer to {each.id}")
        assert result.state == whole.state, f"cut off after {at} of {length} events"
        finished = [(e.branch, e.node) for e in again.events() if type(e) is NodeCompleted]
        assert len(finished) == len(set(finished)), "a node that had finished was called again"


def test_history_shows_when_a_thread_was_suspended() -> None:
    thread = Thread(build("START a b END", a=asks()))
    thread.run()
    thread.resume({"0:1:0": 1})

    async def statuses() -> list[tuple[str, int, list[str]]]:
        return [
            (each.status, len(each.interrupts), [branch.status for branch in each.branches])
            async for each in thread.flow.history("t")
        ]

    assert thread.await_(statuses())[::-1] == [
        ("running", 0, ["running"]),
        ("suspended", 1, ["parked"]),
        ("running", 0, ["running"]),
        ("running", 0, ["running"]),
        ("completed", 0, []),
    ]


def test_the_stream_tells_of_the_interrupt_and_ends_with_the_suspension() -> None:
    async def main() -> Any:
        flow = build("START a END", a=asks("why?")).compile()
        async with flow.stream({}) as events:
            return [event async for event in events], events.result

    events, _ = VirtualClock().run(main())
    assert [event.interrupts[0].value for event in events if type(event) is NodeInterrupted] == [
        "why?"
    ]
    assert events[-1].status == "suspended"


# -- stores -----------------------------------------------------------------------------------


class Elsewhere:
    """A graph on a durable store, in one process after the other."""

    def __init__(self, graph: Graph) -> None:
        self.clock = VirtualClock()
        self.backend = MemoryBackend(clock=lambda: self.clock.now)
        self.graph = graph

    async def status(self) -> str:
        row = await self.backend.thread("t")
        assert row is not None
        return row.status

    def flow(self) -> Flow[Any]:
        return self.graph.compile(DurableStore(self.backend.view()))

    def run(self) -> RunResult[Any]:
        return self.clock.run(self.flow().run({}, thread_id="t"))

    def resume(self, answers: dict[str, Any] | None = None) -> RunResult[Any]:
        return self.clock.run(self.flow().resume("t", answers))


def test_a_suspended_run_is_answered_in_another_process() -> None:
    gathered = gathering(Join(timeout=10), a=asks("x", {"y": 1}), b=does(1, items=["b"]))
    there = Elsewhere(gathered)
    result = there.run()
    assert there.clock.run(there.status()) == "suspended"
    there.clock.run(anyio.sleep(100))
    while result.status == "suspended":
        assert there.resume() == result
        result = there.resume({each.id: each.value for each in result.interrupts})
    assert result.state["items"] == ["x", {"y": 1}, "b", "m"]
    assert there.clock.run(there.status()) == "completed"


def test_what_cannot_be_stored_cannot_be_asked() -> None:
    with pytest.raises(NodeError, match="the value of interrupt '0:1:0'") as caught:
        Elsewhere(build("START a END", a=asks(object()))).run()
    assert isinstance(caught.value.__cause__, EncodingError)


def test_what_cannot_be_stored_is_no_answer_and_changes_nothing() -> None:
    there = Elsewhere(build("START a END", a=asks()))
    suspended = there.run()
    with pytest.raises(EncodingError, match="the answer to interrupt '0:1:0'"):
        there.resume({"0:1:0": object()})
    with pytest.raises(InterruptError):
        there.resume({"0:1:1": 1})
    assert there.clock.run(there.status()) == "suspended"
    assert there.resume() == suspended


def test_a_store_in_memory_keeps_what_waits_for_an_answer() -> None:
    async def main() -> Any:
        flow = build("START a END", a=asks()).compile(MemoryStore(unnamed=2))
        first = await flow.run({})
        for _ in range(5):
            other = await flow.run({})
            for _ in range(2):
                await flow.resume(other.thread_id)
            await flow.resume(other.thread_id, {"0:1:0": 1})
            await flow.resume(other.thread_id)
        left = len(await flow.store.threads())
        return left, await flow.resume(first.thread_id, {"0:1:0": "kept"})

    left, result = VirtualClock().run(main())
    assert result.state["items"] == ["kept"]
    assert left <= 3


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 40))
def test_a_store_in_memory_keeps_the_last_that_have_room(
    widths: list[int], most: int, events: int
) -> None:
    async def main() -> None:
        store = MemoryStore(unnamed=most, unnamed_events=events)
        sizes: dict[str, int] = {}
        for width in widths:
            graph = Graph(Work).add_node("work", lambda state: None).add_edge("work", "__end__")
            graph.add_conditional_edges("__start__", sends_once(*["work"] * width), ["work"])
            flow = graph.compile(store)
            ran = await flow.run({})
            sizes[ran.thread_id] = (await flow.state(ran.thread_id)).position
        kept = {each.thread_id for each in await store.threads()}
        last = list(sizes)[-len(kept) :]
        assert kept == set(last)
        assert len(kept) <= most
        assert sum(map(sizes.__getitem__, last)) <= events or len(kept) == 1
        if len(kept) < min(most, len(sizes)):  # one more would have been too much
            assert sum(map(sizes.__getitem__, list(sizes)[-len(kept) - 1 :])) > events

    VirtualClock().run(main())


# -- the limit --------------------------------------------------------------------------------


def many(count: int, **options: Any) -> Thread:
    graph = Graph(Work).add_node("ask", asks()).add_edge("ask", "__end__")
    graph.add_conditional_edges("__start__", sends_once(*["ask"] * count), ["ask"])
    return Thread(graph, **options)


def test_too_many_open_interrupts_are_an_error_and_those_asked_can_be_answered() -> None:
    thread = many(4, max_interrupts=3)
    with pytest.raises(LimitError, match="'max_interrupts' raises the limit") as caught:
        thread.run()
    assert caught.value.limit == "max_interrupts"
    asked = [event for event in thread.events() if type(event) is NodeInterrupted]
    assert len(asked) == 3
    result = thread.resume({event.interrupts[0].id: 1 for event in asked})
    assert result.status == "suspended"
    assert thread.answer_all(result, lambda _: 1).state["items"] == [1] * 4


def test_two_thousand_may_wait_unless_said_otherwise() -> None:
    thread = many(2000)
    assert len(thread.run().interrupts) == 2000
    with pytest.raises(LimitError, match="2,000"):
        many(2001).run()


def test_stopping_after_nodes_counts_as_well() -> None:
    thread = Thread(
        build("START a END", "START b END"), interrupt_after=["a", "b"], max_interrupts=1
    )
    with pytest.raises(LimitError):
        thread.run()
