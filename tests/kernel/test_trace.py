"""What followed from what: the cause of each event of a thread, by the machine's own account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import ANY, Flow, Graph, Join, Retry, Send, ThreadNotFound, interrupt
from plait.events import (
    JournalEvent,
    NodeCompleted,
    NodeRetried,
    QuorumJudged,
    RunStarted,
    SyncPointOpened,
    Target,
    TimerFired,
)
from plait.machine import Machine
from plait.plan import Plan
from plait.testing import VirtualClock
from plait.trace import Step, Tracer
from tests.kernel.build import Work, build, does
from tests.properties.drive import drive, prepare
from tests.properties.programs import Features, Program, programs


def traced(graph: Graph, given: Any = None, answers: Any = None) -> tuple[Step, ...]:
    flow: Flow[Any] = graph.compile()

    async def go() -> tuple[Step, ...]:
        await flow.run(given, thread_id="t")
        if answers:
            await anyio.sleep(60)
            await flow.resume("t", answers)
        return await flow.trace("t")

    return VirtualClock().run(go())


def chain(steps: Sequence[Step]) -> list[str]:
    """What the last step followed from, the first cause first."""
    found: list[str] = []
    step: Step | None = steps[-1]
    while step is not None:
        event = step.event
        found.append(getattr(event, "node", type(event).__name__))
        step = steps[step.cause - 1] if step.cause is not None else None
    return found[::-1]


def test_a_sync_point_goes_on_because_of_the_branch_that_came_last() -> None:
    graph = build("START a gather m END", "START b gather", gather=Join(), a=does(5), b=does(9))
    assert chain(traced(graph)) == ["RunStarted", "b", "m"]


def test_a_branch_that_was_held_followed_from_the_one_that_it_waited_for() -> None:
    graph = Graph(Work).add_node("plan", does()).add_node("work", does(3))
    sends = [Send("work", id="x"), Send("work", id="y", after=("x",))]
    graph.add_conditional_edges("plan", lambda _: sends, ["work"])
    steps = traced(graph.add_edge("__start__", "plan").add_edge("work", "__end__"))
    assert chain(steps) == ["RunStarted", "plan", "work", "work"]


def test_a_grace_time_followed_from_the_arrival_that_met_the_quorum() -> None:
    join = Join(quorum=ANY, grace=2)
    graph = build("START a gather m END", "START b gather", gather=join, b=does(60))
    steps = traced(graph)
    assert chain(steps) == ["RunStarted", "a", "TimerFired", "m"]
    (fired,) = (step for step in steps if isinstance(step.event, TimerFired))
    assert fired.cancels == ((0, 1),)
    assert [type(told) for told in fired.told] == [SyncPointOpened]


def test_each_attempt_followed_from_the_one_before() -> None:
    failures = iter([OSError(), OSError(), None])

    async def flaky(_state: Any) -> None:
        if error := next(failures):
            raise error

    graph = Graph(Work).add_node("flaky", flaky, retry=Retry(3))
    steps = traced(graph.add_edge("__start__", "flaky").add_edge("flaky", "__end__"))
    assert [step.cause for step in steps] == [None, 1, 2, 3]
    assert isinstance(steps[1].event, NodeRetried)


def test_each_verdict_of_a_quorum_followed_from_the_arrival_that_it_is_about() -> None:
    arrivals = [
        NodeCompleted(1.0, (0, i), name, 1, (), (Target("gather"),), 0.0)
        for i, name in enumerate("abc")
    ]
    journal: list[JournalEvent] = [RunStarted(0.0, (0,), ()), *arrivals]
    journal += [QuorumJudged(1.0, (0,), 0, "gather", seen, seen == 3) for seen in (1, 2, 3)]
    join = Join(quorum=lambda arrived: len(arrived) > 2)
    ways = [f"START {name} gather END" for name in "abcd"]
    flow: Flow[Any] = build(*ways, gather=join).compile()
    assert [step.cause for step in steps_of(flow.plan, journal)][4:] == [2, 3, 4]


def test_an_answer_followed_from_its_question() -> None:
    async def asks(_state: Any) -> Any:
        return {"text": interrupt("?")}

    steps = traced(build("START asks END", asks=asks), answers={"0:1:0": "yes"})
    assert chain(steps) == ["RunStarted", "asks", "InterruptsAnswered", "asks"]


def test_a_thread_that_is_not_there_has_no_trace() -> None:
    flow: Flow[Any] = build("START a END").compile()
    with pytest.raises(ThreadNotFound):
        VirtualClock().run(flow.trace("t"))


def steps_of(plan: Plan, journal: Sequence[JournalEvent]) -> list[Step]:
    machine, tracer = Machine(plan), Tracer(0)
    for event in journal:
        tracer.note(machine, event, machine.handle(event))
    return tracer.steps


@settings(max_examples=150, deadline=None)
@given(programs(Features()), st.lists(st.integers(0, 20), max_size=30), st.integers(1, 2))
def test_every_event_of_any_program_has_an_earlier_cause(
    program: Program, schedule: list[int], runs: int
) -> None:
    run = drive(prepare(program), schedule, runs=runs)
    steps = steps_of(run.case.plan, run.journal)
    for step in steps:
        if isinstance(step.event, RunStarted):
            assert step.cause is None
            continue
        assert step.cause is not None
        assert step.cause < step.position
        if isinstance(step.event, NodeCompleted):
            cause = steps[step.cause - 1]
            call = (step.event.branch, step.event.node)
            assert call in cause.calls or isinstance(cause.event, NodeRetried)
