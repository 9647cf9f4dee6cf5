"""A journal cut off anywhere: the run goes on from there, and nothing finished is done again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from plait import Flow, Graph, Join, MemoryStore, NodeError, Send
from plait.commands import Fail, JudgeQuorum
from plait.events import (
    BranchForked,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeRetried,
    QuorumJudged,
    RunStarted,
    Target,
    TimerFired,
)
from plait.machine import Machine
from plait.store import JournalFormat, LeasedJournal
from plait.testing import VirtualClock
from plait.testing.faults import WrappedJournal
from tests.journals import events_in
from tests.kernel.build import Log, Work, build, does, fan

GRAPHS: dict[str, Graph] = {
    "chain": build("START a b c END"),
    "fan": fan(Join(), 3, 1, 2),
    "deadline": fan(Join(timeout=5), 3, 60),
    # Whoever begins again when the first has arrived is in time.
    "grace": fan(Join(quorum=1, grace=6), 3, 4, 60),
    "predicate": fan(Join(quorum=lambda arrivals: len(arrivals) == 2), 1, 2, 60),
    "verdicts": fan(Join(quorum=lambda arrivals: len(arrivals) == 2), 1, 1, 60),
    "detached": fan(Join(quorum=1, stragglers="detach", late="merge"), 1, 9, then="m END"),
    "nested": build(
        "START a outer m END",
        "START b b1 inner outer",
        "b b2 inner",
        outer=Join(),
        inner=Join(),
        b2=does(takes=5, items=["b2"]),
    ),
    "leftover": build("START a gather m END", "START b gather", "START c END", gather=Join()),
}


async def cut_off(flow: Flow[Any], thread_id: str, at: int) -> Flow[Any]:
    """The same flow with a store that has the first events of this thread."""
    events = list(await events_in(flow.store, thread_id))[:at]
    store = MemoryStore()
    async with store.lease("t") as journal:
        for event in events:
            journal.append(event)
    return Flow(flow.plan, store)


@pytest.mark.parametrize("name", GRAPHS)
def test_from_every_prefix_of_its_journal_a_run_comes_to_the_same_state(name: str) -> None:
    clock = VirtualClock()
    flow = GRAPHS[name].compile()
    whole = clock.run(flow.run({"text": "given"}, thread_id="t"))
    length = len(clock.run(events_in(flow.store, "t")))
    assert length > 2

    async def resume(at: int) -> Any:
        return await (await cut_off(flow, "t", at)).resume("t")

    for at in range(1, length + 1):
        result = VirtualClock().run(resume(at))
        assert result.state == whole.state, f"cut off after {at} of {length} events"


def test_no_node_whose_completion_is_in_the_prefix_is_called_again() -> None:
    log = Log()
    nodes = {name: log.node(name) for name in "abc"}
    flow = build("START a b END", "START c END", **nodes).compile()
    clock = VirtualClock()
    clock.run(flow.run({}, thread_id="t"))

    async def resume(at: int) -> list[str]:
        log.entries.clear()
        await (await cut_off(flow, "t", at)).resume("t")
        finished = [
            e.node for e in (await events_in(flow.store, "t"))[:at] if type(e) is NodeCompleted
        ]
        return sorted(log.order + finished)

    for at in range(1, 5):
        assert clock.run(resume(at)) == ["a", "b", "c"]


PLAIN = JournalFormat()


class SlowStore(MemoryStore):
    """A store whose journal takes a second to keep an event."""

    @asynccontextmanager
    async def lease(
        self, thread_id: str, format_: JournalFormat = PLAIN
    ) -> AsyncIterator[LeasedJournal]:
        async with super().lease(thread_id, format_) as journal:
            yield SlowJournal(journal)


class SlowJournal(WrappedJournal):
    async def append(self, event: JournalEvent) -> None:
        self.inner.append(event)
        await anyio.sleep(1)


@pytest.mark.parametrize("behind", [0.0, 3600.0, 1e6])
def test_time_does_not_go_back_in_a_journal_that_a_process_with_another_clock_goes_on_with(
    behind: float,
) -> None:
    clock = VirtualClock(start=1e9)
    flow = GRAPHS["deadline"].compile()
    clock.run(flow.run({}, thread_id="t"))

    async def resume() -> tuple[Any, list[float]]:
        begun = await cut_off(flow, "t", 2)
        result = await begun.resume("t")
        return result, [event.at for event in await events_in(begun.store, "t")]

    later = VirtualClock(start=1e9 + 1 - behind)
    result, times = later.run(resume())
    assert times == sorted(times)
    assert later.now <= 5  # what is left of the deadline, and not as much more as the clock lags
    assert 0 <= result.outcomes["gather"][0].waited <= 6


def test_nothing_follows_from_an_event_before_it_is_in_the_journal() -> None:
    log = Log()
    graph = build("START a b END", a=log.node("a"), b=log.node("b"))
    clock = VirtualClock()
    clock.run(graph.compile(SlowStore()).run({}))
    assert log.entries == [("a", 1), ("b", 2)]
    assert clock.now == 3


def test_a_run_that_is_cancelled_while_its_journal_is_slow_resumes() -> None:
    async def interrupt_and_resume() -> Any:
        flow = fan(Join(), 1, 2).compile(SlowStore())
        with anyio.move_on_after(2.5):
            await flow.run({}, thread_id="t")
        return await flow.resume("t")

    assert VirtualClock().run(interrupt_and_resume()).state["items"] == [0, 1]


# -- the machine by itself --------------------------------------------------------------------


def test_the_same_events_give_the_same_commands() -> None:
    flow = GRAPHS["nested"].compile()
    clock = VirtualClock()
    clock.run(flow.run({}, thread_id="t"))
    events = clock.run(events_in(flow.store, "t"))
    first, second = Machine(flow.plan), Machine(flow.plan)
    for event in events:
        assert repr(first.handle(event)) == repr(second.handle(event))
    assert first.values == second.values


def test_a_retry_changes_nothing() -> None:
    machine = Machine(build("START a END").plan())
    machine.handle(RunStarted(0, (0,), ()))
    assert machine.handle(NodeRetried(1, (0,), "a", 1, ValueError(), 2)) == []


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(TypeError, match="not an event of the journal"):
        Machine(build("START a END").plan()).handle(BranchForked(0, (0,), "a", ()))  # type: ignore[arg-type]


def test_a_run_cannot_begin_within_a_run() -> None:
    machine = Machine(build("START a END").plan())
    machine.handle(RunStarted(0, (0,), ()))
    with pytest.raises(TypeError, match="has not ended"):
        machine.handle(RunStarted(1, (1,), ()))


def test_what_comes_after_the_sync_point_has_opened_changes_nothing() -> None:
    """Timers and verdicts may be on their way when their sync point opens."""
    for name, key in (("deadline", "deadline"), ("grace", "grace"), ("predicate", "judgement")):
        flow = GRAPHS[name].compile()
        clock = VirtualClock()
        clock.run(flow.run({}, thread_id="t"))
        events = clock.run(events_in(flow.store, "t"))
        machine = Machine(flow.plan)
        last = max(n for n, e in enumerate(events) if type(e) in (TimerFired, QuorumJudged))
        for event in events[: last + 1]:
            machine.handle(event)
        assert machine.handle(events[last]) == [], key


def test_a_verdict_on_fewer_arrivals_leaves_the_question_about_the_rest_open() -> None:
    flow = GRAPHS["predicate"].compile()
    clock = VirtualClock()
    clock.run(flow.run({}, thread_id="t"))
    begun, routed, first, verdict, second, *_ = clock.run(events_in(flow.store, "t"))
    machine = Machine(flow.plan)
    for event in (begun, routed, first, second, verdict):  # the second came before the verdict
        machine.handle(event)
    asked = [each for each in machine.outstanding() if isinstance(each, JudgeQuorum)]
    assert [len(each.arrivals) for each in asked] == [2]


def test_nothing_follows_once_the_run_has_failed() -> None:
    machine = Machine(build("START a g END", "START b g", g=Join(minimum=2)).plan())
    machine.handle(RunStarted(0, (0,), ()))
    error = NodeError("a", (0, 0), 1, ValueError())
    machine.handle(NodeFailed(1, (0, 0), "a", 1, error, "record"))
    done = NodeCompleted(2, (0, 1), "b", 1, (), (Target("g"),), 0)
    assert isinstance(machine.handle(done)[-1], Fail)
    assert machine.handle(done) == []


def test_a_branch_says_where_it_stands() -> None:
    machine = Machine(build("START a END").plan())
    machine.handle(RunStarted(0, (0,), ()))
    assert repr(machine.branches[0,]) == "<Branch (0,) running at 'a'>"


def test_a_thread_of_a_thousand_branches_and_nodes_ends() -> None:
    graph = Graph(Work).add_node("work", does(items=[1])).add_sync_point("gather")
    graph.add_edge("work", "gather").add_edge("gather", "__end__")
    graph.add_conditional_edges("__start__", lambda _: [Send("work")] * 1000, ["work"])
    clock = VirtualClock()
    assert len(clock.run(graph.compile().run()).state["items"]) == 1000
